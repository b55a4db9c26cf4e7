//! How many lines of the log refusals take: a stranger who is refused again and again must not fill it.
//!
//! A line that is left out is written at the level `debug` all the same, and counted; the counts are logged once the interval is
//! over. So the default level shows what happens and how often, and `LOG=debug` shows each.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::limits::network_of;

/// How long lines are counted together.
const INTERVAL: Duration = Duration::from_secs(60);
/// Lines of one code about one network in an interval.
const MAX_LINES_PER_NETWORK: u32 = 5;
/// Lines of each cause in an interval, whatever their codes and networks.
const MAX_LINES: u32 = 200;

/// Whose fault a refusal is. Each has lines of its own, so that strangers cannot use up those that the operator needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Cause {
    /// Whoever asked: logged at `info`.
    Client,
    /// The server has too much to do, or a quota is used up: the operator may have to act. Logged at `warn`.
    Load,
    /// The server failed: the operator has to act. Logged at `error`.
    Failure,
}

/// What is logged of refusals at the levels that are on by default.
pub struct RefusalLog(Mutex<Window>);

struct Window {
    began: Instant,
    lines: HashMap<Cause, u32>,
    /// At most [`MAX_LINES`] of each cause: only lines that are shown are in it.
    by_network: HashMap<(&'static str, Option<Vec<u8>>), u32>,
    left_out: LeftOut,
}

/// How many lines were left out, by cause and code.
type LeftOut = BTreeMap<(Cause, &'static str), u64>;

impl Default for RefusalLog {
    fn default() -> Self {
        Self(Mutex::new(Window::new(Instant::now())))
    }
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, lines: HashMap::new(), by_network: HashMap::new(), left_out: LeftOut::new() }
    }

    /// Starts over once the interval is over: what was left out in it.
    fn turn(&mut self, now: Instant) -> LeftOut {
        if now.duration_since(self.began) < INTERVAL {
            return LeftOut::new();
        }
        std::mem::replace(self, Self::new(now)).left_out
    }

    fn shows(&mut self, cause: Cause, code: &'static str, address: Option<IpAddr>) -> bool {
        let lines = self.lines.entry(cause).or_default();
        let key = (code, address.map(|address| network_of(address.to_canonical())));
        let of_network = self.by_network.get(&key).copied().unwrap_or_default();
        if *lines < MAX_LINES && of_network < MAX_LINES_PER_NETWORK {
            *lines += 1;
            self.by_network.insert(key, of_network + 1);
            return true;
        }
        *self.left_out.entry((cause, code)).or_default() += 1;
        false
    }
}

impl RefusalLog {
    /// Whether a refusal is shown at the level of its cause, and not at `debug`. Codes are of a fixed set.
    pub(crate) fn shows(&self, cause: Cause, code: &'static str, address: Option<IpAddr>) -> bool {
        let mut window = self.window();
        let left_out = window.turn(Instant::now());
        let shows = window.shows(cause, code, address);
        drop(window);
        tell(&left_out);
        shows
    }

    /// Logs what was left out whenever an interval is over, until `stop` is cancelled, and then what is left.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(INTERVAL);
        while !stop.is_cancelled() {
            tokio::select! {
                _ = interval.tick() => {}
                () = stop.cancelled() => {}
            }
            let left_out = self.window().turn(Instant::now());
            tell(&left_out);
        }
        let left_out = std::mem::take(&mut self.window().left_out);
        tell(&left_out);
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs a refusal at the level of its cause, or at `debug` where there are too many lines of its code: code, other fields, message.
macro_rules! log_refusal {
    ($log:expr, $cause:expr, $code:ident, $address:expr, $($line:tt)+) => {
        match ($log.shows($cause, $code, $address), $cause) {
            (false, _) => tracing::debug!($code, $($line)+),
            (true, $crate::refusal_log::Cause::Client) => tracing::info!($code, $($line)+),
            (true, $crate::refusal_log::Cause::Load) => tracing::warn!($code, $($line)+),
            (true, $crate::refusal_log::Cause::Failure) => tracing::error!($code, $($line)+),
        }
    };
}
pub(crate) use log_refusal;

fn tell(left_out: &LeftOut) {
    for ((cause, code), refusals) in left_out {
        let interval_s = INTERVAL.as_secs();
        match cause {
            Cause::Client => {
                tracing::info!(code, refusals, interval_s, "more was refused than is logged one by one");
            }
            Cause::Load | Cause::Failure => {
                tracing::warn!(code, refusals, interval_s, "more was refused than is logged one by one");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    fn shown(window: &mut Window, cause: Cause, code: &'static str, from: Option<IpAddr>) -> u32 {
        (0..20).map(|_| u32::from(window.shows(cause, code, from))).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn each_code_has_some_lines_for_each_network() {
        let mut window = Window::new(Instant::now());
        for (code, from, lines) in [
            ("token_invalid", address(1), 5),
            ("token_invalid", address(2), 5),
            ("token_expired", address(1), 5),
            ("token_invalid", address(1), 0),
            ("token_invalid", None, 5),
            ("token_invalid", "::ffff:0.0.0.2".parse().ok(), 0),
            ("token_invalid", "2001:db8::1".parse().ok(), 5),
            ("token_invalid", "2001:db8::2".parse().ok(), 0),
        ] {
            assert_eq!(shown(&mut window, Cause::Client, code, from), lines, "{code} {from:?}");
        }
        let left_out = [((Cause::Client, "token_expired"), 15), ((Cause::Client, "token_invalid"), 120)];
        assert_eq!(window.left_out, LeftOut::from(left_out));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_everywhere_is_bounded_and_hides_no_failure() {
        let mut window = Window::new(Instant::now());
        let all = 100 * MAX_LINES;
        let lines = (0..all).filter(|n| window.shows(Cause::Client, "token_invalid", address(*n))).count();
        assert_eq!(lines, MAX_LINES as usize);
        assert!(window.by_network.len() <= MAX_LINES as usize, "nobody takes memory who is not shown");
        assert_eq!(window.left_out[&(Cause::Client, "token_invalid")], u64::from(all - MAX_LINES));
        assert_eq!(shown(&mut window, Cause::Failure, "internal", address(1)), MAX_LINES_PER_NETWORK);
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_later_lines_are_shown_again_and_those_left_out_are_told_once() {
        let log = RefusalLog::default();
        let left_out = |log: &RefusalLog| log.window().turn(Instant::now());
        for at in 0..7 {
            assert_eq!(log.shows(Cause::Client, "not_found", None), at < MAX_LINES_PER_NETWORK);
        }
        assert_eq!(left_out(&log), LeftOut::new(), "the interval is not over");
        tokio::time::advance(INTERVAL).await;
        assert_eq!(left_out(&log), LeftOut::from([((Cause::Client, "not_found"), 2)]));
        assert_eq!(left_out(&log), LeftOut::new());
        assert!(log.shows(Cause::Client, "not_found", None));
    }
}
