//! Which key signs when, how long each verifies, and what a rotation makes of them.
//!
//! A new key is published and verified with from the moment it is stored, and signs [`KEY_ACTIVATION_DELAY_S`] later: by
//! then every instance has it, and whoever keeps our key set has fetched it anew. The key before it signs until then, and
//! verifies until the last token that it signed has expired. All that follows from the times that are stored with the keys,
//! so nobody has to come by for a key to begin or to end.

use std::cmp::Reverse;

use lattice_store::time::Random;

use super::stored::{self, StoredKey, StoredKeys};
use super::{CLOCK_LEEWAY_S, Key, KeyError, Keys};
use crate::ACCESS_TOKEN_LIFE_S;

/// How often an instance looks whether the keys have changed, in seconds.
pub const KEY_PICKUP_INTERVAL_S: u32 = 5;
/// How long others may keep our public keys, in seconds.
pub const JWKS_MAX_AGE_S: u32 = 300;
/// How long a new key is known before it signs, in seconds.
pub const KEY_ACTIVATION_DELAY_S: i64 = 600;
/// How much longer than the tokens that it may have signed a key verifies, in seconds: an instance may have been slow to
/// see its successor, and clocks differ.
const RETIREMENT_MARGIN_S: i64 = 300;
/// How long a key verifies after its successor has begun to sign, in seconds.
const RETIREMENT_S: i64 = ACCESS_TOKEN_LIFE_S + CLOCK_LEEWAY_S + RETIREMENT_MARGIN_S;
/// Keys that are held at a time: each is looked through for every token, and is in every key set that is given out.
pub const MAX_KEYS: usize = 16;

// Twice the time that it takes until everybody knows a key.
const _: () =
    assert!(KEY_ACTIVATION_DELAY_S >= 2 * (KEY_PICKUP_INTERVAL_S as i64 + JWKS_MAX_AGE_S as i64) - 10);

/// How keys are rotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// The new key signs after [`KEY_ACTIVATION_DELAY_S`].
    Announced,
    /// The new key signs at once. Instances learn of it within a second of the first token that it signed; others, who keep
    /// our key set, may refuse its tokens until they fetch it anew.
    Immediate,
    /// The same, and tokens of all other keys are void: for a key that has leaked.
    Revoking,
}

/// What a rotation has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotated {
    /// The new key.
    pub kid: String,
    /// When it begins to sign, in seconds since 1970.
    pub signs_from_s: i64,
    /// Keys that are gone: their tokens have expired, or are void from now on.
    pub dropped: usize,
}

/// A key, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    /// Its name.
    pub kid: String,
    /// When it was made, in seconds since 1970; not known of one from the first start.
    pub created_s: Option<i64>,
    /// What it is used for.
    pub state: KeyState,
}

/// What a key is used for. Times are in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// It is published, and will sign from then on.
    Announced(i64),
    /// It signs.
    Signs,
    /// It has a successor, and verifies until then; `None`: it always does.
    Retired(Option<i64>),
    /// Every token that it signed has expired; it is not used any more.
    Expired,
}

/// What a rotation makes of the keys that are stored.
pub(crate) fn plan(
    held: &[u8],
    rotation: Rotation,
    now_s: i64,
    random: &dyn Random,
) -> Result<(StoredKeys, Rotated), KeyError> {
    let mut held = stored::parse(held).map_err(KeyError::Stored)?;
    let count = held.len();
    if rotation == Rotation::Revoking {
        held.clear();
    } else {
        let ends: Vec<i64> = (0..count).map(|at| verifies_until(&held, at)).collect();
        let mut ends = ends.into_iter();
        held.retain(|_| ends.next().is_some_and(|end_s| now_s < end_s));
    }
    if held.len() >= MAX_KEYS {
        return Err(KeyError::TooMany);
    }
    let dropped = count - held.len();
    let signs_from_s = match rotation {
        Rotation::Announced => now_s + KEY_ACTIVATION_DELAY_S,
        Rotation::Immediate | Rotation::Revoking => now_s,
    };
    let seed = stored::new_seed(random);
    let kid = Key::ed25519(&seed)?.kid;
    held.insert(0, StoredKey { seed, created_s: Some(now_s), signs_from_s: Some(signs_from_s) });
    Ok((stored::write(&held), Rotated { kid, signs_from_s, dropped }))
}

/// Keys that are ready for use.
pub(super) fn keys(stored: &[StoredKey]) -> Result<Keys, KeyError> {
    let key = |(at, held): (usize, &StoredKey)| {
        let key = Key::ed25519(&held.seed)?;
        Ok(Key {
            created_s: held.created_s,
            signs_from_s: held.signs_from_s.unwrap_or(i64::MIN),
            verifies_until_s: verifies_until(stored, at),
            ..key
        })
    };
    Ok(Keys { keys: stored.iter().enumerate().map(key).collect::<Result<_, KeyError>>()? })
}

/// When the last token of a key has expired: some time after the next one has begun to sign.
fn verifies_until(keys: &[StoredKey], at: usize) -> i64 {
    let own_s = keys[at].signs_from_s.unwrap_or(i64::MIN);
    let later = keys.iter().filter_map(|key| key.signs_from_s).filter(|from_s| *from_s > own_s);
    later.min().map_or(i64::MAX, |from_s| from_s.saturating_add(RETIREMENT_S))
}

impl Keys {
    /// The key that signs at this time: of those that have begun the one that did so last, the first of several. Before any
    /// has begun, as after a clock has stepped back, the one that does so first.
    pub(super) fn signing_at(&self, now_s: i64) -> Option<&Key> {
        let begun = self.keys.iter().filter(|key| key.signs_from_s <= now_s);
        begun
            .min_by_key(|key| Reverse(key.signs_from_s))
            .or_else(|| self.keys.iter().min_by_key(|key| key.signs_from_s))
    }

    /// All keys and what each is used for, the newest first.
    #[must_use]
    pub fn list(&self, now_s: i64) -> Vec<KeyInfo> {
        let signing = self.signing_at(now_s).map(|key| &key.kid);
        let state = |key: &Key| {
            if Some(&key.kid) == signing {
                KeyState::Signs
            } else if now_s < key.signs_from_s {
                KeyState::Announced(key.signs_from_s)
            } else if now_s < key.verifies_until_s {
                KeyState::Retired((key.verifies_until_s != i64::MAX).then_some(key.verifies_until_s))
            } else {
                KeyState::Expired
            }
        };
        let info = |key: &Key| KeyInfo { kid: key.kid.clone(), created_s: key.created_s, state: state(key) };
        self.keys.iter().map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use lattice_store::time::SystemRandom;

    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn rotated(held: &[u8], rotation: Rotation, now_s: i64) -> (StoredKeys, Rotated) {
        plan(held, rotation, now_s, &SystemRandom).expect("rotated")
    }

    fn states(stored: &[u8], now_s: i64) -> Vec<KeyState> {
        let keys = Keys::from_stored(stored).expect("keys");
        keys.list(now_s).into_iter().map(|info| info.state).collect()
    }

    #[test]
    fn a_key_is_announced_then_signs_then_retires_and_ends() {
        let first = Keys::fresh(&SystemRandom);
        assert_eq!(states(first.as_bytes(), NOW_S), [KeyState::Signs]);
        let (stored, rotation) = rotated(first.as_bytes(), Rotation::Announced, NOW_S);
        let from_s = NOW_S + KEY_ACTIVATION_DELAY_S;
        assert_eq!((rotation.signs_from_s, rotation.dropped), (from_s, 0));
        assert_eq!(states(&stored, NOW_S), [KeyState::Announced(from_s), KeyState::Signs]);
        assert_eq!(states(&stored, from_s - 1), [KeyState::Announced(from_s), KeyState::Signs]);
        let end_s = from_s + RETIREMENT_S;
        assert_eq!(states(&stored, from_s), [KeyState::Signs, KeyState::Retired(Some(end_s))]);
        assert_eq!(states(&stored, end_s - 1), [KeyState::Signs, KeyState::Retired(Some(end_s))]);
        assert_eq!(states(&stored, end_s), [KeyState::Signs, KeyState::Expired]);
        let keys = Keys::from_stored(&stored).expect("keys");
        let published = |now_s: i64| keys.jwks(now_s)["keys"].as_array().map_or(0, Vec::len);
        assert_eq!([NOW_S, from_s, end_s - 1, end_s].map(published), [2, 2, 2, 1]);
        // A clock that steps back finds a key to sign with.
        assert_eq!(keys.list(i64::MIN)[1].state, KeyState::Signs);
        let (alone, _) = rotated(first.as_bytes(), Rotation::Revoking, NOW_S);
        assert_eq!(states(&alone, NOW_S - 1), [KeyState::Signs]);
    }

    #[test]
    fn a_rotation_drops_what_has_ended_and_keeps_the_rest() {
        let first = Keys::fresh(&SystemRandom);
        let (stored, _) = rotated(first.as_bytes(), Rotation::Announced, NOW_S);
        let end_s = NOW_S + KEY_ACTIVATION_DELAY_S + RETIREMENT_S;
        let (kept, rotation) = rotated(&stored, Rotation::Announced, end_s - 1);
        assert_eq!((rotation.dropped, states(&kept, end_s - 1).len()), (0, 3));
        let (kept, rotation) = rotated(&stored, Rotation::Announced, end_s);
        assert_eq!((rotation.dropped, states(&kept, end_s).len()), (1, 2));
        // Two in a row: both are announced, and take over one after the other.
        let (two, _) = rotated(&stored, Rotation::Announced, NOW_S + 10);
        let later_s = NOW_S + KEY_ACTIVATION_DELAY_S;
        assert_eq!(
            states(&two, later_s),
            [KeyState::Announced(later_s + 10), KeyState::Signs, KeyState::Retired(Some(end_s))]
        );
    }

    #[test]
    fn at_once_means_at_once_and_revoking_leaves_one_key() {
        let first = Keys::fresh(&SystemRandom);
        let (stored, _) = rotated(first.as_bytes(), Rotation::Immediate, NOW_S);
        assert_eq!(states(&stored, NOW_S), [KeyState::Signs, KeyState::Retired(Some(NOW_S + RETIREMENT_S))]);
        let (stored, rotation) = rotated(&stored, Rotation::Revoking, NOW_S + 1);
        assert_eq!((states(&stored, NOW_S + 1), rotation.dropped), (vec![KeyState::Signs], 2));
        assert_eq!(Keys::from_stored(&stored).expect("keys").list(NOW_S)[0].kid, rotation.kid);
    }

    #[test]
    fn there_is_an_end_to_the_number_of_keys() {
        let mut stored: StoredKeys = Keys::fresh(&SystemRandom).as_bytes().to_vec().into();
        for _ in 1..MAX_KEYS {
            stored = rotated(&stored, Rotation::Announced, NOW_S).0;
        }
        assert_eq!(states(&stored, NOW_S).len(), MAX_KEYS);
        let refused = plan(&stored, Rotation::Immediate, NOW_S, &SystemRandom);
        assert!(matches!(refused, Err(KeyError::TooMany)));
        assert_eq!(rotated(&stored, Rotation::Revoking, NOW_S).1.dropped, MAX_KEYS);
    }

    #[test]
    fn several_keys_of_the_first_version_all_verify_and_the_first_signs() {
        let keys: Vec<_> = (0..2).map(|_| stored::new_seed(&SystemRandom)).collect();
        let keys: Vec<_> =
            keys.into_iter().map(|seed| StoredKey { seed, created_s: None, signs_from_s: None }).collect();
        let stored = stored::write(&keys);
        let stored =
            String::from_utf8(stored.to_vec()).expect("text").replace("\"version\":2", "\"version\":1");
        assert_eq!(states(stored.as_bytes(), NOW_S), [KeyState::Signs, KeyState::Retired(None)]);
    }
}
