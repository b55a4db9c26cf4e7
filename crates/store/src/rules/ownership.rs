//! Who owns a space: one user, always, and nobody more spaces than they may.

use lattice_engine::Role;

use super::members;
use crate::directory::{Answer, Denied, SpaceKind};
use crate::quotas::Limits;

/// How many spaces a user may own by what is set for them, where the settings say `configured`.
pub(crate) fn max_owned(set: Limits, configured: u32) -> u32 {
    let most = set.spaces.over(Some(u64::from(configured)));
    most.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX))
}

/// Whether a user who owns so many spaces, their private one not counted, may own one more.
pub(crate) fn own_one_more(owned: u32, max_owned: u32) -> Answer<()> {
    if owned < max_owned { Ok(()) } else { Err(Denied::TooManySpaces) }
}

/// Whether a user makes a space of this kind. A private one is made on demand, by nobody.
pub(crate) fn make(kind: SpaceKind) -> Answer<()> {
    match kind {
        SpaceKind::Private => Err(Denied::Private),
        SpaceKind::Shared | SpaceKind::Public => Ok(()),
    }
}

/// What becomes of a transfer that the owner of a space asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transfer {
    /// Ownership is with that user already.
    Done,
    /// They become the owner, if they may own one more, and the owner becomes this.
    To {
        /// What the owner is from then on.
        former_owner: Role,
    },
}

/// Whether ownership goes to somebody who is this in the space.
pub(crate) fn transfer(member: Option<Role>) -> Answer<Transfer> {
    match members::remove(member) {
        // The space has one owner, who is whoever asks.
        Err(Denied::IsOwner) => Ok(Transfer::Done),
        Err(denied) => Err(denied),
        Ok(()) => Ok(Transfer::To { former_owner: Role::Editor }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotas::Limit;

    #[test]
    fn what_is_set_for_a_user_goes_before_the_settings() {
        let of = |spaces| max_owned(Limits { spaces, ..Limits::default() }, 5);
        assert_eq!(of(Limit::AsConfigured), 5);
        assert_eq!(of(Limit::Most(0)), 0);
        assert_eq!(of(Limit::Most(9)), 9);
        assert_eq!(of(Limit::Most(u64::MAX)), u32::MAX);
        assert_eq!(of(Limit::Unlimited), u32::MAX);
    }

    #[test]
    fn nobody_owns_more_than_they_may() {
        let table = [(0, 0, false), (0, 1, true), (1, 1, false), (2, 1, false), (1, 2, true)];
        for (owned, most, may) in table {
            assert_eq!(own_one_more(owned, most), may.then_some(()).ok_or(Denied::TooManySpaces));
        }
    }

    #[test]
    fn private_spaces_are_made_by_nobody() {
        assert_eq!(make(SpaceKind::Private), Err(Denied::Private));
        assert_eq!([make(SpaceKind::Shared), make(SpaceKind::Public)], [Ok(()), Ok(())]);
    }

    #[test]
    fn ownership_goes_to_members_alone() {
        let moves = Ok(Transfer::To { former_owner: Role::Editor });
        assert_eq!(transfer(None), Err(Denied::NotMember));
        assert_eq!(transfer(Some(Role::Viewer)), moves);
        assert_eq!(transfer(Some(Role::Editor)), moves);
        assert_eq!(transfer(Some(Role::Owner)), Ok(Transfer::Done));
    }
}
