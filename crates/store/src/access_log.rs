//! The access log: who signed in and failed to, whose rights were changed by whom, and what was refused. Which events there are
//! and what they say is decided in `lattice-auth`; nothing is ever changed in it but that the addresses of accounts which are
//! gone are taken out.

pub use lattice_engine::SpaceId;

use crate::accounts::{SessionId, UserId};
use crate::directory::Page;
use crate::{BoxFuture, StoreError};

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessEvent {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// Random; with the time it names the event.
    pub id: [u8; 16],
    /// What: a stable name.
    pub kind: String,
    /// Why it was refused or came to an end: a stable name; none when it was done as asked.
    pub code: Option<String>,
    /// Who did it; none while that is not known.
    pub actor: Option<UserId>,
    /// Whose account or membership it is about, where that is not the actor's.
    pub subject: Option<UserId>,
    /// The space that it is about.
    pub space: Option<SpaceId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The network address it came from.
    pub address: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// More about it: a JSON object.
    pub detail: Option<String>,
}

impl AccessEvent {
    /// Where it stands in a list.
    #[must_use]
    pub fn cursor(&self) -> EventCursor {
        EventCursor { at_us: self.at_us, id: self.id }
    }
}

/// A place in a list of events: before what happened then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventCursor {
    /// When the event was, in microseconds since 1970.
    pub at_us: i64,
    /// Its id.
    pub id: [u8; 16],
}

/// Which events are asked for. What is `None` or empty says nothing.
#[derive(Clone, Default, Debug)]
pub struct EventQuery {
    /// Those that this user did or that are about them.
    pub user: Option<UserId>,
    /// Those about this space.
    pub space: Option<SpaceId>,
    /// Those of this kind.
    pub kind: Option<String>,
    /// Those since this time, in microseconds since 1970.
    pub since_us: Option<i64>,
    /// Those before this time, in microseconds since 1970.
    pub until_us: Option<i64>,
    /// Those that come after this place in the list.
    pub after: Option<EventCursor>,
    /// Most events of the page; at least one.
    pub limit: u32,
}

/// Keeps the access log. A write has answered only once it is durable.
pub trait AccessLog: Send + Sync {
    /// Appends events. Those that are there already, from a call whose answer was lost, are left alone. Address and user agent
    /// are kept only while the account of whoever has them exists: of the actor, or of the subject where there is no actor.
    fn append_events(&self, events: Vec<AccessEvent>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Events, the last one first. Pages do not move: what is appended meanwhile is in none of those that follow.
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Page<AccessEvent, EventCursor>, StoreError>>;

    /// Removes at most `limit` events before `before_us`, and says how many those were. Call again while it answers `limit`.
    fn delete_events(&self, before_us: i64, limit: u32) -> BoxFuture<'_, Result<u64, StoreError>>;
}
