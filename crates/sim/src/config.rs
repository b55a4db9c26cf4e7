//! What a seed decides before anything happens. Every history leaves most faults out and has some often: faults that
//! are always there hide one another.

use std::sync::Arc;

use lattice_engine::{Rule, Rules};
use lattice_protocol::{RowId, RowKey, Spelling};

use crate::client::{Schema, Table};
use crate::mixed::Mix;
use crate::rng::Rng;
use crate::server::Limits;

/// Index of the first link table in the schema.
pub const FIRST_LINK_TABLE: usize = 2;
/// Index of the first table that not all clients have.
pub(crate) const OTHER_TABLES: usize = 4;

/// How often each step is taken, relative to the others.
#[derive(Clone, Debug)]
pub struct Weights {
    pub(crate) edit: usize,
    pub(crate) toggle: usize,
    pub(crate) upload: usize,
    pub(crate) accept: usize,
    pub(crate) commit: usize,
    pub(crate) pull: usize,
    pub(crate) receive: usize,
    pub(crate) resend: usize,
    pub(crate) crash: usize,
    pub(crate) die: usize,
    pub(crate) copy: usize,
    pub(crate) relay: usize,
    pub(crate) compact: usize,
    pub(crate) step_clock: usize,
}

/// How often each kind of edit is made, relative to the others.
#[derive(Clone, Debug)]
pub struct Edits {
    pub(crate) insert: usize,
    pub(crate) update: usize,
    pub(crate) delete: usize,
    pub(crate) link: usize,
    pub(crate) unlink: usize,
    pub(crate) bad_value: usize,
    pub(crate) bad_column: usize,
    pub(crate) leave_filter: usize,
}

/// What kind of history a seed plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Each space is one person's own.
    Single,
    /// People share spaces.
    Shared,
    /// As the first, with the clients that exist.
    Mixed,
    /// As the second, with the clients that exist.
    SharedMixed,
}

impl Kind {
    /// The kind that a seed plays unless something else is asked for: in every third one people share, in every second one are
    /// the clients that exist.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        match seed % 6 {
            0 => Self::SharedMixed,
            3 => Self::Shared,
            1 | 2 => Self::Mixed,
            _ => Self::Single,
        }
    }

    fn is_shared(self) -> bool {
        matches!(self, Self::Shared | Self::SharedMixed)
    }

    fn is_mixed(self) -> bool {
        matches!(self, Self::Mixed | Self::SharedMixed)
    }
}

/// How people share spaces.
#[derive(Clone, Debug)]
pub struct Sharing {
    pub(crate) people: usize,
    /// The first space is the first one's own.
    pub(crate) private: bool,
    pub(crate) json_clients: usize,
    /// It ends with a phase in which access changes and nobody writes.
    pub(crate) flickers: bool,
    /// How many of 100 steps are theirs.
    pub(crate) percent: usize,
    /// How often each of their steps is taken, relative to the others: access changes in a group, access changes alone, JSON
    /// clients edit, upload, receive, connect or leave, ask for other rows, poll, forget a cursor.
    pub(crate) weights: [usize; 9],
}

impl Sharing {
    fn draw(rng: &mut Rng) -> Self {
        let access = *rng.pick(&[1, 4, 12, 40]);
        Self {
            people: rng.between(2, 4),
            private: rng.chance(20),
            json_clients: rng.between(0, 3),
            flickers: rng.chance(30),
            percent: *rng.pick(&[25, 45, 60]),
            weights: [
                access,
                access,
                20,
                20,
                *rng.pick(&[15, 40]),
                *rng.pick(&[3, 8]),
                *rng.pick(&[0, 4, 16]),
                12,
                rarely(rng, 1),
            ],
        }
    }
}

/// The shape of a history.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) steps: usize,
    pub(crate) clients: usize,
    pub(crate) spaces: usize,
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    pub(crate) schema: Arc<Schema>,
    /// What a client with an older version of the app knows.
    pub(crate) narrow_schema: Arc<Schema>,
    pub(crate) narrow_percent: usize,
    pub(crate) weights: Weights,
    pub(crate) edits: Edits,
    /// Row ids of the model tables. Few, so that clients meet.
    pub(crate) rows: [Vec<RowId>; FIRST_LINK_TABLE],
    pub(crate) fail_percent: usize,
    pub(crate) crash_commit_percent: usize,
    pub(crate) zombie_percent: usize,
    pub(crate) twin_percent: usize,
    pub(crate) sparse_percent: usize,
    pub(crate) untimed_percent: usize,
    pub(crate) relink_percent: usize,
    /// Whether it ends with a phase in which others write in every round.
    pub(crate) starves: bool,
    /// Where people share.
    pub(crate) sharing: Option<Sharing>,
    /// What sets the clients apart, where they are those that exist.
    pub(crate) mix: Option<Mix>,
}

fn often(rng: &mut Rng, usual: usize) -> usize {
    *rng.pick(&[0, usual, usual, 3 * usual])
}

fn rarely(rng: &mut Rng, usual: usize) -> usize {
    *rng.pick(&[0, 0, 0, usual, 3 * usual])
}

fn row_id(rng: &mut Rng) -> RowId {
    if rng.chance(15) {
        return RowId {
            key: RowKey::Text(format!("row {}", rng.below(1_000)).into()),
            spelling: Spelling::default(),
        };
    }
    RowId { key: RowKey::Uuid(rng.uuid()), spelling: Spelling::default() }
}

impl Config {
    /// The shape that `rng` draws.
    #[must_use]
    pub fn draw(rng: &mut Rng, kind: Kind) -> Self {
        let mut config = Self::draw_single(rng);
        if kind.is_shared() {
            let sharing = Sharing::draw(rng);
            config.spaces = rng.between(1, 2) + usize::from(sharing.private);
            config.clients += usize::from(config.spaces > 1);
            config.sharing = Some(sharing);
        }
        config.mix = kind.is_mixed().then(|| Mix::draw(rng));
        config
    }

    fn draw_single(rng: &mut Rng) -> Self {
        let table_rules = ["Item", "Note", "_Item_Note_notes", "_Item_Note_any"];
        let rule = |rng: &mut Rng| if rng.chance(35) { Rule::Row } else { Rule::Field };
        let rules = Rules {
            default: rule(rng),
            tables: table_rules.iter().map(|table| ((*table).to_owned(), rule(rng))).collect(),
        };
        let schema = vec![
            Table::new("Item", &["a", "b", "c"]),
            Table::new("Note", &["a", "b"]),
            Table::new("_Item_Note_notes", &["lhs", "rhs"]),
            Table::new("_Item_Note_any", &["lhs", "rhs", "rhs_type"]),
        ];
        let mut narrow_schema = schema.clone();
        narrow_schema[0] = Table::new("Item", &["a", "c"]);
        Self {
            steps: rng.between(40, 260),
            clients: rng.between(2, 4),
            spaces: if rng.chance(25) { 2 } else { 1 },
            limits: Limits {
                page_rows: *rng.pick(&[1, 1, 2, 4, 1_000]),
                page_bytes: *rng.pick(&[1, 300, 1 << 20, 1 << 20]),
                frame_entries: *rng.pick(&[1, 2, 1_000]),
                ring_commits: *rng.pick(&[0, 1, 4, 1_000, 1_000]),
                generation_items: 1,
            },
            rules,
            schema: Arc::new(schema),
            narrow_schema: Arc::new(narrow_schema),
            narrow_percent: rarely(rng, 10),
            weights: Weights {
                edit: 30,
                toggle: *rng.pick(&[2, 8, 8, 16]),
                upload: 14,
                accept: 14,
                commit: *rng.pick(&[6, 14, 20]),
                pull: *rng.pick(&[8, 18, 30]),
                receive: *rng.pick(&[10, 20, 40]),
                resend: rarely(rng, 2),
                crash: rarely(rng, 1),
                die: rarely(rng, 2),
                copy: rarely(rng, 1),
                relay: rarely(rng, 4),
                compact: rarely(rng, 1),
                step_clock: rarely(rng, 2),
            },
            edits: Edits {
                insert: 15,
                update: *rng.pick(&[10, 40, 60]),
                delete: often(rng, 10),
                link: often(rng, 15),
                unlink: often(rng, 6),
                bad_value: rarely(rng, 5),
                bad_column: rarely(rng, 2),
                leave_filter: rarely(rng, 2),
            },
            rows: [(); FIRST_LINK_TABLE].map(|()| (0..rng.between(1, 4)).map(|_| row_id(rng)).collect()),
            fail_percent: rarely(rng, 8),
            crash_commit_percent: rarely(rng, 3),
            zombie_percent: *rng.pick(&[0, 0, 50]),
            twin_percent: *rng.pick(&[0, 20, 60]),
            sparse_percent: *rng.pick(&[0, 30, 60]),
            untimed_percent: *rng.pick(&[0, 50, 100]),
            relink_percent: *rng.pick(&[0, 0, 0, 20]),
            starves: rng.chance(8),
            sharing: None,
            mix: None,
        }
    }
}
