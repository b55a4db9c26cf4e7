//! What the owner of a space may do with a membership, by what its holder is in the space.

use lattice_engine::Role;

use crate::directory::{Answer, Denied};

/// Whether a membership may be ended.
pub(crate) fn remove(member: Option<Role>) -> Answer<()> {
    match member {
        None => Err(Denied::NotMember),
        Some(Role::Owner) => Err(Denied::IsOwner),
        Some(Role::Editor | Role::Viewer) => Ok(()),
    }
}

/// Whether a member may be given a role. Ownership is transferred, not given.
pub(crate) fn set_role(member: Option<Role>, role: Role) -> Answer<()> {
    remove(member)?;
    if role == Role::Owner { Err(Denied::IsOwner) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_changed_and_owners_are_not() {
        let all = [Role::Viewer, Role::Editor, Role::Owner];
        assert_eq!(remove(None), Err(Denied::NotMember));
        for role in all {
            assert_eq!(set_role(None, role), Err(Denied::NotMember));
            assert_eq!(set_role(Some(Role::Owner), role), Err(Denied::IsOwner));
        }
        assert_eq!(remove(Some(Role::Owner)), Err(Denied::IsOwner));
        for member in [Role::Viewer, Role::Editor] {
            assert_eq!(remove(Some(member)), Ok(()));
            let answers = all.map(|role| set_role(Some(member), role));
            assert_eq!(answers, [Ok(()), Ok(()), Err(Denied::IsOwner)]);
        }
    }
}
