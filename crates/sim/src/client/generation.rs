//! What sets the generations of the client library apart. All of them are in use, in one space at the same time.

/// A generation of the client library: the versions of LatticeCore that take deliveries alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generation {
    /// Up to 0.9. A delivery that names an unknown table is not applied at all.
    Old,
    /// 1.0. An entry that names something unknown fails by itself.
    First,
    /// 1.1 to 1.3. What it does not know is left out. Its checkpoint is the last entry that it recorded.
    Early,
    /// 1.4. Its checkpoint is kept apart from its log.
    Current,
    /// What follows 1.4. One entry that cannot be stored ends the progress of its checkpoint.
    Newest,
}

/// What a client does with an entry for a table that it does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnknownTable {
    /// Nothing of the delivery is acknowledged; what was applied in the same transaction is rolled back, what follows is dropped.
    Aborts,
    /// The entry is not acknowledged.
    Fails,
    /// The entry is acknowledged, and not remembered.
    IsLeftOut,
}

/// What moves the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Advance {
    /// Each entry that is recorded, whatever failed before it. One that is known already, or was left out, does not.
    Recorded,
    /// The acknowledged entries of a delivery up to the first that failed; a later delivery passes over it.
    UpToFailure,
    /// The same, and nothing any more once an entry has failed.
    UntilFailure,
}

impl Generation {
    /// Every generation that exists, the oldest first.
    pub const ALL: [Self; 5] = [Self::Old, Self::First, Self::Early, Self::Current, Self::Newest];

    /// A DELETE with the filter marker deletes. Later generations acknowledge it, do nothing and keep nothing of it.
    pub(super) fn applies_marked_removals(self) -> bool {
        self == Self::Old
    }

    pub(super) fn unknown_table(self) -> UnknownTable {
        match self {
            Self::Old => UnknownTable::Aborts,
            Self::First => UnknownTable::Fails,
            Self::Early | Self::Current | Self::Newest => UnknownTable::IsLeftOut,
        }
    }

    /// Columns that a model table does not have are left out; before, they failed their entry.
    pub(super) fn leaves_out_unknown_columns(self) -> bool {
        !matches!(self, Self::Old | Self::First)
    }

    pub(super) fn advance(self) -> Advance {
        match self {
            Self::Old | Self::First | Self::Early => Advance::Recorded,
            Self::Current => Advance::UpToFailure,
            Self::Newest => Advance::UntilFailure,
        }
    }

    /// `rejected` ends everything that is in flight. Others do not know the frame.
    pub(super) fn gives_up_on_rejected(self) -> bool {
        self == Self::Newest
    }
}
