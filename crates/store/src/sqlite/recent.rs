//! What was committed and is not flushed yet: in memory, in generations, each of which is flushed as a whole.
//!
//! Everything here has versions, numbered by the blocks of the log that brought them. A reader takes its [`Snapshot`] together
//! with its snapshot of the database: it sees what was published up to then, in generations that it keeps alive. What it
//! finds there counts before what the tables say, so it does not matter how much of a generation is flushed already: a
//! generation takes no more changes from the moment on that flushing it may begin, and by then all of it is published.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{PairKey, Receipt, RowRef, Seq, SpaceHead};
use lattice_protocol::{EntryId, RowKey};

use crate::StoreError;

/// Numbers a block of the log: 1, 2, 3, … in the order of commits.
pub(super) type BlockNo = i64;

/// How much is kept in memory before it is flushed.
#[derive(Clone, Copy, Debug)]
pub struct RecentLimits {
    /// Changes and rows of a generation. More make flushing cheaper: more of what is flushed at once shares pages.
    pub max_generation_items: usize,
    /// Bytes of the rows of a generation.
    pub max_generation_bytes: usize,
    /// Flushed rows that have left their addresses in a generation. Whoever reads a space from its start steps over them.
    pub max_generation_moves: usize,
}

impl Default for RecentLimits {
    fn default() -> Self {
        Self { max_generation_items: 100_000, max_generation_bytes: 32 << 20, max_generation_moves: 16_384 }
    }
}

/// The values that something had, by the blocks that set them.
struct Versions<T> {
    newest: (BlockNo, T),
    older: Vec<(BlockNo, T)>,
}

impl<T> Versions<T> {
    fn new(no: BlockNo, value: T) -> Self {
        Self { newest: (no, value), older: Vec::new() }
    }

    fn push(&mut self, no: BlockNo, value: T) {
        let before = std::mem::replace(&mut self.newest, (no, value));
        if before.0 != no {
            self.older.push(before);
        }
    }

    /// As of a block.
    fn at(&self, upto: BlockNo) -> Option<&T> {
        if self.newest.0 <= upto {
            return Some(&self.newest.1);
        }
        self.older.iter().rev().find(|(no, _)| *no <= upto).map(|(_, value)| value)
    }

    /// Forgets what blocks from this one on set. False when nothing is left.
    fn take_back(&mut self, from: BlockNo) -> bool {
        while self.newest.0 >= from {
            match self.older.pop() {
                Some(before) => self.newest = before,
                None => return false,
            }
        }
        true
    }
}

/// What a generation holds of one space.
#[derive(Default)]
struct Items {
    /// The space's last seq before the generation; 0 where that is not known. Addresses up to it may be flushed.
    base: Seq,
    head: Option<Versions<SpaceHead>>,
    receipts: HashMap<EntryId, (BlockNo, Receipt)>,
    /// Rows by their seqs; `None` where one has left its address.
    rows: BTreeMap<Seq, Versions<Option<Bytes>>>,
    /// Where rows are, by table and key.
    keys: HashMap<ByteString, HashMap<RowKey, Versions<Seq>>>,
    pairs: HashMap<PairKey, Versions<Option<RowRef>>>,
    /// Blocks with audit lines, by the last line of each.
    blocks: Vec<(Seq, BlockNo)>,
}

/// The items of some blocks that follow one another.
#[derive(Default)]
pub(super) struct Generation {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    spaces: HashMap<u32, Items>,
    items: usize,
    bytes: usize,
    moves: usize,
    last_block: BlockNo,
    /// It was read from the log: parts of it may have been flushed before.
    reloaded: bool,
}

impl Generation {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, limits: RecentLimits) -> bool {
        let inner = self.read();
        inner.items >= limits.max_generation_items
            || inner.bytes >= limits.max_generation_bytes
            || inner.moves >= limits.max_generation_moves
    }
}

/// Adds what one block says to the current generation. Nobody sees it before it is published.
pub(super) struct Staging<'a> {
    inner: RwLockWriteGuard<'a, Inner>,
    space: u32,
    no: BlockNo,
}

impl Staging<'_> {
    fn items(&mut self) -> &mut Items {
        self.inner.items += 1;
        self.inner.spaces.entry(self.space).or_default()
    }

    /// The space's counters.
    pub(super) fn head(&mut self, head: SpaceHead) {
        let no = self.no;
        match &mut self.items().head {
            Some(versions) => versions.push(no, head),
            none => *none = Some(Versions::new(no, head)),
        }
    }

    /// A change that was received.
    pub(super) fn receipt(&mut self, id: EntryId, receipt: Receipt) {
        let no = self.no;
        self.items().receipts.entry(id).or_insert((no, receipt));
    }

    /// A row that is stored at `seq` from now on.
    pub(super) fn row(&mut self, stored_at: Option<Seq>, table: &str, key: &RowKey, seq: Seq, state: Bytes) {
        let no = self.no;
        self.inner.bytes += state.len();
        let inner = &mut *self.inner;
        inner.items += 1;
        let items = inner.spaces.entry(self.space).or_default();
        if let Some(left) = stored_at.filter(|left| *left != seq) {
            inner.moves += usize::from(left <= items.base);
            put(items.rows.entry(left), no, None);
        }
        put(items.rows.entry(seq), no, Some(state));
        // The names of tables are copied: they may be slices of a whole frame.
        let keys = match items.keys.get_mut(table) {
            Some(keys) => keys,
            None => items.keys.entry(ByteString::from(table)).or_default(),
        };
        match keys.entry(key.clone()) {
            Entry::Occupied(mut held) => held.get_mut().push(no, seq),
            Entry::Vacant(place) => {
                place.insert(Versions::new(no, seq));
            }
        }
    }

    /// A pair of link rows.
    pub(super) fn pair(&mut self, pair: PairKey, keeper: Option<RowRef>) {
        let no = self.no;
        let keeper = keeper.map(|keeper| RowRef { table: ByteString::from(&*keeper.table), key: keeper.key });
        match self.items().pairs.entry(pair) {
            Entry::Occupied(mut held) => held.get_mut().push(no, keeper),
            Entry::Vacant(place) => {
                place.insert(Versions::new(no, keeper));
            }
        }
    }

    /// The block with the audit lines up to this one.
    pub(super) fn block(&mut self, last_record: Seq, no: BlockNo) {
        self.items().blocks.push((last_record, no));
    }
}

fn put(
    place: std::collections::btree_map::Entry<'_, Seq, Versions<Option<Bytes>>>,
    no: BlockNo,
    state: Option<Bytes>,
) {
    match place {
        std::collections::btree_map::Entry::Occupied(mut held) => held.get_mut().push(no, state),
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(Versions::new(no, state));
        }
    }
}

/// All generations, oldest first; the last one takes what comes.
struct State {
    generations: Vec<Arc<Generation>>,
    published: BlockNo,
    /// The current generation is to take no more, full or not.
    seal_next: bool,
}

/// What is not flushed yet. The writer changes it, everybody reads it.
pub(super) struct Recent {
    state: RwLock<State>,
    limits: RecentLimits,
}

impl Recent {
    /// Nothing, after everything up to `flushed`.
    pub(super) fn new(limits: RecentLimits, flushed: BlockNo) -> Self {
        let state = State { generations: vec![Arc::default()], published: flushed, seal_next: false };
        Self { state: RwLock::new(state), limits }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is published, together with a snapshot that `begin` begins. Nothing is published and no generation is given up
    /// meanwhile, so the snapshot of the tables and that of the memory are of one moment.
    pub(super) fn begin<T>(
        &self,
        begin: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(T, Snapshot), StoreError> {
        let state = self.state();
        let begun = begin()?;
        Ok((begun, Snapshot { generations: state.generations.clone(), upto: state.published }))
    }

    /// What is published now.
    pub(super) fn published_snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot { generations: state.generations.clone(), upto: state.published }
    }

    /// Everything, staged changes included: what the writer sees inside its transaction.
    pub(super) fn staged(&self) -> Snapshot {
        Snapshot { generations: self.state().generations.clone(), upto: BlockNo::MAX }
    }

    /// The number of the last block that was published.
    pub(super) fn published(&self) -> BlockNo {
        self.state().published
    }

    /// Adds what the blocks up to `no` say of a space, whose last seq was `before`.
    pub(super) fn stage<T>(
        &self,
        space: u32,
        before: Seq,
        no: BlockNo,
        add: impl FnOnce(&mut Staging<'_>) -> T,
    ) -> T {
        let current = self.state().generations.last().cloned().unwrap_or_default();
        let mut inner = current.write();
        inner.last_block = no;
        let base = if inner.reloaded { 0 } else { before };
        inner.spaces.entry(space).or_insert_with(|| Items { base, ..Items::default() });
        add(&mut Staging { inner, space, no })
    }

    /// Forgets what was staged for this block and later ones.
    pub(super) fn take_back(&self, from: BlockNo) {
        let current = self.state().generations.last().cloned().unwrap_or_default();
        let mut inner = current.write();
        inner.last_block = from - 1;
        inner.spaces.retain(|_, items| {
            if items.head.as_mut().is_some_and(|head| !head.take_back(from)) {
                items.head = None;
            }
            items.receipts.retain(|_, (no, _)| *no < from);
            items.rows.retain(|_, versions| versions.take_back(from));
            items.keys.values_mut().for_each(|keys| keys.retain(|_, versions| versions.take_back(from)));
            items.pairs.retain(|_, versions| versions.take_back(from));
            items.blocks.retain(|(_, no)| *no < from);
            items.head.is_some()
        });
    }

    /// Everybody may see what was staged up to this block. With `flushed`, the oldest generation is in the tables now.
    pub(super) fn publish(&self, upto: BlockNo, flushed: bool) {
        let mut state = self.state_mut();
        state.published = upto;
        if flushed {
            state.generations.remove(0);
        }
        let sealed = std::mem::take(&mut state.seal_next);
        let is_full = |current: &Arc<Generation>| {
            current.is_full(self.limits) || (sealed && current.read().last_block > 0)
        };
        if state.generations.last().is_none_or(is_full) {
            state.generations.push(Arc::default());
        }
    }

    /// The current generation takes no more once what was staged is published, however little it holds.
    pub(super) fn seal_at_publish(&self) {
        self.state_mut().seal_next = true;
    }

    /// The oldest generation, once it takes no more.
    pub(super) fn oldest(&self) -> Option<Arc<Generation>> {
        match &self.state().generations[..] {
            [oldest, _, ..] => Some(Arc::clone(oldest)),
            _ => None,
        }
    }

    /// The current generation holds what was read from the log.
    pub(super) fn mark_reloaded(&self) {
        if let Some(current) = self.state().generations.last() {
            current.write().reloaded = true;
        }
    }

    /// What was read from the log takes no more.
    pub(super) fn seal(&self) {
        let mut state = self.state_mut();
        if state.generations.last().is_some_and(|current| current.read().last_block > 0) {
            state.generations.push(Arc::default());
        }
    }

    /// Items of the current generation.
    pub(super) fn current_items(&self) -> usize {
        self.state().generations.last().map_or(0, |current| current.read().items)
    }
}

/// What is not flushed yet, as of a block.
pub struct Snapshot {
    /// Oldest first.
    generations: Vec<Arc<Generation>>,
    upto: BlockNo,
}

impl Snapshot {
    /// Looks something up, in the newest generation that has it.
    fn find<T>(&self, space: u32, find: impl Fn(&Items) -> Option<T>) -> Option<T> {
        self.generations.iter().rev().find_map(|generation| find(generation.read().spaces.get(&space)?))
    }

    /// The space's counters.
    pub(super) fn head(&self, space: u32) -> Option<SpaceHead> {
        self.find(space, |items| items.head.as_ref()?.at(self.upto).copied())
    }

    /// What is remembered of a change.
    pub(super) fn receipt(&self, space: u32, id: EntryId) -> Option<Receipt> {
        self.find(space, |items| {
            items.receipts.get(&id).filter(|(no, _)| *no <= self.upto).map(|(_, known)| *known)
        })
    }

    /// What any space remembers of a change.
    pub(super) fn receipt_anywhere(&self, id: EntryId) -> Option<Receipt> {
        let mut spaces: Vec<u32> = Vec::new();
        self.generations
            .iter()
            .for_each(|generation| spaces.extend(generation.read().spaces.keys().copied()));
        spaces.into_iter().find_map(|space| self.receipt(space, id))
    }

    /// A row, with where it is.
    pub(super) fn row(&self, space: u32, reference: &RowRef) -> Option<(Seq, Bytes)> {
        self.find(space, |items| {
            let seq = *items.keys.get(&reference.table)?.get(&reference.key)?.at(self.upto)?;
            Some((seq, items.rows.get(&seq)?.at(self.upto)?.clone()?))
        })
    }

    /// The live row of a pair.
    pub(super) fn pair(&self, space: u32, pair: PairKey) -> Option<Option<RowRef>> {
        self.find(space, |items| items.pairs.get(&pair)?.at(self.upto).cloned())
    }

    /// All pairs of a space that are in memory.
    pub(super) fn pairs(&self, space: u32) -> BTreeMap<PairKey, Option<RowRef>> {
        let mut found = BTreeMap::new();
        // Newer generations come later.
        for generation in &self.generations {
            let inner = generation.read();
            let Some(items) = inner.spaces.get(&space) else { continue };
            let seen = |(pair, versions): (&PairKey, &Versions<Option<RowRef>>)| {
                Some((*pair, versions.at(self.upto)?.clone()))
            };
            found.extend(items.pairs.iter().filter_map(seen));
        }
        found
    }

    /// Blocks with audit lines after a seq, each with its last line; at most so many from each generation.
    pub(super) fn blocks(&self, space: u32, after: Seq, most: usize) -> Vec<(Seq, BlockNo)> {
        let mut found = Vec::new();
        for generation in &self.generations {
            let inner = generation.read();
            let Some(items) = inner.spaces.get(&space) else { continue };
            let start = items.blocks.partition_point(|(seq, _)| *seq <= after);
            let seen = items.blocks[start..].iter().filter(|(_, no)| *no <= self.upto);
            found.extend(seen.take(most).copied());
        }
        found
    }

    /// The last blocks of a space, each with its last line: so many from each generation.
    pub(super) fn last_blocks(&self, space: u32, most: usize) -> Vec<(Seq, BlockNo)> {
        let mut found = Vec::new();
        for generation in &self.generations {
            let inner = generation.read();
            let Some(items) = inner.spaces.get(&space) else { continue };
            let seen = items.blocks.iter().rev().filter(|(_, no)| *no <= self.upto);
            found.extend(seen.take(most).copied());
        }
        found
    }

    /// The rows of a space after a seq, in order, `None` where one has left its address.
    pub(super) fn rows(&self, space: u32, after: Seq) -> Rows<'_> {
        let readers = self.generations.iter().map(|generation| RowReader {
            generation,
            after: Some(after),
            read: Vec::new(),
        });
        Rows { snapshot: self, space, readers: readers.collect() }
    }
}

/// Rows that are read from a generation under one lock.
const ROWS_AT_ONCE: usize = 256;

/// Reads the rows of one generation.
struct RowReader<'a> {
    generation: &'a Generation,
    /// Where to go on; `None` at the end.
    after: Option<Seq>,
    /// What was read, last one first.
    read: Vec<(Seq, Option<Bytes>)>,
}

/// The rows of all generations of a snapshot.
pub(super) struct Rows<'a> {
    snapshot: &'a Snapshot,
    space: u32,
    readers: Vec<RowReader<'a>>,
}

impl Iterator for Rows<'_> {
    type Item = (Seq, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        let (space, upto) = (self.space, self.snapshot.upto);
        let next = self.readers.iter_mut().filter_map(|reader| reader.peek(space, upto)).min()?;
        let mut newest = None;
        for reader in &mut self.readers {
            if reader.peek(space, upto) == Some(next) {
                newest = reader.read.pop();
            }
        }
        newest
    }
}

impl RowReader<'_> {
    fn peek(&mut self, space: u32, upto: BlockNo) -> Option<Seq> {
        while self.read.is_empty() {
            let after = self.after?;
            let inner = self.generation.read();
            let Some(items) = inner.spaces.get(&space) else {
                self.after = None;
                return None;
            };
            self.after = None;
            for (seq, versions) in items.rows.range(after + 1..) {
                if let Some(state) = versions.at(upto) {
                    self.read.push((*seq, state.clone()));
                    if self.read.len() == ROWS_AT_ONCE {
                        self.after = Some(*seq);
                        break;
                    }
                }
            }
            self.read.reverse();
        }
        self.read.last().map(|(seq, _)| *seq)
    }
}

/// What is to be written of one space, in the order of one table. See [`Generation::list`].
pub(super) enum List {
    /// Row addresses and what is there; `None` where something may have to go.
    Rows(Vec<(Seq, Option<Bytes>)>),
    /// Row keys and their addresses.
    Keys(Vec<(RowKey, ByteString, Seq)>),
    /// Receipts.
    Receipts(Vec<(EntryId, Receipt)>),
    /// Pairs.
    Pairs(Vec<(PairKey, Option<RowRef>)>),
    /// Blocks by their last lines.
    Blocks(Vec<(Seq, BlockNo)>),
    /// The counters.
    Head(Option<SpaceHead>),
}

/// The tables that a generation is flushed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    /// `row`
    Rows,
    /// `row_key`
    Keys,
    /// `receipt`
    Receipts,
    /// `pair`
    Pairs,
    /// `block_place`
    Blocks,
    /// `space`
    Heads,
}

impl Table {
    /// In the order in which they are flushed.
    pub(super) const ALL: [Self; 6] =
        [Self::Rows, Self::Keys, Self::Receipts, Self::Pairs, Self::Blocks, Self::Heads];
}

impl Generation {
    /// Its spaces, in order.
    pub(super) fn spaces(&self) -> Vec<u32> {
        let mut spaces: Vec<u32> = self.read().spaces.keys().copied().collect();
        spaces.sort_unstable();
        spaces
    }

    /// The last block of it.
    pub(super) fn last_block(&self) -> BlockNo {
        self.read().last_block
    }

    /// What it ends with for a space and a table, in the order of the table.
    pub(super) fn list(&self, space: u32, table: Table) -> List {
        let inner = self.read();
        let none = Items::default();
        let items = inner.spaces.get(&space).unwrap_or(&none);
        match table {
            Table::Rows => {
                let kept = |(seq, versions): (&Seq, &Versions<Option<Bytes>>)| {
                    let state = versions.newest.1.clone();
                    // What came and went within the generation was never flushed.
                    (state.is_some() || *seq <= items.base || inner.reloaded).then_some((*seq, state))
                };
                List::Rows(items.rows.iter().filter_map(kept).collect())
            }
            Table::Keys => {
                let of_table = |(table, keys): (&ByteString, &HashMap<RowKey, Versions<Seq>>)| {
                    let entry = |(key, versions): (&RowKey, &Versions<Seq>)| {
                        (key.clone(), table.clone(), versions.newest.1)
                    };
                    keys.iter().map(entry).collect::<Vec<_>>()
                };
                let mut keys: Vec<_> = items.keys.iter().flat_map(of_table).collect();
                keys.sort_unstable();
                List::Keys(keys)
            }
            Table::Receipts => {
                let mut receipts: Vec<_> =
                    items.receipts.iter().map(|(id, (_, receipt))| (*id, *receipt)).collect();
                receipts.sort_unstable_by_key(|(id, _)| *id);
                List::Receipts(receipts)
            }
            Table::Pairs => {
                let mut pairs: Vec<_> =
                    items.pairs.iter().map(|(pair, versions)| (*pair, versions.newest.1.clone())).collect();
                pairs.sort_unstable_by_key(|(pair, _)| *pair);
                List::Pairs(pairs)
            }
            Table::Blocks => List::Blocks(items.blocks.clone()),
            Table::Heads => List::Head(items.head.as_ref().map(|head| head.newest.1)),
        }
    }
}
