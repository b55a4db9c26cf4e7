//! The changes of an upload.

use alloc::vec::Vec;
use bytes::Bytes;
use bytestring::ByteString;

use super::{
    UploadId,
    ids::{IdSource, is_minted},
    values,
};
use crate::{
    Code, EntryId, Incoming, Operation, Refused, Spelling,
    entry::{Dialect, Keys, Refusal, read_body},
    json::{self, Elements},
    limits::MAX_ACK_ID_BYTES,
};

/// The changes of an upload: well-formed JSON, the number of which is known. They are read once it is known which space they
/// are for, since ids are derived from that too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    text: ByteString,
    count: usize,
}

/// Reads plain values, and operations in any case.
struct Plain;

impl Dialect for Plain {
    fn operation(text: &str) -> Option<Operation> {
        [("insert", Operation::Insert), ("update", Operation::Update), ("delete", Operation::Delete)]
            .into_iter()
            .find_map(|(name, operation)| text.eq_ignore_ascii_case(name).then_some(operation))
    }

    fn check(base: &ByteString, raw: &str) -> Result<Bytes, &'static str> {
        values::check(base, raw)
    }
}

impl Changes {
    /// `None` unless the text is an array.
    pub(super) fn new(text: ByteString) -> Option<Self> {
        let count = Elements::of(&text)?.count();
        Some(Self { text, count })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Reads them, each on its own: one that is refused keeps no other from passing. They share the memory of the frame.
    ///
    /// `upload` is the id of the upload they came in. Every change that is refused has an `ack`: the text that it gave as its
    /// id, or else an id derived from its bytes.
    #[must_use]
    pub fn read(&self, upload: Option<&UploadId>, source: &mut IdSource<'_>) -> Vec<Incoming> {
        let mut out = Vec::with_capacity(self.count);
        let changes = Elements::of(&self.text).into_iter().flatten();
        out.extend(changes.enumerate().map(|(index, raw)| read(&self.text, raw, upload, index, source)));
        out
    }
}

/// The id of a change as it was given.
enum Given {
    Nothing,
    Id(EntryId, Spelling),
    Bad { text: Option<ByteString>, detail: &'static str },
}

impl Given {
    fn read(frame: &ByteString, keys: &Keys<'_>) -> Self {
        let Some(raw) = keys.global_id.or(keys.id) else {
            return Self::Nothing;
        };
        let text = json::decode_string(raw);
        let detail = match text.as_deref().and_then(EntryId::parse) {
            Some((id, spelling)) if !is_minted(id) => return Self::Id(id, spelling),
            Some(_) => "the id is a UUID of version 8, which only the server makes",
            None => "the id is not a UUID",
        };
        let text = text.filter(|text| text.len() <= MAX_ACK_ID_BYTES).map(|text| json::keep(frame, text));
        Self::Bad { text, detail }
    }
}

fn read(
    frame: &ByteString,
    raw: &str,
    upload: Option<&UploadId>,
    index: usize,
    source: &mut IdSource<'_>,
) -> Incoming {
    let bytes = json::share(frame, raw).into_bytes();
    let Some(keys) = Keys::read(raw) else {
        let refusal = Refusal::new(Code::BadEntry, "the change is not an object");
        return refuse(Given::Nothing, refusal, bytes, raw, source);
    };
    let given = Given::read(frame, &keys);
    if let Given::Bad { detail, .. } = &given {
        let refusal = Refusal::new(Code::BadEntryId, detail);
        return refuse(given, refusal, bytes, raw, source);
    }
    match read_body::<Plain>(frame, &keys) {
        Err(refusal) => refuse(given, refusal, bytes, raw, source),
        Ok(body) => {
            let id = match given {
                Given::Id(id, spelling) => (id, spelling),
                Given::Nothing | Given::Bad { .. } => {
                    (source.id_of(&body, upload, index), Spelling::default())
                }
            };
            Incoming::Change(body.into_change(id, bytes))
        }
    }
}

fn refuse(given: Given, refusal: Refusal, bytes: Bytes, raw: &str, source: &IdSource<'_>) -> Incoming {
    let derived = || {
        let id = source.id_of_refused(raw);
        (Some(id.to_text(Spelling::default()).into()), Some((id, Spelling::default())))
    };
    let (ack, id) = match given {
        Given::Id(id, spelling) => (Some(id.to_text(spelling).into()), Some((id, spelling))),
        Given::Bad { text: Some(text), .. } => (Some(text), None),
        Given::Bad { text: None, .. } | Given::Nothing => derived(),
    };
    let Refusal { code, detail, target } = refusal;
    Incoming::Refused(Refused { ack, id, target, code, detail, raw: bytes })
}
