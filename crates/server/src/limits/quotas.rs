//! The settings of quotas: how much spaces and their owners may hold.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use lattice_store::quotas::{Quota, Quotas};

use crate::spaces::MAX_OWNED_SPACES;

/// Largest amount: what databases count up to, with room.
const MAX_AMOUNT: u64 = 1 << 60;
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// So much, or `off`: without limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Amount(pub Option<u64>);

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        let unit = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?.trim_end(), *bits)));
        let (digits, bits) = unit.unwrap_or((text, 0));
        let amount = digits.parse::<u64>().ok().and_then(|amount| amount.checked_mul(1 << bits));
        match amount {
            Some(amount) if amount <= MAX_AMOUNT => Ok(Self(Some(amount))),
            _ => Err("it must be `off` or a number like 5000000 or 5GiB, at most 2^60".to_owned()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(amount) => write!(f, "{amount}"),
        }
    }
}

/// How much spaces and their owners may hold, each `off` or a number, of bytes also like `5GiB`. `lattice-server quota` sets
/// others for one user or space.
#[derive(Args, Clone, Copy, Debug)]
pub struct QuotaSettings {
    /// Bytes of changes in all spaces that one user owns.
    #[arg(long, env = "QUOTA_USER_BYTES", default_value_t = Amount(None))]
    pub quota_user_bytes: Amount,
    /// Changes in all spaces that one user owns.
    #[arg(long, env = "QUOTA_USER_CHANGES", default_value_t = Amount(None))]
    pub quota_user_changes: Amount,
    /// Spaces that one user owns, the private one not counted.
    #[arg(long, env = "QUOTA_USER_SPACES", default_value_t = MAX_OWNED_SPACES)]
    pub quota_user_spaces: u32,
    /// Bytes of changes in one space.
    #[arg(long, env = "QUOTA_SPACE_BYTES", default_value_t = Amount(None))]
    pub quota_space_bytes: Amount,
    /// Changes in one space.
    #[arg(long, env = "QUOTA_SPACE_CHANGES", default_value_t = Amount(None))]
    pub quota_space_changes: Amount,
}

impl QuotaSettings {
    /// The quotas of spaces and users for which nothing else is set.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        Quotas {
            space: Quota { bytes: self.quota_space_bytes.0, changes: self.quota_space_changes.0 },
            user: Quota { bytes: self.quota_user_bytes.0, changes: self.quota_user_changes.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn amounts_are_read() {
        for (text, amount) in [
            ("off", None),
            (" OFF ", None),
            ("0", Some(0)),
            ("5000000", Some(5_000_000)),
            ("64KiB", Some(64 << 10)),
            ("5 GiB", Some(5 << 30)),
            ("2TiB", Some(2 << 40)),
        ] {
            assert_eq!(text.parse(), Ok(Amount(amount)), "{text}");
        }
        for bad in ["", "-1", "GiB", "5GB", "5gib", "1e9", "0x10", "99999999999999999999", "16777216TiB"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }
}
