//! Invites: how many are open, and what becomes of whoever accepts one.

use lattice_engine::Role;

use crate::directory::{Answer, Denied};

/// Whether a space with so many open invites may have one more.
pub(crate) fn make(open: u32, max_open: u32) -> Answer<()> {
    if open < max_open { Ok(()) } else { Err(Denied::TooManyInvites) }
}

/// What decides when a user accepts an invite that is theirs to accept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// What they are in the space already.
    pub(crate) member: Option<Role>,
    /// How many became members by the invite.
    pub(crate) uses: u32,
    /// How many may.
    pub(crate) max_uses: u32,
    /// From when on it is worth nothing, in microseconds since 1970.
    pub(crate) expires_us: i64,
    /// How many members the space has.
    pub(crate) members: u32,
    /// How many it may have.
    pub(crate) max_members: u32,
    /// Now, in microseconds since 1970.
    pub(crate) now_us: i64,
}

/// What becomes of whoever accepts an invite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Acceptance {
    /// They are a member and stay what they are; the invite is not used.
    AlreadyMember,
    /// They become a member, and the invite is used once more.
    Joins,
}

/// Whether somebody becomes a member by an invite. Whoever sends the same request again is answered as the first time, whatever
/// has become of the invite since.
pub(crate) fn accept(facts: Facts) -> Answer<Acceptance> {
    let Facts { member, uses, max_uses, expires_us, members, max_members, now_us } = facts;
    if member.is_some() {
        return Ok(Acceptance::AlreadyMember);
    }
    if uses >= max_uses || expires_us <= now_us {
        return Err(Denied::InviteNotFound);
    }
    if members >= max_members { Err(Denied::TooManyMembers) } else { Ok(Acceptance::Joins) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_has_no_more_open_invites_than_it_may() {
        for (open, most, may) in [(0, 0, false), (0, 1, true), (1, 1, false), (2, 1, false)] {
            assert_eq!(make(open, most), may.then_some(()).ok_or(Denied::TooManyInvites));
        }
    }

    #[test]
    fn who_becomes_a_member_by_an_invite() {
        let open = Facts {
            member: None,
            uses: 1,
            max_uses: 2,
            expires_us: 11,
            members: 4,
            max_members: 5,
            now_us: 10,
        };
        assert_eq!(accept(open), Ok(Acceptance::Joins));
        for is_used_up in [false, true] {
            for has_expired in [false, true] {
                for is_full in [false, true] {
                    let facts = Facts {
                        uses: if is_used_up { 2 } else { 1 },
                        expires_us: if has_expired { 10 } else { 11 },
                        members: if is_full { 5 } else { 4 },
                        ..open
                    };
                    // That a space is full is told to those alone whose invite is good.
                    let expected = match (is_used_up || has_expired, is_full) {
                        (true, _) => Err(Denied::InviteNotFound),
                        (false, true) => Err(Denied::TooManyMembers),
                        (false, false) => Ok(Acceptance::Joins),
                    };
                    assert_eq!(accept(facts), expected, "{facts:?}");
                    for role in [Role::Viewer, Role::Editor, Role::Owner] {
                        let facts = Facts { member: Some(role), ..facts };
                        assert_eq!(accept(facts), Ok(Acceptance::AlreadyMember), "{facts:?}");
                    }
                }
            }
        }
    }
}
