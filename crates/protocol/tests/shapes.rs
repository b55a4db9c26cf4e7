//! The shapes in which clients write what an entry holds.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod common;

use common::{ID, accepted, entry, fields, refused, with_fields};
use lattice_protocol::{Code, Operation, Spelling, limits::MAX_COLUMNS};

#[test]
fn fields_come_in_several_shapes() {
    let both = vec![("age", r#"{"kind":1,"value":3}"#), ("name", r#"{"kind":2,"value":"Al"}"#)];
    for (fields_text, names) in [
        (r#"{"age":{"kind":1,"value":3},"name":{"kind":2,"value":"Al"}}"#, r#"["age","name"]"#),
        (r#"{"age":3,"name":"Al"}"#, r#"["age","name"]"#),
        (
            r#""{\"age\":{\"kind\":1,\"value\":3},\"name\":{\"kind\":2,\"value\":\"Al\"}}""#,
            r#"["age","name"]"#,
        ),
        (r#"" {\"age\":3,\"name\":\"Al\"} ""#, r#""[\"age\",\"name\"]""#),
        (r#"{"age":3,"name":"Al"}"#, ""),
        (r#"{"age":3,"name":"Al"}"#, "null"),
        (r#"{"age":3,"name":"Al"}"#, "\"\""),
        (r#"{"age":3,"name":"Al"}"#, r#"[null,"age",1,{},["x"],"name","age",true]"#),
        (r#"{"name":"Al","other":[1e400],"age":3}"#, r#"["age","absent","name"]"#),
        (r#"{"age":9,"name":"Al","age":3}"#, r#"["age","name"]"#),
        (r#"{"a b":1,"":{},"\ud800":1,"age":3,"name":"Al"}"#, r#"["age","name"]"#),
        (r#"{"\u0061ge":3,"name":"Al"}"#, r#"["age","n\u0061me"]"#),
    ] {
        let entry = entry(&[("changedFields", fields_text), ("changedFieldsNames", names)]);
        assert_eq!(fields(&accepted(&entry)), both, "{entry}");
    }
    for nothing in ["", "null", "{}", "\"{}\"", "\"\""] {
        assert_eq!(
            fields(&accepted(&entry(&[("changedFields", nothing), ("changedFieldsNames", "")]))),
            vec![]
        );
        assert_eq!(fields(&accepted(&entry(&[("changedFields", nothing)]))), vec![]);
    }
    let none_listed = entry(&[("changedFieldsNames", "[]")]);
    assert_eq!(fields(&accepted(&none_listed)), vec![]);
    let equal_keys = with_fields(r#"{"a":1,"a":2}"#);
    assert_eq!(fields(&accepted(&equal_keys)), vec![("a", r#"{"kind":1,"value":2}"#)]);
}

#[test]
fn keys_of_an_entry_may_be_escaped_or_repeated() {
    let twice = entry(&[]).replacen('{', r#"{"tableName":"Wrong","operation":7,"#, 1);
    assert_eq!(accepted(&twice).table, "Person");
    let escaped = entry(&[]).replace("\"tableName\"", r#""table\u004eame""#);
    assert_eq!(accepted(&escaped).table, "Person");
    let odd = entry(&[]).replacen('{', r#"{"\ud800":1,"\\":2,"\"":3,"\"tableName\"":4,"#, 1);
    assert_eq!(accepted(&odd).table, "Person");
}

#[test]
fn many_columns() {
    let object = |count: usize| {
        let members: Vec<_> = (0..count).map(|at| format!("\"c{at}\":{at}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let change = accepted(&with_fields(&object(MAX_COLUMNS)));
    assert_eq!(change.fields.len(), MAX_COLUMNS);
    assert_eq!(change.fields[1_999].name, "c1999");
    let refusal = refused(&with_fields(&object(MAX_COLUMNS + 1)));
    assert_eq!(refusal.code, Code::TooManyColumns);
    assert!(refusal.target.is_some());
    // With many columns the names are still the ones that decide, in their order.
    let some = entry(&[("changedFields", &object(100)), ("changedFieldsNames", r#"["c99","c0","c99","x"]"#)]);
    assert_eq!(
        fields(&accepted(&some)),
        vec![("c99", r#"{"kind":1,"value":99}"#), ("c0", r#"{"kind":1,"value":0}"#)]
    );
}

#[test]
fn deletes_carry_no_fields() {
    let delete = |changed: &[(&str, &str)]| {
        let mut all = vec![("operation", "\"DELETE\"")];
        all.extend_from_slice(changed);
        accepted(&entry(&all))
    };
    for change in [
        delete(&[]),
        delete(&[("changedFields", "7"), ("changedFieldsNames", "7")]),
        delete(&[("changedFields", r#"{"a b":{}}"#), ("changedFieldsNames", r#"["a b"]"#)]),
        delete(&[("changedFields", ""), ("changedFieldsNames", "")]),
    ] {
        assert_eq!((change.operation, change.fields.len()), (Operation::Delete, 0));
        assert!(!change.filter_removal);
    }
    for names in [
        r#"["__lattice_filter_removal"]"#,
        r#"[null,"a b","__lattice_filter_removal"]"#,
        r#""[\"__lattice_filter_removal\"]""#,
    ] {
        assert!(delete(&[("changedFieldsNames", names)]).filter_removal, "{names}");
    }
    let update = entry(&[("changedFieldsNames", r#"["__lattice_filter_removal"]"#)]);
    assert!(!accepted(&update).filter_removal);

    let link = |fields: &str| {
        delete(&[("tableName", "\"_A_B\""), ("changedFields", fields), ("changedFieldsNames", "[]")])
    };
    let change = link(r#"{"rhs":"b","lhs":{"kind":2,"value":"a"},"rhs_type":"T","x":1}"#);
    assert_eq!(
        fields(&change),
        vec![
            ("lhs", r#"{"kind":2,"value":"a"}"#),
            ("rhs", r#"{"kind":2,"value":"b"}"#),
            ("rhs_type", r#"{"kind":2,"value":"T"}"#),
        ]
    );
    assert_eq!(fields(&link(r#"{"lhs":[],"rhs":"b"}"#)), vec![("rhs", r#"{"kind":2,"value":"b"}"#)]);
    assert_eq!(fields(&link("[]")), vec![]);
}

#[test]
fn timestamps_and_flags() {
    for (written, expected) in [
        ("\"\"", None),
        ("null", None),
        ("", None),
        ("\"1711800000.123\"", Some(1_711_800_000_123_000)),
        ("1711800000.123", Some(1_711_800_000_123_000)),
        ("1711800000", Some(1_711_800_000_000_000)),
        ("1.7118e9", Some(1_711_800_000_000_000)),
        ("\"2026-08-13T14:37:51.123Z\"", Some(1_786_631_871_123_000)),
        (r#""2026-08-13\u002014:37:51.123""#, Some(1_786_631_871_123_000)),
        ("\"NaN\"", None),
        ("1e400", None),
        ("[]", None),
        ("true", None),
        (r#""\ud800""#, None),
    ] {
        assert_eq!(accepted(&entry(&[("timestamp", written)])).timestamp_us, expected, "{written}");
    }
    for (written, expected) in
        [("true", true), ("false", false), ("1", false), ("\"true\"", false), ("", false)]
    {
        assert_eq!(accepted(&entry(&[("synthesized", written)])).synthesized, expected);
    }
    let change = accepted(&entry(&[("globalRowId", "\"my row 1\"")]));
    assert_eq!((change.row.to_text().as_str(), change.row.spelling), ("my row 1", Spelling::default()));
    assert_eq!(change.id.to_text(change.id_spelling), ID);
}
