//! `lattice-server access-log`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lattice_auth::audit::Kind;
use lattice_auth::normalise_email;
use lattice_engine::SpaceId;
use lattice_protocol::id::parse_uuid;
use lattice_store::access_log::{AccessEvent, EventCursor, EventQuery};
use lattice_store::accounts::UserId;
use lattice_store::directory::Page;
use lattice_store::spaces::NoSink;
use lattice_store::sqlite;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};

use crate::backend::Backend;
use crate::config::{Config, Database};
use crate::http::access_log::EventView;
use crate::http::page::uuid;

/// Events that are read at a time.
const PAGE: u32 = 1_000;

const SECOND_US: i64 = 1_000_000;

/// Which events are listed.
#[derive(Args, Clone, Debug)]
pub struct Filter {
    /// Those of the user with this id or e-mail address.
    #[arg(long)]
    user: Option<String>,
    /// Those about the space with this id.
    #[arg(long)]
    space: Option<String>,
    /// Those of this kind, for example sign_in_failed.
    #[arg(long)]
    kind: Option<String>,
    /// Those since a time: seconds since 1970, or how long ago, as 90s, 15m, 24h or 7d.
    #[arg(long)]
    since: Option<String>,
    /// Those before a time, written likewise.
    #[arg(long)]
    until: Option<String>,
    /// At most so many; 0 lists all.
    #[arg(long, default_value_t = 1_000)]
    limit: u64,
    /// As JSON, one object a line.
    #[arg(long, default_value_t = false)]
    json: bool,
}

/// Where the log is.
pub(super) enum Source {
    /// A file, which a server may be using.
    File(PathBuf),
    /// PostgreSQL.
    Shared(Backend),
}

impl Source {
    pub(super) async fn open(config: &Config) -> Result<Self, String> {
        match config.database().map_err(|error| error.to_string())? {
            Database::Sqlite(path) => Ok(Self::File(path)),
            Database::Postgres(_) => {
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let random: Arc<dyn Random> = Arc::new(SystemRandom);
                let backend = Backend::open(config, Arc::new(NoSink), &clock, &random).await;
                backend.map(Self::Shared).map_err(|error| error.to_string())
            }
        }
    }

    async fn events(&self, query: EventQuery) -> Result<Page<AccessEvent, EventCursor>, String> {
        match self {
            Self::File(path) => sqlite::read_access_log(path, &query).map_err(|error| error.to_string()),
            Self::Shared(backend) => backend.accounts.events(query).await.map_err(|error| error.to_string()),
        }
    }

    /// The user whom an operator names by id or by e-mail address. An id need not be that of an account that is still there.
    pub(super) async fn user(&self, named: &str) -> Result<UserId, String> {
        if let Some(id) = UserId::parse(named) {
            return Ok(id);
        }
        let email = normalise_email(named).map_err(|_| "--user is an id or an e-mail address".to_owned())?;
        let found = match self {
            Self::File(path) => sqlite::find_user(path, &email).map_err(|error| error.to_string())?,
            Self::Shared(backend) => {
                let user = backend.accounts.user_by_email(&email).await;
                user.map_err(|error| error.to_string())?.map(|user| user.id)
            }
        };
        found.ok_or_else(|| "there is no account with this e-mail address".to_owned())
    }

    pub(super) async fn close(self) {
        if let Self::Shared(backend) = self {
            backend.close().await;
        }
    }
}

pub(super) async fn run(config: &Config, filter: &Filter) -> Result<(), String> {
    let source = Source::open(config).await?;
    let listed = list(&source, filter).await;
    source.close().await;
    listed
}

async fn list(source: &Source, filter: &Filter) -> Result<(), String> {
    let mut query = query(filter, SystemClock.now_us())?;
    if let Some(named) = &filter.user {
        query.user = Some(source.user(named).await?);
    }
    let mut left = if filter.limit == 0 { u64::MAX } else { filter.limit };
    let mut out = std::io::BufWriter::new(std::io::stdout());
    while left > 0 {
        query.limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = source.events(query.clone()).await?;
        for event in page.items {
            left -= 1;
            let line = if filter.json {
                serde_json::to_string(&EventView::whole(event)).map_err(|error| error.to_string())?
            } else {
                text(&event)
            };
            // Whoever reads may have had enough.
            if writeln!(out, "{line}").is_err() {
                return Ok(());
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let _ = out.flush();
    Ok(())
}

fn query(filter: &Filter, now_us: i64) -> Result<EventQuery, String> {
    if let Some(kind) = &filter.kind
        && Kind::parse(kind).is_none()
    {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        return Err(format!("--kind is one of {}", names.join(", ")));
    }
    let space = filter.space.as_deref().map(|text| {
        parse_uuid(text).map(|(id, _)| SpaceId(id)).ok_or_else(|| "--space is the id of a space".to_owned())
    });
    let time = |name: &str, text: &Option<String>| {
        let time = text.as_deref().map(|text| {
            time_us(text, now_us).ok_or_else(|| {
                format!("{name} is seconds since 1970, or how long ago, as 90s, 15m, 24h or 7d")
            })
        });
        time.transpose()
    };
    Ok(EventQuery {
        space: space.transpose()?,
        kind: filter.kind.clone(),
        since_us: time("--since", &filter.since)?,
        until_us: time("--until", &filter.until)?,
        ..EventQuery::default()
    })
}

/// A time, in microseconds since 1970.
fn time_us(text: &str, now_us: i64) -> Option<i64> {
    let unit_s = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        _ => return text.parse::<i64>().ok()?.checked_mul(SECOND_US),
    };
    let count: i64 = text[..text.len() - 1].parse().ok().filter(|count| *count >= 0)?;
    now_us.checked_sub(count.checked_mul(unit_s)?.checked_mul(SECOND_US)?)
}

/// An event as a line for people: time, kind, and what there is.
fn text(event: &AccessEvent) -> String {
    let mut line = format!("{} {}", date(event.at_us), event.kind);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    add("code", event.code.clone());
    add("actor", event.actor.map(|user| user.to_string()));
    add("subject", event.subject.map(|user| user.to_string()));
    add("space", event.space.map(|space| uuid(&space.0)));
    add("session", event.session.map(|session| session.to_string()));
    add("address", event.address.clone());
    // Quoted: it is whatever a client says, and ends up on somebody's terminal.
    add("agent", event.user_agent.as_ref().map(|agent| format!("{agent:?}")));
    add("detail", event.detail.clone());
    line
}

/// A time in UTC as RFC 3339 writes it, by the calendar of Howard Hinnant's `civil_from_days`.
fn date(at_us: i64) -> String {
    let seconds = at_us.div_euclid(SECOND_US);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let now_us = 1_000_000 * SECOND_US;
        let read = |text| time_us(text, now_us).map(|at_us| at_us / SECOND_US);
        assert_eq!((read("90s"), read("15m"), read("2h")), (Some(999_910), Some(999_100), Some(992_800)));
        assert_eq!(
            (read("7d"), read("0"), read("1800000000")),
            (Some(395_200), Some(0), Some(1_800_000_000))
        );
        for bad in ["", "d", "-1d", "1w", "x", "1.5h", "99999999999999d", "é", "1é"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_written() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(seconds * SECOND_US), text);
        }
    }

    #[test]
    fn what_a_client_says_of_itself_does_not_reach_a_terminal_as_it_is() {
        let event = AccessEvent {
            at_us: 0,
            id: [0; 16],
            kind: "sign_in".to_owned(),
            code: None,
            actor: None,
            subject: None,
            space: None,
            session: None,
            address: None,
            user_agent: Some("\u{1b}[31m\u{202e}x y".to_owned()),
            detail: None,
        };
        assert_eq!(text(&event), r#"1970-01-01T00:00:00Z sign_in agent="\u{1b}[31m\u{202e}x y""#);
    }
}
