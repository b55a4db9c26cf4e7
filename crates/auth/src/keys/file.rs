//! `keys.json`: the generated keys in the data folder.
//!
//! `{"version":1,"keys":[{"alg":"EdDSA","seed":"base64url of 32 bytes"}, …]}`; the first signs, all verify.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_store::time::Random;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::Deserialize;

use super::KeyError;

const NAME: &str = "keys.json";
const VERSION: u32 = 1;

type Seed = SecretBox<[u8; 32]>;

#[derive(Deserialize)]
struct Stored {
    version: u32,
    keys: Vec<StoredKey>,
}

#[derive(Deserialize)]
struct StoredKey {
    alg: String,
    seed: SecretString,
}

/// Reads the seeds; makes the file when there is none.
pub(super) fn load_or_create(folder: &Path, random: &dyn Random) -> Result<Vec<Seed>, KeyError> {
    let path = folder.join(NAME);
    match read(&path) {
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    create(folder, &path, fresh(random).as_bytes(), random)?;
    // What is there counts, not what was written: another process may have been quicker.
    read(&path)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.display().to_string();
    move |source| KeyError::File { action, path, source }
}

fn read(path: &Path) -> Result<Vec<Seed>, KeyError> {
    let text = fs::read(path).map(Zeroizing::new).map_err(failed("read", path))?;
    keep_private(path)?;
    parse(&text).map_err(|reason| KeyError::Corrupt { path: path.display().to_string(), reason })
}

/// The seeds in the text of a key file.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Seed>, &'static str> {
    let stored: Stored = serde_json::from_slice(text).map_err(|_| "not the JSON of one")?;
    if stored.version != VERSION {
        return Err("of another version");
    }
    let seed = |key: &StoredKey| {
        let bytes = URL_SAFE_NO_PAD.decode(key.seed.expose_secret()).map(Zeroizing::new).ok()?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).ok().filter(|_| key.alg == "EdDSA")?;
        Some(SecretBox::new(Box::new(bytes)))
    };
    let seeds: Option<Vec<_>> = stored.keys.iter().map(seed).collect();
    seeds.filter(|seeds| !seeds.is_empty()).ok_or("a key is missing or is none")
}

/// The text of a key file with one new key.
pub(super) fn fresh(random: &dyn Random) -> Zeroizing<String> {
    let seed = Seed::init_with_mut(|bytes: &mut [u8; 32]| random.fill(bytes));
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(seed.expose_secret()));
    Zeroizing::new(format!(
        "{{\"version\":{VERSION},\"keys\":[{{\"alg\":\"EdDSA\",\"seed\":\"{}\"}}]}}\n",
        *encoded
    ))
}

/// What the file in a folder says, if there is one.
pub(super) fn stored(folder: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let path = folder.join(NAME);
    match fs::read(&path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Makes the file of a folder with this text, and leaves one that is there alone.
pub(super) fn keep(folder: &Path, text: &[u8], random: &dyn Random) -> Result<(), KeyError> {
    create(folder, &folder.join(NAME), text, random)
}

/// Makes the file whole or not at all, and never over one that is there.
fn create(folder: &Path, path: &Path, text: &[u8], random: &dyn Random) -> Result<(), KeyError> {
    let mut suffix = [0_u8; 8];
    random.fill(&mut suffix);
    let draft = folder.join(format!("{NAME}.{:016x}", u64::from_le_bytes(suffix)));
    let made = write_private(&draft, text)
        .map_err(failed("write", &draft))
        .and_then(|()| link(&draft, path).map_err(failed("make", path)));
    let removed = fs::remove_file(&draft);
    made?;
    removed.map_err(failed("remove", &draft))?;
    // The name itself must survive a power cut, or every token would be void after it.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("flush", folder))
}

/// Gives the draft its name, unless another process was quicker.
fn link(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Takes away what others may do with the file, which a copy or a restored backup may have given them.
fn keep_private(path: &Path) -> Result<(), KeyError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "the key file was open to others");
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("protect", path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use lattice_store::time::SystemRandom;

    use super::*;

    fn seeds(folder: &Path) -> Vec<[u8; 32]> {
        let seeds = load_or_create(folder, &SystemRandom).expect("keys");
        seeds.iter().map(|seed| *seed.expose_secret()).collect()
    }

    #[test]
    fn keys_are_made_once_and_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("deep").join("data");
        let first = seeds(&data);
        assert_eq!(first.len(), 1);
        assert_eq!(seeds(&data), first);
        let names: Vec<_> =
            fs::read_dir(&data).expect("a folder").map(|entry| entry.expect("a file").file_name()).collect();
        assert_eq!(names, [NAME], "no draft is left behind");
        assert_ne!(seeds(folder.path()), first, "another folder, another key");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        let first = seeds(folder.path());
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        assert_eq!(seeds(folder.path()), first);
        assert_eq!(mode(), 0o600, "put right at the next start");
    }

    #[test]
    fn processes_that_start_at_once_share_one_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let barrier = Barrier::new(8);
        let found: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                seeds(folder.path())
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().expect("keys")).collect()
        });
        assert!(found.iter().all(|seeds| *seeds == found[0]));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        for text in [
            "",
            "{}",
            "[]",
            "{\"version\":1,\"keys\":[]}",
            "{\"version\":2,\"keys\":[]}",
            "{\"version\":1,\"keys\":[{\"alg\":\"EdDSA\",\"seed\":\"c2hvcnQ\"}]}",
            "{\"version\":1,\"keys\":[{\"alg\":\"HS256\",\"seed\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
        ] {
            fs::write(&path, text).expect("written");
            let error = load_or_create(folder.path(), &SystemRandom).expect_err("refused").to_string();
            assert!(
                error.contains("is not a key file of lattice-server") && !error.contains("c2hvcnQ"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).expect("a file"), text);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let error = load_or_create(&file, &SystemRandom).expect_err("refused").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
