//! Histories in which the database is put back to an older state, as clients live through them that skip ids which they know
//! and that come back with ids of the lost time. A process of its own: a rule is taken away from the whole process.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use common::Memory;
use common::draw::Rng;
use lattice_engine::{
    Access, Checkpoint, FIRST_EPOCH, MintKey, Minter, Policy, Resume, Role, RowRef, Rule, Seq, SpaceId,
    Stream, View, WriterId,
};
use lattice_protocol::native::AckId;
use lattice_protocol::value::integer;
use lattice_protocol::{Change, EntryId, Field, Operation, Outgoing, RowId, RowKey, Spelling};

type Values = BTreeMap<ByteString, Bytes>;

/// The head before and after, who wrote it, and what others are sent.
type Commit = (Seq, Seq, WriterId, Vec<(Seq, Outgoing)>);

/// A client that compares nothing: whatever arrives later wins, and known ids are skipped.
#[derive(Default)]
struct Client {
    rows: BTreeMap<RowRef, Values>,
    known: BTreeSet<EntryId>,
    checkpoint: Option<EntryId>,
    stream: Option<Stream>,
    /// What it has written and is not acknowledged, and how much of that was sent on this connection.
    pending: Vec<Change>,
    sent: usize,
    /// What was acknowledged.
    acked: Vec<Change>,
    /// It sends again what was lost.
    remembers: bool,
}

impl Client {
    fn acked(&mut self, acks: &[AckId]) {
        let is_acked = |change: &mut Change| acks.contains(&AckId::Uuid(change.id, change.id_spelling));
        let acked: Vec<Change> = self.pending.extract_if(.., is_acked).collect();
        self.sent = self.sent.saturating_sub(acked.len());
        self.acked.extend(acked);
    }
}

struct History {
    rng: Rng,
    store: Memory,
    epoch: u32,
    /// Connections so far: each is a writer of its own.
    connections: u8,
    ring: VecDeque<Commit>,
    clients: Vec<Client>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let count = 2 + rng.below(3);
        let clients = (0..count).map(|_| Client { remembers: rng.chance(60), ..Client::default() }).collect();
        Self {
            rng,
            store: Memory::new(Rule::Field),
            epoch: FIRST_EPOCH,
            connections: 0,
            ring: VecDeque::new(),
            clients,
        }
    }

    /// Rows of which a replica differs from the server.
    fn run(&mut self) -> Vec<RowRef> {
        self.live(20);
        for _ in 0..1 + self.rng.below(2) {
            let (backup, acked) =
                (self.backup(), self.clients.iter().map(|client| client.acked.len()).collect());
            self.live(25);
            self.restore(backup, acked);
            self.live(30);
        }
        self.settle();
        let (server, held) = (self.store.live(), self.store.rows());
        let mut wrong = Vec::new();
        for client in &self.clients {
            // The server cannot take away what it has never heard of: rows, and fields of rows.
            for row in
                held.iter().filter(|row| row.is_live() || row.deleted).map(lattice_engine::Row::reference)
            {
                let equal = match (server.get(&row), client.rows.get(&row)) {
                    (None, None) => true,
                    (Some(all), Some(mine)) => {
                        all.iter().all(|(name, value)| mine.get(&**name) == Some(value))
                    }
                    _ => false,
                };
                if !equal {
                    wrong.push(row);
                }
            }
        }
        wrong
    }

    fn live(&mut self, steps: usize) {
        for _ in 0..steps {
            let at = self.rng.below(self.clients.len());
            match self.rng.below(12) {
                0..=3 => self.edit(at),
                4 | 5 => self.upload(at),
                6..=8 => self.pull(at),
                9 if self.clients[at].stream.is_some() => self.clients[at].stream = None,
                _ if self.clients[at].stream.is_none() => self.connect(at),
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        for at in 0..self.clients.len() {
            if self.clients[at].stream.is_none() {
                self.connect(at);
            }
            self.upload(at);
        }
        for _ in 0..50 {
            (0..self.clients.len()).for_each(|at| self.pull(at));
        }
    }

    fn backup(&self) -> Memory {
        Memory {
            head: self.store.head,
            rows: self.store.rows.clone(),
            pairs: self.store.pairs.clone(),
            entries: self.store.entries.clone(),
            minter: self.store.minter.clone(),
            rules: self.store.rules.clone(),
            read_only: self.store.read_only,
            applied: self.store.applied,
        }
    }

    /// The backup is put back, in another epoch; every connection breaks.
    fn restore(&mut self, backup: Memory, acked: Vec<usize>) {
        self.epoch += 1;
        self.store = backup;
        self.store.minter = Minter::new(MintKey([1; 16]), SpaceId([2; 16]), self.epoch, 0);
        self.ring.clear();
        for (client, acked) in self.clients.iter_mut().zip(acked) {
            client.stream = None;
            let mut lost = client.acked.split_off(acked);
            if client.remembers {
                lost.append(&mut client.pending);
                client.pending = lost;
            }
        }
    }

    fn edit(&mut self, at: usize) {
        let row = RowId { key: RowKey::Uuid([self.rng.below(4) as u8; 16]), spelling: Spelling::default() };
        let reference = RowRef { table: ByteString::from_static("Doc"), key: row.key.clone() };
        let held = self.clients[at].rows.contains_key(&reference);
        let column = *self.rng.pick(&["a", "b"]);
        let value = integer(self.rng.below(1_000) as i64);
        let (operation, fields) = match held {
            true if self.rng.chance(20) => (Operation::Delete, Vec::new()),
            true => (Operation::Update, vec![Field { name: ByteString::from_static(column), value }]),
            false => (Operation::Insert, vec![Field { name: ByteString::from_static(column), value }]),
        };
        let change = Change {
            id: EntryId(self.rng.uuid()),
            id_spelling: Spelling::default(),
            table: reference.table.clone(),
            operation,
            row,
            fields,
            timestamp_us: None,
            synthesized: false,
            filter_removal: false,
            by_filter: false,
            raw: Bytes::new(),
        };
        let client = &mut self.clients[at];
        if operation == Operation::Delete {
            client.rows.remove(&reference);
        } else {
            let values = client.rows.entry(reference).or_default();
            values.extend(change.fields.iter().map(|field| (field.name.clone(), field.value.clone())));
        }
        client.known.insert(change.id);
        client.pending.push(change);
    }

    /// Sends what the server does not have, the oldest first.
    fn upload(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(stream) = &mut client.stream else { return };
        let changes = client.pending[client.sent..].to_vec();
        client.sent = client.pending.len();
        if changes.is_empty() {
            return;
        }
        let policy = Policy::default();
        let access =
            Access { user: [0; 16], role: Role::Owner, policy: &policy, archived: false, private: true };
        let effects = self.store.upload_as(stream.writer(), access, stream.echoes(), changes);
        if effects.head.seq > effects.before {
            self.ring.push_back((effects.before, effects.head.seq, stream.writer(), effects.visible));
        }
        let acks = stream.outcomes(effects.outcomes);
        client.acked(&acks);
    }

    fn connect(&mut self, at: usize) {
        let checkpoint = match self.clients[at].checkpoint {
            Some(id) => Checkpoint::Id { id, seq: self.store.entries.get(&id).map(|receipt| receipt.seq) },
            // It may have been sent nothing, and hold rows that it wrote.
            None => Checkpoint::Lost,
        };
        let (minter, head, view) = (&self.store.minter, self.store.head.seq, Arc::new(View::everything()));
        let nonce = self.rng.next();
        let resume = Resume { minter, head, view, user: [0; 16], remembered: &[], nonce };
        let (start, _) = resume.start(checkpoint);
        self.connections += 1;
        let writer = WriterId([self.connections; 16]);
        self.clients[at].stream = Some(Stream::start(writer, start));
        self.clients[at].sent = 0;
    }

    /// What is next arrives: as it was accepted where the stream is that far, else as state.
    fn pull(&mut self, at: usize) {
        let Some(stream) = &mut self.clients[at].stream else { return };
        if !stream.wants_pull(self.store.head.seq) {
            return;
        }
        let position = stream.cursor().position;
        let live = self.ring.iter().find(|(before, ..)| stream.takes_live() && *before == position).cloned();
        let (entries, acks): (Vec<Outgoing>, Vec<AckId>) = match live {
            Some((_, head, writer, visible)) => {
                stream.sent_live(head);
                let others = visible.into_iter().filter(|_| writer != stream.writer());
                (others.map(|(_, entry)| entry).collect(), Vec::new())
            }
            None => {
                let request = stream.pull_request(*self.rng.pick(&[1, 100]), usize::MAX);
                let data = self.store.pull(&request);
                let delivery = stream.pulled(&request, data, &self.store.minter);
                (delivery.entries.into_iter().chain(delivery.corrections).collect(), delivery.acks)
            }
        };
        let client = &mut self.clients[at];
        for entry in entries {
            if client.known.insert(entry.id) {
                let reference = RowRef { table: entry.table.clone(), key: entry.row.key.clone() };
                let set = entry.fields.iter().map(|field| (field.name.clone(), field.value.clone()));
                match entry.operation {
                    Operation::Insert => client.rows.entry(reference).or_default().extend(set),
                    Operation::Update => drop(client.rows.get_mut(&reference).map(|held| held.extend(set))),
                    Operation::Delete => drop(client.rows.remove(&reference)),
                }
            }
            client.checkpoint = Some(entry.id);
        }
        client.acked(&acks);
    }
}

fn first_wrong(seeds: std::ops::Range<u64>) -> Option<(u64, Vec<RowRef>)> {
    seeds.map(|seed| (seed, History::new(seed).run())).find(|(_, wrong)| !wrong.is_empty())
}

/// Whatever the server knows of, replicas hold as it does, though ids of the lost time are accepted a second time, at other
/// places among other changes.
#[test]
fn replicas_that_come_from_the_lost_time_equal_the_restored_server() {
    assert_eq!(first_wrong(0..5_000), None);
    #[cfg(feature = "mutations")]
    {
        use lattice_engine::mutation::Mutation;
        for rule in [Mutation::LostCheckpoints, Mutation::LostIds, Mutation::NoRestoredEcho] {
            Mutation::activate(Some(rule));
            let found = first_wrong(0..20_000);
            Mutation::activate(None);
            assert!(found.is_some(), "no history misses the rule {}", rule.as_str());
        }
    }
}
