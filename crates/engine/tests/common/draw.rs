//! What histories draw.

use std::sync::Arc;

use bytes::Bytes;
use lattice_engine::{Permission, Policy, Role, Rule, TablePolicy, Unlisted};
use lattice_protocol::plain::Filter;

use super::history::TABLES;

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// An id of version 4.
    pub(crate) fn uuid(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }
}

pub(crate) fn role(rng: &mut Rng) -> Option<Role> {
    *rng.pick(&[
        None,
        Some(Role::Viewer),
        Some(Role::Viewer),
        Some(Role::Editor),
        Some(Role::Editor),
        Some(Role::Owner),
    ])
}

pub(crate) fn permission(rng: &mut Rng, usual: Role) -> Permission {
    match rng.below(10) {
        0 => Permission::NOBODY,
        1 => Permission::from(Role::Owner),
        2 => Permission::from(Role::Editor),
        3 => Permission { any: Some(Role::Owner), own: Some(Role::Viewer) },
        4 => Permission { any: None, own: Some(Role::Viewer) },
        _ => Permission::from(usual),
    }
}

pub(crate) fn policy(rng: &mut Rng) -> Policy {
    let mut table = || TablePolicy {
        read: permission(rng, Role::Viewer),
        insert: permission(rng, Role::Editor),
        update: permission(rng, Role::Editor),
        delete: permission(rng, Role::Editor),
        merge: *rng.pick(&[None, None, None, None, Some(Rule::Row), Some(Rule::Field)]),
    };
    let (default, named) = (table(), [table(), table(), table()]);
    let mut policy = Policy { default, ..Policy::default() };
    for (name, table) in TABLES.iter().zip(named) {
        if rng.chance(60) {
            policy.tables.insert((*name).to_owned(), table);
        }
    }
    if rng.chance(15) {
        policy.unlisted_tables = Unlisted::Deny;
    }
    if rng.chance(20) {
        policy.max_deletes_per_frame = Some(1);
    }
    if rng.chance(30) { Policy::default() } else { policy }
}

pub(crate) fn filter(rng: &mut Rng) -> Option<Arc<Filter>> {
    let text = *rng.pick(&[
        "",
        "",
        "",
        r#"{"tables":["Doc","_Doc_Note_links"]}"#,
        r#"{"where":{"Doc":{"a":1}}}"#,
        r#"{"where":{"Doc":{"a":{"gte":1}},"Note":{"b":{"ne":2}}}}"#,
        r#"{"tables":["Doc","Note"],"where":{"Note":{"a":{"in":[0,2]}}}}"#,
    ]);
    (!text.is_empty())
        .then(|| Arc::new(Filter::parse(&Bytes::from_static(text.as_bytes())).expect("a filter")))
}
