//! Everything that is kept of one user, as lines of JSON: what README.md calls an export.
//!
//! It is read page by page and handed on line by line, so that what it takes of memory does not depend on how much there is: a
//! page of each kind, and the longest single line. Each page is read in a snapshot of its own. So whatever is not changed while
//! the export runs is in it exactly as it is; a row that is changed meanwhile may be in it twice, and then the later line counts.
//! The last line says how many there were: without it the export was cut short.

mod lines;
mod spaces;
mod views;

use std::sync::Arc;

use bytes::Bytes;
use lattice_auth::{AuthError, AuthService, Identity, MAX_IDENTITIES, MAX_PASSKEYS};
use lattice_store::StoreError;
use lattice_store::access_log::EventQuery;
use lattice_store::accounts::UserId;
use lattice_store::auth::AuthStore;
use lattice_store::directory::{Directory, RefusalsOf};
use lattice_store::spaces::SpaceStore;
use lattice_store::time::Clock;
use tokio::sync::mpsc;

use crate::http::access_log::EventView;
use lines::Lines;
use views::Line;

/// Sessions that are exported, the newest ones: those that ended long ago are forgotten anyhow.
const MAX_SESSIONS: u32 = 10_000;
/// Items of a page of small things.
const PAGE: u32 = 200;
/// The format of the lines. A new kind of line, or a new key of one, does not change it.
const VERSION: u32 = 1;

/// Why an export ended before its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such user, or not any more.
    #[error("there is no such account")]
    NoUser,
    /// The session that it was asked with has ended.
    #[error("the session has ended: {0}")]
    Session(AuthError),
    /// Nobody takes it any more, or too slowly.
    #[error("nobody takes it any more")]
    Gone,
    /// The server is closing.
    #[error("the server is closing")]
    Closing,
    /// The store failed.
    #[error("the database failed: {0}")]
    Store(#[from] StoreError),
}

/// Reads what is kept of users.
pub struct Exporter {
    /// Accounts, and the access log.
    pub accounts: Arc<dyn AuthStore>,
    /// Who sees which space.
    pub directory: Arc<dyn Directory>,
    /// What spaces hold.
    pub spaces: Arc<dyn SpaceStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Who asks for an export and may lose the right to it on the way.
pub struct Asker {
    /// Looks sessions up.
    pub auth: Arc<AuthService>,
    /// The session.
    pub identity: Identity,
}

/// An export on its way.
pub(crate) struct Export<'a> {
    from: &'a Exporter,
    user: UserId,
    asker: Option<Asker>,
    lines: Lines,
    /// The version of the directory at the last look at whether it may go on.
    version: Option<u64>,
}

impl Exporter {
    /// Writes everything that is kept of a user, in pieces of whole lines, and says how many lines those were.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn write(
        &self,
        user: UserId,
        asker: Option<Asker>,
        to: mpsc::Sender<Result<Bytes, ExportError>>,
    ) -> Result<u64, ExportError> {
        let mut export = Export { from: self, user, asker, lines: Lines::new(to), version: None };
        export.run().await?;
        export.lines.end().await
    }
}

impl Export<'_> {
    async fn run(&mut self) -> Result<(), ExportError> {
        let user = self.from.accounts.user_by_id(self.user).await?.ok_or(ExportError::NoUser)?;
        self.lines.line(&Line::beginning(VERSION, self.user, self.from.clock.now_us())).await?;
        self.lines.line(&Line::profile(&user)).await?;
        for session in self.from.accounts.list_sessions(self.user, MAX_SESSIONS).await? {
            self.lines.line(&Line::session(&session)).await?;
        }
        self.ways_in().await?;
        self.invitations().await?;
        self.spaces().await?;
        self.refusals().await?;
        self.events().await
    }

    /// How the user signs in, without what is secret of it.
    async fn ways_in(&mut self) -> Result<(), ExportError> {
        for identity in self.from.accounts.identities(self.user, MAX_IDENTITIES).await? {
            self.lines.line(&Line::identity(&identity)).await?;
        }
        for passkey in self.from.accounts.passkeys(self.user, MAX_PASSKEYS).await? {
            self.lines.line(&Line::passkey(&passkey)).await?;
        }
        let factors = self.from.accounts.second_factors(self.user).await?;
        self.lines.line(&Line::second_factors(factors)).await
    }

    /// Invites for the user's e-mail address.
    async fn invitations(&mut self) -> Result<(), ExportError> {
        let (mut after, now_us) = (None, self.from.clock.now_us());
        loop {
            let page = self.from.directory.invites_for(self.user, after, PAGE, now_us).await?;
            for invite in &page.items {
                self.lines.line(&Line::invite("invitation", invite)).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Changes of the user that were refused, where they still see the space.
    async fn refusals(&mut self) -> Result<(), ExportError> {
        let mut before = None;
        loop {
            self.check().await?;
            let of = RefusalsOf::User(self.user);
            // Whoever asks for their own is never denied.
            let Ok(page) = self.from.directory.refusals(of, before, PAGE).await? else { return Ok(()) };
            for refused in &page.items {
                self.lines.line(&Line::change("refusal", refused.space, &refused.line)).await?;
            }
            before = page.next;
            if before.is_none() {
                return Ok(());
            }
        }
    }

    /// The access log, the last event first.
    async fn events(&mut self) -> Result<(), ExportError> {
        let mut after = None;
        loop {
            self.check().await?;
            let query = EventQuery { user: Some(self.user), after, limit: PAGE, ..EventQuery::default() };
            let page = self.from.accounts.events(query).await?;
            for event in page.items {
                self.lines.line(&Line::event(EventView::for_user(event, self.user))).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether it may go on: looked at before each page, if something may have changed.
    async fn check(&mut self) -> Result<(), ExportError> {
        let version = self.from.directory.version();
        if self.version == Some(version) {
            return Ok(());
        }
        if let Some(Asker { auth, identity }) = &self.asker {
            auth.recheck(identity).await.map_err(ExportError::Session)?;
        }
        self.version = Some(version);
        Ok(())
    }
}
