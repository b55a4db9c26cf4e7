//! `lattice-server quota show` and `quota set`: what holds for one user or space.

use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use lattice_auth::audit::{Event, Kind};
use lattice_engine::SpaceId;
use lattice_store::StoreError;
use lattice_store::access_log::{AccessEvent, AccessLog};
use lattice_store::accounts::{AccountStore, UserId};
use lattice_store::postgres::{PostgresOptions, PostgresStore};
use lattice_store::quotas::{Account, Limit, LimitsChange, QuotaStore, Subject};
use lattice_store::spaces::NoSink;
use lattice_store::sqlite::{QuotaFile, find_user};
use lattice_store::time::{Clock, SystemClock, SystemRandom, random_id};

use super::say;
use crate::config::{Config, Database};
use crate::limits::quotas::Amount;

/// What is done about quotas.
#[derive(Subcommand, Clone, Debug)]
pub enum QuotaCommand {
    /// Tells what a user or space may hold, and holds.
    Show(Whose),
    /// Sets what a user or space may hold. A server that runs goes by it from its next upload on.
    Set {
        /// For whom.
        #[command(flatten)]
        whose: Whose,
        /// Bytes of changes: a number like 5GiB, `off` for no limit, `default` for that of the settings.
        #[arg(long)]
        bytes: Option<Wanted>,
        /// Changes: a number, `off` or `default`.
        #[arg(long)]
        changes: Option<Wanted>,
        /// Spaces that a user may own: a number, `off` or `default`.
        #[arg(long, conflicts_with = "space")]
        spaces: Option<Wanted>,
    },
}

/// A user or a space.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// The user, by id or e-mail address.
    #[arg(long)]
    user: Option<String>,
    /// The space, by id.
    #[arg(long)]
    space: Option<String>,
}

impl Whose {
    fn subject(&self) -> Result<Subject, String> {
        let id = |text: &str| lattice_protocol::EntryId::parse(text).map(|(id, _)| id.0);
        match (&self.user, &self.space) {
            (Some(user), _) => match id(user) {
                Some(id) => Ok(Subject::User(UserId(id))),
                None => {
                    let email = lattice_auth::normalise_email(user);
                    email
                        .map(Subject::Email)
                        .map_err(|_| "--user is neither an id nor an e-mail address".to_owned())
                }
            },
            (None, Some(space)) => {
                id(space).map(|id| Subject::Space(SpaceId(id))).ok_or_else(|| "--space is no id".to_owned())
            }
            (None, None) => Err("name a --user or a --space".to_owned()),
        }
    }
}

/// A limit as it is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted(Limit);

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("default") {
            return Ok(Self(Limit::AsConfigured));
        }
        let amount: Amount = text.parse().map_err(|error| format!("{error}, or `default`"))?;
        Ok(Self(amount.0.map_or(Limit::Unlimited, Limit::Most)))
    }
}

/// Does it, and tells what holds then.
pub(super) async fn run(config: &Config, command: &QuotaCommand) -> Result<(), String> {
    let (whose, change) = match command {
        QuotaCommand::Show(whose) => (whose, None),
        QuotaCommand::Set { whose, bytes, changes, spaces } => {
            let limit = |wanted: Option<Wanted>| wanted.map(|Wanted(limit)| limit);
            let change =
                LimitsChange { bytes: limit(*bytes), changes: limit(*changes), spaces: limit(*spaces) };
            if change == LimitsChange::default() {
                return Err("say what to set: --bytes, --changes or --spaces".to_owned());
            }
            (whose, Some(change))
        }
    };
    let subject = whose.subject()?;
    let account = match config.database().map_err(|error| error.to_string())? {
        Database::Sqlite(path) => {
            if !path.exists() {
                return Err(format!("there is no database at {}", path.display()));
            }
            let mut file = QuotaFile::open(&path, &SystemRandom).map_err(|error| error.to_string())?;
            let user = match &subject {
                Subject::Email(email) => find_user(&path, email).map_err(|error| error.to_string())?,
                _ => None,
            };
            let done = match change {
                Some(change) => file.change_limits(&subject, change).and_then(|changed| match changed {
                    Some(_) => file.note(event(&subject, user)),
                    None => Ok(()),
                }),
                None => Ok(()),
            };
            done.and_then(|()| file.quota_account(&subject)).map_err(|error| error.to_string())?
        }
        Database::Postgres(url) => {
            let options = PostgresOptions {
                connections: 1,
                writers: 1,
                tls_ca: config.database_tls_ca.clone(),
                ..PostgresOptions::default()
            };
            let (sink, clock, random) = (Arc::new(NoSink), Arc::new(SystemClock), Arc::new(SystemRandom));
            let store = PostgresStore::open(&url, options, sink, clock, random).await;
            let store = store.map_err(|error| error.to_string())?;
            let account = on_postgres(&store, subject, change).await;
            store.close().await;
            account?
        }
    };
    let account = account.ok_or("there is no such user or space")?;
    say(&told(&account));
    Ok(())
}

async fn on_postgres(
    store: &PostgresStore,
    subject: Subject,
    change: Option<LimitsChange>,
) -> Result<Option<Account>, String> {
    let failed = |error: StoreError| error.to_string();
    if let Some(change) = change
        && store.change_limits(subject.clone(), change).await.map_err(failed)?.is_some()
    {
        let user = match &subject {
            Subject::Email(email) => store.user_by_email(email).await.map_err(failed)?.map(|user| user.id),
            _ => None,
        };
        store.append_events(vec![event(&subject, user)]).await.map_err(failed)?;
    }
    store.quota_account(subject).await.map_err(|error| error.to_string())
}

/// What the access log is told. `user` is who has the address that was named.
fn event(subject: &Subject, user: Option<UserId>) -> AccessEvent {
    let event = Event::new(Kind::QuotaSet);
    let event = match (subject, user) {
        (&Subject::User(user), _) | (Subject::Email(_), Some(user)) => event.subject(user),
        (Subject::Space(space), _) => event.space(*space),
        (Subject::Email(_), None) => event,
    };
    event.into_stored(SystemClock.now_us(), random_id(&SystemRandom))
}

fn told(Account { limits, usage }: &Account) -> String {
    let limit = |limit: Limit| match limit {
        Limit::AsConfigured => "default".to_owned(),
        Limit::Unlimited => "off".to_owned(),
        Limit::Most(most) => most.to_string(),
    };
    format!(
        "bytes: {} of {}\nchanges: {} of {}\nspaces: at most {}",
        usage.bytes,
        limit(limits.bytes),
        usage.changes,
        limit(limits.changes),
        limit(limits.spaces)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read() {
        assert_eq!("default".parse(), Ok(Wanted(Limit::AsConfigured)));
        assert_eq!("off".parse(), Ok(Wanted(Limit::Unlimited)));
        assert_eq!("2MiB".parse(), Ok(Wanted(Limit::Most(2 << 20))));
        assert!("many".parse::<Wanted>().is_err());
    }

    #[test]
    fn somebody_is_named_by_id_or_address() {
        let whose = |user: Option<&str>, space: Option<&str>| {
            Whose { user: user.map(str::to_owned), space: space.map(str::to_owned) }.subject()
        };
        let id = "0ffdba0b-76a4-4ccf-99f4-3e3e2dc3b809";
        assert!(matches!(whose(Some(id), None), Ok(Subject::User(_))));
        assert_eq!(whose(Some("ANN@example.com"), None), Ok(Subject::Email("ann@example.com".to_owned())));
        assert!(matches!(whose(None, Some(id)), Ok(Subject::Space(_))));
        assert!(whose(Some("ann"), None).is_err() && whose(None, Some("me")).is_err());
    }
}
