//! What a backup by PostgreSQL's own tools needs of the database: the tools make and read the archive, and this says of what, looks
//! whether it may be put back, and sees to it that clients start over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use super::connect::{SERVER_NAME, Target};
use super::error::PgError;
use super::place::{self, Expected};
use super::transaction::Connection;
use super::{OpenError, copy, schema};
use crate::StoreError;
use crate::backup::{BackupError, Contents, Restored};
use crate::restores::BACKUP;
use crate::time::Random;

/// How long a command waits for a database that does not answer.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A connection for making or restoring a backup.
pub struct BackupConnection {
    connection: deadpool_postgres::Object,
    target: Target,
    shown: String,
    tls_ca: Option<PathBuf>,
    /// The schema that our tables are in.
    schema: String,
    /// The server's major version.
    version: u32,
}

/// Former tables, put aside: in which schema, if there were any.
pub struct PutAside(Option<String>);

impl BackupConnection {
    /// Connects, and changes nothing.
    ///
    /// # Errors
    /// Why the database cannot be reached.
    pub async fn open(url: &str, tls_ca: Option<&Path>) -> Result<Self, OpenError> {
        let target = Target::parse(url, tls_ca)?;
        let shown = target.shown();
        let pool = target.pool(1, true, &Expected::default().into())?;
        schema::wait_for(&pool, &shown, MAX_WAIT).await?;
        let failed = |error: PgError| OpenError::Failed(error.into_store());
        let connection = pool.get().await.map_err(|error| failed(error.into()))?;
        // Of its own from here on: moving tables waits for whoever reads them.
        let sql = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
        connection.batch_execute(sql).await.map_err(|error| failed(error.into()))?;
        let sql = "SELECT coalesce(current_schema(), ''), current_setting('server_version_num')::int / 10000";
        let row = connection.query_one(sql, &[]).await.map_err(|error| failed(error.into()))?;
        let (schema, version): (String, i32) = (row.get(0), row.get(1));
        let tls_ca = tls_ca.map(Path::to_path_buf);
        Ok(Self { connection, target, shown, tls_ca, schema, version: version.unsigned_abs() })
    }

    /// The server's major version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The schema that our tables are in.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// How PostgreSQL's tools get there: variables of their environment, since anybody may read their arguments.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let config = &self.target.config;
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
        let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
        let tls = match (config.get_ssl_mode(), &self.tls_ca) {
            (SslMode::Disable, _) => "disable",
            (SslMode::Prefer, None) => "prefer",
            _ => "verify-full",
        };
        let authorities = match &self.tls_ca {
            Some(path) => path.display().to_string(),
            None => "system".to_owned(),
        };
        let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        let all = [
            ("PGHOST", Some(hosts.join(",")).filter(|hosts| !hosts.is_empty())),
            ("PGPORT", Some(ports.join(",")).filter(|ports| !ports.is_empty())),
            ("PGUSER", config.get_user().map(ToOwned::to_owned)),
            ("PGPASSWORD", password),
            ("PGDATABASE", config.get_dbname().map(ToOwned::to_owned)),
            ("PGOPTIONS", config.get_options().map(ToOwned::to_owned)),
            ("PGSSLMODE", Some(tls.to_owned())),
            ("PGSSLROOTCERT", (tls == "verify-full").then_some(authorities)),
            ("PGAPPNAME", Some("lattice-server backup".to_owned())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Notes in the database that a backup begins: the backup has the note, and says by it up to when it holds everything. Answers what
    /// it is going to hold at least.
    ///
    /// # Errors
    /// That there is nothing to back up, or what the database says.
    pub async fn begin_backup(&self, now_us: i64) -> Result<Contents, BackupError> {
        if !self.tables().await?.iter().any(|table| table == "meta") {
            return Err(BackupError::Unusable(format!(
                "the database ({}) holds no tables of ours",
                self.shown
            )));
        }
        if self.tables().await?.iter().any(|table| table == copy::UNFINISHED) {
            let error = OpenError::Unfinished(self.shown.clone());
            return Err(BackupError::Unusable(error.to_string()));
        }
        schema::put_meta(&self.connection, &[(BACKUP, &now_us.to_le_bytes())]).await.map_err(failed)?;
        self.contents().await
    }

    /// Our tables, and whatever else stands in their schema.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tables(&self) -> Result<Vec<String>, BackupError> {
        let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1";
        let rows = self.connection.query(sql, &[]).await.map_err(|error| failed(error.into()))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn contents(&self) -> Result<Contents, BackupError> {
        let sql =
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM space WHERE deleted_us IS NULL)";
        let row = self.connection.query_one(sql, &[]).await.map_err(|error| failed(error.into()))?;
        let count = |at: usize| row.get::<_, i64>(at).cast_unsigned();
        Ok(Contents { users: count(0), spaces: count(1) })
    }

    /// Makes room for a backup: no server may use the database, or begin to. Tables that are there are put aside where `replace` says
    /// so; empty ones of ours are dropped.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing was changed then.
    pub async fn begin_restore(&self, replace: bool, now_us: i64) -> Result<PutAside, BackupError> {
        // As long as this connection lives: a server that starts meanwhile waits for it.
        let lock = format!("SET lock_timeout = 0; SELECT pg_advisory_lock({})", schema::MIGRATION_LOCK);
        self.run(&lock).await?;
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                                  WHERE datname = current_database() AND application_name = $1)";
        let row = self.connection.query_one(sql, &[&SERVER_NAME]).await;
        if row.map_err(|error| failed(error.into()))?.get(0) {
            return Err(BackupError::InUse(format!("({})", self.shown)));
        }
        let tables = self.tables().await?;
        if tables.is_empty() {
            return Ok(PutAside(None));
        }
        if !tables.iter().any(|table| table == "refinery_schema_history") {
            return Err(BackupError::Foreign(format!("({})", self.shown)));
        }
        let empty = matches!(self.contents().await, Ok(contents) if contents == Contents::default());
        if !empty && !replace {
            return Err(BackupError::NotEmpty(format!("({})", self.shown)));
        }
        if empty {
            self.run(&format!("BEGIN; {} COMMIT", self.drop_all(&tables))).await?;
            return Ok(PutAside(None));
        }
        let kept = self.unused_schema(now_us / 1_000_000).await?;
        let moves: String = tables.iter().map(|table| self.move_table(&self.schema, table, &kept)).collect();
        self.run(&format!("BEGIN; CREATE SCHEMA {}; {moves} COMMIT", quoted(&kept))).await?;
        Ok(PutAside(Some(kept)))
    }

    /// A name for what is put aside that no schema has: two restores may come in one second.
    async fn unused_schema(&self, seconds: i64) -> Result<String, BackupError> {
        let first = format!("{}_replaced_{seconds}", self.schema);
        let sql = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)";
        let rows = self.connection.query(sql, &[&first]).await.map_err(|error| failed(error.into()))?;
        let taken: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let others = (2_u32..).map(|number| format!("{first}_{number}"));
        let name = std::iter::once(first.clone()).chain(others).find(|name| !taken.contains(name));
        Ok(name.unwrap_or(first))
    }

    fn move_table(&self, from: &str, table: &str, to: &str) -> String {
        format!("ALTER TABLE {}.{} SET SCHEMA {}; ", quoted(from), quoted(table), quoted(to))
    }

    fn drop_all(&self, tables: &[String]) -> String {
        let names: Vec<String> =
            tables.iter().map(|table| format!("{}.{}", quoted(&self.schema), quoted(table))).collect();
        if names.is_empty() { String::new() } else { format!("DROP TABLE {} CASCADE;", names.join(", ")) }
    }

    /// Looks at what was put back, and gives it another epoch.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn finish_restore(
        &self,
        from: &Path,
        put_aside: &PutAside,
        random: &dyn Random,
    ) -> Result<Restored, BackupError> {
        let sql = "SELECT max(version) FROM refinery_schema_history";
        let version: Option<i32> =
            self.connection.query_one(sql, &[]).await.map_err(|error| failed(error.into()))?.get(0);
        if version.is_none_or(|version| version > schema::newest_version()) {
            return Err(BackupError::Newer(from.to_path_buf()));
        }
        let contents = self.contents().await?;
        let connection: &Connection = &self.connection;
        let identity = place::restored(connection, random).await.map_err(failed)?;
        let since_us = identity.restored_since_us.unwrap_or(0);
        Ok(Restored { contents, since_us, kept: put_aside.0.as_ref().map(|kept| format!("schema {kept}")) })
    }

    /// Takes away what was put back, and brings back what was there before.
    ///
    /// # Errors
    /// What the database says; the former tables are where they were put aside.
    pub async fn undo_restore(&self, put_aside: &PutAside) -> Result<(), BackupError> {
        let mut sql = format!("BEGIN; {} ", self.drop_all(&self.tables().await?));
        if let Some(kept) = &put_aside.0 {
            let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1";
            let rows = self.connection.query(tables, &[kept]).await.map_err(|error| failed(error.into()))?;
            sql.extend(rows.iter().map(|row| self.move_table(kept, row.get(0), &self.schema)));
            sql.push_str(&format!("DROP SCHEMA {}; ", quoted(kept)));
        }
        sql.push_str("COMMIT");
        self.run(&sql).await
    }

    async fn run(&self, sql: &str) -> Result<(), BackupError> {
        let ran = self.connection.batch_execute(sql).await;
        if ran.is_err() {
            // What failed may have been in a transaction.
            let _ = self.connection.batch_execute("ROLLBACK").await;
        }
        ran.map_err(|error| failed(error.into()))
    }
}

fn failed(error: PgError) -> BackupError {
    BackupError::Failed(StoreError::Database(error.to_string()))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
