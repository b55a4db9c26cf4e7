//! How often anybody may try: sign in, sign up, reset a password, refresh, open sockets; and how fast they may upload.
//!
//! Attempts are counted before any work is done for them, for accounts that do not exist as for those that do. They are counted
//! in Redis where instances share one, else by each instance; while Redis is away by each instance as well, so nothing is ever
//! without a limit or refused for want of one.

mod memory;
pub mod quotas;
pub mod rate;
mod redis;
mod settings;
pub mod uploads;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lattice_auth::ServerSecret;
use lattice_auth::audit::{AccessAudit, Event, Kind, NoAudit, REFUSAL_INTERVAL_S};
use lattice_store::accounts::{SessionId, UserId};

pub use settings::LimitSettings;

use memory::Memory;
use rate::Rate;
use redis::Shared;
use uploads::{UploadRates, Uploads};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Sign-ins from an address, by whatever way.
    SignInAddress,
    /// Sign-ins to an account, and every other check of its password.
    SignInAccount,
    /// New accounts from an address.
    SignUpAddress,
    /// Links by e-mail asked for from an address.
    MailAddress,
    /// Links by e-mail asked for an account.
    MailAccount,
    /// Refreshes from an address.
    RefreshAddress,
    /// Refreshes of a session.
    RefreshSession,
    /// Sockets opened from an address.
    HandshakeAddress,
    /// Sockets opened by an account.
    HandshakeAccount,
}

impl Class {
    const ALL: [Self; 9] = [
        Self::SignInAddress,
        Self::SignInAccount,
        Self::SignUpAddress,
        Self::MailAddress,
        Self::MailAccount,
        Self::RefreshAddress,
        Self::RefreshSession,
        Self::HandshakeAddress,
        Self::HandshakeAccount,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SignInAddress => "sign-in-address",
            Self::SignInAccount => "sign-in-account",
            Self::SignUpAddress => "sign-up-address",
            Self::MailAddress => "mail-address",
            Self::MailAccount => "mail-account",
            Self::RefreshAddress => "refresh-address",
            Self::RefreshSession => "refresh-session",
            Self::HandshakeAddress => "handshake-address",
            Self::HandshakeAccount => "handshake-account",
        }
    }
}

/// Who is counted: a keyed hash, so that neither memory nor Redis holds addresses of people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key([u8; 16]);

impl Key {
    /// The one of `count` keys that this one falls to.
    fn shared(self, count: u16) -> Self {
        let [a, b, ..] = self.0;
        let mut shared = [0; 16];
        shared[..2].copy_from_slice(&(u16::from_be_bytes([a, b]) % count).to_be_bytes());
        Self(shared)
    }

    fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Too often; it may be tried again after this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimited {
    /// After which time.
    pub after: Duration,
}

impl RateLimited {
    /// Whole seconds, at least one, after which it may be tried again.
    #[must_use]
    pub fn retry_after_s(&self) -> u32 {
        let whole = self.after.as_secs().saturating_add(u64::from(self.after.subsec_nanos() > 0));
        u32::try_from(whole).unwrap_or(u32::MAX).max(1)
    }
}

/// The limits of this instance.
pub struct Limits {
    rates: [Rate; Class::ALL.len()],
    memory: [Memory; Class::ALL.len()],
    shared: Option<Shared>,
    secret: ServerSecret,
    uploads: Uploads,
    audit: Arc<dyn AccessAudit>,
}

impl Limits {
    /// Limits as they are set. `secret` hides who is counted.
    #[must_use]
    pub fn new(settings: &LimitSettings, secret: ServerSecret) -> Self {
        let rates = Class::ALL.map(|class| settings.rate(class));
        Self {
            rates,
            memory: rates.map(Memory::new),
            shared: None,
            secret,
            uploads: Uploads::new(settings.uploads()),
            audit: Arc::new(NoAudit),
        }
    }

    /// Nothing is limited: for tests of other things.
    #[must_use]
    pub fn off(secret: ServerSecret) -> Self {
        let rates = Class::ALL.map(|_| Rate::OFF);
        let uploads = UploadRates {
            account_changes: Rate::OFF,
            account_bytes: Rate::OFF,
            session_changes: Rate::OFF,
            session_bytes: Rate::OFF,
        };
        let (uploads, audit) = (Uploads::new(uploads), Arc::new(NoAudit));
        Self { rates, memory: rates.map(Memory::new), shared: None, secret, uploads, audit }
    }

    /// With somebody who notes what was tried too often.
    #[must_use]
    pub fn with_audit(self, audit: Arc<dyn AccessAudit>) -> Self {
        Self { audit, ..self }
    }

    /// Counted in a Redis that other instances of this deployment use.
    #[must_use]
    pub fn shared(self, client: ::redis::Client, deployment: &str) -> Self {
        Self { shared: Some(Shared::new(client, deployment)), ..self }
    }

    /// Counts an attempt from an address. The machine's own is not counted: it is that of a proxy which is not named in
    /// `TRUSTED_PROXIES`, and would stand for everybody.
    ///
    /// # Errors
    /// Too often.
    pub async fn address(&self, class: Class, address: Option<IpAddr>) -> Result<(), RateLimited> {
        let Some(address) =
            address.map(|address| address.to_canonical()).filter(|address| !address.is_loopback())
        else {
            return Ok(());
        };
        self.check(class, &[b"address", &network_of(address)]).await
    }

    /// Counts an attempt on an account, by the e-mail address that somebody says is its own.
    ///
    /// # Errors
    /// Too often.
    pub async fn email(&self, class: Class, email: &str) -> Result<(), RateLimited> {
        // An address that is none has no account, and the caller says so.
        let Ok(email) = lattice_auth::normalise_email(email) else { return Ok(()) };
        self.check(class, &[b"email", email.as_bytes()]).await
    }

    /// Counts an attempt on an account from an address that is known to be of its owner, for itself.
    ///
    /// # Errors
    /// Too often.
    pub async fn email_from(&self, class: Class, email: &str, address: IpAddr) -> Result<(), RateLimited> {
        let Ok(email) = lattice_auth::normalise_email(email) else { return Ok(()) };
        self.check(class, &[b"email from", email.as_bytes(), &network_of(address.to_canonical())]).await
    }

    /// Counts an attempt of an account.
    ///
    /// # Errors
    /// Too often.
    pub async fn user(&self, class: Class, user: UserId) -> Result<(), RateLimited> {
        self.check(class, &[b"user", &user.0]).await
    }

    /// Counts an attempt with a token.
    ///
    /// # Errors
    /// Too often.
    pub async fn token(&self, class: Class, token: &str) -> Result<(), RateLimited> {
        self.check(class, &[b"token", token.as_bytes()]).await
    }

    /// Notes an upload that was taken: how long its sender is not to be read from.
    #[must_use]
    pub fn uploaded(&self, user: UserId, session: SessionId, changes: usize, bytes: usize) -> Duration {
        self.uploads.take(user, session, changes, bytes)
    }

    /// Whether an upload may be sent that waits nowhere.
    ///
    /// # Errors
    /// Too much was sent.
    pub fn may_upload(&self, user: UserId, session: SessionId) -> Result<(), RateLimited> {
        let after = self.uploads.wait(user, session);
        if after.is_zero() { Ok(()) } else { Err(RateLimited { after }) }
    }

    async fn check(&self, class: Class, who: &[&[u8]]) -> Result<(), RateLimited> {
        let at = class as usize;
        let Some(allowance) = self.rates[at].0 else { return Ok(()) };
        let hash = self.secret.derive("rate limit", who);
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        let key = Key(key);
        let counted = match &self.shared {
            Some(shared) => shared.check(class, key, allowance).await.ok(),
            None => None,
        };
        counted.unwrap_or_else(|| self.memory[at].check(key)).map_err(|after| {
            let event = Event::new(Kind::RateLimited).code(class.name());
            self.audit.record(event.at_most_every(REFUSAL_INTERVAL_S));
            RateLimited { after }
        })
    }
}

/// What counts as one address.
pub(crate) fn network_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        // A household has a /64 to choose from.
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

/// Whether two addresses count as one, and are somebody's: the machine's own is that of whoever comes through a proxy that is
/// not named.
#[must_use]
pub fn is_near(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    !one.is_loopback() && network_of(one) == network_of(other)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        limits: LimitSettings,
    }

    fn limits(settings: &[&str]) -> Limits {
        let cli = Cli::try_parse_from([&["x"], settings].concat()).expect("settings");
        Limits::new(&cli.limits, ServerSecret::from_root(b"tests"))
    }

    #[tokio::test]
    async fn a_network_counts_as_one_and_the_machine_itself_does_not() {
        let limits = limits(&["--rate-sign-in-address", "1/60s"]);
        let address = |text: &str| Some(text.parse().expect("an address"));
        for (text, allowed) in [
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", false),
            ("2001:db8:0:1::1", true),
            ("127.0.0.1", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("::1", true),
        ] {
            let answer = limits.address(Class::SignInAddress, address(text)).await;
            assert_eq!(answer.is_ok(), allowed, "{text}");
        }
        assert!(limits.address(Class::SignUpAddress, address("192.0.2.1")).await.is_ok(), "another class");
        assert!(limits.address(Class::SignInAddress, None).await.is_ok());
    }

    #[tokio::test]
    async fn an_account_is_counted_however_it_is_spelled_and_whether_or_not_it_is_there() {
        let limits = limits(&["--rate-sign-in-account", "2/60s"]);
        assert!(limits.email(Class::SignInAccount, "ann@example.com").await.is_ok());
        assert!(limits.email(Class::SignInAccount, " ANN@Example.com").await.is_ok());
        let refused = limits.email(Class::SignInAccount, "ann@example.com").await.expect_err("too often");
        assert!((1..=30).contains(&refused.retry_after_s()), "{refused:?}");
        assert!(limits.email(Class::SignInAccount, "bob@example.com").await.is_ok());
    }

    #[test]
    fn seconds_are_rounded_up() {
        let seconds = |after| RateLimited { after }.retry_after_s();
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn addresses_are_near_in_one_network_and_the_machine_to_nobody() {
        let near = |one: &str, other: &str| {
            is_near(one.parse().expect("an address"), other.parse().expect("an address"))
        };
        assert!(near("192.0.2.1", "::ffff:192.0.2.1") && near("2001:db8::1", "2001:db8::9"));
        assert!(!near("192.0.2.1", "192.0.2.2") && !near("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!near("127.0.0.1", "127.0.0.1") && !near("::1", "::1"));
    }

    #[test]
    fn every_class_has_its_place() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
    }
}
