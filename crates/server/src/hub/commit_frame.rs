//! One commit as it is sent to everybody who is live: written once for each way of writing it, when the first connection
//! asks.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use lattice_engine::{Delivered, Seq};
use lattice_protocol::native::AuditLogFrame;
use lattice_protocol::plain::{ChangesFrame, Format, Space, encode_entry};
use lattice_protocol::{Outgoing, Spelling};
use lattice_session::NativeFrame;

/// A way of writing a commit in the JSON dialect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlainKey {
    /// How entries are written.
    pub format: Format,
    /// What the client calls the space.
    pub space: Space,
}

/// The entries of one commit.
pub struct CommitFrame {
    /// Let go once they are written: their values may be slices of a much larger upload.
    entries: Mutex<Vec<(Seq, Outgoing)>>,
    keys: Arc<[PlainKey]>,
    written: OnceLock<Written>,
}

/// Options are empty where the commit has nothing that others may see.
struct Written {
    native: Option<NativeFrame>,
    plain: Vec<(PlainKey, Option<Bytes>)>,
}

impl CommitFrame {
    /// The entries of a commit, each with its seq, and the ways in which they may be asked for besides the native one.
    #[must_use]
    pub fn new(entries: Vec<(Seq, Outgoing)>, keys: Arc<[PlainKey]>) -> Self {
        Self { entries: Mutex::new(entries), keys, written: OnceLock::new() }
    }

    /// The native frame with all entries of the commit; `None` when it has none that others may see.
    #[must_use]
    pub fn native(&self) -> Option<NativeFrame> {
        self.written().native.clone()
    }

    /// The frame of the JSON dialect with all entries of the commit; its cursor is the last of them. `Some(None)` when it has
    /// none that others may see, `None` when it was not written in this way: what it says must be read from the store then.
    #[must_use]
    pub fn plain(&self, key: PlainKey) -> Option<Option<Bytes>> {
        self.written().plain.iter().find(|(held, _)| *held == key).map(|(_, frame)| frame.clone())
    }

    fn written(&self) -> &Written {
        self.written.get_or_init(|| {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let mut native = AuditLogFrame::new();
            entries.iter().for_each(|(_, entry)| native.push(entry));
            let native = (!native.is_empty()).then(|| (native.finish(), inside(&entries)));
            let plain = self.keys.iter().map(|key| (*key, write_plain(&entries, *key))).collect();
            *entries = Vec::new();
            Written { native, plain }
        })
    }
}

fn inside(entries: &[(Seq, Outgoing)]) -> Arc<[Delivered]> {
    let mut inside: Vec<Delivered> = Vec::with_capacity(entries.len());
    for (_, entry) in entries {
        inside.push(Delivered::of(entry, inside.last()));
    }
    inside.into()
}

fn write_plain(entries: &[(Seq, Outgoing)], key: PlainKey) -> Option<Bytes> {
    let (_, last) = entries.last()?;
    let mut frame = ChangesFrame::new(key.space);
    entries.iter().for_each(|(_, entry)| frame.push(&encode_entry(entry, key.format)));
    Some(frame.finish(Some(&last.id.to_text(Spelling::default())), false))
}
