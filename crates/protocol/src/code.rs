//! Stable error codes. A code is never renamed and never changes its meaning.

use alloc::string::String;
use core::fmt;

use crate::plain::UploadId;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is written on the wire and in the audit log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The code with this text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// The frame is not JSON, or not a JSON object.
    BadFrame = "bad_frame",
    /// The frame is larger than the server accepts.
    FrameTooLarge = "frame_too_large",
    /// The frame holds more changes than the server accepts.
    TooManyChanges = "too_many_changes",
    /// The frame is of a dialect or kind that is not spoken here.
    UnknownFrame = "unknown_frame",
    /// The entry is not a JSON object, or a key of it has the wrong type.
    BadEntry = "bad_entry",
    /// `globalId` is missing or not a UUID.
    BadEntryId = "bad_entry_id",
    /// `globalRowId` is missing, empty or too long.
    BadRowId = "bad_row_id",
    /// `tableName` is not a name that may reach other clients' SQL.
    BadTableName = "bad_table_name",
    /// A column name is not a name that may reach other clients' SQL.
    BadColumnName = "bad_column_name",
    /// `operation` is none of INSERT, UPDATE, DELETE.
    BadOperation = "bad_operation",
    /// A value cannot be read by deployed clients.
    BadValue = "bad_value",
    /// The change names more columns than any client's table can have.
    TooManyColumns = "too_many_columns",
    /// An INSERT of a link row does not name both ends.
    LinkIncomplete = "link_incomplete",
    /// A link row's ends cannot change.
    LinkImmutable = "link_immutable",
    /// The cursor is not one that a server could have made.
    BadCursor = "bad_cursor",
    /// `tables` or `where` is not a filter, or is too large.
    BadFilter = "bad_filter",
    /// The state in `presence` is too large, or not JSON that every parser can read.
    BadPresence = "bad_presence",
    /// As many clients of the space as may show a state already.
    PresenceFull = "presence_full",
    /// There is no such space, or the client may not see it.
    SpaceNotFound = "space_not_found",
    /// The space asks for another version of the app's schema than the client declares.
    SchemaVersion = "schema_version",
    /// What the client may see has changed too often; it is to start again from its cursor.
    AccessChanged = "access_changed",
    /// The connection has as many subscriptions as one may.
    TooManySubscriptions = "too_many_subscriptions",
    /// A token is not valid, or is another user's.
    TokenInvalid = "token_invalid",
    /// A token has expired.
    TokenExpired = "token_expired",
    /// The session of a token was ended.
    SessionRevoked = "session_revoked",
    /// The token does not permit this.
    PermissionDenied = "permission_denied",
    /// The keys of the issuer of a token cannot be fetched.
    ProviderUnavailable = "provider_unavailable",
    /// The space's counter of changes is used up.
    SpaceFull = "space_full",
    /// The space or its owner holds as much as they may; nothing of the upload was stored.
    QuotaExceeded = "quota_exceeded",
    /// The policy does not let the sender's role do this.
    Forbidden = "forbidden",
    /// The policy permits this only on rows that the sender created.
    NotCreator = "not_creator",
    /// The policy does not name the table, and permits no others.
    TableNotAllowed = "table_not_allowed",
    /// The frame deletes more rows than the policy permits; none of them is.
    TooManyDeletes = "too_many_deletes",
    /// The space is archived and takes no changes.
    SpaceArchived = "space_archived",
    /// The change was refused when it was received first; what refused it may have changed since, its fate has not.
    RefusedBefore = "refused_before",
    /// The server has too much to do; the client is told when to come again.
    Overloaded = "overloaded",
    /// The server failed; the change was not stored and may be sent again.
    Internal = "internal",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a whole frame was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameError {
    /// The code.
    pub code: Code,
    /// One sentence for people. Never contains a value.
    pub detail: String,
    /// JSON dialect: the upload that the frame would have been, if it says what it is called.
    pub upload: Option<UploadId>,
}

impl FrameError {
    /// A frame that is refused.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), upload: None }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl core::error::Error for FrameError {}
