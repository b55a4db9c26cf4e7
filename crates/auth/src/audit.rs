//! The audit of access: who came in and who did not, whose rights were changed by whom, what was refused.
//!
//! To note something is one line: `audit.record(Event::new(Kind::SignIn).actor(user).session(session))`. The address and the
//! user agent of the request that is being answered are added by themselves ([`from_origin`]). What is noted never holds a
//! password, a token or an e-mail address, whatever somebody typed.

mod event;
mod kind;

use std::future::Future;
use std::sync::Arc;

use lattice_store::BoxFuture;

pub use event::{Event, Throttle};
pub use kind::Kind;

/// How often the use of one session from one address is noted, in seconds: its first use counts, and that it is in use.
pub const USE_INTERVAL_S: u32 = 3_600;
/// How often the same refusal is noted, in seconds: clients try again, and so do those who try keys.
pub const REFUSAL_INTERVAL_S: u32 = 60;

/// Takes what is to be noted.
pub trait AccessAudit: Send + Sync {
    /// Notes an event. Must not block.
    fn record(&self, event: Event);

    /// Waits, for a second at most, until what was noted before is durable.
    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Notes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

impl AccessAudit for NoAudit {
    fn record(&self, _: Event) {}
}

/// Where a request comes from.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The network address.
    pub address: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

tokio::task_local! {
    static ORIGIN: Arc<Origin>;
}

/// Runs what answers a request: events that are made on the way know where it comes from. What it spawns does not, so an event
/// is made before and moved there.
pub async fn from_origin<F: Future>(origin: Origin, answer: F) -> F::Output {
    ORIGIN.scope(Arc::new(origin), answer).await
}

/// Where the request comes from that is being answered; nothing is known outside of one.
fn origin() -> Origin {
    ORIGIN.try_with(|origin| Origin::clone(origin)).unwrap_or_default()
}
