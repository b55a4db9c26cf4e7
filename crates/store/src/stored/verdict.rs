//! How verdicts are written with single lines of the audit log: by their stable names.

use std::borrow::Cow;

use lattice_engine::Verdict;
use lattice_protocol::Code;

/// Reads the stored form: `applied`, …, or `rejected:` and the code.
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

/// The stored form of a verdict.
pub(crate) fn to_text(verdict: Verdict) -> Cow<'static, str> {
    Cow::Borrowed(match verdict {
        Verdict::Applied => "applied",
        Verdict::Merged => "merged",
        Verdict::Superseded => "superseded",
        Verdict::Duplicate => "duplicate",
        Verdict::Ignored => "ignored",
        Verdict::Rejected(code) => return Cow::Owned(format!("{REJECTED}{code}")),
    })
}

/// Prefix of the verdicts of refused changes.
const REJECTED: &str = "rejected:";

#[cfg(test)]
mod tests {
    use lattice_engine::Verdict;
    use lattice_protocol::Code;

    #[test]
    fn what_is_written_is_read() {
        let words =
            [Verdict::Applied, Verdict::Merged, Verdict::Superseded, Verdict::Duplicate, Verdict::Ignored];
        for verdict in words.into_iter().chain([Verdict::Rejected(Code::BadValue)]) {
            assert_eq!(super::from_text(&super::to_text(verdict)), Some(verdict));
        }
        assert_eq!(super::from_text("rejected:"), None);
    }
}
