//! Protocol sessions of both dialects, without IO: frames, answers of the store, hints and the limits of the driver go in;
//! frames, requests to the store and the reason to close come out.
//!
//! Nothing here waits, reads a clock or draws a random number. A driver, which is the server or the simulation, moves bytes
//! between a session and a socket, carries its requests to a store, and asks [`NativeSession::next_effect`] or [`JsonSession::next_effect`]
//! what to do after everything that it hands in. `no_std` proves it.
//!
//! - [`SpaceSession`]: one user in one space: which view they have, what is read for their stream, what they uploaded.
//! - [`NativeSession`]: a WebSocket of the native dialect, which is one space.
//! - [`JsonSession`]: a WebSocket of the JSON dialect, which is many.
//! - [`HttpUpload`] and [`HttpPoll`]: one request over HTTP.
#![no_std]

extern crate alloc;

mod access;
mod answer;
mod http;
mod json;
mod limits;
mod native;
mod open;
mod refusal;
mod request;
mod space;

pub use access::{RememberedView, SpaceAccess};
pub use answer::AwaitedAck;
pub use http::{HttpEffect, HttpPoll, HttpUpload};
pub use json::{Client, JsonEffect, JsonSession, Slot, Switched};
pub use limits::{DeliveryLimits, MAX_COMMITS_PER_SEND, MAX_PAGE_BYTES, MAX_PAGE_ROWS, MAX_SUBSCRIPTIONS};
pub use native::{NativeEffect, NativeFrame, NativeSession};
pub use open::{LostCheckpoint, Opening, Progress};
pub use refusal::{Close, Overloaded, Refusal, UploadFailure};
pub use request::{Answer, Entered, Hint, Request, ResumeFrom, SubscribeRequest, UploadTerms};
pub use space::{Advance, SpaceSession};
