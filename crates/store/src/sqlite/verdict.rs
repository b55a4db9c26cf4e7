//! How verdicts are stored: by their stable names.

use lattice_engine::Verdict;
use lattice_protocol::Code;

/// The stored form: `applied`, …, or `rejected:` and the code.
pub(crate) fn to_text(verdict: Verdict) -> std::borrow::Cow<'static, str> {
    match verdict {
        Verdict::Applied => "applied".into(),
        Verdict::Merged => "merged".into(),
        Verdict::Superseded => "superseded".into(),
        Verdict::Duplicate => "duplicate".into(),
        Verdict::Ignored => "ignored".into(),
        Verdict::Rejected(code) => format!("{REJECTED}{code}").into(),
    }
}

/// Reads the stored form.
pub(crate) fn from_text(text: &str) -> Option<Verdict> {
    Some(match text {
        "applied" => Verdict::Applied,
        "merged" => Verdict::Merged,
        "superseded" => Verdict::Superseded,
        "duplicate" => Verdict::Duplicate,
        "ignored" => Verdict::Ignored,
        _ => Verdict::Rejected(Code::parse(text.strip_prefix(REJECTED)?)?),
    })
}

/// Prefix of the verdicts of refused changes.
pub(crate) const REJECTED: &str = "rejected:";
