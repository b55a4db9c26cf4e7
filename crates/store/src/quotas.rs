//! Quotas: how much a space, and all spaces of one owner together, may hold.
//!
//! What counts is what the audit log of a space has taken: its changes, refused ones included, and their bytes as they came.
//! That only grows, so deleting rows gives nothing back; a space that is deleted is counted no more. Both counters are kept
//! with the space's last seq ([`SpaceHead`]), in the transaction that stores an upload, and whoever owns a space answers for
//! it. An upload that would lead beyond a quota is refused as a whole ([`StoreError::QuotaExceeded`]). Uploads to several
//! spaces of one owner that are stored at the same moment by several instances may together lead beyond it, once.

use lattice_engine::{SpaceHead, SpaceId};

use crate::accounts::UserId;
use crate::{BoxFuture, StoreError};

/// How much may be held; `None` is without limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quota {
    /// Bytes of changes.
    pub bytes: Option<u64>,
    /// Changes.
    pub changes: Option<u64>,
}

impl Quota {
    /// Whether everything may be held.
    #[must_use]
    pub const fn is_off(self) -> bool {
        self.bytes.is_none() && self.changes.is_none()
    }

    /// Whether this may be held.
    #[must_use]
    pub fn admits(self, usage: Usage) -> bool {
        self.bytes.is_none_or(|most| usage.bytes <= most)
            && self.changes.is_none_or(|most| usage.changes <= most)
    }
}

/// The quotas of spaces and users for which nothing else was set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quotas {
    /// Of one space.
    pub space: Quota,
    /// Of all spaces that one user owns.
    pub user: Quota,
}

impl Quotas {
    /// Whether nothing is limited.
    #[must_use]
    pub const fn is_off(self) -> bool {
        self.space.is_off() && self.user.is_off()
    }
}

/// What is held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Bytes of changes.
    pub bytes: u64,
    /// Changes.
    pub changes: u64,
}

impl Usage {
    /// What a space holds.
    #[must_use]
    pub const fn of(head: SpaceHead) -> Self {
        Self { bytes: head.bytes, changes: head.seq }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            changes: self.changes.saturating_add(other.changes),
        }
    }

    /// What came in addition to `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            changes: self.changes.saturating_sub(before.changes),
        }
    }
}

/// A limit that was set for one user or space.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Limit {
    /// None: that of the settings holds.
    #[default]
    AsConfigured,
    /// Without limit, whatever the settings say.
    Unlimited,
    /// So much.
    Most(u64),
}

impl Limit {
    /// As it is stored: nothing, -1, or the number.
    #[must_use]
    pub fn to_stored(self) -> Option<i64> {
        match self {
            Self::AsConfigured => None,
            Self::Unlimited => Some(-1),
            Self::Most(most) => Some(i64::try_from(most).unwrap_or(i64::MAX)),
        }
    }

    /// From how it is stored.
    #[must_use]
    pub fn from_stored(stored: Option<i64>) -> Self {
        match stored {
            None => Self::AsConfigured,
            Some(most) => u64::try_from(most).map_or(Self::Unlimited, Self::Most),
        }
    }

    /// What holds where the settings say `configured`.
    #[must_use]
    pub const fn over(self, configured: Option<u64>) -> Option<u64> {
        match self {
            Self::AsConfigured => configured,
            Self::Unlimited => None,
            Self::Most(most) => Some(most),
        }
    }
}

/// The limits that were set for one user or space.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Of bytes.
    pub bytes: Limit,
    /// Of changes.
    pub changes: Limit,
    /// Of spaces that a user owns, the private one not counted; not for spaces.
    pub spaces: Limit,
}

impl Limits {
    /// What holds where the settings say `configured`.
    #[must_use]
    pub const fn over(self, configured: Quota) -> Quota {
        Quota { bytes: self.bytes.over(configured.bytes), changes: self.changes.over(configured.changes) }
    }
}

/// Changes to the limits of one user or space; `None` leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LimitsChange {
    /// Of bytes.
    pub bytes: Option<Limit>,
    /// Of changes.
    pub changes: Option<Limit>,
    /// Of spaces that a user owns; has no meaning for spaces.
    pub spaces: Option<Limit>,
}

impl LimitsChange {
    /// What `held` becomes.
    #[must_use]
    pub fn apply(self, held: Limits) -> Limits {
        Limits {
            bytes: self.bytes.unwrap_or(held.bytes),
            changes: self.changes.unwrap_or(held.changes),
            spaces: self.spaces.unwrap_or(held.spaces),
        }
    }
}

/// Whose quota it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The user with this id.
    User(UserId),
    /// The user with this e-mail address, which the caller has normalised.
    Email(String),
    /// The space with this id.
    Space(SpaceId),
}

/// What holds for a user or space, and what they hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// What was set for them.
    pub limits: Limits,
    /// What they hold.
    pub usage: Usage,
}

/// Sets quotas and tells what is held.
pub trait QuotaStore: Send + Sync {
    /// Changes what is set, durably once it has answered, for uploads that are stored from then on; and answers what holds.
    /// `None` when there is no such user or space.
    fn change_limits(
        &self,
        subject: Subject,
        change: LimitsChange,
    ) -> BoxFuture<'_, Result<Option<Limits>, StoreError>>;

    /// What is set and held. `None` when there is no such user or space.
    fn quota_account(&self, subject: Subject) -> BoxFuture<'_, Result<Option<Account>, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_one_go_before_those_of_all() {
        for limit in [Limit::AsConfigured, Limit::Unlimited, Limit::Most(0), Limit::Most(7)] {
            assert_eq!(Limit::from_stored(limit.to_stored()), limit);
        }
        let configured = Quota { bytes: Some(10), changes: None };
        let limits = Limits { bytes: Limit::Unlimited, changes: Limit::Most(3), ..Limits::default() };
        assert_eq!(limits.over(configured), Quota { bytes: None, changes: Some(3) });
        assert_eq!(Limits::default().over(configured), configured);
        assert!(configured.admits(Usage { bytes: 10, changes: 1_000 }));
        assert!(!configured.admits(Usage { bytes: 11, changes: 0 }));
        let change = LimitsChange { changes: Some(Limit::AsConfigured), ..LimitsChange::default() };
        assert_eq!(change.apply(limits), Limits { bytes: Limit::Unlimited, ..Limits::default() });
    }
}
