//! The small tables, as every backend knows them. A table that is added to the schema is added here, or does not move.

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 16 bytes.
    Id,
    /// Bytes.
    Bytes,
    /// Text.
    Text,
    /// A number.
    Integer,
    /// True or false.
    Flag,
}

/// A value of a column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// None.
    Null,
    /// 16 bytes.
    Id([u8; 16]),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A number.
    Integer(i64),
    /// True or false.
    Flag(bool),
}

/// A record: a value for each column.
pub type Record = Vec<Value>;

/// A table.
#[derive(PartialEq, Eq, Debug)]
pub struct Section {
    /// Its name, which says to each backend what to read and write.
    pub name: &'static str,
    /// Its columns; the first ones are its key.
    pub columns: &'static [Kind],
    /// How many columns its key has.
    pub key: usize,
}

/// In the order in which they are copied: what others refer to comes first.
pub const SECTIONS: &[Section] = {
    use Kind::{Bytes, Flag, Id, Integer, Text};
    &[
        // id, email, email_verified_us, full_name, password_hash, created_us
        Section { name: "users", columns: &[Id, Text, Integer, Text, Text, Integer], key: 1 },
        // id, user, kind, method, token_hash, refresh_hash, previous_refresh_hash, rotated_us, expires_us, created_us,
        // last_used_us, revoked_us, device_name, user_agent, address
        Section {
            name: "sessions",
            columns: &[
                Id, Id, Integer, Text, Bytes, Bytes, Bytes, Integer, Integer, Integer, Integer, Integer,
                Text, Text, Text,
            ],
            key: 1,
        },
        // hash, purpose, user, payload, created_us, expires_us
        Section { name: "one_time_token", columns: &[Bytes, Text, Id, Text, Integer, Integer], key: 1 },
        // user, look_us, ended_us
        Section { name: "anonymous_account", columns: &[Id, Integer, Integer], key: 1 },
        // id, user, issuer, subject, email, created_us
        Section { name: "identity", columns: &[Id, Id, Text, Text, Text, Integer], key: 1 },
        // user, secret, created_us, confirmed_us, last_step
        Section { name: "totp", columns: &[Id, Bytes, Integer, Integer, Integer], key: 1 },
        // user, hash
        Section { name: "recovery_code", columns: &[Id, Bytes], key: 2 },
        // id, user, credential_id, name, credential, second_factor, created_us, last_used_us
        Section { name: "passkey", columns: &[Id, Id, Bytes, Text, Text, Flag, Integer, Integer], key: 1 },
        // at_us, id, kind, code, actor, subject, space, session, address, user_agent, detail
        Section {
            name: "access_log",
            columns: &[Integer, Id, Text, Text, Id, Id, Id, Id, Text, Text, Text],
            key: 2,
        },
        // user, deleted_us
        Section { name: "trace_to_erase", columns: &[Id, Integer], key: 1 },
        // id, kind, owner, name, rules, policy, schema_rule, created_us, archived_us, deleted_us, purged. Those that were
        // deleted move as well, without what they held, so that their ids are not given out again.
        Section {
            name: "space",
            columns: &[Id, Text, Id, Text, Text, Text, Text, Integer, Integer, Integer, Flag],
            key: 1,
        },
        // space, user, role, since_us
        Section { name: "member", columns: &[Id, Id, Text, Integer], key: 2 },
        // id, space, role, email, token_hash, uses, max_uses, created_by, created_us, expires_us
        Section {
            name: "invite",
            columns: &[Id, Id, Text, Text, Bytes, Integer, Integer, Id, Integer, Integer],
            key: 1,
        },
        // id, subject, bytes, changes, spaces
        Section { name: "quota", columns: &[Id, Text, Integer, Integer, Integer], key: 2 },
        // space, user, id, definition, turn, until_seq
        Section { name: "remembered_view", columns: &[Id, Id, Integer, Text, Integer, Integer], key: 3 },
    ]
};

/// Where `deleted_us` and `purged` stand in a record of a space.
pub(super) const SPACE_DELETED: usize = 9;
pub(super) const SPACE_PURGED: usize = 10;
