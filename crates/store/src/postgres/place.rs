//! Noticing that a database is an older copy: which cluster it is in, which database of it, which tables, and on which timeline. A copy
//! made by `CREATE DATABASE … TEMPLATE`, a dump that was restored, a base backup that was recovered to an earlier moment and a standby
//! that was promoted differ in one of them.

use std::fmt;
use std::sync::OnceLock;

use lattice_engine::{FIRST_EPOCH, MintKey};
use tokio::sync::watch;
use tokio_postgres::error::SqlState;

use super::error::PgError;
use super::transaction::Connection;
use super::{Identity, schema};
use crate::StoreError;
use crate::restores::{self, BACKUP, EPOCH, PLACE, RESTORED_SINCE};
use crate::time::Random;

/// What is written for a part that the database does not tell.
const UNKNOWN: &str = "-";
const PARTS: usize = 4;
/// Which of the parts the timeline is.
const TIMELINE: usize = 3;

/// Where a database lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place([Option<String>; PARTS]);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.0.iter().map(|part| part.as_deref().unwrap_or(UNKNOWN)).collect();
        f.write_str(&parts.join("."))
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let parts = text.split('.').map(|part| (part != UNKNOWN).then(|| part.to_owned()));
        parts.collect::<Vec<_>>().try_into().ok().map(Self)
    }

    /// Where the database of this connection lives: the cluster's system identifier, the oids of the database and of our tables, and the
    /// timeline. Databases that speak PostgreSQL's protocol and are not PostgreSQL may not tell the first and the last.
    pub(super) async fn of(client: &tokio_postgres::Client) -> Result<Self, tokio_postgres::Error> {
        let names = "SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::text,
                            to_regclass('meta')::oid::text";
        let names = client.query_one(names, &[]).await?;
        let system = tell(client, "SELECT system_identifier::text FROM pg_control_system()").await?;
        let timeline = tell(client, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)").await?;
        Ok(Self([system, names.get(0), names.get(1), timeline]))
    }

    /// Whether the two are known to be different. What one of them does not tell is no difference.
    fn differs(&self, other: &Self) -> bool {
        let known = self.0.iter().zip(&other.0).filter_map(|(one, two)| Some((one.as_ref()?, two.as_ref()?)));
        known.into_iter().any(|(one, two)| one != two)
    }
}

async fn tell(client: &tokio_postgres::Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    match client.query_one(sql, &[]).await {
        Ok(row) => row.try_get(0),
        // It has no such thing, or keeps it to itself.
        Err(error) if error.code().is_some_and(is_final) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Classes 0A, 42 and 55: not supported, unknown or not permitted, not in this state.
fn is_final(code: &SqlState) -> bool {
    ["0A", "42", "55"].iter().any(|class| code.code().starts_with(class))
}

/// Where the database lived when it was opened. Connections that are made later find out whether it still does: a database that goes
/// back to an older state, as when a standby takes over, breaks all of them.
pub(super) struct Expected {
    place: OnceLock<Place>,
    moved: watch::Sender<bool>,
}

impl Default for Expected {
    fn default() -> Self {
        Self { place: OnceLock::new(), moved: watch::Sender::new(false) }
    }
}

impl Expected {
    pub(super) fn set(&self, place: Place) {
        let _ = self.place.set(place);
    }

    /// Why a new connection cannot be used: it does not lead to the database that was opened. A standby tells its timeline only once
    /// it has taken over, and connections live on through that.
    pub(super) async fn refusal(
        &self,
        client: &tokio_postgres::Client,
    ) -> Result<Option<&'static str>, tokio_postgres::Error> {
        let Some(expected) = self.place.get() else { return Ok(None) };
        let place = Place::of(client).await?;
        if expected.differs(&place) {
            self.moved.send_replace(true);
            Ok(Some("the database is another one, or went back to an older state"))
        } else if expected.0[TIMELINE].is_some() && place.0[TIMELINE].is_none() {
            Ok(Some("the database is a standby"))
        } else {
            Ok(None)
        }
    }

    /// Waits until it does not.
    pub(super) async fn moved(&self) {
        // The sender lives as long as this.
        let _ = self.moved.subscribe().wait_for(|moved| *moved).await;
    }
}

/// Reads, or makes, what makes the database itself. One that is an older copy gets another epoch, before anything is given out of it.
/// The caller holds the lock of migrations.
pub(super) async fn identify(
    connection: &Connection,
    shown: &str,
    random: &dyn Random,
) -> Result<(Identity, Place), PgError> {
    let identity = identity(connection, random).await?;
    let place = Place::of(connection).await?;
    let held = schema::find_meta(connection, PLACE).await?;
    let last = held.as_deref().map(|held| std::str::from_utf8(held).ok().and_then(Place::parse));
    let identity = match last {
        Some(last) if last.as_ref().is_none_or(|last| last.differs(&place)) => {
            let was = last.map_or_else(|| "of a backup".to_owned(), |last| last.to_string());
            let identity = raise(connection, identity, &place, random).await?;
            let now = place.to_string();
            tracing::warn!(database = shown, was, now, "the database is an older copy: clients start over");
            identity
        }
        _ => {
            schema::put_meta(connection, &[(PLACE, place.to_string().as_bytes())]).await?;
            identity
        }
    };
    Ok((identity, place))
}

/// A database that has just been put back gets another epoch.
pub(super) async fn restored(connection: &Connection, random: &dyn Random) -> Result<Identity, PgError> {
    let identity = identity(connection, random).await?;
    let place = Place::of(connection).await?;
    raise(connection, identity, &place, random).await
}

async fn identity(connection: &Connection, random: &dyn Random) -> Result<Identity, PgError> {
    let mut fresh = [0_u8; 16];
    random.fill(&mut fresh);
    let key = schema::meta(connection, "mint_key", &fresh).await?;
    let epoch = schema::meta(connection, EPOCH, &FIRST_EPOCH.to_le_bytes()).await?;
    let since = schema::find_meta(connection, RESTORED_SINCE).await?;
    Ok(Identity {
        mint_key: MintKey(key.try_into().map_err(|_| corrupt("mint_key"))?),
        epoch: u32::from_le_bytes(epoch.try_into().map_err(|_| corrupt(EPOCH))?),
        restored_since_us: since.as_deref().and_then(restores::moment),
    })
}

/// Gives the database another epoch, and notes where it lives now.
async fn raise(
    connection: &Connection,
    identity: Identity,
    place: &Place,
    random: &dyn Random,
) -> Result<Identity, PgError> {
    let known = connection.query_one("SELECT coalesce(max(arrival_us), 0) FROM space_head", &[]).await?;
    let backup = schema::find_meta(connection, BACKUP).await?.as_deref().and_then(restores::moment);
    let known_us = known.try_get::<_, i64>(0)?.max(backup.unwrap_or(0));
    let epoch = restores::next_epoch(identity.epoch, random);
    let since_us = restores::since(identity.restored_since_us, known_us);
    let now = place.to_string();
    let values: [(&str, &[u8]); 3] =
        [(EPOCH, &epoch.to_le_bytes()), (RESTORED_SINCE, &since_us.to_le_bytes()), (PLACE, now.as_bytes())];
    schema::put_meta(connection, &values).await?;
    Ok(Identity { epoch, restored_since_us: Some(since_us), ..identity })
}

fn corrupt(row: &str) -> StoreError {
    StoreError::Corrupt { table: "meta", column: "value", row: row.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Place;

    fn place(text: &str) -> Place {
        Place::parse(text).expect("a place")
    }

    #[test]
    fn a_place_differs_in_any_part_that_both_tell() {
        let here = place("7301.16384.16390.00000001");
        assert_eq!(place(&here.to_string()), here);
        for (other, differs) in [
            ("7301.16384.16390.00000001", false),
            ("7302.16384.16390.00000001", true),
            ("7301.16385.16390.00000001", true),
            ("7301.16384.16391.00000001", true),
            ("7301.16384.16390.00000002", true),
            ("-.16384.16390.-", false),
            ("-.16384.16391.-", true),
        ] {
            assert_eq!(
                (here.differs(&place(other)), place(other).differs(&here)),
                (differs, differs),
                "{other}"
            );
        }
        for broken in ["", "backup", "1.2.3", "1.2.3.4.5"] {
            assert_eq!(Place::parse(broken), None, "{broken}");
        }
    }
}
