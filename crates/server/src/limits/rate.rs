//! How often something may be done, as operators write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest period, in seconds.
const MAX_PERIOD_S: u64 = 24 * 3_600;
/// Largest amount of a period.
const MAX_AMOUNT: u64 = 1 << 40;

/// So much in such a time; all of it may come at once. None is unlimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate(pub Option<Allowance>);

/// So much in such a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// How much: attempts, changes or bytes.
    pub amount: u64,
    /// In which time.
    pub period: Duration,
}

impl Rate {
    /// Nothing is limited.
    pub const OFF: Self = Self(None);

    /// So much in so many seconds.
    #[must_use]
    pub const fn new(amount: u64, period_s: u64) -> Self {
        Self(Some(Allowance { amount, period: Duration::from_secs(period_s) }))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "it must be `off` or an amount and seconds, like 20/900s".to_owned();
        if text.trim().eq_ignore_ascii_case("off") {
            return Ok(Self::OFF);
        }
        let (amount, period) = text.trim().split_once('/').ok_or_else(shape)?;
        let period = period.strip_suffix('s').unwrap_or(period);
        let amount: u64 = amount.parse().map_err(|_| shape())?;
        let period_s: u64 = period.parse().map_err(|_| shape())?;
        if !(1..=MAX_AMOUNT).contains(&amount) || !(1..=MAX_PERIOD_S).contains(&period_s) {
            return Err(format!(
                "the amount must be 1 to {MAX_AMOUNT}, the time 1 to {MAX_PERIOD_S} seconds"
            ));
        }
        Ok(Self::new(amount, period_s))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(Allowance { amount, period }) => write!(f, "{amount}/{}s", period.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["off", "1/1s", "20/900s", "1099511627776/86400s"] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("20/900".parse(), Ok(Rate::new(20, 900)));
        for text in ["", "20", "0/1s", "1/0s", "-1/1s", "1/1m", "1/99999999s", "1e9/1s", "20/900s/2"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
