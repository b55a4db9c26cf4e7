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
/// Ids of one ack that are looked at: more than a delivery holds.
pub const MAX_ACKED_IDS: usize = 10_000;
/// Largest frame accepted by default.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 64 << 20;
/// Largest frame that can be configured: clients' own limit.
pub const MAX_FRAME_BYTES: usize = 300 << 20;
/// Longest cursor that is looked at. Cursors are made by the server; the ones it makes have 36.
pub const MAX_CURSOR_BYTES: usize = 128;
/// Longest name that a client of the JSON dialect gives itself. A UUID has 36.
pub const MAX_CLIENT_ID_BYTES: usize = 128;
/// Longest id of an upload, as JSON. It is kept until the upload is acknowledged.
pub const MAX_UPLOAD_ID_BYTES: usize = 130;
/// Longest token. Tokens of identity providers carry claims and come to a few thousand bytes.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Largest state in `presence`: every one is sent to all others of the space.
pub const MAX_PRESENCE_STATE_BYTES: usize = 4 << 10;
/// Most changes that a poll may ask for; more are cut to this.
pub const MAX_POLL_CHANGES: u32 = 10_000;
/// Longest `tables` and `where` of a filter, each, as JSON: a filter is kept for as long as its subscription.
pub const MAX_FILTER_BYTES: usize = 32 << 10;
/// Most tables that a filter names.
pub const MAX_FILTER_TABLES: usize = 256;
/// Most conditions of a filter: those of a row's table are all evaluated for every row.
pub const MAX_FILTER_CONDITIONS: usize = 64;
/// Most operands of a filter, all lists together.
pub const MAX_FILTER_OPERANDS: usize = 1_000;
