//! Spaces that a client asked for and may not see: should it be let in while it is connected, its subscription begins then.

use lattice_protocol::plain::{Space, Subscribe, encode_access};

use super::{Json, MAX_SUBSCRIPTIONS, frames};
use crate::sync::line::End;
use crate::sync::seat;

/// Subscriptions that were refused since there is no such space for the client.
#[derive(Default)]
pub(super) struct Wanted {
    subscriptions: Vec<Subscribe>,
    /// The version of the directory at the last look.
    version: u64,
}

impl Wanted {
    /// Remembers a subscription, in the place of an earlier one to the same space. The oldest goes when there are too many.
    pub(super) fn add(&mut self, subscribe: Subscribe, version: u64) {
        self.remove(subscribe.space);
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            self.subscriptions.remove(0);
        }
        // What has changed since one of them was looked at is looked at for all.
        if self.subscriptions.is_empty() {
            self.version = version;
        }
        self.subscriptions.push(subscribe);
    }

    /// The space is not wanted any more.
    pub(super) fn remove(&mut self, space: Space) {
        self.subscriptions.retain(|held| held.space != space);
    }
}

impl Json<'_> {
    /// Begins the subscriptions to spaces that the client may see by now.
    pub(super) async fn look_for_wanted(&mut self) -> Result<(), End> {
        let version = self.state.directory.version();
        if self.wanted.subscriptions.is_empty() || self.wanted.version == version {
            return Ok(());
        }
        self.wanted.version = version;
        for subscribe in self.wanted.subscriptions.clone() {
            let selector = seat::selector(subscribe.space);
            match self.state.directory.access(self.line.identity.user, selector).await {
                Ok(Some(access)) => {
                    self.wanted.remove(subscribe.space);
                    let role = frames::role(access.role);
                    self.line.outbox.push(encode_access(subscribe.space, Some(role)));
                    self.subscribe(subscribe).await?;
                }
                Ok(None) => {}
                Err(error) => {
                    self.wanted.version = version.wrapping_sub(1);
                    tracing::warn!(%error, "access could not be looked up; it is tried again");
                }
            }
        }
        Ok(())
    }
}
