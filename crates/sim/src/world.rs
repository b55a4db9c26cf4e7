//! The disk that histories run on: the real SQLite backend in memory, used again for many histories, each in spaces of
//! its own.

use std::sync::Arc;

use lattice_engine::mutation::Mutation;
use lattice_engine::{MintKey, Minter, Rules, SpaceId};
use lattice_protocol::EntryId;
use lattice_store::StoreError;
use lattice_store::spaces::Space;
use lattice_store::sqlite::{prepare, spaces};
use lattice_store::time::Random;
use rusqlite::Connection;

use crate::rng::Rng;

/// Histories after which the database is thrown away, so that it stays small.
const MAX_HISTORIES: u32 = 200;

/// A database, and how often it was used.
pub struct World {
    connection: Connection,
    histories: u32,
    spaces: u128,
}

struct Fixed;

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

impl World {
    /// An empty database in memory.
    ///
    /// # Errors
    /// What the database says.
    pub fn new() -> Result<Self, StoreError> {
        Ok(Self { connection: open()?, histories: 0, spaces: 0 })
    }

    /// The database, for one more history.
    ///
    /// # Errors
    /// What the database says.
    pub fn next_history(&mut self) -> Result<(), StoreError> {
        self.histories += 1;
        // Without its space a receipt is searched for in the whole table.
        let most = if Mutation::DedupAcrossSpaces.is_active() { 10 } else { MAX_HISTORIES };
        if self.histories >= most {
            *self = Self::new()?;
        }
        Ok(())
    }

    /// The database.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes a space. Everything that can be seen of it depends on `rng` alone, not on earlier histories.
    ///
    /// # Errors
    /// What the database says.
    pub fn make_space(&mut self, rng: &mut Rng, rules: Rules) -> Result<Arc<Space>, StoreError> {
        self.spaces += 1;
        let (id, key, owner) = (SpaceId(rng.uuid()), MintKey(rng.bytes()), self.spaces.to_be_bytes());
        spaces::create_private(&self.connection, owner, owner, "field", 0)?;
        let (no, ..) = spaces::private(&self.connection, owner)?.ok_or(StoreError::Closed)?;
        Ok(Arc::new(Space { no, id, private: true, rules, minter: Minter::new(key, id, 1, 0) }))
    }

    /// Who owns a space.
    ///
    /// # Errors
    /// What the database says.
    pub fn owner(&self, space: u32) -> Result<[u8; 16], StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT owner FROM space WHERE no = ?1")?;
        Ok(statement.query_row([space], |row| row.get(0))?)
    }

    /// From now on storing this entry fails.
    ///
    /// # Errors
    /// What the database says.
    pub fn poison(&self, id: EntryId) -> Result<(), StoreError> {
        self.connection.prepare_cached("INSERT OR IGNORE INTO poison VALUES (?1)")?.execute([id.0])?;
        Ok(())
    }

    /// Storing succeeds again.
    ///
    /// # Errors
    /// What the database says.
    pub fn cure(&self) -> Result<(), StoreError> {
        self.connection.prepare_cached("DELETE FROM poison")?.execute([])?;
        Ok(())
    }
}

fn open() -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory()?;
    connection.set_prepared_statement_cache_capacity(128);
    prepare(&mut connection, &Fixed).map_err(|error| StoreError::Database(error.to_string()))?;
    connection.execute_batch(
        "CREATE TEMP TABLE poison (id BLOB PRIMARY KEY) WITHOUT ROWID;
         CREATE TEMP TRIGGER fails BEFORE INSERT ON main.block
         WHEN EXISTS (SELECT 1 FROM temp.poison WHERE instr(NEW.content, id) > 0)
         BEGIN SELECT RAISE(ABORT, 'this entry cannot be stored'); END;",
    )?;
    Ok(connection)
}
