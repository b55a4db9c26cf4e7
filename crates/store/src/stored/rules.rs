//! How merge rules are written.

use lattice_engine::{Rule, Rules};

/// Rules are stored as words: the default rule, then `table=rule` for each table that has its own.
pub(crate) fn parse(text: &str) -> Option<Rules> {
    let mut words = text.split_ascii_whitespace();
    let mut rules = Rules { default: Rule::parse(words.next()?)?, ..Rules::default() };
    for word in words {
        let (table, rule) = word.split_once('=')?;
        rules.tables.insert(table.to_owned(), Rule::parse(rule)?);
    }
    Some(rules)
}

/// The stored form of rules.
pub(crate) fn text(rules: &Rules) -> String {
    let tables = rules.tables.iter().map(|(table, rule)| format!(" {table}={}", rule.as_str()));
    std::iter::once(rules.default.as_str().to_owned()).chain(tables).collect()
}
