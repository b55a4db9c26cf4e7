//! One entry of a native frame.

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    Change, Code, EntryId, Incoming, Operation, Refused, Spelling,
    change::is_link_table,
    columns::names_nothing,
    entry::{Dialect, Keys, Refusal, read_body},
    json,
    limits::MAX_ACK_ID_BYTES,
    names, value,
};

/// Reads values as `value.rs` says, and operations in upper case only.
pub(super) struct Native;

impl Dialect for Native {
    fn operation(text: &str) -> Option<Operation> {
        match text {
            "INSERT" => Some(Operation::Insert),
            "UPDATE" => Some(Operation::Update),
            "DELETE" => Some(Operation::Delete),
            _ => None,
        }
    }

    fn check(base: &ByteString, raw: &str) -> Result<Bytes, &'static str> {
        value::check(base, raw)
    }
}

/// The same, and the one table that only the server may name.
pub(super) struct FromServer;

impl Dialect for FromServer {
    fn operation(text: &str) -> Option<Operation> {
        Native::operation(text)
    }

    fn is_table(name: &str) -> bool {
        names::is_valid_table(name) || name == names::CHECKPOINT_TABLE
    }

    fn check(base: &ByteString, raw: &str) -> Result<Bytes, &'static str> {
        value::check(base, raw)
    }
}

/// What is known so far of an entry that may yet be refused.
struct Entry<'a> {
    frame: &'a ByteString,
    raw: &'a str,
    ack: Option<ByteString>,
    id: Option<(EntryId, Spelling)>,
}

impl Entry<'_> {
    fn refuse(self, refusal: Refusal) -> Incoming {
        let raw = json::share(self.frame, self.raw).into_bytes();
        let Refusal { code, detail, target } = refusal;
        Incoming::Refused(Refused { ack: self.ack, id: self.id, target, code, detail, raw })
    }
}

/// Reads the entry `raw`, which is well-formed JSON and lies in `frame`.
pub(super) fn decode<D: Dialect>(frame: &ByteString, raw: &str) -> Incoming {
    let mut entry = Entry { frame, raw, ack: None, id: None };
    let Some(keys) = Keys::read(raw) else {
        return entry.refuse(Refusal::new(Code::BadEntry, "the entry is not an object"));
    };
    let id_text = keys.global_id.and_then(json::decode_string);
    entry.id = id_text.as_deref().and_then(EntryId::parse);
    entry.ack = id_text.filter(|text| text.len() <= MAX_ACK_ID_BYTES).map(|text| json::keep(frame, text));
    let Some((id, id_spelling)) = entry.id else {
        return entry.refuse(Refusal::new(Code::BadEntryId, "globalId is not a UUID"));
    };
    let body = match read_body::<D>(frame, &keys) {
        Err(refusal) => return entry.refuse(refusal),
        Ok(body) => body,
    };
    let by_filter = match body.operation {
        Operation::Insert => body.synthesized && body.timestamp_us.is_some(),
        Operation::Delete => !is_link_table(&body.table) && names_nothing(&keys),
        Operation::Update => false,
    };
    let change = body.into_change((id, id_spelling), json::share(frame, raw).into_bytes());
    Incoming::Change(Change { by_filter, ..change })
}
