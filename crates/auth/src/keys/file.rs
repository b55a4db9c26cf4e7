//! `keys.json`: the generated keys in the data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lattice_store::BoxFuture;
use lattice_store::time::Random;
use secrecy::zeroize::Zeroizing;

use super::KeyError;
use super::stored::{self, StoredKey, StoredKeys, fresh};
use crate::keyring::KeyStore;

const NAME: &str = "keys.json";
/// Locked by whoever replaces the file. It stays: were it removed, two could hold locks on two files of this name.
const LOCK_NAME: &str = "keys.json.lock";

/// The key file of a data folder, as a store of keys.
#[derive(Clone)]
pub struct FileKeys {
    folder: PathBuf,
    random: Arc<dyn Random>,
}

impl FileKeys {
    /// The file of this folder.
    #[must_use]
    pub fn new(folder: &Path, random: Arc<dyn Random>) -> Self {
        Self { folder: folder.to_path_buf(), random }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|_| Err(KeyError::Unreachable("reading the key file was given up".to_owned())))
    }
}

impl KeyStore for FileKeys {
    fn read(&self) -> BoxFuture<'_, Result<StoredKeys, KeyError>> {
        Box::pin(self.run(|this| {
            let path = this.folder.join(NAME);
            let text = fs::read(&path).map(Zeroizing::new).map_err(failed("read", &path))?;
            keep_private(&path)?;
            Ok(text)
        }))
    }

    fn replace(&self, expected: &StoredKeys, new: &StoredKeys) -> BoxFuture<'_, Result<bool, KeyError>> {
        let (expected, new) = (expected.clone(), new.clone());
        Box::pin(self.run(move |this| replace(&this.folder, &expected, &new, &*this.random)))
    }
}

/// Puts a new file in the place of the old one, if that says what is expected: whole or not at all, whatever happens.
fn replace(folder: &Path, expected: &[u8], new: &[u8], random: &dyn Random) -> Result<bool, KeyError> {
    let (path, lock_path) = (folder.join(NAME), folder.join(LOCK_NAME));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    private(&mut options);
    let lock = options.open(&lock_path).map_err(failed("open", &lock_path))?;
    // It is given back when the file is closed, also by a process that dies.
    lock.lock().map_err(failed("lock", &lock_path))?;
    let held = fs::read(&path).map(Zeroizing::new).map_err(failed("read", &path))?;
    if *held != expected {
        return Ok(false);
    }
    let draft = draft_of(folder, random);
    let renamed = write_private(&draft, new)
        .map_err(failed("write", &draft))
        .and_then(|()| fs::rename(&draft, &path).map_err(failed("replace", &path)));
    if let Err(error) = renamed {
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    flush(folder)?;
    Ok(true)
}

/// A name that nobody else uses.
fn draft_of(folder: &Path, random: &dyn Random) -> PathBuf {
    let mut suffix = [0_u8; 8];
    random.fill(&mut suffix);
    folder.join(format!("{NAME}.{:016x}", u64::from_le_bytes(suffix)))
}

/// The name of a file must survive a power cut as well, or every token would be void after it.
fn flush(folder: &Path) -> Result<(), KeyError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("flush", folder))
}

/// Files made with these options are the owner's alone.
fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Reads the keys; makes the file when there is none.
pub(super) fn load_or_create(folder: &Path, random: &dyn Random) -> Result<Vec<StoredKey>, KeyError> {
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

fn read(path: &Path) -> Result<Vec<StoredKey>, KeyError> {
    let text = fs::read(path).map(Zeroizing::new).map_err(failed("read", path))?;
    keep_private(path)?;
    stored::parse(&text).map_err(|reason| KeyError::Corrupt { path: path.display().to_string(), reason })
}

/// What the file in a folder says, if there is one.
pub(super) fn text_in(folder: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
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
    let draft = draft_of(folder, random);
    let made = write_private(&draft, text)
        .map_err(failed("write", &draft))
        .and_then(|()| link(&draft, path).map_err(failed("make", path)));
    let removed = fs::remove_file(&draft);
    made?;
    removed.map_err(failed("remove", &draft))?;
    flush(folder)
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
    private(&mut options);
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
mod tests;
