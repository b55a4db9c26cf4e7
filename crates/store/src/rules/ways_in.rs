//! The ways into an account: which may be added, and which may go.

use crate::accounts::UserId;
use crate::factors::Added;
use crate::identities::{Link, Removal};

/// What decides whether an identity may sign in to an account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linking {
    /// The account, where it is there.
    pub(crate) account: Option<UserId>,
    /// The account that the identity signs in to already.
    pub(crate) linked_to: Option<UserId>,
    /// How many identities sign in to the account.
    pub(crate) identities: u32,
    /// How many may.
    pub(crate) limit: u32,
}

/// What becomes of an identity that is to sign in to an account. [`Link::Made`] grants it.
pub(crate) fn link(facts: Linking) -> Link {
    let Linking { account: Some(account), linked_to, identities, limit } = facts else {
        return Link::NoUser;
    };
    match linked_to {
        Some(user) if user == account => Link::Known,
        Some(_) => Link::Taken,
        None if identities >= limit => Link::TooMany,
        None => Link::Made,
    }
}

/// What becomes of a passkey of an account that is there or not, and has so many. [`Added::Kept`] grants it, unless its credential id
/// is known.
pub(crate) fn add_passkey(exists: bool, passkeys: u32, limit: u32) -> Added {
    match exists {
        false => Added::NoUser,
        true if passkeys >= limit => Added::TooMany,
        true => Added::Kept,
    }
}

/// The ways into an account.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct WaysIn {
    /// It has an e-mail address.
    pub(crate) has_email: bool,
    /// It has a password.
    pub(crate) has_password: bool,
    /// Identities that sign in to it.
    pub(crate) identities: u32,
    /// Passkeys that sign in to it.
    pub(crate) passkeys: u32,
}

impl WaysIn {
    /// How many there are. A password is one where it has an address to go with; second factors and recovery codes are none.
    pub(crate) fn count(self) -> u32 {
        let password = u32::from(self.has_email && self.has_password);
        password.saturating_add(self.identities).saturating_add(self.passkeys)
    }
}

/// What becomes of an identity or a passkey that is to be removed from an account: `ways` counts it, where it is the account's.
pub(crate) fn remove(is_theirs: bool, ways: WaysIn) -> Removal {
    match is_theirs {
        false => Removal::NotFound,
        true if ways.count() < 2 => Removal::LastWayIn,
        true => Removal::Removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_signs_in_to_one_account() {
        let [own, other] = [UserId([1; 16]), UserId([2; 16])];
        for (identities, is_full) in [(0, false), (1, false), (2, true), (3, true)] {
            let facts = |account, linked_to| Linking { account, linked_to, identities, limit: 2 };
            for linked_to in [None, Some(own), Some(other)] {
                assert_eq!(link(facts(None, linked_to)), Link::NoUser);
            }
            // What is linked already is no more than it was.
            assert_eq!(link(facts(Some(own), Some(own))), Link::Known);
            assert_eq!(link(facts(Some(own), Some(other))), Link::Taken);
            let new = if is_full { Link::TooMany } else { Link::Made };
            assert_eq!(link(facts(Some(own), None)), new);
        }
    }

    #[test]
    fn an_account_has_no_more_passkeys_than_it_may() {
        for (passkeys, expected) in
            [(0, Added::Kept), (1, Added::Kept), (2, Added::TooMany), (3, Added::TooMany)]
        {
            assert_eq!(add_passkey(true, passkeys, 2), expected);
            assert_eq!(add_passkey(false, passkeys, 2), Added::NoUser);
        }
    }

    #[test]
    fn the_last_way_into_an_account_stays() {
        for has_email in [false, true] {
            for has_password in [false, true] {
                for (identities, passkeys) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 2)] {
                    let ways = WaysIn { has_email, has_password, identities, passkeys };
                    // An address without a password, or the other way round, leads nowhere.
                    let others = if has_email && has_password { 1 } else { 0 };
                    assert_eq!(ways.count(), others + identities + passkeys);
                    let is_last = others + identities + passkeys < 2;
                    let expected = if is_last { Removal::LastWayIn } else { Removal::Removed };
                    assert_eq!(remove(true, ways), expected, "{ways:?}");
                    assert_eq!(remove(false, ways), Removal::NotFound, "{ways:?}");
                }
            }
        }
    }
}
