//! How much a space, and all spaces of one owner together, may come to hold.

use lattice_engine::SpaceHead;

use crate::StoreError;
use crate::quotas::{Limit, Limits, LimitsChange, Quota, Quotas, Usage};

/// What holds for a space.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// Who answers for it.
    pub(crate) owner: [u8; 16],
    /// Of the space.
    pub(crate) space: Quota,
    /// Of all spaces of its owner.
    pub(crate) user: Quota,
}

impl Held {
    /// By what is set for the space and for its owner, where the settings say `configured`.
    pub(crate) fn of(owner: [u8; 16], space: Limits, user: Limits, configured: Quotas) -> Self {
        Self { owner, space: space.over(configured.space), user: user.over(configured.user) }
    }
}

/// Whether a space may grow, whose owner holds `owned` with it as it was: what they hold then. `owned` does not matter where the owner
/// has no quota.
pub(crate) fn grow(
    held: Held,
    (before, after): (SpaceHead, SpaceHead),
    owned: Usage,
) -> Result<Usage, StoreError> {
    let next = owned.plus(Usage::of(after).since(Usage::of(before)));
    if held.space.admits(Usage::of(after)) && held.user.admits(next) {
        Ok(next)
    } else {
        Err(StoreError::QuotaExceeded)
    }
}

/// What is set after a change. Of how many spaces one may own has no meaning for a space.
pub(crate) fn change(of_space: bool, set: Limits, change: LimitsChange) -> Limits {
    let next = change.apply(set);
    if of_space { Limits { spaces: Limit::AsConfigured, ..next } } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_grows_up_to_both_quotas_and_not_beyond() {
        let head = |seq, bytes| SpaceHead { seq, arrival_us: 0, bytes };
        let (before, after) = (head(2, 20), head(5, 50));
        let owned = Usage { bytes: 100, changes: 10 };
        let then = Usage { bytes: 130, changes: 13 };
        // What the quota of the space and that of its owner leave: all, what it comes to, or a little less.
        for space in [None, Some(0), Some(1)] {
            for user in [None, Some(0), Some(1)] {
                for of_bytes in [false, true] {
                    let quota = |less: Option<u64>, usage: Usage| match of_bytes {
                        true => Quota { bytes: less.map(|less| usage.bytes - less), changes: None },
                        false => Quota { bytes: None, changes: less.map(|less| usage.changes - less) },
                    };
                    let (space_quota, user_quota) = (quota(space, Usage::of(after)), quota(user, then));
                    let held = Held { owner: [1; 16], space: space_quota, user: user_quota };
                    let grown = grow(held, (before, after), owned).ok();
                    let fits = space != Some(1) && user != Some(1);
                    assert_eq!(grown, fits.then_some(then), "{space:?} {user:?} {of_bytes}");
                }
            }
        }
    }

    #[test]
    fn what_is_set_for_one_goes_before_the_settings() {
        let configured = Quotas {
            space: Quota { bytes: Some(1), changes: None },
            user: Quota { bytes: None, changes: Some(2) },
        };
        let set = Limits { bytes: Limit::Most(3), changes: Limit::Unlimited, ..Limits::default() };
        let held = Held::of([1; 16], set, Limits::default(), configured);
        assert_eq!(held.space, Quota { bytes: Some(3), changes: None });
        assert_eq!(held.user, configured.user);
    }

    #[test]
    fn spaces_own_no_spaces() {
        let wanted = LimitsChange { spaces: Some(Limit::Most(3)), ..LimitsChange::default() };
        assert_eq!(change(false, Limits::default(), wanted).spaces, Limit::Most(3));
        assert_eq!(change(true, Limits::default(), wanted), Limits::default());
    }
}
