//! Frames of clients.

use lattice_protocol::plain::{
    self, ClientFrame, FieldsFormat, Filter, Format, Hello, IntegersFormat, Poll, Space, Subscribe,
};

use crate::common::{bytes, decode, upload};

const ID: [u8; 16] = [0xab; 16];
const ID_TEXT: &str = "abababab-ABAB-abab-abab-abababababab";
/// A cursor as servers make them.
const CURSOR: &str = "a0000000-1000-8000-8000-1d2e3f405162";

#[test]
fn hello() {
    let hello = |frame: &str| match decode(frame) {
        Ok(ClientFrame::Hello(hello)) => hello,
        other => panic!("{frame}: {other:?}"),
    };
    assert_eq!(hello(r#"{"type":"hello"}"#), Hello::default());
    assert_eq!(
        hello(
            r#"{"type":"hello","clientId":"ph\u006fne","schemaVersion":3,"changedFields":"object","integers":"string","x":[]}"#
        ),
        Hello {
            client_id: Some("phone".into()),
            schema_version: Some(3),
            format: Format { fields: FieldsFormat::Object, integers: IntegersFormat::Text },
        }
    );
    let defaults = r#"{"type":"hello","clientId":null,"schemaVersion":null,"changedFields":"string","integers":"number"}"#;
    assert_eq!(hello(defaults), Hello::default());
}

#[test]
fn an_upload_that_is_refused_says_what_it_is_called() {
    for (frame, called) in [
        (r#"{"type":"upload","id":"b\u002d1","changes":7}"#, Some(r#""b\u002d1""#)),
        (r#"{"type":"upload","id":17,"changes":[1,2,3]}"#, Some("17")),
        (r#"{"type":"upload","id":17,"space":"you","changes":[]}"#, Some("17")),
        (r#"{"type":"upload","id":{},"changes":[]}"#, None),
        (r#"{"type":"upload","changes":7}"#, None),
        (r#"{"type":"subscribe","id":17,"space":"you"}"#, None),
        (r#"{"type":"upload","id":17,"changes":[]"#, None),
    ] {
        let error = plain::decode(&bytes(frame), 2).unwrap_err();
        assert_eq!(error.upload.as_ref().map(plain::UploadId::as_json), called, "{frame}");
    }
}

#[test]
fn frames_about_a_space() {
    let id = format!(r#""space":"{ID_TEXT}""#);
    let cursor = || Some(CURSOR.into());
    for (frame, expected) in [
        (r#"{"type":"subscribe"}"#.to_owned(), ClientFrame::Subscribe(Subscribe::default())),
        (
            r#"{"cursor":null,"type":"subscribe","space":"me","tables":null,"where":null}"#.to_owned(),
            ClientFrame::Subscribe(Subscribe::default()),
        ),
        (
            format!(r#"{{"type":"subscribe",{id},"cursor":"{CURSOR}","tables":["Trip"]}}"#),
            ClientFrame::Subscribe(Subscribe {
                space: Space::Id(ID),
                cursor: cursor(),
                filter: Filter::parse(&bytes(r#"{"tables":["Trip"]}"#)).unwrap(),
            }),
        ),
        (r#"{"type":"unsubscribe"}"#.to_owned(), ClientFrame::Unsubscribe { space: Space::Me }),
        (format!(r#"{{"type":"unsubscribe",{id}}}"#), ClientFrame::Unsubscribe { space: Space::Id(ID) }),
        (r#"{"type":"poll"}"#.to_owned(), ClientFrame::Poll(Poll::default())),
        (
            format!(r#"{{"type":"poll",{id},"cursor":"{CURSOR}","limit":99999999999}}"#),
            ClientFrame::Poll(Poll { space: Space::Id(ID), cursor: cursor(), limit: Some(10_000) }),
        ),
        (
            format!(r#"{{"type":"ack","cursor":"\u0061{}"}}"#, &CURSOR[1..]),
            ClientFrame::Ack { space: Space::Me, cursor: CURSOR.into() },
        ),
        (
            format!(r#"{{"type":"presence",{id},"state":{{ "a":[1.5, "é"] }}}}"#),
            ClientFrame::Presence { space: Space::Id(ID), state: Some(bytes(r#"{ "a":[1.5, "é"] }"#)) },
        ),
        (
            r#"{"type":"presence","state":null}"#.to_owned(),
            ClientFrame::Presence { space: Space::Me, state: None },
        ),
        (r#"{"type":"auth","token":"a.b.c"}"#.to_owned(), ClientFrame::Auth { token: "a.b.c".into() }),
        (r#" {"ty\u0070e":"pin\u0067","type2":1} "#.to_owned(), ClientFrame::Ping),
        // Of keys that are written twice the last one counts.
        (r#"{"type":1,"type":"ping"}"#.to_owned(), ClientFrame::Ping),
    ] {
        assert_eq!(decode(&frame), Ok(expected), "{frame}");
    }
    assert_eq!(Space::Id(ID).to_string(), ID_TEXT.to_lowercase());
    assert_eq!(Space::Me.to_string(), "me");
}

#[test]
fn uploads_repeat_their_id_as_it_came() {
    for id in ["1", "-9223372036854775808", "\"\"", r#""a\u00e9\"b""#, "null", ""] {
        let member = if id.is_empty() { String::new() } else { format!(r#""id":{id},"#) };
        let read = upload(&format!(r#"{{"type":"upload",{member}"changes":[]}}"#));
        let expected = (!matches!(id, "" | "null")).then_some(id);
        assert_eq!(read.id.as_ref().map(|id| id.as_json()), expected);
        assert_eq!((read.space, read.client_id, read.changes.count()), (Space::Me, None, 0));
    }
}

#[test]
fn the_body_of_an_upload_names_its_client() {
    let body =
        r#"{"id":7,"space":"abababab-abab-abab-abab-abababababab","clientId":"phone","changes":[1,2]}"#;
    let read = plain::decode_upload(&bytes(body), 2).unwrap();
    assert_eq!(read.client_id.as_deref(), Some("phone"));
    assert_eq!((read.space, read.changes.count()), (Space::Id(ID), 2));
    let frame = format!(r#"{{"type":"upload",{}"#, &body[1..]);
    assert_eq!(upload(&frame).client_id, None, "on a socket hello does");
}
