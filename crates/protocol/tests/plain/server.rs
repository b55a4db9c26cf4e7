//! What the server writes.

use bytes::Bytes;
use lattice_protocol::{
    Code, EntryId, Field, Operation, Outgoing, RowId,
    plain::{
        self, AckId, ChangesFrame, FieldsFormat, Format, IntegersFormat, Page, ResetReason, Role, Space,
        Status, UploadResult, Welcome,
    },
};

use crate::{common::upload, documents::valid_frame};

const ID: &str = "0d0b3a5e-7a39-4a55-8d3e-3c9f0e2b7a10";

fn entry(fields: &[(&'static str, &'static str)]) -> Outgoing {
    let (id, id_spelling) = EntryId::parse(ID).unwrap();
    let field = |(name, value): &(&'static str, &'static str)| Field {
        name: (*name).into(),
        value: Bytes::from_static(value.as_bytes()),
    };
    Outgoing {
        id,
        id_spelling,
        table: "Trip".into(),
        operation: Operation::Update,
        row: RowId::parse("uuid-…").unwrap(),
        fields: fields.iter().map(field).collect(),
        time_us: 1_234_567_890_456_000,
        taken_back: false,
    }
}

fn text(bytes: &Bytes) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn encoded(entry: &Outgoing, fields: FieldsFormat, integers: IntegersFormat) -> String {
    text(&plain::encode_entry(entry, Format { fields, integers })).to_owned()
}

#[test]
fn an_entry_is_written_as_in_the_design() {
    let days = entry(&[("days", r#"{"kind":1,"value":12}"#)]);
    let mut frame = ChangesFrame::new(Space::Me);
    assert!(frame.is_empty());
    let bytes = plain::encode_entry(&days, Format::default());
    frame.push(&bytes);
    frame.push(&bytes);
    assert_eq!(frame.count(), 2);
    let expected = format!(
        r#"{{"id":"{ID}","tableName":"Trip","operation":"update","globalRowId":"uuid-…","changedFields":"{{\"days\":12}}","timestamp":1234567890.456}}"#
    );
    assert_eq!(text(&bytes), expected);
    let frame = frame.finish(Some("c-1"), true);
    assert_eq!(
        text(&frame),
        format!(
            r#"{{"type":"changes","space":"me","changes":[{expected},{expected}],"cursor":"c-1","more":true}}"#
        )
    );
    valid_frame(&frame);
    let empty = ChangesFrame::new(Space::Id([0xab; 16])).finish(None, false);
    assert_eq!(
        text(&empty),
        r#"{"type":"changes","space":"abababab-abab-abab-abab-abababababab","changes":[],"cursor":null,"more":false}"#
    );
    valid_frame(&empty);
}

#[test]
fn every_kind_has_its_plain_value() {
    let all = entry(&[
        ("int", r#"{"kind":0,"value":-5}"#),
        ("long", r#"{"kind":1,"value":9007199254740991}"#),
        ("huge", r#"{"kind":1,"value":-9007199254740992}"#),
        ("text", r#"{ "value" : "a\"\u00e9😀" , "kind" : 2 }"#),
        ("blob", r#"{"kind":2,"value":"00FF"}"#),
        ("date", r#"{"kind":3,"value":1711800000.5}"#),
        ("none", r#"{"kind":4,"value":null}"#),
        ("float", r#"{"kind":5,"value":0.1}"#),
        ("data", r#"{"kind":6,"value":"DEadbeEF"}"#),
        ("empty", r#"{"kind":6,"value":""}"#),
        ("real", r#"{"kind":7,"value":1e300}"#),
        ("missing", r#"{"kind":3}"#),
        ("null", r#"{"kind":6,"value":null}"#),
    ]);
    let expected = |huge: &str| {
        format!(
            concat!(
                r#"{{"int":-5,"long":9007199254740991,"huge":{},"text":"a\"\u00e9😀","blob":"00FF","#,
                r#""date":{{"$date":1711800000.5}},"none":null,"float":0.1,"data":{{"$data":"3q2+7w=="}},"#,
                r#""empty":{{"$data":""}},"real":1e300,"missing":null,"null":null}}"#
            ),
            huge
        )
    };
    let object = |integers| {
        let text = encoded(&all, FieldsFormat::Object, integers);
        let (_, rest) = text.split_once(r#""changedFields":"#).unwrap();
        rest.split_once(r#","timestamp""#).unwrap().0.to_owned()
    };
    assert_eq!(object(IntegersFormat::Number), expected("-9007199254740992"));
    assert_eq!(object(IntegersFormat::Text), expected("\"-9007199254740992\""));
    for format in Format::ALL {
        assert_eq!(Format::ALL[format.index()], format);
        let tree: serde_json::Value = serde_json::from_slice(&plain::encode_entry(&all, format)).unwrap();
        let fields = match &tree["changedFields"] {
            serde_json::Value::String(text) => {
                assert_eq!(format.fields, FieldsFormat::Text);
                serde_json::from_str(text).unwrap()
            }
            object => object.clone(),
        };
        let huge = if format.integers == IntegersFormat::Text {
            "\"-9007199254740992\""
        } else {
            "-9007199254740992"
        };
        assert_eq!(fields, serde_json::from_str::<serde_json::Value>(&expected(huge)).unwrap());
        let mut frame = ChangesFrame::new(Space::Me);
        frame.push(&plain::encode_entry(&all, format));
        valid_frame(&frame.finish(None, false));
    }
}

#[test]
fn a_delete_says_whether_the_row_lives_on() {
    let deleted = Outgoing {
        operation: Operation::Delete,
        time_us: -1,
        row: RowId::parse("5C0E4A7B-0d5f-4b57-9f43-1a2b3c4d5e6f").unwrap(),
        ..entry(&[("secret", r#"{"kind":1,"value":1}"#)])
    };
    let expected = |fields: &str, reason: &str| {
        format!(
            r#"{{"id":"{ID}","tableName":"Trip","operation":"delete","globalRowId":"5C0E4A7B-0d5f-4b57-9f43-1a2b3c4d5e6f","changedFields":{fields},"timestamp":-0.000001{reason}}}"#
        )
    };
    let taken = Outgoing { taken_back: true, ..deleted.clone() };
    let number = IntegersFormat::Number;
    assert_eq!(encoded(&deleted, FieldsFormat::Text, number), expected("\"{}\"", ""));
    assert_eq!(encoded(&taken, FieldsFormat::Text, number), expected("\"{}\"", r#","reason":"filtered""#));
    assert_eq!(encoded(&taken, FieldsFormat::Object, number), expected("{}", r#","reason":"filtered""#));
    let updated = Outgoing { taken_back: true, ..entry(&[]) };
    assert!(!encoded(&updated, FieldsFormat::Text, number).contains("reason"));
}

#[test]
fn frames_are_written_as_documented() {
    let space = Space::Id([0xab; 16]);
    let id = r#""abababab-abab-abab-abab-abababababab""#;
    let upload = upload(r#"{"type":"upload","id":"b\u002d1","changes":[]}"#);
    let (given, derived) = (AckId::Text("a\"1".into()), AckId::parse(ID.into()));
    let results = || {
        [
            UploadResult { id: &derived, status: Status::Applied, code: None, detail: None },
            UploadResult {
                id: &given,
                status: Status::Rejected,
                code: Some(Code::BadEntryId),
                detail: Some("the id is not a UUID"),
            },
        ]
    };
    let results_json = format!(
        r#"[{{"id":"{ID}","status":"applied"}},{{"id":"a\"1","status":"rejected","code":"bad_entry_id","detail":"the id is not a UUID"}}]"#
    );
    let entries = [plain::encode_entry(&entry(&[]), Format::default())];
    let entry_json = text(&entries[0]);
    let welcome = Welcome {
        user: [0xab; 16],
        client_id: None,
        max_frame_bytes: 1 << 40,
        max_changes: 5,
        now_us: 1_500_000,
    };
    let cases = [
        (
            plain::encode_welcome(&welcome),
            format!(
                r#"{{"type":"ready","protocol":"lattice.json.v1","user":{id},"clientId":null,"maxFrameBytes":1099511627776,"maxChanges":5,"serverTime":1.5}}"#
            ),
        ),
        (
            plain::encode_ready(space, 7, Role::Editor),
            format!(r#"{{"type":"ready","space":{id},"seq":7,"role":"editor"}}"#),
        ),
        (
            plain::encode_ack(upload.id.as_ref(), Some("c-1"), results()),
            format!(r#"{{"type":"ack","id":"b\u002d1","cursor":"c-1","results":{results_json}}}"#),
        ),
        (
            plain::encode_ack(None, None, []),
            r#"{"type":"ack","id":null,"cursor":null,"results":[]}"#.to_owned(),
        ),
        (
            plain::encode_current(Space::Me, &entries),
            format!(r#"{{"type":"current","space":"me","changes":[{entry_json}]}}"#),
        ),
        (
            plain::encode_presence(space, &[0xab; 16], Some("phone"), Some(b"{\"a\":[1]}")),
            format!(
                r#"{{"type":"presence","space":{id},"user":{id},"clientId":"phone","state":{{"a":[1]}}}}"#
            ),
        ),
        (
            plain::encode_presence(Space::Me, &[0xab; 16], None, None),
            format!(r#"{{"type":"presence","space":"me","user":{id},"clientId":null,"state":null}}"#),
        ),
        (
            plain::encode_access(space, Some(Role::Viewer)),
            format!(r#"{{"type":"access","space":{id},"role":"viewer"}}"#),
        ),
        (plain::encode_access(Space::Me, None), r#"{"type":"access","space":"me","role":null}"#.to_owned()),
        (
            plain::encode_error(Code::Internal, "a \"reason\"", Some(2), Some(space), None),
            format!(
                r#"{{"type":"error","code":"internal","message":"a \"reason\"","retryAfter":2,"space":{id}}}"#
            ),
        ),
        (
            plain::encode_error(Code::BadFrame, "", None, None, None),
            r#"{"type":"error","code":"bad_frame","message":""}"#.to_owned(),
        ),
        (
            plain::encode_error(Code::QuotaExceeded, "", None, None, upload.id.as_ref()),
            r#"{"type":"error","code":"quota_exceeded","message":"","id":"b\u002d1"}"#.to_owned(),
        ),
        (plain::encode_auth(Some(900)), r#"{"type":"auth","expiresIn":900}"#.to_owned()),
        (plain::encode_auth(None), r#"{"type":"auth","expiresIn":null}"#.to_owned()),
        (
            plain::encode_pong(1_711_800_000_123_456),
            r#"{"type":"pong","serverTime":1711800000.123456}"#.to_owned(),
        ),
    ];
    for (frame, expected) in &cases {
        assert_eq!(text(frame), expected);
        valid_frame(frame);
    }
    for reason in ResetReason::ALL {
        let frame = plain::encode_reset(Space::Me, reason);
        let since = if reason == (ResetReason::Restored { since_us: 0 }) { r#","since":0"# } else { "" };
        assert_eq!(
            text(&frame),
            format!(r#"{{"type":"reset","space":"me","reason":"{}"{since}}}"#, reason.as_str())
        );
        valid_frame(&frame);
    }
    for role in [Role::Owner, Role::Editor, Role::Viewer] {
        valid_frame(&plain::encode_ready(Space::Me, 0, role));
    }
    for status in Status::ALL {
        let result = UploadResult { id: &derived, status, code: None, detail: None };
        valid_frame(&plain::encode_ack(None, None, [result]));
    }
    for code in Code::ALL {
        valid_frame(&plain::encode_error(*code, "", None, None, None));
    }
    let answer = plain::encode_upload_answer(None, None, results(), &entries);
    assert_eq!(
        text(&answer),
        format!(r#"{{"id":null,"cursor":null,"results":{results_json},"current":[{entry_json}]}}"#)
    );
    crate::documents::valid_answer(&answer);
    let restored = ResetReason::Restored { since_us: 1_711_800_000_500_000 };
    for (reset, written) in [
        (None, ""),
        (Some(ResetReason::UnknownCursor), r#""reset":"unknown_cursor","#),
        (Some(restored), r#""reset":"restored","since":1711800000.5,"#),
    ] {
        let page =
            plain::encode_page(&Page { space, changes: &entries, cursor: Some("c"), more: true, reset });
        assert_eq!(
            text(&page),
            format!(r#"{{"space":{id},{written}"changes":[{entry_json}],"cursor":"c","more":true}}"#)
        );
        crate::documents::valid_page(&page);
    }
}
