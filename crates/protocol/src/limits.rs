//! Named limits of the protocol. Units are in the names.

/// Longest table or column name. SQLite has no limit; longer ones do not occur and would cost memory in every row.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest global row id.
pub const MAX_ROW_ID_BYTES: usize = 128;
/// Longest entry id that is repeated in an ack although it is no UUID.
pub const MAX_ACK_ID_BYTES: usize = 128;
/// Most columns in one change: SQLite's own default limit on the columns of a table.
pub const MAX_COLUMNS: usize = 2_000;
/// Most changes in one frame. Clients send 1,000 by default.
pub const MAX_CHANGES_PER_FRAME: usize = 100_000;
/// Largest frame accepted by default.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 64 << 20;
/// Largest frame that can be configured: clients' own limit.
pub const MAX_FRAME_BYTES: usize = 300 << 20;
