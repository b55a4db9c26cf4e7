//! Whether an account may go.

use crate::directory::{Answer, Denied};

/// What becomes of those who are members of a space of whoever goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Others {
    /// They lose that space.
    LoseTheirs,
    /// The account stays until there are none such.
    KeepIt,
}

/// What decides whether an account is deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The account is there.
    pub(crate) exists: bool,
    /// Its user owns a space that somebody else is a member of.
    pub(crate) owns_spaces_of_others: bool,
}

/// Whether an account is deleted, with all that its user owns.
pub(crate) fn delete(facts: Facts, others: Others) -> Answer<()> {
    match (facts.exists, facts.owns_spaces_of_others, others) {
        (false, ..) => Err(Denied::NoUser),
        (true, true, Others::KeepIt) => Err(Denied::OwnsSpaces),
        (true, _, Others::LoseTheirs) | (true, false, Others::KeepIt) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_goes_unless_others_need_its_spaces() {
        for owns_spaces_of_others in [false, true] {
            for others in [Others::LoseTheirs, Others::KeepIt] {
                let gone = Facts { exists: false, owns_spaces_of_others };
                assert_eq!(delete(gone, others), Err(Denied::NoUser));
                let stays = owns_spaces_of_others && others == Others::KeepIt;
                let expected = if stays { Err(Denied::OwnsSpaces) } else { Ok(()) };
                assert_eq!(delete(Facts { exists: true, owns_spaces_of_others }, others), expected);
            }
        }
    }
}
