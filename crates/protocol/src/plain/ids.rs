//! Ids of changes that came without one.
//!
//! A change that is sent again must have the id that it had, and two changes that are made one after the other must not
//! share one, even where they say the same. Ids are therefore derived from what a client repeats when it sends again.

use alloc::vec::Vec;
use bytestring::ByteString;
use core::hash::Hasher;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::UploadId;
use crate::{EntryId, Operation, RowKey, entry::Body};

/// The secret under which ids are derived, the same for all servers of a database and for ever.
///
/// Without a secret, somebody who shares a space could work out the id that another's change is going to have and upload
/// something else under it; the change would then be taken for a duplicate. Inputs carry a label of their own, so a key that
/// is used with SipHash for other labelled inputs may serve.
#[derive(Clone, Copy)]
pub struct DerivationKey(pub [u8; 16]);

/// What the ids of an upload are derived from.
pub struct IdSource<'a> {
    /// The secret.
    pub key: DerivationKey,
    /// Who uploads.
    pub user: [u8; 16],
    /// The replica, where it named itself.
    pub client_id: Option<&'a str>,
    /// The space.
    pub space: [u8; 16],
    /// 16 random bytes, new at each call: for ids that nothing can be derived from.
    pub random: &'a mut dyn FnMut() -> [u8; 16],
}

/// Starts every input, so that nothing else that is hashed under the same key is an input of these.
const LABEL: &[u8; 8] = b"json-ids";

/// What makes the id of a change its own.
#[derive(Clone, Copy)]
enum Basis<'a> {
    Timestamp(i64),
    Upload { id: &'a str, index: usize },
}

impl IdSource<'_> {
    /// The id of a well-formed change, the `index`th of the upload with this id.
    pub(super) fn id_of(&mut self, body: &Body, upload: Option<&UploadId>, index: usize) -> EntryId {
        let basis = match (body.timestamp_us, upload) {
            (Some(time_us), _) => Some(Basis::Timestamp(time_us)),
            (None, Some(id)) => Some(Basis::Upload { id: id.as_json(), index }),
            (None, None) => None,
        };
        let (Some(client_id), Some(basis)) = (self.client_id, basis) else {
            return version((self.random)(), 4);
        };
        let mut hash = self.hash(match basis {
            Basis::Timestamp(_) => 0,
            Basis::Upload { .. } => 1,
        });
        hash.text(client_id);
        match basis {
            Basis::Timestamp(time_us) => hash.number(time_us.cast_unsigned()),
            Basis::Upload { id, index } => {
                hash.text(id);
                hash.number(index as u64);
            }
        }
        hash.content(body);
        hash.finish()
    }

    /// The id of a change that is refused and has none that can be read: the same whenever the same bytes are sent.
    pub(super) fn id_of_refused(&self, raw: &str) -> EntryId {
        let mut hash = self.hash(2);
        hash.text(self.client_id.unwrap_or_default());
        hash.text(raw);
        hash.finish()
    }

    fn hash(&self, purpose: u8) -> Hash {
        let mut hasher = SipHasher24::new_with_key(&self.key.0);
        for part in [LABEL.as_slice(), &[purpose], &self.user, &self.space] {
            hasher.write(part);
        }
        Hash(hasher)
    }
}

/// Numbers are 8 bytes, little-endian; texts follow their length: no two inputs are written alike.
struct Hash(SipHasher24);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.write(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn content(&mut self, body: &Body) {
        self.text(&body.table);
        match &body.row.key {
            RowKey::Uuid(id) => {
                self.0.write(&[0]);
                self.0.write(id);
            }
            RowKey::Text(text) => {
                self.0.write(&[1]);
                self.text(text);
            }
        }
        let operation = match body.operation {
            Operation::Insert => 0,
            Operation::Update => 1,
            Operation::Delete => 2,
        };
        self.0.write(&[operation, body.synthesized.into(), body.filter_removal.into()]);
        // Objects have no order.
        let mut fields: Vec<(&ByteString, &[u8])> =
            body.fields.iter().map(|field| (&field.name, &*field.value)).collect();
        fields.sort_unstable();
        self.number(fields.len() as u64);
        for (name, value) in fields {
            self.text(name);
            self.bytes(value);
        }
    }

    fn finish(self) -> EntryId {
        version(self.0.finish128().as_bytes(), 5)
    }
}

/// A UUID of this version. Version 5 stands for "derived from a name by a hash"; 8 is what the server mints.
fn version(mut bytes: [u8; 16], version: u8) -> EntryId {
    bytes[6] = bytes[6] & 0x0F | version << 4;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    EntryId(bytes)
}

/// Whether only the server makes such ids.
pub(super) fn is_minted(id: EntryId) -> bool {
    id.0[6] >> 4 == 8
}
