//! What is noted of spaces: what was done, and what was refused.

use lattice_auth::audit::{AccessAudit, Event, Kind, REFUSAL_INTERVAL_S};
use lattice_engine::{Role, SpaceId};
use lattice_store::accounts::UserId;
use lattice_store::directory::Selector;

use super::{SpaceError, Spaces};

/// Notes what was done, or that it was refused. What failed is neither.
pub(super) fn noted<T>(
    audit: &dyn AccessAudit,
    event: Event,
    answer: Result<T, SpaceError>,
) -> Result<T, SpaceError> {
    match &answer {
        Ok(_) => audit.record(event),
        Err(error @ SpaceError::Denied(_)) => audit.record(event.refused(error.code())),
        Err(_) => {}
    }
    answer
}

impl Spaces {
    /// Notes that somebody may not see what they asked for. That they have seen it is not noted.
    pub(super) fn looked<T>(
        &self,
        actor: UserId,
        space: Selector,
        asked: &'static str,
        answer: Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        if let Err(error @ SpaceError::Denied(_)) = &answer {
            let event =
                Event::new(Kind::AccessRefused).actor(actor).code(error.code()).detail("asked", asked);
            let event = event.at_most_every(REFUSAL_INTERVAL_S);
            self.audit.record(match space {
                Selector::Id(id) => event.space(id),
                Selector::Me => event,
            });
        }
        answer
    }

    /// The id of a space that somebody owns: what concerns its members is for its owner alone.
    ///
    /// # Errors
    /// A denial, or the store's.
    pub async fn owned(&self, actor: UserId, space: Selector) -> Result<SpaceId, SpaceError> {
        let access = self.access(actor, space).await?;
        let owned = if access.role == Role::Owner {
            Ok(access.space.id)
        } else {
            Err(SpaceError::Denied(lattice_store::directory::Denied::Forbidden))
        };
        self.looked(actor, space, "access_log", owned)
    }
}
