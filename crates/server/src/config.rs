//! Settings: flags, or environment variables of the same names.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use ipnet::IpNet;
use lattice_engine::{Rule, Rules};
use lattice_protocol::limits::{DEFAULT_MAX_FRAME_BYTES, MAX_FRAME_BYTES};
use secrecy::{ExposeSecret, SecretString};

use crate::bus;
use crate::external::ExternalConfig;
use crate::limits::LimitSettings;
use crate::limits::quotas::QuotaSettings;
use crate::mail::MailSettings;
use crate::net::client_address::parse_network;
use crate::net::settings::TlsSettings;
use crate::providers::ProviderConfig;

/// Smallest limit on frames that still takes what clients send by default.
const MIN_FRAME_BYTES: usize = 64 << 10;

/// Longest time that the access log may be kept by number: a century.
const MAX_ACCESS_LOG_DAYS: u32 = 36_500;

/// The settings of `lattice-server`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Folder of the database and the keys; made when it is not there. Not used with PostgreSQL.
    #[arg(long, env = "DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Database: `sqlite:PATH` or `postgres://…`. By default `lattice.db` in the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Connections to PostgreSQL, 2 to 1000. One more listens.
    #[arg(long, env = "DATABASE_POOL", default_value_t = 16)]
    pub database_pool: usize,
    /// Certificate authorities of PostgreSQL, as a PEM file. By default the system's.
    #[arg(long, env = "DATABASE_TLS_CA")]
    pub database_tls_ca: Option<PathBuf>,
    /// How long the start waits for PostgreSQL, in seconds.
    #[arg(long, env = "DATABASE_WAIT_SECONDS", default_value_t = 60)]
    pub database_wait_seconds: u64,
    /// Spaces whose uploads may share a transaction of PostgreSQL; 1 where spaces live on different nodes.
    #[arg(long, env = "DATABASE_GROUP_SPACES", default_value_t = 64)]
    pub database_group_spaces: usize,
    /// Redis by which instances on the same PostgreSQL tell one another what has changed. By default PostgreSQL itself.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<SecretString>,
    /// How long `/readyz` says that the server is closing before connections are closed, in seconds: as long as a load
    /// balancer takes to notice.
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 0)]
    pub drain_seconds: u64,
    /// Secret that signs access tokens (HS256), at least 32 bytes. Without it a key is made and kept in the data folder, or in
    /// PostgreSQL.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<SecretString>,
    /// The secret before: tokens signed with it stay valid until they expire.
    #[arg(long, env = "JWT_SECRET_PREVIOUS", hide_env_values = true)]
    pub jwt_secret_previous: Option<SecretString>,
    /// Web pages that may call the API and open sync sockets, as origins (`https://app.example.com`), separated by commas. By
    /// default none; apps that are no web pages do not need it.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',', value_parser = parse_origin)]
    pub allowed_origins: Vec<HeaderValue>,
    /// Proxies in front of the server, as addresses or networks separated by commas: who they say the client is, is believed
    /// (`X-Forwarded-For`, `Forwarded`). By default nobody is.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Accounts for those who do not show who they are: one session leads to such an account, and nothing else.
    #[arg(long, env = "ANONYMOUS_ACCOUNTS", default_value_t = false)]
    pub anonymous_accounts: bool,
    /// How long an anonymous account is kept after its session has ended and nobody can come back to it, in days: 1 to 3650. 0
    /// keeps it for good.
    #[arg(long, env = "ANONYMOUS_RETENTION_DAYS", default_value_t = 0)]
    pub anonymous_retention_days: u32,
    /// How often anybody may try.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// How much spaces and their owners may hold.
    #[command(flatten)]
    pub quotas: QuotaSettings,
    /// How letters are sent.
    #[command(flatten)]
    pub mail: MailSettings,
    /// Largest frame that a client may send, in bytes: 65536 to 314572800.
    #[arg(long, env = "MAX_FRAME_BYTES", default_value_t = DEFAULT_MAX_FRAME_BYTES)]
    pub max_frame_bytes: usize,
    /// Uploads that may wait for their commit, over all clients, in MiB.
    #[arg(long, env = "MAX_UPLOAD_MIB", default_value_t = 512)]
    pub max_upload_mib: u32,
    /// Connections that may be open at the same time.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000)]
    pub max_connections: usize,
    /// Handshakes and requests of the sync API that may ask the database at the same time; more wait in line, and are sent
    /// away with 503 when it is full or too slow.
    #[arg(long, env = "MAX_HANDSHAKES", default_value_t = 32)]
    pub max_handshakes: usize,
    /// Pages that may be read for clients at the same time; a client that waits too long is closed with 1013.
    #[arg(long, env = "MAX_PAGES", default_value_t = 16)]
    pub max_pages: usize,
    /// Silence after which a client is pinged, in seconds.
    #[arg(long, env = "PING_SECONDS", default_value_t = 30)]
    pub ping_seconds: u64,
    /// How far in the future a change's time may be before it counts as made when it arrived, in seconds.
    #[arg(long, env = "MAX_SKEW_SECONDS", default_value_t = 300)]
    pub max_skew_seconds: u32,
    /// How concurrent changes are merged in spaces made from now on: `field` or `row`.
    #[arg(long, env = "MERGE_RULE", default_value = "field", value_parser = parse_rule)]
    pub merge_rule: Rule,
    /// For how many days the access log is kept; 0 keeps it for ever.
    #[arg(long, env = "ACCESS_LOG_DAYS", default_value_t = 90)]
    pub access_log_days: u32,
    /// An external issuer.
    #[command(flatten)]
    pub external: ExternalConfig,
    /// Identity providers.
    #[command(flatten)]
    pub providers: ProviderConfig,
    /// TLS.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// What is logged, for example `info` or `lattice_server=debug`.
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
    /// Log as JSON lines.
    #[arg(long, env = "LOG_JSON", default_value_t = false)]
    pub log_json: bool,
}

/// Where the data is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its address, which may hold a password.
    Postgres(String),
}

impl Database {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, to be put behind its name.
    pub fn parse(url: &str) -> Result<Self, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => {
                let scheme = url.split(':').next().unwrap_or_default();
                Err(format!("starts with {scheme:?}; it must be sqlite:PATH or postgres://…"))
            }
        }
    }
}

/// A setting that cannot be used: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn redis(error: &bus::BusError) -> Self {
        Self(format!("REDIS_URL cannot be read: {error}"))
    }

    pub(crate) fn database_address(reason: &str) -> Self {
        Self(format!("DATABASE_URL cannot be read: {reason}"))
    }

    pub(crate) fn tls_ca(error: &impl std::fmt::Display) -> Self {
        Self(format!("DATABASE_TLS_CA: {error}"))
    }
}

impl Config {
    /// Checks what the parser cannot.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problem = if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&self.max_frame_bytes) {
            format!(
                "MAX_FRAME_BYTES is {}; it must be {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES}",
                self.max_frame_bytes
            )
        } else if !(1..=4_096).contains(&self.max_upload_mib) {
            format!("MAX_UPLOAD_MIB is {}; it must be 1 to 4096", self.max_upload_mib)
        } else if self.max_connections == 0 || self.max_connections > 1_000_000 {
            format!("MAX_CONNECTIONS is {}; it must be 1 to 1000000", self.max_connections)
        } else if !(1..=10_000).contains(&self.max_handshakes) {
            format!("MAX_HANDSHAKES is {}; it must be 1 to 10000", self.max_handshakes)
        } else if !(1..=10_000).contains(&self.max_pages) {
            format!("MAX_PAGES is {}; it must be 1 to 10000", self.max_pages)
        } else if !(1..=600).contains(&self.ping_seconds) {
            format!("PING_SECONDS is {}; it must be 1 to 600", self.ping_seconds)
        } else if !(2..=1_000).contains(&self.database_pool) {
            format!("DATABASE_POOL is {}; it must be 2 to 1000", self.database_pool)
        } else if self.database_wait_seconds > 3_600 {
            format!("DATABASE_WAIT_SECONDS is {}; it must be 0 to 3600", self.database_wait_seconds)
        } else if !(1..=1_000).contains(&self.database_group_spaces) {
            format!("DATABASE_GROUP_SPACES is {}; it must be 1 to 1000", self.database_group_spaces)
        } else if self.drain_seconds > 600 {
            format!("DRAIN_SECONDS is {}; it must be 0 to 600", self.drain_seconds)
        } else if self.anonymous_retention_days > 3_650 {
            format!("ANONYMOUS_RETENTION_DAYS is {}; it must be 0 to 3650", self.anonymous_retention_days)
        } else if self.access_log_days > MAX_ACCESS_LOG_DAYS {
            format!("ACCESS_LOG_DAYS is {}; it must be 0 to {MAX_ACCESS_LOG_DAYS}", self.access_log_days)
        } else if let Some(problem) = self.tls.problem() {
            problem
        } else if let Some(problem) = self.mail.problem() {
            problem
        } else if let Some(problem) = self.redis_problem()? {
            problem
        } else if let Some(problem) = self.external.problem() {
            problem
        } else if let Some(problem) = self.providers.problem(self.mail.public_url.as_ref()) {
            problem
        } else if self.jwt_secret_previous.is_some() && self.jwt_secret.is_none() {
            "JWT_SECRET_PREVIOUS is set but JWT_SECRET is not".to_owned()
        } else {
            return Ok(());
        };
        Err(ConfigError(problem))
    }

    /// Where to listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Where to listen for those who come without TLS.
    #[must_use]
    pub fn redirect_address(&self) -> Option<SocketAddr> {
        self.tls.http_redirect_port.map(|port| SocketAddr::new(self.host, port))
    }

    /// The database.
    ///
    /// # Errors
    /// When `DATABASE_URL` names one that cannot be used.
    pub fn database(&self) -> Result<Database, ConfigError> {
        let Some(url) = &self.database_url else {
            return Ok(Database::Sqlite(self.data_dir.join("lattice.db")));
        };
        Database::parse(url).map_err(|problem| ConfigError(format!("DATABASE_URL {problem}")))
    }

    /// Connections of PostgreSQL: for reads and everything that is no upload, and for uploads, each of which stores many.
    #[must_use]
    pub fn database_connections(&self) -> (usize, usize) {
        let writers = (self.database_pool / 4).max(1);
        (self.database_pool - writers, writers)
    }

    /// The address of Redis.
    #[must_use]
    pub fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_ref().map(ExposeSecret::expose_secret)
    }

    fn redis_problem(&self) -> Result<Option<String>, ConfigError> {
        let Some(url) = self.redis_url() else { return Ok(None) };
        if let Database::Sqlite(_) = self.database()? {
            return Ok(Some(
                "REDIS_URL is for several instances, which need DATABASE_URL=postgres://…".to_owned(),
            ));
        }
        Ok(bus::redis::client(url).err().map(|error| ConfigError::redis(&error).0))
    }

    /// Merge rules of new spaces.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules { default: self.merge_rule, ..Rules::default() }
    }

    /// Silence after which a client is pinged.
    #[must_use]
    pub fn ping_interval(&self) -> Duration {
        Duration::from_secs(self.ping_seconds)
    }
}

/// An origin as browsers write it: scheme, host and port, without a path.
fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != text {
        return Err(format!(
            "an origin is a scheme, a host and perhaps a port, like {}",
            if url.origin().is_tuple() {
                url.origin().ascii_serialization()
            } else {
                "https://app.example.com".into()
            }
        ));
    }
    HeaderValue::from_str(text).map_err(|error| error.to_string())
}

fn parse_rule(name: &str) -> Result<Rule, String> {
    Rule::parse(name).ok_or_else(|| "it must be `field` or `row`".to_owned())
}
