//! An event on its way.

use lattice_store::access_log::{AccessEvent, SpaceId};
use lattice_store::accounts::{SessionId, UserId};
use serde_json::{Map, Value};

use super::{Kind, Origin};
use crate::Client;

/// Longest network address that is kept, in bytes.
const MAX_ADDRESS_BYTES: usize = 64;
/// Longest `User-Agent` that is kept, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;

/// Something that happened, as whoever was there tells it.
#[derive(Clone, PartialEq, Debug)]
#[must_use = "an event is noted by AccessAudit::record"]
pub struct Event {
    kind: Kind,
    code: Option<&'static str>,
    actor: Option<UserId>,
    subject: Option<UserId>,
    space: Option<SpaceId>,
    session: Option<SessionId>,
    origin: Origin,
    detail: Map<String, Value>,
    interval_s: Option<u32>,
}

/// What makes two events the same where they are noted once in a while.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Throttle {
    kind: Kind,
    code: Option<&'static str>,
    of: [Option<[u8; 16]>; 4],
    address: Option<String>,
}

impl Event {
    /// An event of the request that is being answered, if there is one.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            code: None,
            actor: None,
            subject: None,
            space: None,
            session: None,
            origin: super::origin(),
            detail: Map::new(),
            interval_s: None,
        }
    }

    /// Why it was refused or came to an end: a stable name.
    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Who did it.
    pub fn actor(self, actor: UserId) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// Whose account or membership it is about, where that is not the actor's.
    pub fn subject(self, subject: UserId) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// The space that it is about.
    pub fn space(self, space: SpaceId) -> Self {
        Self { space: Some(space), ..self }
    }

    /// The session.
    pub fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Where it comes from, where that is not the request that is being answered.
    pub fn origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Where it comes from, as far as the client of a sign-in says more than is known already.
    pub fn client(mut self, client: &Client) -> Self {
        self.origin.address = self.origin.address.or_else(|| client.address.clone());
        self.origin.user_agent = self.origin.user_agent.or_else(|| client.user_agent.clone());
        self
    }

    /// The same as something that was refused: `detail.asked` says what would have happened.
    pub fn refused(self, code: &'static str) -> Self {
        let asked = self.kind.as_str();
        Self { kind: Kind::AccessRefused, ..self.code(code).detail("asked", asked) }
            .at_most_every(super::REFUSAL_INTERVAL_S)
    }

    /// More about it: what is not secret, and names nobody but by ids.
    pub fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// Of several alike it is noted once in so many seconds.
    pub fn at_most_every(self, seconds: u32) -> Self {
        Self { interval_s: Some(seconds), ..self }
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// In how many seconds it is noted once, and what it must be alike for that.
    #[must_use]
    pub fn throttle(&self) -> Option<(u32, Throttle)> {
        let of = [
            self.actor.map(|id| id.0),
            self.subject.map(|id| id.0),
            self.space.map(|id| id.0),
            self.session.map(|id| id.0),
        ];
        let throttle = |seconds| {
            let (kind, code, address) = (self.kind, self.code, self.origin.address.clone());
            (seconds, Throttle { kind, code, of, address })
        };
        self.interval_s.map(throttle)
    }

    /// The event as it is kept.
    #[must_use]
    pub fn into_stored(self, at_us: i64, id: [u8; 16]) -> AccessEvent {
        let detail = (!self.detail.is_empty()).then(|| Value::Object(self.detail).to_string());
        AccessEvent {
            at_us,
            id,
            kind: self.kind.as_str().to_owned(),
            code: self.code.map(str::to_owned),
            actor: self.actor,
            subject: self.subject,
            space: self.space,
            session: self.session,
            address: self.origin.address.map(|text| shortened(text, MAX_ADDRESS_BYTES)),
            user_agent: self.origin.user_agent.map(|text| shortened(text, MAX_USER_AGENT_BYTES)),
            detail,
        }
    }
}

/// Cut at a character's border, without control characters, which not every database keeps.
fn shortened(mut text: String, max_bytes: usize) -> String {
    text.retain(|c| !c.is_control());
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::from_origin;

    const USER: UserId = UserId([1; 16]);

    fn origin(address: &str) -> Origin {
        Origin { address: Some(address.to_owned()), user_agent: Some(format!("é\0{}", "x".repeat(300))) }
    }

    #[tokio::test]
    async fn an_event_knows_the_request_that_it_was_made_in() {
        let event = from_origin(origin("192.0.2.1"), async { Event::new(Kind::SignIn).actor(USER) }).await;
        let stored = event.detail("method", "password").into_stored(5, [2; 16]);
        assert_eq!(
            (stored.at_us, stored.id, stored.kind.as_str(), stored.actor),
            (5, [2; 16], "sign_in", Some(USER))
        );
        assert_eq!(stored.address.as_deref(), Some("192.0.2.1"));
        let user_agent = stored.user_agent.expect("a user agent");
        assert!(user_agent.len() == 256 && user_agent.starts_with("éx"), "{user_agent}");
        assert_eq!(stored.detail.as_deref(), Some(r#"{"method":"password"}"#));
        let elsewhere = Event::new(Kind::SignIn).into_stored(0, [0; 16]);
        assert_eq!((elsewhere.address, elsewhere.user_agent, elsewhere.detail), (None, None, None));
    }

    #[test]
    fn those_are_alike_that_differ_in_nothing_but_the_time_and_the_details() {
        let refused = || Event::new(Kind::TokenRefused).code("token_expired").at_most_every(60);
        let key = |event: Event| event.throttle().expect("a key").1;
        assert_eq!(key(refused()), key(refused().detail("token", "refresh")));
        assert_ne!(key(refused()), key(refused().code("token_invalid")));
        assert_ne!(key(refused()), key(refused().subject(USER)));
        assert_ne!(key(refused().subject(USER)), key(refused().actor(USER)));
        assert_ne!(key(refused()), key(refused().origin(origin("192.0.2.2"))));
        assert_eq!(Event::new(Kind::SignIn).throttle(), None);
    }
}
