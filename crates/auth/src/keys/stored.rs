//! The form in which generated keys are kept, in `keys.json` or in the database.
//!
//! Version 1, as it is made at the first start: `{"version":1,"keys":[{"alg":"EdDSA","seed":"base64url of 32 bytes"}]}`.
//! Version 2, from the first rotation on: each key may also have `created` and `signsFrom`, in seconds since 1970. A key
//! without times signs from the beginning. The newest stands first.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_store::time::Random;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::Deserialize;

/// Keys in the form in which they are kept.
pub type StoredKeys = Zeroizing<Vec<u8>>;

/// Versions that are read.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

pub(super) type Seed = SecretBox<[u8; 32]>;

/// A key as it is kept.
#[derive(Debug)]
pub(super) struct StoredKey {
    pub(super) seed: Seed,
    /// When it was made, in seconds since 1970, if that is known.
    pub(super) created_s: Option<i64>,
    /// From when on it signs, in seconds since 1970; `None`: from the beginning.
    pub(super) signs_from_s: Option<i64>,
}

#[derive(Deserialize)]
struct Document {
    version: u32,
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    alg: String,
    seed: SecretString,
    created: Option<i64>,
    signs_from: Option<i64>,
}

/// Reads keys.
pub(super) fn parse(text: &[u8]) -> Result<Vec<StoredKey>, &'static str> {
    let document: Document = serde_json::from_slice(text).map_err(|_| "not the JSON of one")?;
    if !VERSIONS.contains(&document.version) {
        return Err("of another version");
    }
    let key = |entry: &Entry| {
        let bytes = URL_SAFE_NO_PAD.decode(entry.seed.expose_secret()).map(Zeroizing::new).ok()?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).ok().filter(|_| entry.alg == "EdDSA")?;
        let seed = SecretBox::new(Box::new(bytes));
        Some(StoredKey { seed, created_s: entry.created, signs_from_s: entry.signs_from })
    };
    let keys: Option<Vec<_>> = document.keys.iter().map(key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or("a key is missing or is none")
}

/// Writes keys, as version 2.
pub(super) fn write(keys: &[StoredKey]) -> StoredKeys {
    let mut text = Zeroizing::new(String::from("{\"version\":2,\"keys\":["));
    // With room for all of it, so that no copy of a seed stays behind in memory.
    text.reserve(keys.len() * 160 + 8);
    for (at, key) in keys.iter().enumerate() {
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(key.seed.expose_secret()));
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        text.push_str("{\"alg\":\"EdDSA\",\"seed\":\"");
        text.push_str(&encoded);
        text.push('"');
        for (name, time_s) in [("created", key.created_s), ("signsFrom", key.signs_from_s)] {
            if let Some(time_s) = time_s {
                text.push_str(&format!(",\"{name}\":{time_s}"));
            }
        }
        text.push('}');
    }
    text.push_str("\n]}\n");
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// A new seed.
pub(super) fn new_seed(random: &dyn Random) -> Seed {
    Seed::init_with_mut(|bytes: &mut [u8; 32]| random.fill(bytes))
}

/// One new key, as version 1.
pub(super) fn fresh(random: &dyn Random) -> Zeroizing<String> {
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(new_seed(random).expose_secret()));
    Zeroizing::new(format!("{{\"version\":1,\"keys\":[{{\"alg\":\"EdDSA\",\"seed\":\"{}\"}}]}}\n", *encoded))
}
