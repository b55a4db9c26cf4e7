//! PostgreSQL databases for one test each.

use std::future::Future;

use tokio_postgres::NoTls;

/// Where the server is that databases are made on, unless the variable says otherwise.
const DEFAULT_SERVER: &str = "postgres://postgres@127.0.0.1:5432/postgres";
/// Names another server: the address of a database on it, as somebody who may create databases.
const SERVER_VARIABLE: &str = "TEST_POSTGRES_URL";

/// A new, empty database. It is dropped with this.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes one on the server that `TEST_POSTGRES_URL` names, or on 127.0.0.1:5432.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    #[track_caller]
    pub fn create() -> Self {
        Self::create_on(&std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| DEFAULT_SERVER.to_owned()))
    }

    /// Makes one on this server.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    #[track_caller]
    pub fn create_on(server: &str) -> Self {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).expect("randomness");
        let name = format!("lattice_test_{}", hex::encode(random));
        if let Err(error) = run(server, &format!("CREATE DATABASE {name}")) {
            panic!(
                "tests need PostgreSQL and cannot make a database at {server}: {error}.\n\
                 Start one (Debian: apt-get install postgresql; service postgresql start), let this user in, or set \
                 {SERVER_VARIABLE}."
            );
        }
        Self { server: server.to_owned(), name }
    }

    /// A copy of it as it is now, on the same server. Nobody may be connected to it.
    ///
    /// # Panics
    /// When somebody is.
    #[must_use]
    #[track_caller]
    pub fn copy(&self) -> Self {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).expect("randomness");
        let name = format!("lattice_test_{}", hex::encode(random));
        if let Err(error) = run(&self.server, &format!("CREATE DATABASE {name} TEMPLATE {}", self.name)) {
            panic!("{} cannot be copied: {error}", self.name);
        }
        Self { server: self.server.clone(), name }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        let (address, query) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let base = address.rsplit_once('/').map_or(address, |(base, _)| base);
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        format!("{base}/{}{query}", self.name)
    }

    /// The rows of a statement, as text; NULL is empty.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let asked = async |client: &tokio_postgres::Client| {
            let messages = client.simple_query(sql).await?;
            let rows = messages.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let text = |row: &tokio_postgres::SimpleQueryRow, at| row.get(at).unwrap_or_default().to_owned();
            Ok(rows.map(|row| (0..row.len()).map(|at| text(&row, at)).collect()).collect())
        };
        match on_connection(&self.url(), asked) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// Runs statements in it.
    ///
    /// # Panics
    /// When one fails.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        if let Err(error) = run(&self.url(), sql) {
            panic!("{sql}: {error}");
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that is gone took the database with it.
        let _ = run(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Runs statements on a server.
#[track_caller]
pub(crate) fn execute(url: &str, sql: &str) {
    if let Err(error) = run(url, sql) {
        panic!("{sql}: {error}");
    }
}

/// Whether the server lets somebody in.
pub(crate) fn can_connect(url: &str) -> bool {
    run(url, "SELECT 1").is_ok()
}

fn run(url: &str, sql: &str) -> Result<(), String> {
    on_connection(url, async |client: &tokio_postgres::Client| client.batch_execute(sql).await)
}

/// Works on a connection of its own, on a thread of its own: callers may be inside a runtime.
fn on_connection<T: Send>(
    url: &str,
    work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error> + Send,
) -> Result<T, String> {
    let connected = async move || {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(described)?;
        let driver = tokio::spawn(connection);
        let result = work(&client).await.map_err(described);
        drop(client);
        let _ = driver.await;
        result
    };
    std::thread::scope(|scope| {
        scope.spawn(|| block_on(connected())).join().unwrap_or_else(|_| Err("a panic".to_owned()))
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}

fn described(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => said.message().to_owned(),
        None => match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
