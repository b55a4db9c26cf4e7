//! Limits of sessions. What a driver may choose is in [`DeliveryLimits`].

/// Uploads of one space session that wait for their commit, whatever their size. Clients have two windows in flight.
pub(crate) const MAX_UPLOADS_IN_FLIGHT: usize = 8;
/// Small uploads of one space session that wait for their commit: whoever sends single changes one after the other gets them
/// into one group, and to everybody who listens in one write.
pub(crate) const MAX_SMALL_UPLOADS_IN_FLIGHT: usize = 128;
/// Sum of the sizes of small uploads that wait, in KiB.
pub(crate) const MAX_SMALL_UPLOADS_KIB: u64 = 256;
/// Verdicts of one space session that wait for its stream. The socket is not read above it.
pub(crate) const MAX_PENDING_VERDICTS: usize = 4_000;
/// Reads of one page, before a session is ended that is overtaken by changes of rights each time.
pub(crate) const MAX_READS: u32 = 100;
/// Spaces of one JSON connection, those that it only uploads to included.
pub const MAX_SUBSCRIPTIONS: usize = 100;
/// Commits sent at once as they were accepted.
pub const MAX_COMMITS_PER_SEND: usize = 64;
/// Rows of one page.
pub const MAX_PAGE_ROWS: usize = 1_000;
/// Bytes of stored rows in one page.
pub const MAX_PAGE_BYTES: usize = 512 << 10;
/// A delivered frame is ended once it has this many bytes; a single larger entry still goes whole.
const MAX_DELIVERY_BYTES: usize = 256 << 10;
/// A delivered frame is ended once it has this many entries: clients apply and acknowledge frame by frame.
const MAX_DELIVERY_ENTRIES: usize = 1_000;

/// How much is read and sent at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryLimits {
    /// Most rows of a page.
    pub page_rows: usize,
    /// Most bytes of stored rows in a page.
    pub page_bytes: usize,
    /// Most entries of a frame.
    pub frame_entries: usize,
    /// Bytes at which a frame is ended.
    pub frame_bytes: usize,
}

impl Default for DeliveryLimits {
    fn default() -> Self {
        Self {
            page_rows: MAX_PAGE_ROWS,
            page_bytes: MAX_PAGE_BYTES,
            frame_entries: MAX_DELIVERY_ENTRIES,
            frame_bytes: MAX_DELIVERY_BYTES,
        }
    }
}
