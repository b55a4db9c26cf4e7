//! What a user is to a space, and what they may ask of it.

use lattice_engine::Role;

use crate::directory::{Answer, Denied, SpaceKind};

/// What a user is to a space that they see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    /// What the space is.
    pub(crate) kind: SpaceKind,
    /// What the user is in it.
    pub(crate) role: Role,
    /// The user is a member, not merely the reader of a public space or the owner of a private one.
    pub(crate) is_member: bool,
}

impl Standing {
    /// The standing of a user in a space that is not deleted, by whether its record names them as the owner and by the role of
    /// their membership. `None` when they do not see it.
    pub(crate) fn of(kind: SpaceKind, is_owner: bool, member: Option<Role>) -> Option<Self> {
        let role = match kind {
            SpaceKind::Private => is_owner.then_some(Role::Owner)?,
            SpaceKind::Shared => member?,
            SpaceKind::Public => member.unwrap_or(Role::Viewer),
        };
        Some(Self { kind, role, is_member: kind != SpaceKind::Private && member.is_some() })
    }
}

/// A rule about the standing of whoever asks; `None` when they do not see the space.
pub(crate) type Rule = fn(Option<Standing>) -> Answer<()>;

/// For those who see the space.
pub(crate) fn sees(standing: Option<Standing>) -> Answer<()> {
    standing.map(|_| ()).ok_or(Denied::NotFound)
}

/// For the owner of any space.
pub(crate) fn owns(standing: Option<Standing>) -> Answer<()> {
    match standing.ok_or(Denied::NotFound)?.role {
        Role::Owner => Ok(()),
        Role::Editor | Role::Viewer => Err(Denied::Forbidden),
    }
}

/// For the owner of a space that has members.
pub(crate) fn owns_with_members(standing: Option<Standing>) -> Answer<()> {
    owns(standing)?;
    has_members(standing)
}

/// For members, who see one another.
pub(crate) fn is_member(standing: Option<Standing>) -> Answer<()> {
    let standing = standing.ok_or(Denied::NotFound)?;
    has_members(Some(standing))?;
    if standing.is_member { Ok(()) } else { Err(Denied::Forbidden) }
}

/// For members who leave. The owner stays until ownership is transferred.
pub(crate) fn may_leave(standing: Option<Standing>) -> Answer<()> {
    let standing = standing.ok_or(Denied::NotFound)?;
    has_members(Some(standing))?;
    match (standing.is_member, standing.role) {
        (false, _) => Err(Denied::NotMember),
        (true, Role::Owner) => Err(Denied::IsOwner),
        (true, Role::Editor | Role::Viewer) => Ok(()),
    }
}

fn has_members(standing: Option<Standing>) -> Answer<()> {
    match standing.ok_or(Denied::NotFound)?.kind {
        SpaceKind::Private => Err(Denied::Private),
        SpaceKind::Shared | SpaceKind::Public => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Option<Role>; 4] = [None, Some(Role::Viewer), Some(Role::Editor), Some(Role::Owner)];

    #[test]
    fn who_sees_a_space_and_as_what() {
        for member in ROLES {
            for is_owner in [false, true] {
                let of = |kind| Standing::of(kind, is_owner, member);
                // A private space is its owner's alone, whatever memberships say.
                let owner = Standing { kind: SpaceKind::Private, role: Role::Owner, is_member: false };
                assert_eq!(of(SpaceKind::Private), is_owner.then_some(owner));
                // A shared space is its members', and the owner is one of them.
                let shared = member.map(|role| Standing { kind: SpaceKind::Shared, role, is_member: true });
                assert_eq!(of(SpaceKind::Shared), shared);
                let role = member.unwrap_or(Role::Viewer);
                let public = Standing { kind: SpaceKind::Public, role, is_member: member.is_some() };
                assert_eq!(of(SpaceKind::Public), Some(public));
            }
        }
    }

    #[test]
    fn what_each_standing_may_do() {
        use Denied::{Forbidden, IsOwner, NotFound, NotMember, Private};
        let private = Standing::of(SpaceKind::Private, true, None);
        let reader = Standing::of(SpaceKind::Public, false, None);
        // Who asks; and what they hear as whoever sees it, as an owner, as an owner of members, as a member, as one who leaves.
        let table = [
            (None, [Err(NotFound); 5]),
            (private, [Ok(()), Ok(()), Err(Private), Err(Private), Err(Private)]),
            (reader, [Ok(()), Err(Forbidden), Err(Forbidden), Err(Forbidden), Err(NotMember)]),
        ];
        let of_members = [SpaceKind::Shared, SpaceKind::Public].into_iter().flat_map(|kind| {
            let of = move |role| Standing::of(kind, role == Role::Owner, Some(role));
            [
                (of(Role::Viewer), [Ok(()), Err(Forbidden), Err(Forbidden), Ok(()), Ok(())]),
                (of(Role::Editor), [Ok(()), Err(Forbidden), Err(Forbidden), Ok(()), Ok(())]),
                (of(Role::Owner), [Ok(()), Ok(()), Ok(()), Ok(()), Err(IsOwner)]),
            ]
        });
        let rules: [Rule; 5] = [sees, owns, owns_with_members, is_member, may_leave];
        for (standing, answers) in table.into_iter().chain(of_members) {
            assert_eq!(rules.map(|rule| rule(standing)), answers, "{standing:?}");
        }
    }
}
