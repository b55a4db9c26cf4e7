//! Password hashes of the server before this one: bcrypt. They verify, and are replaced by Argon2id at the next sign-in.
//!
//! bcrypt looks at the first 72 bytes of a password. What comes after them did not count where the account comes from and does not
//! count here; from the next sign-in on all of it does, as it was typed then.

/// What bcrypt hashes start with: `2a`, `2b` and `2y` name one algorithm, by who wrote it down. `2x` marks those of a faulty
/// implementation, which nothing can verify safely.
const VERSIONS: [&str; 3] = ["2a", "2b", "2y"];
/// Least cost that bcrypt knows.
const MIN_BCRYPT_COST: u32 = 4;
/// Greatest cost that is taken: about a second of a core. One more doubles it, and whoever knows an address could make the server
/// do it.
pub const MAX_BCRYPT_COST: u32 = 14;

/// Why a hash is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum LegacyHashError {
    /// It is none.
    #[error("it is no bcrypt hash ($2a$, $2b$ or $2y$)")]
    Unreadable,
    /// It costs too much, or less than bcrypt allows.
    #[error("its cost is {0}; {MIN_BCRYPT_COST} to {MAX_BCRYPT_COST} are taken")]
    Cost(u32),
}

/// Whether a stored hash is to be looked at here.
pub(crate) fn is_legacy(hash: &str) -> bool {
    hash.starts_with("$2")
}

/// The cost of a hash that is taken.
pub(crate) fn cost(hash: &str) -> Result<u32, LegacyHashError> {
    let known = hash.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    let is_known = known.is_some_and(|(version, _)| VERSIONS.contains(&version));
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| LegacyHashError::Unreadable)?;
    if !is_known {
        return Err(LegacyHashError::Unreadable);
    }
    let cost = parts.get_cost();
    if (MIN_BCRYPT_COST..=MAX_BCRYPT_COST).contains(&cost) {
        Ok(cost)
    } else {
        Err(LegacyHashError::Cost(cost))
    }
}

/// Whether a password is that of a hash. Takes time with the cost of it.
pub(crate) fn verify(password: &[u8], hash: &str) -> Result<bool, LegacyHashError> {
    cost(hash)?;
    bcrypt::verify(password, hash).map_err(|_| LegacyHashError::Unreadable)
}

/// Does what is missing of the work of one hash of cost `to` when one of cost `from` was computed, or none.
pub(crate) fn catch_up(password: &[u8], from: Option<u32>, to: u32) {
    for cost in missing(from, to) {
        // What comes out is nobody's hash.
        let computed = bcrypt::hash_with_salt(password, cost, [0; 16]);
        std::hint::black_box(computed.is_ok());
    }
}

/// Costs of hashes that are as much work together as one of cost `to`, but for one of cost `from`. Costs are powers of two:
/// 2^from + 2^from + 2^(from + 1) + … + 2^(to − 1) = 2^to.
fn missing(from: Option<u32>, to: u32) -> std::ops::Range<u32> {
    let to = to.clamp(MIN_BCRYPT_COST, MAX_BCRYPT_COST);
    match from {
        Some(from) => from..to,
        None => to..to + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the test vectors of jBCrypt and of OpenBSD's, whose versions differ in name alone.
    const VECTORS: [(&str, &str); 4] = [
        ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
        ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
        ("abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ];

    #[test]
    fn hashes_of_other_implementations_verify() {
        for (password, hash) in VECTORS {
            for version in VERSIONS {
                let hash = hash.replacen("2a", version, 1);
                assert!(is_legacy(&hash));
                assert_eq!(verify(password.as_bytes(), &hash), Ok(true), "{hash}");
                assert_eq!(verify(b"another", &hash), Ok(false), "{hash}");
            }
        }
    }

    #[test]
    fn what_comes_after_72_bytes_does_not_count() {
        let long = "ü".repeat(36) + "tail";
        let hash = bcrypt::hash_with_salt(&long, 4, [7; 16]).expect("hashed").to_string();
        assert_eq!(verify(long.as_bytes(), &hash), Ok(true));
        assert_eq!(verify("ü".repeat(36).as_bytes(), &hash), Ok(true));
        assert_eq!(verify("ü".repeat(35).as_bytes(), &hash), Ok(false));
        // By libxcrypt, of eighty times `x`.
        let hash = "$2b$05$abcdefghijklmnopqrstuujf8SX2ahXLwp9w/B.Y5XdysS6yR576q";
        for (count, right) in [(80, true), (73, true), (72, true), (71, false)] {
            assert_eq!(verify("x".repeat(count).as_bytes(), hash), Ok(right), "{count}");
        }
    }

    #[test]
    fn what_is_no_hash_of_the_kind_is_refused() {
        let good = VECTORS[0].1;
        for bad in [
            "",
            "$2",
            "$2a$06$",
            "$1$06$abc",
            &good.replacen("2a", "2x", 1),
            &good.replacen("2a", "2c", 1),
            &good[..59],
            &format!("{good}."),
            &good.replacen("$06$", "$xx$", 1),
            &good.replace("DCq7", "DC 7"),
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
        ] {
            assert_eq!(cost(bad), Err(LegacyHashError::Unreadable), "{bad}");
            assert_eq!(verify(b"x", bad), Err(LegacyHashError::Unreadable), "{bad}");
        }
    }

    #[test]
    fn an_absurd_cost_is_refused_before_any_work() {
        for absurd in [0, 3, 15, 31, 99] {
            let hash = VECTORS[0].1.replacen("$06$", &format!("${absurd:02}$"), 1);
            assert_eq!(verify(b"x", &hash), Err(LegacyHashError::Cost(absurd)));
        }
        assert_eq!(cost(&VECTORS[0].1.replacen("$06$", "$14$", 1)), Ok(14));
    }

    #[test]
    fn whatever_a_hash_costs_the_work_is_the_same() {
        let work = |costs: std::ops::Range<u32>| costs.map(|cost| 1_u64 << cost).sum::<u64>();
        for to in MIN_BCRYPT_COST..=MAX_BCRYPT_COST {
            assert_eq!(work(missing(None, to)), 1 << to, "an account that does not exist");
            for from in MIN_BCRYPT_COST..=to {
                assert_eq!((1 << from) + work(missing(Some(from), to)), 1 << to, "{from} of {to}");
            }
        }
        assert_eq!(missing(None, 31), MAX_BCRYPT_COST..MAX_BCRYPT_COST + 1, "never an hour");
    }
}
