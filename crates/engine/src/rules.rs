//! Merge rules as data: a space has a default and may name another rule for a table; so may its policy, which comes first.

use alloc::{collections::BTreeMap, string::String};

use serde::{Deserialize, Serialize};

/// How concurrent changes of one row are merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Last-write-wins field by field; a change may win in part.
    #[default]
    Field,
    /// Last-write-wins by the whole row: a change that is older than anything in the row changes nothing.
    Row,
}

impl Rule {
    /// The rule's name in configuration and storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Row => "row",
        }
    }

    /// The rule with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "field" => Some(Self::Field),
            "row" => Some(Self::Row),
            _ => None,
        }
    }
}

/// The rules of a space.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// For every table that is not named.
    pub default: Rule,
    /// By table name.
    pub tables: BTreeMap<String, Rule>,
}

impl Rules {
    /// The rule that holds for a table.
    #[must_use]
    pub fn of(&self, table: &str) -> Rule {
        self.tables.get(table).copied().unwrap_or(self.default)
    }
}
