//! Filters: what they say, and which rows match.

use lattice_protocol::plain::{ClientFrame, Filter};

use crate::common::{bytes, decode};

fn filter(text: &str) -> Filter {
    Filter::parse(&bytes(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn on_a(condition: &str) -> Filter {
    filter(&format!(r#"{{"where":{{"T":{{"a":{condition}}}}}}}"#))
}

fn holds(condition: &str, wire: &str) -> bool {
    on_a(condition).matches("T", |column| {
        assert_eq!(column, "a");
        Some(wire.as_bytes())
    })
}

#[test]
fn the_filter_of_the_design() {
    let frame = r#"{"type":"subscribe","tables":["Trip"],"where":{"Trip":{"owner":"ann","days":{"gte":3,"lt":10},
        "state":{"in":["a","b"]},"note":{"ne":null}}}}"#;
    let Ok(ClientFrame::Subscribe(subscribe)) = decode(frame) else { panic!() };
    let filter = subscribe.filter;
    assert!(!filter.is_everything() && filter.names_table("Trip") && !filter.names_table("Stop"));
    assert_eq!(filter.columns("Trip").collect::<Vec<_>>(), ["days", "note", "owner", "state"]);
    assert_eq!(filter.columns("Stop").count(), 0);
    let good = [
        ("owner", r#"{"kind":2,"value":"ann"}"#),
        ("days", r#"{"kind":1,"value":3}"#),
        ("state", r#"{"kind":2,"value":"b"}"#),
        ("note", r#"{"kind":2,"value":""}"#),
    ];
    let matches = |row: &[(&str, &'static str)]| {
        filter.matches("Trip", |column| {
            row.iter().find(|(name, _)| *name == column).map(|(_, value)| value.as_bytes())
        })
    };
    assert!(matches(&good));
    for at in 0..good.len() {
        let mut without = good.to_vec();
        without.remove(at);
        assert!(!matches(&without), "{:?} is needed", good[at]);
    }
    for (at, bad) in [
        (0, r#"{"kind":2,"value":"Ann"}"#),
        (1, r#"{"kind":1,"value":10}"#),
        (1, r#"{"kind":7,"value":2.9999}"#),
        (2, r#"{"kind":2,"value":"c"}"#),
        (3, r#"{"kind":4,"value":null}"#),
    ] {
        let mut row = good;
        row[at].1 = bad;
        assert!(!matches(&row), "{bad}");
    }
    assert!(!filter.matches("Stop", |_| None));
    assert_eq!(
        filter.canonical(),
        concat!(
            r#"{"tables":["Trip"],"where":{"Trip":{"days":{"lt":10,"gte":3},"note":{"ne":null},"#,
            r#""owner":{"eq":"ann"},"state":{"in":["a","b"]}}}}"#
        )
    );
}

#[test]
fn everything_passes_an_empty_filter() {
    for text in
        ["{}", r#"{"tables":null,"where":null}"#, r#"{"where":{}}"#, r#"{"where":{"T":{}}}"#, r#"{"x":1}"#]
    {
        let filter = filter(text);
        assert!(filter.is_everything() && filter == Filter::default());
        assert!(filter.names_table("T") && filter.matches("T", |_| panic!("nothing is looked at")));
        assert_eq!(filter.canonical(), "{}");
    }
    let tables = filter(r#"{"tables":["B","A","B"]}"#);
    assert!(!tables.is_everything() && tables.matches("A", |_| None) && !tables.matches("C", |_| None));
    assert_eq!(tables.canonical(), r#"{"tables":["A","B"]}"#);
    // Tables without conditions pass where only `where` is given.
    assert!(on_a("1").matches("U", |_| None));
}

#[test]
fn values_are_compared_exactly() {
    let cases: &[(&str, &str, bool)] = &[
        // Integers, beyond what doubles can tell apart.
        ("9007199254740993", r#"{"kind":1,"value":9007199254740993}"#, true),
        ("9007199254740993", r#"{"kind":1,"value":9007199254740992}"#, false),
        ("9007199254740993", r#"{"kind":7,"value":9007199254740992.0}"#, false),
        (r#"{"gt":9007199254740992.0}"#, r#"{"kind":1,"value":9007199254740993}"#, true),
        (r#"{"lte":9007199254740992.0}"#, r#"{"kind":1,"value":9007199254740993}"#, false),
        (r#"{"$int":"-9223372036854775808"}"#, r#"{"kind":1,"value":-9223372036854775808}"#, true),
        (r#"{"lt":9223372036854775808}"#, r#"{"kind":1,"value":9223372036854775807}"#, true),
        (r#"{"gte":9223372036854775807}"#, r#"{"kind":7,"value":9223372036854775807}"#, true),
        (r#"{"gte":9223372036854775807}"#, r#"{"kind":7,"value":9223372036854775808}"#, true),
        (r#"{"gt":9223372036854775807}"#, r#"{"kind":7,"value":9223372036854775808.0}"#, true),
        (r#"{"lt":-9223372036854775808}"#, r#"{"kind":7,"value":-9223372036854775808.0}"#, false),
        (r#"{"lt":-9223372036854775808}"#, r#"{"kind":7,"value":-9223372036854777856.0}"#, true),
        (r#"{"gt":1e300}"#, r#"{"kind":1,"value":9223372036854775807}"#, false),
        (r#"{"gt":-1e300}"#, r#"{"kind":1,"value":-9223372036854775808}"#, true),
        // Numbers are numbers, whatever their kind and spelling.
        ("3", r#"{"kind":7,"value":3.0}"#, true),
        ("3.0", r#"{"kind":0,"value":3}"#, true),
        ("0.3e1", r#"{"kind":5,"value":3}"#, true),
        ("0", r#"{"kind":7,"value":-0.0}"#, true),
        ("-0", r#"{"kind":1,"value":0}"#, true),
        ("true", r#"{"kind":1,"value":1}"#, true),
        ("false", r#"{"kind":1,"value":0}"#, true),
        ("0.1", r#"{"kind":7,"value":1e-1}"#, true),
        (r#"{"gt":-2}"#, r#"{"kind":7,"value":-1.5}"#, true),
        (r#"{"lt":-1}"#, r#"{"kind":7,"value":-1.5}"#, true),
        (r#"{"lt":-1.5}"#, r#"{"kind":1,"value":-1}"#, false),
        (r#"{"lt":-1.5}"#, r#"{"kind":1,"value":-2}"#, true),
        (r#"{"lt":1.5}"#, r#"{"kind":1,"value":1}"#, true),
        (r#"{"gte":1711800000}"#, r#"{"kind":3,"value":1711800000.5}"#, true),
        (r#"{"gte":{"$date":1711800000.5}}"#, r#"{"kind":3,"value":1711800000.5}"#, true),
        (r#"{"lte":1}"#, r#"{ "value" : 1 , "kind" : 1 }"#, true),
        // Text by its bytes, whatever its spelling.
        (r#""é\n""#, r#"{"kind":2,"value":"\u00e9\u000a"}"#, true),
        (r#"{"lt":"b"}"#, r#"{"kind":2,"value":"a"}"#, true),
        (r#"{"lt":"b"}"#, r#"{"kind":2,"value":"B"}"#, true),
        (r#"{"gt":"\uffff"}"#, r#"{"kind":2,"value":"😀"}"#, true),
        (r#"{"lt":"a"}"#, r#"{"kind":2,"value":""}"#, true),
        // Between numbers and text there is no order.
        ("1", r#"{"kind":2,"value":"1"}"#, false),
        (r#"{"ne":1}"#, r#"{"kind":2,"value":"1"}"#, true),
        (r#"{"lt":"z"}"#, r#"{"kind":1,"value":1}"#, false),
        (r#"{"gte":"z"}"#, r#"{"kind":1,"value":1}"#, false),
        // Null.
        ("null", r#"{"kind":4,"value":null}"#, true),
        ("null", r#"{"kind":2,"value":null}"#, true),
        ("null", r#"{"kind":7}"#, true),
        ("null", r#"{"kind":1,"value":0}"#, false),
        ("null", r#"{"kind":2,"value":""}"#, false),
        (r#"{"ne":null}"#, r#"{"kind":4,"value":null}"#, false),
        (r#"{"ne":null}"#, r#"{"kind":6,"value":"00"}"#, true),
        (r#"{"ne":"x"}"#, r#"{"kind":4,"value":null}"#, true),
        (r#"{"lt":5}"#, r#"{"kind":4,"value":null}"#, false),
        (r#"{"gte":5}"#, r#"{"kind":1,"value":null}"#, false),
        (r#"{"lte":null}"#, r#"{"kind":4,"value":null}"#, false),
        (r#"{"gte":null}"#, r#"{"kind":1,"value":1}"#, false),
        // Lists.
        (r#"{"in":[]}"#, r#"{"kind":1,"value":1}"#, false),
        (r#"{"in":[]}"#, r#"{"kind":4,"value":null}"#, false),
        (r#"{"in":["b",2,null,1.5,"a"]}"#, r#"{"kind":2,"value":"a"}"#, true),
        (r#"{"in":["b",2,null,1.5,"a"]}"#, r#"{"kind":7,"value":2.0}"#, true),
        (r#"{"in":["b",2,null,1.5,"a"]}"#, r#"{"kind":7,"value":1.5}"#, true),
        (r#"{"in":["b",2,null,1.5,"a"]}"#, r#"{"kind":4}"#, true),
        (r#"{"in":["b",2,null,1.5,"a"]}"#, r#"{"kind":2,"value":"2"}"#, false),
        // Data is equal to nothing.
        (r#""00""#, r#"{"kind":6,"value":"00"}"#, false),
        (r#"{"ne":"00"}"#, r#"{"kind":6,"value":"00"}"#, true),
        (r#"{"gte":""}"#, r#"{"kind":6,"value":"00"}"#, false),
        // All of a column's conditions must hold.
        (r#"{"gt":1,"lt":3}"#, r#"{"kind":1,"value":2}"#, true),
        (r#"{"gt":1,"lt":3}"#, r#"{"kind":1,"value":3}"#, false),
        (r#"{"gt":1,"ne":2}"#, r#"{"kind":1,"value":2}"#, false),
    ];
    for (condition, wire, expected) in cases {
        assert_eq!(holds(condition, wire), *expected, "{condition} of {wire}");
    }
    assert!(on_a("null").matches("T", |_| None) && !on_a("1").matches("T", |_| None));
}

#[test]
fn equal_filters_have_one_text() {
    for (one, other) in [
        (r#"{"tables":["A","B"]}"#, r#"{"x":1,"tables":["B","A","A"]}"#),
        (
            r#"{"where":{"A":{"x":1,"y":2},"B":{"z":null}}}"#,
            r#"{"where":{"B":{"z":{"eq":null}},"A":{"y":2.0,"x":true}}}"#,
        ),
        (r#"{"where":{"A":{"x":{"lt":2,"gt":1}}}}"#, r#"{"where":{"A":{"x":{"gt":1,"lt":0.2e1}}}}"#),
        (r#"{"where":{"A":{"x":{"in":[2,"a",1]}}}}"#, r#"{"where":{"A":{"x":{"in":[1,1.0,2,"\u0061"]}}}}"#),
        (r#"{"where":{"A":{"x":{"in":[null,1]}}}}"#, r#"{"where":{"A":{"x":{"\u0069n":[1,null]}}}}"#),
        (r#"{"where":{"A":{"x":1.5}}}"#, r#"{"where":{"A":{"x":2}, "\u0041":{"x":15e-1}}}"#),
        (r#"{"where":{"A":{"x":{"$int":"7"}}}}"#, r#"{"where":{"A":{"x":{"eq":{"$date":7}}}}}"#),
    ] {
        let (one, other) = (filter(one), filter(other));
        assert_eq!(one, other);
        assert_eq!(one.canonical(), other.canonical());
        assert_eq!(filter(&one.canonical()), one);
    }
    let different = [
        "{}",
        r#"{"tables":["A"]}"#,
        r#"{"tables":["A"],"where":{"A":{"x":1}}}"#,
        r#"{"where":{"A":{"x":1}}}"#,
        r#"{"where":{"A":{"x":"1"}}}"#,
        r#"{"where":{"A":{"x":{"ne":1}}}}"#,
        r#"{"where":{"A":{"x":{"in":[1]}}}}"#,
        r#"{"where":{"A":{"x":{"in":[]}}}}"#,
        r#"{"where":{"A":{"y":1}}}"#,
        r#"{"where":{"B":{"x":1}}}"#,
        r#"{"where":{"A":{"x":null}}}"#,
    ];
    for (at, one) in different.iter().enumerate() {
        for other in &different[..at] {
            assert_ne!(filter(one), filter(other));
            assert_ne!(filter(one).canonical(), filter(other).canonical());
        }
    }
}

#[test]
fn the_canonical_text_of_the_largest_filter_is_read_back() {
    // Numbers may be written shorter than they are kept.
    let operands = vec!["1e18"; 900];
    let numbers: Vec<_> = (0..900).map(|at| format!("{at}e15")).collect();
    let conditions: Vec<_> = (0..60).map(|at| format!("\"c{at}\":\"{}\"", "\\u0001".repeat(50))).collect();
    let text = format!(
        r#"{{"where":{{"A":{{"x":{{"in":[{}]}}}},"B":{{{}}},"C":{{"y":{{"in":[{}]}}}}}}}}"#,
        numbers.join(","),
        conditions.join(","),
        operands[..30].join(","),
    );
    let read = filter(&text);
    assert_eq!(filter(&read.canonical()), read);
}
