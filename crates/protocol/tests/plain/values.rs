//! Plain values, and the kinds that columns keep.

use bytes::Bytes;
use lattice_protocol::{plain, value};

use crate::common::bytes;

fn wire(plain: &str) -> String {
    let wire = plain::from_plain(&bytes(plain)).unwrap_or_else(|| panic!("{plain}"));
    String::from_utf8(wire.to_vec()).unwrap()
}

#[test]
fn plain_values_become_kinds() {
    for (plain, expected) in [
        (r#""é\n""#, r#"{"kind":2,"value":"é\n"}"#),
        ("10", r#"{"kind":1,"value":10}"#),
        ("9223372036854775807", r#"{"kind":1,"value":9223372036854775807}"#),
        ("-9223372036854775808", r#"{"kind":1,"value":-9223372036854775808}"#),
        ("9223372036854775808", r#"{"kind":7,"value":9223372036854775808}"#),
        ("1.5", r#"{"kind":7,"value":1.5}"#),
        ("1e3", r#"{"kind":7,"value":1e3}"#),
        ("null", r#"{"kind":4,"value":null}"#),
        ("true", r#"{"kind":1,"value":1}"#),
        ("false", r#"{"kind":1,"value":0}"#),
        (r#"{"$data":"3q2+7w=="}"#, r#"{"kind":6,"value":"DEADBEEF"}"#),
        (r#"{"$data":"3q2+7w"}"#, r#"{"kind":6,"value":"DEADBEEF"}"#),
        (r#"{ "\u0024data" : "\u0033q2\/7w==" }"#, r#"{"kind":6,"value":"DEADBFEF"}"#),
        (r#"{"$data":""}"#, r#"{"kind":6,"value":""}"#),
        (r#"{"$date":1711800000.5}"#, r#"{"kind":3,"value":1711800000.5}"#),
        (r#"{"$date":-1}"#, r#"{"kind":3,"value":-1}"#),
        (r#"{"$int":"9007199254740993"}"#, r#"{"kind":1,"value":9007199254740993}"#),
        (r#"{"$int":"-9223372036854775808"}"#, r#"{"kind":1,"value":-9223372036854775808}"#),
        (r#"{"$int":"0"}"#, r#"{"kind":1,"value":0}"#),
        (r#"{"kind":5,"value":0.1}"#, r#"{"kind":5,"value":0.1}"#),
        (r#"{"kind":2,"value":"a","$data":1}"#, r#"{"kind":2,"value":"a"}"#),
    ] {
        assert_eq!(wire(plain), expected, "{plain}");
    }
}

#[test]
fn a_columns_last_known_kind_wins_where_it_fits() {
    let kind = |kind: u8, value: &str| format!(r#"{{"kind":{kind},"value":{value}}}"#);
    for (stored, incoming, expected) in [
        // Integers.
        (kind(7, "1.5"), "3", kind(7, "3")),
        (kind(7, "null"), "3", kind(7, "3")),
        (kind(3, "1711800000.5"), "3", kind(3, "3")),
        (kind(7, "1"), "9007199254740992", kind(7, "9007199254740992")),
        (kind(7, "1"), "9007199254740993", kind(1, "9007199254740993")),
        (kind(7, "1"), "9007199254740994", kind(7, "9007199254740994")),
        (kind(7, "1"), "9223372036854775807", kind(1, "9223372036854775807")),
        (kind(7, "1"), "-9223372036854775808", kind(7, "-9223372036854775808")),
        (kind(0, "1"), "2147483647", kind(0, "2147483647")),
        (kind(0, "1"), "2147483648", kind(1, "2147483648")),
        (kind(0, "1"), "true", kind(0, "1")),
        (kind(5, "1.5"), "16777216", kind(5, "16777216")),
        (kind(5, "1.5"), "16777217", kind(1, "16777217")),
        (kind(1, "1"), "3", kind(1, "3")),
        (kind(2, "\"a\""), "3", kind(1, "3")),
        (kind(4, "null"), "3", kind(1, "3")),
        (kind(6, "\"00\""), "3", kind(1, "3")),
        // Other numbers.
        (kind(3, "1"), "1711800000.25", kind(3, "1711800000.25")),
        (kind(5, "1"), "0.1", kind(5, "0.1")),
        (kind(5, "1"), "0.5", kind(5, "0.5")),
        (kind(5, "1"), "0.10000000149011612", kind(5, "0.10000000149011612")),
        (kind(5, "1"), "0.1234567890123", kind(7, "0.1234567890123")),
        (kind(5, "1"), "1e39", kind(7, "1e39")),
        (kind(5, "1"), "1e-60", kind(7, "1e-60")),
        (kind(1, "1"), "3.0", kind(1, "3")),
        (kind(1, "1"), "1e3", kind(1, "1000")),
        (kind(0, "1"), "-3.0", kind(0, "-3")),
        (kind(0, "1"), "1e10", kind(7, "1e10")),
        (kind(1, "1"), "1e16", kind(7, "1e16")),
        (kind(1, "1"), "1e300", kind(7, "1e300")),
        (kind(1, "1"), "3.5", kind(7, "3.5")),
        (kind(1, "1"), "-0.0", kind(7, "-0.0")),
        // Integers as text, only where a client is sent them so.
        (kind(1, "1"), "\"9007199254740992\"", kind(1, "9007199254740992")),
        (kind(0, "1"), "\"-9007199254740992\"", kind(1, "-9007199254740992")),
        (kind(1, "1"), "\"9007199254740991\"", kind(2, "\"9007199254740991\"")),
        (kind(1, "1"), "\"09007199254740992\"", kind(2, "\"09007199254740992\"")),
        (kind(1, "1"), "\"9223372036854775808\"", kind(2, "\"9223372036854775808\"")),
        (kind(1, "1"), "\"\"", kind(2, "\"\"")),
        (kind(2, "\"1\""), "\"9007199254740992\"", kind(2, "\"9007199254740992\"")),
        (kind(7, "1"), "\"9007199254740992\"", kind(2, "\"9007199254740992\"")),
        // Data.
        (kind(2, "\"00FF\""), r#"{"$data":"3q2+7w=="}"#, kind(2, "\"DEADBEEF\"")),
        (kind(2, "\"00FF\""), r#"{"kind":6,"value":"dead"}"#, kind(2, "\"DEAD\"")),
        (kind(2, "\"\""), r#"{"$data":"3q2+7w=="}"#, kind(2, "\"DEADBEEF\"")),
        (kind(2, "\"00ff\""), r#"{"$data":"3q2+7w=="}"#, kind(6, "\"DEADBEEF\"")),
        (kind(2, "\"00F\""), r#"{"$data":"3q2+7w=="}"#, kind(6, "\"DEADBEEF\"")),
        (kind(2, "null"), r#"{"$data":"3q2+7w=="}"#, kind(6, "\"DEADBEEF\"")),
        (kind(6, "\"00\""), r#"{"$data":"3q2+7w=="}"#, kind(6, "\"DEADBEEF\"")),
        // Null keeps the kind known.
        (kind(7, "1"), "null", kind(7, "null")),
        (kind(0, "1"), "null", kind(0, "null")),
        (kind(6, "\"00\""), "null", kind(6, "null")),
        (kind(2, "\"a\""), "null", kind(4, "null")),
        (kind(4, "null"), "null", kind(4, "null")),
        // What says its own kind.
        (kind(7, "1"), r#"{"$date":5}"#, kind(3, "5")),
        (kind(1, "1"), r#"{"kind":0,"value":5}"#, kind(0, "5")),
        (kind(1, "1"), "\"text\"", kind(2, "\"text\"")),
        ("nonsense".into(), "3", kind(1, "3")),
        (r#"{"kind":8,"value":1}"#.into(), "3", kind(1, "3")),
    ] {
        let incoming = plain::from_plain(&bytes(incoming)).unwrap();
        let read = plain::rekind(stored.as_bytes(), &incoming);
        assert_eq!(str::from_utf8(&read).unwrap(), expected, "{stored} {incoming:?}");
        assert_eq!(value::from_json(&read).as_ref(), Some(&read));
    }
    let nonsense = Bytes::from_static(b"nonsense");
    assert_eq!(plain::rekind(br#"{"kind":7,"value":1}"#, &nonsense), nonsense);
}
