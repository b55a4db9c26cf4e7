//! What holds for whatever is sent.

use bytes::Bytes;
use lattice_protocol::{
    Change, Code, EntryId, Field, Incoming, Operation, Outgoing, RowId, Spelling,
    limits::MAX_CHANGES_PER_FRAME,
    names,
    plain::{self, ClientFrame, FieldsFormat, Filter, Format, IntegersFormat},
    value,
};
use proptest::{collection::vec, prelude::*};

use crate::common::{Author, bytes};

/// Any JSON, with a liking for what means something.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "-0",
            "1",
            "1e400",
            "3.0",
            "9007199254740993",
            "9223372036854775808",
            r#""\ud800""#,
            r#""insert""#,
            r#""me""#,
            r#""""#,
            r#""9007199254740993""#,
            r#""3q2+7w==""#,
            r#""{\"a\":1}""#,
            r#""[\"a\"]""#,
            r#""06960229-c369-47dd-Ad19-3f07bf7488b3""#,
            r#""06960229-c369-87dd-Ad19-3f07bf7488b3""#,
        ])
        .prop_map(str::to_owned),
        any::<f64>().prop_filter_map("a number", |number| serde_json::to_string(&number).ok()),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "type", "space", "cursor", "tables", "where", "changes", "id", "globalId", "tableName", "operation",
            "globalRowId", "changedFields", "changedFieldsNames", "timestamp", "state", "token", "kind", "value", "$data",
            "$date", "$int", "a", "eq", "ne", "lt", "gte", "in", "T",
        ])
        .prop_map(|key| format!("\"{key}\"")),
        1 => ".{0,4}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 60, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            vec((key.clone(), inner), 0..9).prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(key, value)| format!("{key} : {value}")).collect();
                format!("{{{}}}", members.join(" ,\n"))
            }),
        ]
    })
}

/// A change whose members are mostly what they should be.
fn nearly_a_change() -> impl Strategy<Value = String> {
    let or_json = |good: &'static str| prop_oneof![6 => Just(good.to_owned()), 1 => json()];
    (
        or_json("null"),
        or_json(r#""T""#),
        or_json(r#""row""#),
        or_json(r#""update""#),
        vec((prop_oneof![Just("\"a\""), Just("\"b\""), Just(r#""\u0061""#), Just("\"b c\"")], json()), 0..4),
        or_json("12.5"),
        any::<bool>(),
    )
        .prop_map(|(id, table, row, operation, fields, timestamp, quoted)| {
            let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            let mut fields = format!("{{{}}}", fields.join(","));
            if quoted {
                fields = serde_json::to_string(&fields).unwrap();
            }
            format!(
                r#"{{"id":{id},"tableName":{table},"globalRowId":{row},"operation":{operation},"changedFields":{fields},"timestamp":{timestamp}}}"#
            )
        })
}

/// A wire value as clients of either dialect may have made it.
fn wire_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any::<i64>().prop_map(value::integer),
        any::<i32>().prop_map(|number| format!(r#"{{"kind":0,"value":{number}}}"#).into()),
        any::<i32>().prop_map(|number| format!(r#"{{"kind":7,"value":{number}.0}}"#).into()),
        ".{0,9}".prop_map(|text| value::text(&text)),
        "([0-9A-F]{2}){0,9}".prop_map(|text| value::text(&text)),
        any::<i64>().prop_map(|number| value::text(&number.to_string())),
        prop::num::f64::NORMAL.prop_map(|number| format!(r#"{{"kind":7,"value":{number:e}}}"#).into()),
        prop::num::f64::NORMAL.prop_map(|number| format!(r#"{{"kind":3,"value":{number:e}}}"#).into()),
        prop::num::f32::NORMAL.prop_map(|number| format!(r#"{{ "value": {number:e}, "kind": 5 }}"#).into()),
        "([0-9a-fA-F]{2}){0,9}".prop_map(|hex| format!(r#"{{"kind":6,"value":"{hex}"}}"#).into()),
        (0..8_u8).prop_map(|kind| format!(r#"{{"kind":{kind},"value":null}}"#).into()),
    ]
}

prop_compose! {
    fn outgoing()(
        id: [u8; 16],
        operation in prop::sample::select(vec![Operation::Insert, Operation::Update, Operation::Delete]),
        row in "\\PC{1,30}".prop_filter_map("a row id", |text| RowId::parse(&text)),
        fields in prop::collection::btree_map("[a-h][a-z]{0,3}", wire_value(), 0..9),
        time_us in -62_135_596_800_000_000..253_402_300_800_000_000_i64,
        taken_back: bool,
    ) -> Outgoing {
        // A version that clients may give to a change.
        let mut id = id;
        id[6] = id[6] & 0x0F | 0x40;
        let fields = fields
            .into_iter()
            .filter(|(name, _)| operation != Operation::Delete && names::is_valid_column(name))
            .map(|(name, value)| Field { name: name.into(), value })
            .collect();
        let (id, id_spelling) = (EntryId(id), Spelling::default());
        Outgoing { id, id_spelling, table: "Trip".into(), operation, row, fields, time_us, taken_back }
    }
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

fn check(change: &Change) {
    assert!(names::is_valid_table(&change.table));
    assert_ne!(change.id.0[6] >> 4, 8, "the server's own ids");
    for field in &change.fields {
        assert!(names::is_valid_column(&field.name));
        // Strict JSON, which parsers that build a tree can read, and all that the native dialect asks for.
        serde_json::from_slice::<serde_json::Value>(&field.value).unwrap();
        assert_eq!(value::from_json(&field.value).as_ref(), Some(&field.value));
    }
}

/// Everything that must hold of a frame that anybody may have sent.
fn survive(frame: &Bytes) {
    let _ = plain::decode_upload(frame, MAX_CHANGES_PER_FRAME);
    match plain::decode(frame, MAX_CHANGES_PER_FRAME) {
        Ok(ClientFrame::Upload(upload)) => {
            let read = Author::ann().read(&upload);
            assert_eq!(read.len(), upload.changes.count());
            for incoming in read {
                match incoming {
                    Incoming::Change(change) => check(&change),
                    Incoming::Refused(refused) => assert!(refused.ack.is_some()),
                }
            }
        }
        Ok(ClientFrame::Subscribe(subscribe)) => {
            let text: Bytes = subscribe.filter.canonical().into();
            assert_eq!(Filter::parse(&text), Ok(subscribe.filter));
        }
        Ok(ClientFrame::Presence { state: Some(state), .. }) => {
            serde_json::from_slice::<serde_json::Value>(&state).unwrap();
        }
        Ok(_) => {}
        Err(error) => assert!(Code::parse(error.code.as_str()).is_some()),
    }
}

proptest! {
    #[test]
    fn any_bytes(input in vec(any::<u8>(), 0..200)) {
        survive(&input.into());
    }

    #[test]
    fn any_json(text in json(), kind in prop::sample::select(vec!["hello", "subscribe", "upload", "poll", "ack", "presence", "auth"])) {
        survive(&text.clone().into());
        if let Some(members) = text.strip_prefix('{') {
            survive(&format!(r#"{{"x":1,{members}"#).into());
            let members = members.strip_suffix('}').unwrap().trim();
            let comma = if members.is_empty() { "" } else { "," };
            survive(&format!(r#"{{{members}{comma}"type":"{kind}"}}"#).into());
        }
        survive(&format!(r#"{{"type":"upload","changes":[{text}]}}"#).into());
        survive(&format!(r#"{{"type":"subscribe","where":{{"T":{{"a":{text}}}}}}}"#).into());
        survive(&format!(r#"{{"type":"presence","state":{text}}}"#).into());
        let _ = Filter::parse(&text.into());
    }

    #[test]
    fn changes_are_read_one_by_one(changes in vec(nearly_a_change(), 1..6)) {
        let frame = |changes: &str| -> Bytes { format!(r#"{{"type":"upload","changes":[{changes}]}}"#).into() };
        let read = |frame: &Bytes| match plain::decode(frame, 10) {
            Ok(ClientFrame::Upload(upload)) => Author::ann().read(&upload),
            other => panic!("{other:?}"),
        };
        survive(&frame(&changes.join(" , ")));
        let together = read(&frame(&changes.join(" , ")));
        for (change, read_together) in changes.iter().zip(together) {
            let mut alone = read(&frame(change)).pop().unwrap();
            if let (Incoming::Change(alone), Incoming::Change(together)) = (&mut alone, &read_together) {
                // Without a timestamp there is nothing to derive the id from here.
                if alone.timestamp_us.is_none() {
                    alone.id = together.id;
                }
            }
            prop_assert_eq!(alone, read_together);
        }
    }

    #[test]
    fn what_is_delivered_can_be_uploaded(entry in outgoing(), format in format()) {
        let encoded = plain::encode_entry(&entry, format);
        let frame = [br#"{"type":"upload","changes":["#, &*encoded, b"]}"].concat();
        let Ok(ClientFrame::Upload(upload)) = plain::decode(&frame.into(), 1) else { panic!() };
        let read = Author::ann().read(&upload);
        let [Incoming::Change(change)] = &*read else { panic!("{read:?}") };
        prop_assert_eq!(
            (&change.id, &change.table, change.operation, &change.row, change.timestamp_us),
            (&entry.id, &entry.table, entry.operation, &entry.row, Some(entry.time_us))
        );
        prop_assert_eq!(change.fields.len(), entry.fields.len());
        for (sent, back) in entry.fields.iter().zip(&change.fields) {
            prop_assert_eq!(&sent.name, &back.name);
            // The same plain value, and where the column is known the same kind and number again.
            let plain = |wire: &Bytes| {
                let mut out = Vec::new();
                plain::write_plain(&mut out, wire, format.integers == IntegersFormat::Text);
                String::from_utf8(out).unwrap()
            };
            let rekinded = plain::rekind(&sent.value, &back.value);
            prop_assert_eq!(plain(&rekinded), plain(&sent.value));
        }
        let tree: serde_json::Value = serde_json::from_slice(&encoded).unwrap();
        prop_assert_eq!(tree["changedFields"].is_object(), format.fields == FieldsFormat::Object);
        let taken_back = entry.taken_back && entry.operation == Operation::Delete;
        prop_assert_eq!(tree.get("reason").is_some(), taken_back);
    }

    #[test]
    fn a_kind_that_wins_loses_nothing(stored in wire_value(), incoming in wire_value()) {
        let incoming = value::from_json(&incoming).unwrap();
        let read = plain::rekind(&stored, &incoming);
        prop_assert_eq!(value::from_json(&read), Some(read.clone()));
        prop_assert_eq!(plain::rekind(&stored, &read), read.clone(), "once is enough");
        prop_assert_eq!(plain::rekind(&incoming, &incoming), incoming.clone());
        let tree = |wire: &Bytes| serde_json::from_slice::<serde_json::Value>(wire).unwrap();
        let (before, after) = (tree(&incoming), tree(&read));
        match (before["value"].as_str(), after["value"].as_str()) {
            (Some(before), Some(after)) => prop_assert!(before.eq_ignore_ascii_case(after)),
            (Some(before), None) => prop_assert_eq!(before.to_owned(), after["value"].to_string()),
            _ => prop_assert_eq!(before["value"].as_f64(), after["value"].as_f64()),
        }
    }

    #[test]
    fn integers_survive_javascript(number: i64) {
        // What JavaScript would make of it: a number where that is exact, the string otherwise.
        let stored = value::integer(number);
        let mut sent = Vec::new();
        plain::write_plain(&mut sent, &stored, true);
        let held: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        let uploaded = match held.as_f64() {
            Some(double) => format!("{double}"),
            None => held.to_string(),
        };
        let back = plain::from_plain(&bytes(&uploaded)).unwrap();
        prop_assert_eq!(plain::rekind(&stored, &back), stored);
    }

    #[test]
    fn filters_agree_with_plain_numbers(value in -50..50_i32, operand in -50..50_i32, half: bool) {
        let wire: Bytes = format!(r#"{{"kind":1,"value":{value}}}"#).into();
        let right = f64::from(operand) + if half { 0.5 } else { 0.0 };
        for (op, expected) in [
            ("eq", f64::from(value) == right),
            ("ne", f64::from(value) != right),
            ("lt", f64::from(value) < right),
            ("lte", f64::from(value) <= right),
            ("gt", f64::from(value) > right),
            ("gte", f64::from(value) >= right),
        ] {
            let filter = Filter::parse(&bytes(&format!(r#"{{"where":{{"T":{{"a":{{"{op}":{right:?}}}}}}}}}"#))).unwrap();
            prop_assert_eq!(filter.matches("T", |_| Some(&wire)), expected, "{} {} {}", value, op, right);
        }
    }
}

/// Work grows with the size of what is sent, not with its square: these take no time unless something is quadratic.
#[test]
fn large_input_is_no_more_than_large() {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    let columns: Vec<_> = (0..2_000).map(|at| format!("\"c{at}\":{at}")).collect();
    let names: Vec<_> = (0..2_000).rev().map(|at| format!("\"c{at}\"")).collect();
    let wide = format!(
        r#"{{"tableName":"T","operation":"update","globalRowId":"r","changedFields":{{{}}},"changedFieldsNames":[{}],"timestamp":1}}"#,
        columns.join(","),
        names.join(","),
    );
    for frame in [
        format!(r#"{{"type":"upload","changes":[{}]}}"#, many("{}", 100_000)),
        format!(r#"{{"type":"upload","changes":[{}]}}"#, many(&wide, 20)),
        format!(r#"{{"type":"upload",{}}}"#, many(r#""changes":[]"#, 200_000)),
        format!(r#"{{"type":"subscribe","tables":[{}]}}"#, many("\"T\"", 200_000)),
        format!(r#"{{"type":"ping","x":"{}"}}"#, "\\u0000".repeat(500_000)),
        format!(r#"{{"type":"ping","x":{}"#, "[{\"a\":".repeat(500_000)),
    ] {
        survive(&frame.into());
    }
}
