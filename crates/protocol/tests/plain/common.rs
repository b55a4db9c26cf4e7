//! Uploads of single changes.

use bytes::Bytes;
use lattice_protocol::{
    Change, FrameError, Incoming, Refused,
    limits::MAX_CHANGES_PER_FRAME,
    plain::{self, ClientFrame, DerivationKey, IdSource, Upload},
};

pub(crate) const USER: [u8; 16] = [7; 16];
pub(crate) const SPACE: [u8; 16] = [9; 16];

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn decode(frame: &str) -> Result<ClientFrame, FrameError> {
    plain::decode(&bytes(frame), MAX_CHANGES_PER_FRAME)
}

#[track_caller]
pub(crate) fn upload(frame: &str) -> Upload {
    match decode(frame) {
        Ok(ClientFrame::Upload(upload)) => upload,
        other => panic!("{frame}: {other:?}"),
    }
}

/// Who uploads; random ids are 1, 2, 3, …
pub(crate) struct Author {
    pub(crate) key: [u8; 16],
    pub(crate) user: [u8; 16],
    pub(crate) client_id: Option<&'static str>,
    pub(crate) space: [u8; 16],
    pub(crate) drawn: u128,
}

impl Author {
    pub(crate) fn ann() -> Self {
        Self { key: [1; 16], user: USER, client_id: Some("phone"), space: SPACE, drawn: 0 }
    }

    pub(crate) fn nobody() -> Self {
        Self { client_id: None, ..Self::ann() }
    }

    pub(crate) fn read(&mut self, upload: &Upload) -> Vec<Incoming> {
        let mut random = || {
            self.drawn += 1;
            self.drawn.to_be_bytes()
        };
        upload.changes.read(
            upload.id.as_ref(),
            &mut IdSource {
                key: DerivationKey(self.key),
                user: self.user,
                client_id: self.client_id,
                space: self.space,
                random: &mut random,
            },
        )
    }
}

#[track_caller]
pub(crate) fn changes(changes: &[&str]) -> Vec<Incoming> {
    Author::ann().read(&upload(&format!(r#"{{"type":"upload","changes":[{}]}}"#, changes.join(","))))
}

#[track_caller]
pub(crate) fn accepted(change: &str) -> Change {
    match changes(&[change]).pop() {
        Some(Incoming::Change(change)) => change,
        other => panic!("{change}: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(change: &str) -> Refused {
    match changes(&[change]).pop() {
        Some(Incoming::Refused(refused)) => refused,
        other => panic!("{change}: {other:?}"),
    }
}

/// A good change with some of its members written differently; an empty text leaves the member out.
pub(crate) fn change(changed: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("tableName", "\"Trip\""),
        ("operation", "\"insert\""),
        ("globalRowId", "\"row\""),
        ("changedFields", r#""{\"name\":\"Costa Rica\",\"days\":10}""#),
        ("timestamp", "1234567890.123"),
    ];
    for (key, value) in changed {
        members.retain(|(other, _)| other != key);
        if !value.is_empty() {
            members.push((key, value));
        }
    }
    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

pub(crate) fn with_fields(fields: &str) -> String {
    change(&[("changedFields", fields)])
}

pub(crate) fn fields(change: &Change) -> Vec<(&str, &str)> {
    change.fields.iter().map(|field| (&*field.name, str::from_utf8(&field.value).unwrap())).collect()
}
