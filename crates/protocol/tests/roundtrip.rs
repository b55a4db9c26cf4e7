//! What one end writes the other end reads, and no bytes whatever bring the decoder down.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use bytes::Bytes;
use lattice_protocol::{
    Change, Code, EntryId, Field, Incoming, Operation, Outgoing, RowId, Spelling,
    limits::MAX_CHANGES_PER_FRAME,
    names,
    native::{self, AckId, AuditLogFrame, ClientFrame, ServerFrame, Upload, UploadTimestamp},
    value,
};
use proptest::{collection::vec, prelude::*};

/// 0001-01-01 and 10000-01-01, in microseconds since 1970.
const TIMES_US: core::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

fn wire_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any::<i64>().prop_map(value::integer),
        ".*".prop_map(|text| value::text(&text)),
        any::<i32>().prop_map(|number| format!(r#"{{"kind":0,"value":{number}}}"#).into()),
        prop::num::f64::NORMAL.prop_map(|number| format!(r#"{{"kind":7,"value":{number:e}}}"#).into()),
        prop::num::f32::NORMAL.prop_map(|number| format!(r#"{{ "value": {number:e}, "kind": 5 }}"#).into()),
        "([0-9a-fA-F]{2}){0,20}".prop_map(|hex| format!(r#"{{"kind":6,"value":"{hex}"}}"#).into()),
        Just(value::null()),
    ]
}

fn row_id() -> impl Strategy<Value = RowId> {
    prop_oneof![
        (any::<[u8; 16]>(), any::<u32>())
            .prop_map(|(id, spelling)| EntryId(id).to_text(Spelling(spelling)))
            .prop_filter_map("a UUID", |text| RowId::parse(&text)),
        "\\PC{1,30}".prop_filter_map("a row id", |text| RowId::parse(&text)),
        any::<[char; 4]>().prop_filter_map("a row id", |text| RowId::parse(&String::from_iter(text))),
    ]
}

/// A column name, never one that clients keep for themselves.
fn column() -> impl Strategy<Value = String> {
    "[a-z_][A-Za-z0-9_]{0,8}".prop_filter("a column that may be synced", |name| names::is_valid_column(name))
}

prop_compose! {
    fn outgoing()(
        id in any::<[u8; 16]>(),
        spelling in any::<u32>(),
        table in "[A-Z_][A-Za-z0-9_]{0,20}",
        operation in prop::sample::select(vec![Operation::Insert, Operation::Update, Operation::Delete]),
        row in row_id(),
        fields in prop::collection::btree_map(column(), wire_value(), 0..50),
        time_us in TIMES_US,
        taken_back: bool,
    ) -> Outgoing {
        // Written and read once, so that the spelling says nothing about decimal digits.
        let (id, id_spelling) = EntryId::parse(&EntryId(id).to_text(Spelling(spelling))).unwrap();
        let fields = if operation == Operation::Delete { Default::default() } else { fields };
        let fields =
            fields.into_iter().map(|(name, value)| Field { name: name.into(), value }).collect();
        let taken_back = taken_back && operation == Operation::Delete;
        Outgoing { id, id_spelling, table: table.into(), operation, row, fields, time_us, taken_back }
    }
}

fn ack_id() -> impl Strategy<Value = AckId> {
    prop_oneof![
        outgoing().prop_map(|entry| AckId::Uuid(entry.id, entry.id_spelling)),
        ".*".prop_map(|text| AckId::parse(text.into())),
    ]
}

fn valid(entries: Vec<Outgoing>) -> Vec<Outgoing> {
    entries.into_iter().filter(|entry| names::is_valid_table(&entry.table)).collect()
}

fn changes(frame: &Bytes) -> Vec<Change> {
    let Ok(ClientFrame::Changes(changes)) = native::decode(frame, MAX_CHANGES_PER_FRAME) else {
        panic!("not a frame of changes: {frame:?}");
    };
    let change = |incoming| match incoming {
        Incoming::Change(change) => change,
        Incoming::Refused(refused) => panic!("{refused:?}"),
    };
    changes.into_iter().map(change).collect()
}

/// Everything that must hold of a frame that anybody may have sent.
fn survive(frame: &Bytes) {
    let _ = native::decode_server(frame);
    let Ok(ClientFrame::Changes(changes)) = native::decode(frame, MAX_CHANGES_PER_FRAME) else {
        return;
    };
    for incoming in changes {
        let Incoming::Change(change) = incoming else {
            continue;
        };
        assert!(names::is_valid_table(&change.table));
        for field in &change.fields {
            assert!(names::is_valid_name(&field.name));
            // Strict JSON, which parsers that build a tree can read: no half surrogates, no numbers out of range.
            let tree: serde_json::Value = serde_json::from_slice(&field.value).unwrap();
            assert!(tree["kind"].is_u64() && tree.as_object().unwrap().len() <= 2);
            assert_eq!(value::from_json(&field.value).as_ref(), Some(&field.value));
        }
    }
}

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
            "9223372036854775808",
            r#""\ud800""#,
            r#""\ud83d\ude00""#,
            r#""INSERT""#,
            r#""DELETE""#,
            r#""Person""#,
            r#""{\"a\":1}""#,
            r#""[\"a\"]""#,
            r#""""#,
            r#""06960229-c369-47dd-Ad19-3f07bf7488b3""#,
            r#""2026-08-13T14:37:51.123Z""#,
        ])
        .prop_map(str::to_owned),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(|number| number.to_string()),
        ".*".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "globalId",
            "tableName",
            "operation",
            "globalRowId",
            "changedFields",
            "changedFieldsNames",
            "timestamp",
            "synthesized",
            "kind",
            "value",
            "a",
            "auditLog",
            "ack",
            "type",
        ])
        .prop_map(|key| format!("\"{key}\"")),
        ".{0,4}".prop_map(|text| serde_json::to_string(&text).unwrap()),
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

/// An entry whose members are mostly what they should be.
fn nearly_an_entry() -> impl Strategy<Value = String> {
    let or_json = |good: &'static str| prop_oneof![4 => Just(good.to_owned()), 1 => json()];
    (
        or_json(r#""06960229-c369-47dd-Ad19-3f07bf7488b3""#),
        or_json(r#""_A_B""#),
        or_json(r#""row""#),
        prop_oneof![Just(r#""INSERT""#), Just(r#""UPDATE""#), Just(r#""DELETE""#)],
        vec(
            (prop_oneof![Just("\"a\""), Just("\"lhs\""), Just(r#""\u0061""#), Just("\"b c\"")], json()),
            0..4,
        ),
        prop_oneof![Just("null".to_owned()), Just(r#"["a","lhs"]"#.to_owned()), json()],
        any::<bool>(),
    )
        .prop_map(|(id, table, row, operation, fields, names, quoted)| {
            let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            let mut fields = format!("{{{}}}", fields.join(","));
            if quoted {
                fields = serde_json::to_string(&fields).unwrap();
            }
            format!(
                r#"{{"globalId":{id},"tableName":{table},"globalRowId":{row},"operation":{operation},
                "changedFields":{fields},"changedFieldsNames":{names}}}"#
            )
        })
}

fn uuids(ids: &[AckId]) -> Vec<EntryId> {
    let uuid = |id: &AckId| match id {
        AckId::Uuid(id, _) => Some(*id),
        AckId::Text(text) => EntryId::parse(text).map(|(id, _)| id),
    };
    ids.iter().filter_map(uuid).collect()
}

proptest! {
    #[test]
    fn deliveries(entries in vec(outgoing(), 0..6)) {
        let entries = valid(entries);
        let mut frame = AuditLogFrame::new();
        prop_assert!(frame.is_empty());
        for entry in &entries {
            frame.push(entry);
        }
        prop_assert_eq!(frame.count(), entries.len());
        let length = frame.len();
        let frame = frame.finish();
        prop_assert_eq!(frame.len(), length);
        let tree: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        prop_assert_eq!(tree["auditLog"].as_array().unwrap().len(), entries.len());
        // That a row is only taken back is not told.
        let told: Vec<_> = entries.into_iter().map(|entry| Outgoing { taken_back: false, ..entry }).collect();
        prop_assert_eq!(native::decode_server(&frame), Ok(ServerFrame::Entries(told)));
    }

    #[test]
    fn uploads(entries in vec(outgoing(), 0..6), exact: bool, synthesized: bool) {
        let entries = valid(entries);
        let timestamp = if exact { UploadTimestamp::Exact } else { UploadTimestamp::Empty };
        let frame = native::encode_upload(entries.iter().map(|entry| Upload { entry, timestamp, synthesized }));
        let read = changes(&frame);
        prop_assert_eq!(read.len(), entries.len());
        for (change, entry) in read.into_iter().zip(entries) {
            prop_assert_eq!(change.timestamp_us, exact.then_some(entry.time_us));
            prop_assert_eq!(change.synthesized, synthesized);
            let read = Outgoing {
                id: change.id,
                id_spelling: change.id_spelling,
                table: change.table,
                operation: change.operation,
                row: change.row,
                fields: change.fields,
                time_us: entry.time_us,
                taken_back: change.filter_removal,
            };
            prop_assert_eq!(read, entry);
        }
    }

    #[test]
    fn events(ids in vec(ack_id(), 0..6), why in ".*", id in proptest::option::of(".*")) {
        let (acked, ack) = (ids.clone(), native::encode_ack(ids.iter().cloned()));
        prop_assert_eq!(native::decode(&ack, 0), Ok(ClientFrame::Ack { ids: uuids(&ids) }));
        prop_assert_eq!(native::decode_server(&ack), Ok(ServerFrame::Ack(acked)));
        let nack = native::encode_nack(ids.iter().cloned(), &why);
        let rejected = native::encode_rejected(Code::BadFrame, &why);
        let reset = native::encode_floor_reset(id.as_deref(), &why);
        // Released clients must take none of these for something else.
        for frame in [&nack, &rejected, &reset] {
            let tree: serde_json::Value = serde_json::from_slice(frame).unwrap();
            for key in ["auditLog", "ack", "replayRequest"] {
                prop_assert!(tree.get(key).is_none());
            }
        }
        let rejection = format!("bad_frame: {why}");
        prop_assert_eq!(native::decode_server(&nack), Ok(ServerFrame::Nack { ids, why: why.clone() }));
        prop_assert_eq!(native::decode_server(&rejected), Ok(ServerFrame::Rejected(rejection)));
        prop_assert_eq!(native::decode_server(&reset), Ok(ServerFrame::FloorReset { id, why }));
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        survive(&bytes.into());
    }

    #[test]
    fn any_json(text in json()) {
        survive(&text.clone().into());
        survive(&format!(r#"{{"auditLog":[{text}]}}"#).into());
        let _ = value::string_value(text.as_bytes());
    }

    #[test]
    fn any_value_that_passes_is_safe_and_stable(text in json()) {
        if let Some(wire) = value::from_json(&text.into()) {
            let tree: serde_json::Value = serde_json::from_slice(&wire).unwrap();
            prop_assert!(tree["kind"].as_u64().unwrap() < 8);
            prop_assert_eq!(value::from_json(&wire), Some(wire.clone()));
            let text = tree["value"].as_str().filter(|_| tree["kind"] == 2).map(str::to_owned);
            prop_assert_eq!(value::string_value(&wire), text);
        }
    }

    #[test]
    fn nearly_entries_are_read_one_by_one(entries in vec(nearly_an_entry(), 1..5)) {
        let frame: Bytes = format!(r#"{{"auditLog":[{}]}}"#, entries.join(" , ")).into();
        survive(&frame);
        let Ok(ClientFrame::Changes(together)) = native::decode(&frame, 5) else { panic!("{entries:?}") };
        for (entry, read) in entries.iter().zip(together) {
            let alone = native::decode(&format!(r#"{{"auditLog":[{entry}]}}"#).into(), 1);
            prop_assert_eq!(alone, Ok(ClientFrame::Changes(vec![read])));
        }
    }

    #[test]
    fn mutated_frames(
        entries in vec(outgoing(), 1..4),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
        printable: bool,
    ) {
        let mut bytes = native::encode_upload(entries.iter().map(Upload::new)).to_vec();
        for (index, byte, how) in mutations {
            let at = index.index(bytes.len());
            let byte = if printable { b" !\"'+,-./0189:[\\]{}aeutn"[usize::from(byte) % 24] } else { byte };
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        survive(&bytes.into());
    }
}

#[test]
fn an_entry_is_written_as_captured() {
    let entry = Outgoing {
        id: EntryId([0xad; 16]),
        id_spelling: Spelling(0),
        table: "Item".into(),
        operation: Operation::Update,
        row: RowId::parse("a \"row\"\n").unwrap(),
        fields: vec![
            Field { name: "name".into(), value: value::text("é") },
            Field { name: "count".into(), value: value::integer(i64::MIN) },
        ],
        time_us: 1_711_800_000_123_000,
        taken_back: false,
    };
    let mut frame = AuditLogFrame::new();
    frame.push(&entry);
    let expected = concat!(
        r#"{"auditLog":[{"changedFields":{"name":{"kind":2,"value":"é"},"#,
        r#""count":{"kind":1,"value":-9223372036854775808}},"changedFieldsNames":["name","count"],"#,
        r#""globalId":"adadadad-adad-adad-adad-adadadadadad","globalRowId":"a \"row\"\n","id":0,"#,
        r#""isFromRemote":true,"isSynchronized":true,"operation":"UPDATE","rowId":0,"tableName":"Item","#,
        r#""timestamp":"1711800000.123"}],"kind":"auditLog"}"#,
    );
    assert_eq!(str::from_utf8(&frame.finish()).unwrap(), expected);

    let upload = native::encode_upload([Upload {
        entry: &Outgoing { operation: Operation::Delete, fields: vec![], ..entry },
        timestamp: UploadTimestamp::Text("2026-08-13T14:37:51.123Z"),
        synthesized: true,
    }]);
    let expected = concat!(
        r#"{"auditLog":[{"changedFields":{},"changedFieldsNames":[],"#,
        r#""globalId":"adadadad-adad-adad-adad-adadadadadad","globalRowId":"a \"row\"\n","id":0,"#,
        r#""isFromRemote":false,"isSynchronized":false,"operation":"DELETE","rowId":0,"synthesized":true,"#,
        r#""tableName":"Item","timestamp":"2026-08-13T14:37:51.123Z"}],"kind":"auditLog"}"#,
    );
    assert_eq!(upload, expected);
}

#[test]
fn a_row_that_is_taken_back_leaves_by_a_plain_delete_without_its_values() {
    let entry = Outgoing {
        id: EntryId([0xad; 16]),
        id_spelling: Spelling(0),
        table: "Item".into(),
        operation: Operation::Delete,
        row: RowId::parse("row").unwrap(),
        fields: vec![Field { name: "secret".into(), value: value::text("secret") }],
        time_us: 0,
        taken_back: true,
    };
    let mut frame = AuditLogFrame::new();
    frame.push(&entry);
    let frame = frame.finish();
    let text = str::from_utf8(&frame).unwrap();
    // With a marker among its names clients would drop it.
    assert!(text.contains(r#""changedFields":{},"changedFieldsNames":[],"#), "{text}");
    assert!(!text.contains("secret"));
    let expected = ServerFrame::Entries(vec![Outgoing { fields: vec![], taken_back: false, ..entry }]);
    assert_eq!(native::decode_server(&frame), Ok(expected));
}

#[test]
fn events_are_written_as_documented() {
    let (id, spelling) = EntryId::parse("06960229-c369-47dd-Ad19-3f07bf7488b3").unwrap();
    let ids = || [AckId::Uuid(id, spelling), AckId::Text("a\"1".into())].into_iter();
    for (frame, expected) in [
        (
            native::encode_ack(ids()),
            r#"{"ack":["06960229-c369-47dd-Ad19-3f07bf7488b3","a\"1"],"kind":"ack"}"#,
        ),
        (native::encode_ack(core::iter::empty()), r#"{"ack":[],"kind":"ack"}"#),
        (
            native::encode_nack(ids().take(1), "try again"),
            r#"{"kind":"nack","nack":["06960229-c369-47dd-Ad19-3f07bf7488b3"],"nackReason":"try again"}"#,
        ),
        (
            native::encode_rejected(Code::BadFrame, "the frame is not UTF-8"),
            r#"{"kind":"rejected","rejected":"bad_frame: the frame is not UTF-8"}"#,
        ),
        (
            native::encode_floor_reset(Some("a1b2"), "unknown"),
            r#"{"kind":"floorReset","floorReset":"a1b2","floorReason":"unknown"}"#,
        ),
        (native::encode_floor_reset(None, "why"), r#"{"kind":"floorReset","floorReason":"why"}"#),
    ] {
        assert_eq!(str::from_utf8(&frame).unwrap(), expected);
    }
}

#[test]
fn test_clients_are_strict() {
    for (bad, code) in [
        ("[]", Code::BadFrame),
        ("x", Code::BadFrame),
        (r#"{"auditLog":{}}"#, Code::BadFrame),
        (r#"{"ack":[1]}"#, Code::BadFrame),
        (r#"{"nack":[],"nackReason":1}"#, Code::BadFrame),
        (r#"{"rejected":null}"#, Code::BadFrame),
        (r#"{"auditLog":[{}]}"#, Code::BadEntryId),
        (
            r#"{"auditLog":[{"globalId":"06960229-c369-47dd-Ad19-3f07bf7488b3","tableName":"A","globalRowId":"r",
            "operation":"DELETE","timestamp":""}]}"#,
            Code::BadEntry,
        ),
    ] {
        assert_eq!(
            native::decode_server(&Bytes::from_static(bad.as_bytes())).unwrap_err().code,
            code,
            "{bad}"
        );
    }
    assert_eq!(native::decode_server(&Bytes::from_static(b"{\"x\":1}")), Ok(ServerFrame::Other));
}

#[test]
fn codes_are_unique_and_come_back() {
    for (at, code) in Code::ALL.iter().enumerate() {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
        assert!(Code::ALL[..at].iter().all(|other| other.as_str() != code.as_str()));
    }
    assert_eq!(Code::parse("no_such_code"), None);
}
