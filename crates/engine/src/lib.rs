//! The core of Lattice sync: merge rules, row state, and what each connection must be sent.
//!
//! Nothing here does IO, reads a clock or draws a random number: inputs and the time come in, effects go out as data.
//! `no_std` proves it. A driver, which is the server or the simulation, loads what [`Batch::needs`] names, stores what
//! [`Batch::finish`] returns in the same transaction, and carries what a [`Stream`] delivers to its socket.
#![no_std]

extern crate alloc;

mod access;
mod batch;
mod codec;
mod deliveries;
mod ends;
mod merge;
mod mint;
pub mod mutation;
mod resume;
mod ring;
mod rows;
mod rules;
mod stream;
mod types;
mod view;

pub use access::{
    Access, MAX_POLICY_TABLES, Permission, Policy, Reach, Role, SchemaRule, TablePolicy, Unlisted,
};
pub use batch::{
    Batch, Context, Effects, LogRecord, MAX_ROUNDS, MAX_WAITING_LINKS, Needs, Outcome, PairWrite, Receipt,
    RowWrite,
};
pub use codec::CorruptRow;
pub use deliveries::{
    Delivered, Deliveries, MAX_FAILING_ROWS, MAX_SILENCE_US, MAX_WAITING_ENTRIES, MAX_WAITING_FRAMES,
    PAUSES_US,
};
pub use merge::{Correction, Relayed, Verdict, Wanted};
pub use mint::{FIRST_EPOCH, MintKey, Minter};
pub use resume::{Checkpoint, Resume};
pub use ring::{Commit, Ring};
pub use rows::{End, Ends, FieldState, Row, RowRef, Stamp};
pub use rules::{Rule, Rules};
pub use stream::{Corrected, Delivery, PullData, PullRequest, Start, Stream};
pub use types::{Clock, Cursor, MAX_SEQ, PairKey, Seq, SpaceHead, SpaceId, WriterId};
pub use view::{Prior, Shown, View};
