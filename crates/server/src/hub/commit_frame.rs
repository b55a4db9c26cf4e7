//! One commit as it is sent to everybody who is live: written once for each way of writing it, when the first connection
//! asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lattice_engine::Seq;
use lattice_protocol::native::AuditLogFrame;
use lattice_protocol::plain::{ChangesFrame, Format, Space, encode_entry};
use lattice_protocol::{Outgoing, Spelling};

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
    body: Mutex<Body>,
}

enum Body {
    Entries {
        entries: Vec<(Seq, Outgoing)>,
        keys: Arc<[PlainKey]>,
    },
    /// Inner options are empty when the commit has nothing that others may see.
    Frames {
        native: Option<Bytes>,
        plain: Vec<(PlainKey, Option<Bytes>)>,
    },
}

impl CommitFrame {
    /// The entries of a commit, each with its seq, and the ways in which they may be asked for besides the native one.
    #[must_use]
    pub fn new(entries: Vec<(Seq, Outgoing)>, keys: Arc<[PlainKey]>) -> Self {
        Self { body: Mutex::new(Body::Entries { entries, keys }) }
    }

    /// The native frame with all entries of the commit; `None` when it has none that others may see.
    #[must_use]
    pub fn native(&self) -> Option<Bytes> {
        match &*self.written() {
            Body::Frames { native, .. } => native.clone(),
            Body::Entries { .. } => None,
        }
    }

    /// The frame of the JSON dialect with all entries of the commit; its cursor is the last of them. `Some(None)` when it has
    /// none that others may see, `None` when it was not written in this way: what it says must be read from the store then.
    #[must_use]
    pub fn plain(&self, key: PlainKey) -> Option<Option<Bytes>> {
        match &*self.written() {
            Body::Frames { plain, .. } => {
                plain.iter().find(|(held, _)| *held == key).map(|(_, frame)| frame.clone())
            }
            Body::Entries { .. } => None,
        }
    }

    fn written(&self) -> MutexGuard<'_, Body> {
        // What is written is put in its place in one step, so a poisoned lock is as good as any.
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        if let Body::Entries { entries, keys } = &*body {
            let mut native = AuditLogFrame::new();
            entries.iter().for_each(|(_, entry)| native.push(entry));
            let native = (!native.is_empty()).then(|| native.finish());
            let plain = keys.iter().map(|key| (*key, write_plain(entries, *key))).collect();
            // The entries' values are let go: they may be slices of a much larger upload.
            *body = Body::Frames { native, plain };
        }
        body
    }
}

fn write_plain(entries: &[(Seq, Outgoing)], key: PlainKey) -> Option<Bytes> {
    let (_, last) = entries.last()?;
    let mut frame = ChangesFrame::new(key.space);
    entries.iter().for_each(|(_, entry)| frame.push(&encode_entry(entry, key.format)));
    Some(frame.finish(Some(&last.id.to_text(Spelling::default())), false))
}
