//! The lines of an export. Each has a `kind`; times are seconds since 1970. None holds a secret, or the hash of one.

use lattice_engine::{Row, Seq, SpaceId, Verdict};
use lattice_protocol::id::format_uuid;
use lattice_protocol::plain::write_plain;
use lattice_store::accounts::{Session, SessionKind, User, UserId};
use lattice_store::directory::{Invite, SpaceEntry};
use lattice_store::factors::{SecondFactors, StoredPasskey};
use lattice_store::identities::LinkedIdentity;
use lattice_store::spaces::AuditLine;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::access_log::EventView;
use crate::http::page::uuid;
use crate::http::spaces::seconds;

/// A line.
#[derive(Serialize)]
pub(super) struct Line<T> {
    kind: &'static str,
    #[serde(flatten)]
    content: T,
}

/// The first line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Beginning {
    version: u32,
    user_id: String,
    started_at: f64,
}

/// The last line.
#[derive(Serialize)]
pub(super) struct End {
    lines: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile<'a> {
    id: String,
    email: Option<&'a str>,
    email_verified_at: Option<f64>,
    full_name: Option<&'a str>,
    has_password: bool,
    created_at: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView<'a> {
    id: String,
    session_kind: &'static str,
    method: &'a str,
    device_name: Option<&'a str>,
    user_agent: Option<&'a str>,
    address: Option<&'a str>,
    created_at: f64,
    last_used_at: f64,
    expires_at: f64,
    revoked_at: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdentityView<'a> {
    id: String,
    issuer: &'a str,
    subject: &'a str,
    email: Option<&'a str>,
    linked_at: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasskeyView<'a> {
    id: String,
    name: &'a str,
    second_factor: bool,
    created_at: f64,
    last_used_at: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecondFactorsView {
    totp: bool,
    passkey: bool,
    recovery_codes: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InviteView<'a> {
    id: String,
    space_id: String,
    space_name: &'a str,
    role: &'static str,
    email: Option<&'a str>,
    uses: u32,
    max_uses: u32,
    created_at: f64,
    expires_at: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpaceView<'a> {
    id: String,
    space_kind: &'static str,
    name: &'a str,
    role: &'static str,
    /// The last change when its export began.
    head: Seq,
    created_at: f64,
    archived_at: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RowView<'a> {
    space_id: String,
    table: &'a str,
    id: String,
    /// Plain values by column.
    fields: Box<RawValue>,
    /// The seq of its last change.
    seq: Seq,
    /// Whose row it is, where that is known.
    creator_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeView<'a> {
    space_id: String,
    seq: Seq,
    id: String,
    user_id: Option<String>,
    verdict: &'static str,
    code: Option<&'static str>,
    at: f64,
    arrived_at: f64,
    /// As it was received.
    entry: std::borrow::Cow<'a, str>,
}

impl Line<Beginning> {
    pub(super) fn beginning(version: u32, user: UserId, now_us: i64) -> Self {
        let content = Beginning { version, user_id: user.to_string(), started_at: seconds(now_us) };
        Self { kind: "export", content }
    }
}

impl Line<End> {
    pub(super) fn end(lines: u64) -> Self {
        Self { kind: "end", content: End { lines } }
    }
}

impl<'a> Line<Profile<'a>> {
    pub(super) fn profile(user: &'a User) -> Self {
        let content = Profile {
            id: user.id.to_string(),
            email: user.email.as_deref(),
            email_verified_at: user.email_verified_us.map(seconds),
            full_name: user.full_name.as_deref(),
            has_password: user.password_hash.is_some(),
            created_at: seconds(user.created_us),
        };
        Self { kind: "profile", content }
    }
}

impl<'a> Line<SessionView<'a>> {
    pub(super) fn session(session: &'a Session) -> Self {
        let content = SessionView {
            id: session.id.to_string(),
            session_kind: match session.kind {
                SessionKind::Access => "access",
                SessionKind::Device => "device",
            },
            method: &session.method,
            device_name: session.device_name.as_deref(),
            user_agent: session.user_agent.as_deref(),
            address: session.address.as_deref(),
            created_at: seconds(session.created_us),
            last_used_at: seconds(session.last_used_us),
            expires_at: seconds(session.expires_us),
            revoked_at: session.revoked_us.map(seconds),
        };
        Self { kind: "session", content }
    }
}

impl<'a> Line<IdentityView<'a>> {
    pub(super) fn identity(identity: &'a LinkedIdentity) -> Self {
        let content = IdentityView {
            id: identity.id.to_string(),
            issuer: &identity.issuer,
            subject: &identity.subject,
            email: identity.email.as_deref(),
            linked_at: seconds(identity.created_us),
        };
        Self { kind: "identity", content }
    }
}

impl<'a> Line<PasskeyView<'a>> {
    pub(super) fn passkey(passkey: &'a StoredPasskey) -> Self {
        let content = PasskeyView {
            id: passkey.id.to_string(),
            name: &passkey.name,
            second_factor: passkey.second_factor,
            created_at: seconds(passkey.created_us),
            last_used_at: passkey.last_used_us.map(seconds),
        };
        Self { kind: "passkey", content }
    }
}

impl Line<SecondFactorsView> {
    pub(super) fn second_factors(factors: SecondFactors) -> Self {
        let SecondFactors { totp, passkey, recovery_codes } = factors;
        Self { kind: "secondFactors", content: SecondFactorsView { totp, passkey, recovery_codes } }
    }
}

impl<'a> Line<InviteView<'a>> {
    pub(super) fn invite(kind: &'static str, invite: &'a Invite) -> Self {
        let content = InviteView {
            id: uuid(&invite.id.0),
            space_id: uuid(&invite.space.0),
            space_name: &invite.space_name,
            role: invite.role.as_str(),
            email: invite.email.as_deref(),
            uses: invite.uses,
            max_uses: invite.max_uses,
            created_at: seconds(invite.created_us),
            expires_at: seconds(invite.expires_us),
        };
        Self { kind, content }
    }
}

impl<'a> Line<SpaceView<'a>> {
    pub(super) fn space(entry: &'a SpaceEntry, head: Seq) -> Self {
        let content = SpaceView {
            id: uuid(&entry.id.0),
            space_kind: entry.kind.as_str(),
            name: &entry.name,
            role: entry.role.as_str(),
            head,
            created_at: seconds(entry.created_us),
            archived_at: entry.archived_us.map(seconds),
        };
        Self { kind: "space", content }
    }
}

impl<'a> Line<RowView<'a>> {
    pub(super) fn row(space: SpaceId, row: &'a Row) -> Self {
        let content = RowView {
            space_id: uuid(&space.0),
            table: &row.table,
            id: row.id.to_text(),
            fields: fields(row),
            seq: row.last_seq,
            creator_id: row.creator.map(|user| UserId(user).to_string()),
        };
        Self { kind: "row", content }
    }
}

/// The fields of a row as a JSON object of plain values.
fn fields(row: &Row) -> Box<RawValue> {
    let mut json = vec![b'{'];
    for (at, field) in row.fields.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend(serde_json::to_vec(&*field.name).unwrap_or_default());
        json.push(b':');
        write_plain(&mut json, &field.value, false);
    }
    json.push(b'}');
    let json = String::from_utf8(json).ok().and_then(|json| RawValue::from_string(json).ok());
    json.unwrap_or_else(|| RawValue::NULL.to_owned())
}

impl<'a> Line<ChangeView<'a>> {
    pub(super) fn change(kind: &'static str, space: SpaceId, line: &'a AuditLine) -> Self {
        let record = &line.record;
        let (verdict, code) = verdict(record.verdict);
        let content = ChangeView {
            space_id: uuid(&space.0),
            seq: record.seq,
            id: String::from_utf8_lossy(&format_uuid(&record.id.0, record.id_spelling)).into_owned(),
            user_id: line.user.map(|user| UserId(user).to_string()),
            verdict,
            code,
            at: seconds(record.time_us),
            arrived_at: seconds(record.arrived_us),
            entry: String::from_utf8_lossy(&record.raw),
        };
        Self { kind, content }
    }
}

fn verdict(verdict: Verdict) -> (&'static str, Option<&'static str>) {
    match verdict {
        Verdict::Applied => ("applied", None),
        Verdict::Merged => ("merged", None),
        Verdict::Superseded => ("superseded", None),
        Verdict::Duplicate => ("duplicate", None),
        Verdict::Ignored => ("ignored", None),
        Verdict::Rejected(code) => ("rejected", Some(code.as_str())),
    }
}

/// The event's own kind is its `event`: `kind` is that of the line.
#[derive(Serialize)]
pub(super) struct Noted {
    event: EventView,
}

impl Line<Noted> {
    pub(super) fn event(event: EventView) -> Self {
        Self { kind: "event", content: Noted { event } }
    }
}
