//! How verdicts were stored, with each line of the audit log, before there were blocks: by their stable names.

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

/// Prefix of the verdicts of refused changes.
const REJECTED: &str = "rejected:";
