//! What a connection may see and asked to see of a space.
//!
//! A view has two halves, and the version of the app's schema that the client declares. What the user *may read* follows from role and policy, by the table of a row and the user who
//! created it; neither ever changes for a row. What the client *asked for* is a filter, by tables and by values, and the
//! values change: a row may leave the filter and come back.
//!
//! The version shows no row more or less. But an app drops columns and tables that it does not know, remembers what it was sent,
//! and never asks again: when it comes with a later version, what it was sent in an earlier one counts as not known.
//!
//! Minted ids and cursors belong to the view that they were made in. The view that shows everything, to a client that declares
//! no version, is number 0.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::hash::Hasher;

use bytes::Bytes;
use lattice_protocol::change::LINK_COLUMNS;
use lattice_protocol::names::linked_tables;
use lattice_protocol::plain::Filter;
use siphasher::sip::SipHasher24;

use crate::access::{Policy, Reach, Role, Unlisted};
use crate::mutation::Mutation;
use crate::rows::{End, Row};
use crate::types::Seq;

/// Names views: a fixed key, since a view has the same number on every instance.
const VIEW_KEY: &[u8; 16] = b"lattice.view.v1.";
/// In a definition: links are shown only with their ends.
const BINDS_LINKS: char = '>';

/// What one connection sees of a space.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    /// Of tables that are not in `tables`.
    default: Reach,
    /// Tables of which more or less is seen than of the others.
    tables: BTreeMap<String, Reach>,
    /// The user, where it makes a difference.
    user: Option<[u8; 16]>,
    filter: Option<Arc<Filter>>,
    /// Links are shown only with their ends. Views of before, which some replicas were sent, showed them by their table alone.
    binds_links: bool,
    schema: Option<u64>,
    id: u64,
    /// The number that it has without the version of the schema.
    rows_id: u64,
}

impl Default for View {
    fn default() -> Self {
        Self::everything()
    }
}

impl View {
    /// The view that shows everything: number 0.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            default: Reach::All,
            tables: BTreeMap::new(),
            user: None,
            filter: None,
            binds_links: false,
            schema: None,
            id: 0,
            rows_id: 0,
        }
    }

    /// What `policy` lets a user with this role read, and of that what `filter` asks for. In a private space (`private`)
    /// every row is the user's own.
    #[must_use]
    pub fn new(
        policy: &Policy,
        role: Role,
        user: [u8; 16],
        private: bool,
        filter: Option<Arc<Filter>>,
    ) -> Self {
        let reach = |permission: crate::Permission| match permission.reach(role) {
            Reach::Own if private => Reach::All,
            reach => reach,
        };
        let default = match policy.unlisted_tables {
            Unlisted::Allow => reach(policy.default.read),
            Unlisted::Deny => Reach::Nothing,
        };
        let tables = policy.tables.iter().map(|(table, policy)| (table.clone(), reach(policy.read)));
        Self::of(default, tables.collect(), user, filter, true)
    }

    fn of(
        default: Reach,
        mut tables: BTreeMap<String, Reach>,
        user: [u8; 16],
        filter: Option<Arc<Filter>>,
        binds_links: bool,
    ) -> Self {
        tables.retain(|_, reach| *reach != default);
        let filter = filter.filter(|filter| !filter.is_everything());
        let own = default == Reach::Own || tables.values().any(|reach| *reach == Reach::Own);
        let binds_links = binds_links && (default != Reach::All || !tables.is_empty());
        let user = own.then_some(user);
        let mut view = Self { default, tables, user, filter, binds_links, ..Self::everything() };
        if view != Self::everything() {
            view.rows_id = view.number();
            view.id = view.rows_id;
        }
        view
    }

    /// The same rows, for a client that declares this version of its app's schema.
    #[must_use]
    pub fn with_schema(mut self, version: Option<u64>) -> Self {
        self.schema = version;
        self.id = if version.is_some() { self.number() } else { self.rows_id };
        self
    }

    fn number(&self) -> u64 {
        let mut hasher = SipHasher24::new_with_key(VIEW_KEY);
        hasher.write(self.definition().as_bytes());
        hasher.finish().max(1)
    }

    /// Its number: the same for equal views, 0 for the one that shows everything to a client that declares no version.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it may show less than everything.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.rows_id != 0
    }

    /// The version of the app's schema that the client declares.
    #[must_use]
    pub fn schema(&self) -> Option<u64> {
        self.schema
    }

    /// Whether both show the same rows, whatever versions of a schema they are for.
    #[must_use]
    pub fn shows_same_rows(&self, other: &Self) -> bool {
        self.rows_id == other.rows_id
    }

    /// Whether an app that was sent the other view may have dropped columns or tables that this one's app knows.
    #[must_use]
    pub fn is_for_later_schema(&self, other: &Self) -> bool {
        self.schema > other.schema && !Mutation::SameSchema.is_active()
    }

    /// Whether the client asked for less than it may see.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// The view as text, from which [`View::parse`] makes it again: `[VERSION@][>]DEFAULT[,TABLE=REACH…]|USER|FILTER`.
    #[must_use]
    pub fn definition(&self) -> String {
        let mut text = String::new();
        if let Some(version) = self.schema {
            // Writing to a string does not fail.
            let _ = write!(text, "{version}@");
        }
        if self.binds_links {
            text.push(BINDS_LINKS);
        }
        text.push_str(letter(self.default));
        for (table, reach) in &self.tables {
            text.push(',');
            text.push_str(table);
            text.push('=');
            text.push_str(letter(*reach));
        }
        text.push('|');
        for byte in self.user.iter().flatten() {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('|');
        text.push_str(&self.filter.as_ref().map_or_else(String::new, |filter| filter.canonical()));
        text
    }

    /// The view with this definition.
    #[must_use]
    pub fn parse(definition: &str) -> Option<Self> {
        let mut parts = definition.splitn(3, '|');
        let (reaches, user, filter) = (parts.next()?, parts.next()?, parts.next()?);
        let (schema, reaches) = match reaches.split_once('@') {
            Some((version, reaches)) => (Some(version.parse().ok()?), reaches),
            None => (None, reaches),
        };
        let (reaches, binds_links) = match reaches.strip_prefix(BINDS_LINKS) {
            Some(reaches) => (reaches, true),
            None => (reaches, false),
        };
        let mut reaches = reaches.split(',');
        let default = reach_of(reaches.next()?)?;
        let table = |entry: &str| {
            let (table, reach) = entry.split_once('=')?;
            Some((table.to_string(), reach_of(reach)?))
        };
        let tables = reaches.map(table).collect::<Option<BTreeMap<_, _>>>()?;
        let user = if user.is_empty() { Some([0; 16]) } else { user_of(user) };
        let filter = match filter {
            "" => None,
            text => Some(Arc::new(Filter::parse(&Bytes::copy_from_slice(text.as_bytes())).ok()?)),
        };
        Some(Self::of(default, tables, user?, filter, binds_links).with_schema(schema))
    }

    /// Whether the user may read the row, whatever the client asked for. A link they may read only together with the rows that it
    /// names, as far as these are known.
    #[must_use]
    pub fn may_read(&self, row: &Row) -> bool {
        self.may_read_alone(row) && (!self.binds(row) || self.may_read_ends(row, &row.ends().rows))
    }

    /// Whether the user may read a row now, or it is a link that they might read after `base`, before one of its ends was created. `reached`
    /// says, of the seq of that, up to where links may have been sent to them that were created before.
    #[must_use]
    pub(crate) fn might_read(&self, row: &Row, base: Seq, reached: impl Fn(Seq) -> Seq) -> bool {
        let born = if row.born_seq == 0 { row.created_seq } else { row.born_seq };
        // Their own they hold in any case. Of whose own is not said where it makes no difference to what is read.
        let own = || row.creator.is_some() && (self.user.is_none() || row.creator == self.user);
        let was_open = |since: &Seq| {
            *since > base
                && (born <= reached(*since) || own())
                && self.may_read_ends(row, &row.ends().before(*since))
        };
        let once = || self.binds(row) && self.may_read_alone(row) && row.ends().since.iter().any(was_open);
        self.may_read(row) || once()
    }

    /// Whether the row is a link that is shown only with its ends.
    fn binds(&self, row: &Row) -> bool {
        let all = Mutation::LinksStay.is_active() || Mutation::LeakyViews.is_active();
        self.binds_links && row.pair.is_some() && !all
    }

    fn may_read_alone(&self, row: &Row) -> bool {
        Mutation::LeakyViews.is_active() || self.reaches(&row.table, row.creator)
    }

    /// Of a row that does not exist yet its table counts, where the name of the link table leaves no doubt about it.
    fn may_read_ends(&self, row: &Row, ends: &[Option<End>; 2]) -> bool {
        let [parents, children] = linked_tables(&row.table);
        let is_typed =
            row.field(LINK_COLUMNS[2]).is_some() || row.former.iter().any(|name| name == LINK_COLUMNS[2]);
        let children = if is_typed { Vec::new() } else { children };
        ends.iter().zip([parents, children]).all(|(end, tables)| match (end, &tables[..]) {
            (Some(End { table, creator }), _) => self.reaches(table, *creator),
            (None, [table]) => self.reach(table) != Reach::Nothing,
            (None, _) => true,
        })
    }

    fn reach(&self, table: &str) -> Reach {
        self.tables.get(table).copied().unwrap_or(self.default)
    }

    /// Whether the user may read the rows of a table that this user created.
    fn reaches(&self, table: &str, creator: Option<[u8; 16]>) -> bool {
        match self.reach(table) {
            Reach::All => true,
            Reach::Own => creator.is_some() && creator == self.user,
            Reach::Nothing => false,
        }
    }

    /// Whether the filter lists the row's table.
    #[must_use]
    pub fn lists(&self, row: &Row) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.names_table(&row.table))
    }

    /// Whether the row is shown as it is now. A tombstone has no values: it is shown where its table is.
    #[must_use]
    pub fn shows(&self, row: &Row) -> bool {
        self.may_read(row) && self.lists(row) && (row.deleted || self.matches(row))
    }

    /// Whether it is what these rights show with its filter: of a view that was made a moment ago, whether they still hold.
    #[must_use]
    pub fn is_of(&self, policy: &Policy, role: Role, user: [u8; 16], private: bool) -> bool {
        Self::new(policy, role, user, private, self.filter.clone()).with_schema(self.schema).id == self.id
            || Mutation::OutdatedViews.is_active()
    }

    /// Whether the row's values pass the filter.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        let value = |name: &str| row.field(name).map(|field| &field.value[..]);
        self.filter.as_ref().is_none_or(|filter| filter.matches(&row.table, value))
    }

    /// The last seq that set a field which the filter reads of this row: since then [`View::matches`] is as it is now. 0
    /// where it reads none.
    #[must_use]
    pub fn matches_since(&self, row: &Row) -> Seq {
        let Some(filter) = &self.filter else { return 0 };
        let fields = filter.columns(&row.table).filter_map(|column| row.field(column));
        fields.map(|field| field.stamp.seq).max().unwrap_or(0)
    }
}

fn letter(reach: Reach) -> &'static str {
    match reach {
        Reach::Nothing => "n",
        Reach::Own => "o",
        Reach::All => "a",
    }
}

fn reach_of(letter: &str) -> Option<Reach> {
    match letter {
        "n" => Some(Reach::Nothing),
        "o" => Some(Reach::Own),
        "a" => Some(Reach::All),
        _ => None,
    }
}

fn user_of(hex: &str) -> Option<[u8; 16]> {
    let mut user = [0; 16];
    if hex.len() != 2 * user.len() || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in user.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(user)
}

/// A view that a client was shown, or may have been.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// The view.
    pub view: Arc<View>,
    /// What stood only before this seq was never shown in it; 0 where that is not known.
    pub from: Seq,
    /// Rows that were created after this seq were never shown in it: by then the user might not read as much any more.
    pub until: Seq,
}

/// What a replica may hold from before its stream has this view.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Prior {
    /// The views that it has been sent, in part at least.
    pub views: Vec<Shown>,
    /// Of rows that all of them show, it has the state at this seq, or later.
    pub base: Seq,
    /// The user: rows that they created themselves are no secret to them.
    pub user: [u8; 16],
    /// It was sent them for an earlier version of the app, which may have dropped a part of any row.
    pub outdated: bool,
}

impl Prior {
    /// Whether the replica has the row as it was at `base`, if it existed then.
    pub(crate) fn knew(&self, row: &Row) -> bool {
        (!self.outdated
            && self
                .views
                .iter()
                .all(|Shown { view, .. }| view.shows(row) && view.matches_since(row) <= self.base))
            || Mutation::ForeignCursor.is_active()
    }

    /// Whether the replica may hold the row.
    pub(crate) fn may_hold(&self, row: &Row) -> bool {
        let unsure = |view: &View| view.matches_since(row) > self.base;
        self.views.iter().any(|Shown { view, from, until }| {
            // Of a row that was revived it may hold an earlier life. One that was only ever deleted nobody held.
            let (born, again) = match row.born_seq {
                0 => (row.created_seq, row.revived),
                born => (born, false),
            };
            // Its own rows it holds whenever they were made. In a private space, where no creator is kept, all are.
            let own = row.creator.map_or(row.created_seq > 0, |creator| creator == self.user);
            let could = (1..=*until).contains(&born) || again || own;
            could
                && view.might_read(row, self.base.max(*from), |_| *until)
                && view.lists(row)
                && (row.deleted || view.matches(row) || unsure(view))
        })
    }
}
