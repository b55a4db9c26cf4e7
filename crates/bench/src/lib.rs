//! Load tool: native clients, latency, fan-out, catch-up and idle memory, each beside the limit of the machine.
//!
//! The server is a process of its own, started and stopped here. Clients are as cheap as they can be, since they share the
//! machine with it: one thread, frames that are masked before the clock starts, and a reader that only splits frames.

mod bare;
mod bare_postgres;
mod broadcast;
mod cli;
mod frames;
mod http;
mod process;
mod report;
mod scenario;
mod ws;

pub use cli::{Cli, run};

/// What went wrong, as one sentence.
type Failure = String;
