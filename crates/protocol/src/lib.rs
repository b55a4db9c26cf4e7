//! Wire types of the Lattice sync protocol.
//!
//! This crate knows no IO, no clock and no storage: bytes come in, typed changes come out, and the other way round.
//! `PROTOCOL.md` at the root of the repository describes the protocol in words.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod change;
pub mod code;
mod columns;
mod entry;
pub mod id;
mod json;
pub mod limits;
pub mod names;
pub mod native;
pub mod plain;
mod timestamp;
pub mod value;

pub use change::{Change, Field, Incoming, Operation, Outgoing, Refused};
pub use code::{Code, FrameError};
pub use id::{EntryId, RowId, RowKey, Spelling};
