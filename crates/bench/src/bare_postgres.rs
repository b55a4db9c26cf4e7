//! What PostgreSQL can do at best with the same inserts: a program that speaks to it directly.

use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::Failure;
use crate::frames::{Ids, Window};

/// The server's tables (`lattice-store`, `postgres/migrations`), repeated here so that a change there does not move the
/// baseline along.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS space_head (space_id uuid PRIMARY KEY, head bigint NOT NULL, arrival_us bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS entry (
        space_id uuid NOT NULL, seq bigint NOT NULL, id uuid NOT NULL, spelling integer NOT NULL, writer uuid NOT NULL,
        user_id uuid NOT NULL, verdict text NOT NULL, clamped bool NOT NULL, time_us bigint NOT NULL,
        arrived_us bigint NOT NULL, content bytea NOT NULL, PRIMARY KEY (space_id, seq));
    CREATE UNIQUE INDEX IF NOT EXISTS entry_of_id ON entry (space_id, id);
    CREATE TABLE IF NOT EXISTS row_state (
        space_id uuid NOT NULL, key bytea NOT NULL, name text NOT NULL, last_seq bigint NOT NULL, state bytea NOT NULL,
        PRIMARY KEY (space_id, key, name));
    CREATE INDEX IF NOT EXISTS row_in_order ON row_state (space_id, last_seq);";
const HEAD: &str =
    "INSERT INTO space_head VALUES ($1, $2, $2) ON CONFLICT (space_id) DO UPDATE SET head = excluded.head";
const ENTRIES: &str = "INSERT INTO entry
    SELECT $1, u.seq, u.id, 0, $1, $1, 'applied', false, u.seq, u.seq, u.content
    FROM unnest($2::int8[], $3::uuid[], $4::bytea[]) AS u (seq, id, content)";
const ROWS: &str = "INSERT INTO row_state
    SELECT $1, u.key, 'Item', u.seq, u.state FROM unnest($2::int8[], $3::bytea[], $4::bytea[]) AS u (seq, key, state)
    ON CONFLICT (space_id, key, name) DO UPDATE SET last_seq = excluded.last_seq, state = excluded.state";

/// One connection, which writes to a space of its own.
pub(crate) struct BarePostgres {
    client: Client,
    statements: [Statement; 3],
    space: Uuid,
    seq: i64,
    ids: Ids,
}

fn failed(error: tokio_postgres::Error) -> Failure {
    format!("the baseline's database failed: {error}")
}

impl BarePostgres {
    /// Connects, and makes the tables if they are not there.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(failed)?;
        tokio::spawn(connection);
        client.batch_execute(TABLES).await.map_err(failed)?;
        let head = client.prepare(HEAD).await.map_err(failed)?;
        let entries = client.prepare(ENTRIES).await.map_err(failed)?;
        let rows = client.prepare(ROWS).await.map_err(failed)?;
        let statements = [head, entries, rows];
        let mut ids = Ids::new();
        let space = Uuid::from_bytes(ids.bytes());
        Ok(Self { client, statements, space, seq: 0, ids })
    }

    /// Stores contents in one transaction and one round trip.
    async fn store(&mut self, contents: &[&[u8]]) -> Result<(), Failure> {
        let first = self.seq + 1;
        self.seq += contents.len() as i64;
        let seqs: Vec<i64> = (first..=self.seq).collect();
        let ids: Vec<Uuid> = contents.iter().map(|_| Uuid::from_bytes(self.ids.bytes())).collect();
        let keys: Vec<&[u8]> = ids.iter().map(|id| &id.as_bytes()[..]).collect();
        let [head, entries, rows] = &self.statements;
        let head_params: [&(dyn ToSql + Sync); 2] = [&self.space, &self.seq];
        let entry_params: [&(dyn ToSql + Sync); 4] = [&self.space, &seqs, &ids, &contents];
        let row_params: [&(dyn ToSql + Sync); 4] = [&self.space, &seqs, &keys, &contents];
        let sent = tokio::try_join!(
            self.client.batch_execute("BEGIN"),
            self.client.execute(head, &head_params),
            self.client.execute(entries, &entry_params),
            self.client.execute(rows, &row_params),
            self.client.batch_execute("COMMIT"),
        );
        sent.map(|_| ()).map_err(failed)
    }

    /// Stores each window in a transaction of its own. Answers rows per second.
    pub(crate) async fn windows(&mut self, windows: &[Window]) -> Result<f64, Failure> {
        let (start, mut rows) = (Instant::now(), 0);
        for window in windows {
            let contents: Vec<&[u8]> =
                window.entries.iter().map(|range| &window.payload[range.clone()]).collect();
            self.store(&contents).await?;
            rows += contents.len();
        }
        Ok(rows as f64 / start.elapsed().as_secs_f64())
    }

    /// One change of `content_bytes` in each transaction, for a while. Answers how many.
    pub(crate) async fn singles(
        mut self,
        content_bytes: usize,
        time: Duration,
    ) -> Result<(Self, u64), Failure> {
        let content = vec![b'x'; content_bytes];
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < time {
            self.store(&[&content]).await?;
            count += 1;
        }
        Ok((self, count))
    }
}
