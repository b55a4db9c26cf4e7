//! Rules that the simulation takes away one at a time, to show that it would notice. Without the feature `mutations`,
//! which only the simulation asks for, every question is answered `false` at compile time.

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One rule taken away.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Mutation { $($(#[$doc])* $name,)* }

        impl Mutation {
            /// Every mutation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

mutations! {
    /// Winning writes to shared fields are not sent back to their sender.
    NoEcho = "no-echo",
    /// A correction does not make its fields shared.
    EchoForgets = "echo-forgets",
    /// A cursor's position is taken for its base.
    PositionOnly = "position-only",
    /// Catch-up also sends what this very connection wrote.
    OwnFields = "own-fields",
    /// The ack is sent before the correction.
    AckFirst = "ack-first",
    /// A change that is sent again is merged again.
    NoDedup = "no-dedup",
    /// A second link row for the same pair is accepted.
    TwoLinks = "two-links",
    /// Deleting a deleted row moves its tombstone to the end of the order.
    MovingTombstones = "moving-tombstones",
    /// A row created by someone else is not sent when the connection has overwritten all its fields since.
    VanishingRows = "vanishing-rows",
    /// A refused change leaves no trace, and its re-send is acked without a correction.
    RefuseAndForget = "refuse-and-forget",
    /// A field first set on a shared row is not itself shared.
    LateFields = "late-fields",
    /// All changes of a frame arrive at the same time.
    FrameArrival = "frame-arrival",
    /// Equal times are decided by random ids and not by the order of arrival.
    TiesById = "ties-by-id",
    /// A verdict waits until the stream has reached the head, however far that moves.
    UnreachableHead = "unreachable-head",
    /// A client's next connection gets the writer id of its last one.
    ReusedWriters = "reused-writers",
    /// An entry of one space is taken for a duplicate in another.
    DedupAcrossSpaces = "dedup-across-spaces",
    /// Every id of a catch-up page claims the whole state.
    ClaimsMore = "claims-more",
    /// A link row of a pair that was linked before is not shared from the start.
    PairForgets = "pair-forgets",
    /// A new connection takes entries as they were accepted before it has caught up with state.
    StartsLive = "starts-live",
    /// What a failed upload of a group had written stays.
    NoSavepoint = "no-savepoint",
    /// A revived row is sent without nulls for the columns that it had before.
    RevivedInPlace = "revived-in-place",
    /// A snapshot overwrites what is there.
    SnapshotsWin = "snapshots-win",
    /// A pull also answers verdicts that came after it was read.
    StaleVerdicts = "stale-verdicts",
    /// A correction leaves out the fields that its receiver holds and the row does not have.
    AbsentFields = "absent-fields",
    /// An INSERT is acked without the fields that were kept from UPDATEs before it.
    KeptFields = "kept-fields",
    /// A refused change of a link row is corrected by the row's own pair alone, not by the one that it named.
    NamedPairs = "named-pairs",
    /// A link row is never sent to the connection that inserted it.
    FailedLinks = "failed-links",
    /// The second answer to a refused change takes the row away for a moment too, although its ack has left.
    RebuiltTwice = "rebuilt-twice",
    /// Policy refuses nothing.
    NoPolicy = "no-policy",
    /// A client with a restricted view is not answered with current values.
    NoViewEcho = "no-view-echo",
    /// What a view does not show is sent all the same.
    LeakyViews = "leaky-views",
    /// A row that a view shows no more is not taken back.
    KeptRows = "kept-rows",
    /// A link is shown to whoever may read its table, whatever its ends are.
    LinksStay = "links-stay",
    /// A link that was there before its end stays as it was when the end is created.
    LateEnds = "late-ends",
    /// A cursor of another view counts in full, also for rows that were not visible in it.
    ForeignCursor = "foreign-cursor",
    /// A transition to another view mints the same ids as an earlier one.
    ReusedTransitions = "reused-transitions",
    /// A client counts as having saved its checkpoint before it applied what came after: no view is announced.
    SavedFirst = "saved-first",
    /// What a user may do is asked once and not again when it has changed.
    CachedAccess = "cached-access",
    /// A page is delivered in the view of before, although what the user may see has changed.
    StaleViews = "stale-views",
    /// A page that was read before the view changed is delivered after it.
    StalePages = "stale-pages",
    /// A view is remembered only after a page of it has left.
    LateViews = "late-views",
    /// A view that access has ended and that is still the same is not remembered again.
    EndedViews = "ended-views",
    /// A view is remembered although the rights that it was made of have changed meanwhile.
    OutdatedViews = "outdated-views",
    /// A client that subscribes once more on a connection starts where its cursor says, whatever else is on its way to it.
    ResumedTwice = "resumed-twice",
    /// A subscription begins anew while its old stream owes verdicts.
    HastySubscribe = "hasty-subscribe",
    /// Rows of unions are merged by field.
    MixedUnions = "mixed-unions",
    /// A value of a case is taken although the row is of another case by now.
    MisfitUnions = "misfit-unions",
    /// A row that is merged by row is sent as the difference.
    PartialRows = "partial-rows",
    /// Of a row that is merged by row only those fields are shared that somebody else has written.
    UnsharedRows = "unshared-rows",
    /// Another view is shown while uploads that were taken in the one before wait to be stored.
    HastyView = "hasty-view",
    /// Uploads that overtook one which was refused as a whole are not answered with current values.
    OvertakenUploads = "overtaken-uploads",
    /// What the server itself has sent is merged when a device relays it.
    RelayedWords = "relayed-words",
    /// What the server itself has sent is never answered when a device relays it, also where it came late.
    LateWords = "late-words",
    /// A later version of the app is taken to hold what an earlier one was sent.
    SameSchema = "same-schema",
    /// Entries leave under the ids of their authors where the client declares a version of its schema.
    UnversionedIds = "unversioned-ids",
    /// A new replica is told of no deletion until it has reached the head.
    NoTombstones = "no-tombstones",
    /// A replica that is new goes on as if it had held nothing until then.
    LateEmptiness = "late-emptiness",
    /// In a restored database the id of an accepted change counts as a checkpoint.
    LostCheckpoints = "lost-checkpoints",
    /// In a restored database changes are delivered under their own ids.
    LostIds = "lost-ids",
    /// In a restored database clients are not answered with current values.
    NoRestoredEcho = "no-restored-echo",
    /// Whatever a client leaves out of its acks counts as stored.
    UnreadAcks = "unread-acks",
    /// A DELETE that the filter of a native client has made deletes the row for everybody.
    DeletesByFilter = "deletes-by-filter",
    /// A whole row that a filtered client uploads edits every field in which it differs.
    StaleEdits = "stale-edits",
}

#[cfg(feature = "mutations")]
mod switch {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Mutation;

    const NONE: u8 = u8::MAX;
    static ACTIVE: AtomicU8 = AtomicU8::new(NONE);

    impl Mutation {
        /// Takes one rule away from the whole process, or none.
        pub fn activate(mutation: Option<Self>) {
            ACTIVE.store(mutation.map_or(NONE, |mutation| mutation as u8), Ordering::SeqCst);
        }

        /// Whether this rule is taken away.
        #[must_use]
        pub fn is_active(self) -> bool {
            ACTIVE.load(Ordering::Relaxed) == self as u8
        }
    }
}

#[cfg(not(feature = "mutations"))]
impl Mutation {
    /// Whether this rule is taken away.
    #[must_use]
    pub const fn is_active(self) -> bool {
        false
    }
}
