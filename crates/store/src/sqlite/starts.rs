//! Noticing that a database file is an older copy. Each start of a process on it draws a name, which is kept in the file and beside it
//! (`*.starts`); beside it is also kept which file that is, and the last block of its log. Whoever puts an older copy in its place, or starts
//! a copy elsewhere, does not change both in the same way.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::block::Block;
use super::open::{Identity, OpenError, find_meta};
use super::recent::BlockNo;
use super::spaces::corrupt;
use crate::StoreError;
use crate::restores::{self, BACKUP, EPOCH, PLACE, RESTORED_SINCE};
use crate::time::Random;

/// A start's name.
pub(super) type Start = [u8; 16];

/// What a backup has for a start: nothing beside a file says the same, so it counts as an older copy wherever it is put.
pub(super) const OF_A_BACKUP: &[u8] = b"backup";

const TITLE: &str = "lattice-server starts 1";
/// Where the number of the last block stands.
const BLOCK_AT: u64 =
    (TITLE.len() + "\nfile ".len() + 20 + 2 * ("\nstart ".len() + 32) + "\nblock ".len()) as u64;

/// What is kept beside the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Record {
    /// The inode of the database file.
    file: u64,
    /// The last start, and the one that is being made, if any: a crash may leave either of them in the file.
    starts: [Start; 2],
    /// A block of the log that was committed. The file holds it, unless it is an older copy.
    block: BlockNo,
}

impl Record {
    fn text(&self) -> String {
        let Self { file, starts: [last, next], block } = self;
        let (last, next) = (u128::from_be_bytes(*last), u128::from_be_bytes(*next));
        format!("{TITLE}\nfile {file:020}\nstart {last:032x}\nstart {next:032x}\nblock {block:020}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name);
        value(TITLE)?;
        let file = value("file ")?.parse().ok()?;
        let mut start = || Some(u128::from_str_radix(value("start ")?, 16).ok()?.to_be_bytes());
        let starts = [start()?, start()?];
        Some(Self { file, starts, block: value("block ")?.parse().ok()? })
    }
}

fn path_of(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The file beside a database file.
pub(super) fn beside(path: &Path) -> PathBuf {
    path_of(path, ".starts")
}

/// Writes the record so that a crash leaves either the old or the new one.
fn write(path: &Path, record: &Record) -> std::io::Result<File> {
    let (wanted, fresh) = (beside(path), path_of(path, ".starts.new"));
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(record.text().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, &wanted)?;
    sync_folder(path)?;
    Ok(file)
}

/// Notes that a file was put there with this start and this last block.
pub(super) fn record(path: &Path, start: Start, last_block: BlockNo) -> std::io::Result<()> {
    let file = std::fs::metadata(path)?.ino();
    write(path, &Record { file, starts: [start, start], block: last_block }).map(|_| ())
}

/// Makes names in the folder of a file durable.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Why the file is an older copy, if it is one.
fn difference(
    beside: Option<&Record>,
    start: Option<&[u8]>,
    file: u64,
    last_block: BlockNo,
) -> Option<&'static str> {
    let (record, start) = match (beside, start) {
        // It is new, or was made before starts were kept.
        (None, None) => return None,
        (None, Some(_)) => return Some("nothing beside it knows of its last start"),
        (Some(_), None) => return Some("it knows nothing of its last start"),
        (Some(record), Some(start)) => (record, start),
    };
    if !record.starts.iter().any(|known| known == start) {
        Some("it is not as its last start left it")
    } else if record.file != file {
        Some("it is another file than at its last start")
    } else if last_block < record.block {
        Some("it lacks changes that were stored")
    } else {
        None
    }
}

/// Keeps what is beside the file up to date.
pub(super) struct Starts {
    file: File,
    block: BlockNo,
    failed: bool,
}

impl Starts {
    /// Notes this start. A database that is an older copy gets another epoch, before anything is given out of it.
    pub(super) fn begin(
        path: &Path,
        connection: &mut Connection,
        identity: Identity,
        last_block: BlockNo,
        random: &dyn Random,
    ) -> Result<(Identity, Self), OpenError> {
        let shown = path.display().to_string();
        let unusable =
            |error: std::io::Error| OpenError::Unusable { path: shown.clone(), reason: error.to_string() };
        let file = std::fs::metadata(path).map_err(unusable)?.ino();
        let start = find_meta(connection, PLACE)?;
        let found = match std::fs::read(beside(path)) {
            Ok(bytes) => Some(std::str::from_utf8(&bytes).ok().and_then(Record::parse)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(error)),
        };
        let why = match &found {
            Some(None) => Some("what stands beside it of its last start cannot be read"),
            found => difference(found.flatten().as_ref(), start.as_deref(), file, last_block),
        };
        let mut next: Start = [0; 16];
        random.fill(&mut next);
        let identity = match why {
            Some(why) => {
                // The file first: should this end here, it differs again.
                let identity = raise(connection, identity, random, &next)?;
                tracing::warn!(database = shown, why, "the database is an older copy: clients start over");
                identity
            }
            None => {
                let last = start.and_then(|start| start.try_into().ok()).unwrap_or(next);
                write(path, &Record { file, starts: [last, next], block: last_block }).map_err(unusable)?;
                put(connection, PLACE, &next)?;
                identity
            }
        };
        let record = Record { file, starts: [next, next], block: last_block };
        let file = write(path, &record).map_err(unusable)?;
        Ok((identity, Self { file, block: last_block, failed: false }))
    }

    /// Blocks of the log were committed. It need not be flushed: an older number only notices less.
    pub(super) fn committed(&mut self, last_block: BlockNo) {
        if last_block == self.block {
            return;
        }
        self.block = last_block;
        let written = self.file.write_all_at(format!("{last_block:020}").as_bytes(), BLOCK_AT);
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "the number of the last block cannot be kept beside the database");
        }
    }
}

pub(super) fn put(connection: &Connection, name: &str, value: &[u8]) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(sql, params![name, value]).map(|_| ())
}

/// Gives the database another epoch, and names its start.
pub(super) fn raise(
    connection: &mut Connection,
    identity: Identity,
    random: &dyn Random,
    start: &Start,
) -> Result<Identity, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let epoch = restores::next_epoch(identity.epoch, random);
    let since_us = restores::since(identity.restored_since_us, last_known(&transaction)?);
    put(&transaction, EPOCH, &epoch.to_le_bytes())?;
    put(&transaction, RESTORED_SINCE, &since_us.to_le_bytes())?;
    put(&transaction, PLACE, start)?;
    transaction.commit()?;
    Ok(Identity { epoch, restored_since_us: Some(since_us), ..identity })
}

/// The last moment that the file knows of, in microseconds since 1970: when it was backed up, or when its last change arrived.
fn last_known(connection: &Connection) -> Result<i64, StoreError> {
    let flushed: Option<i64> =
        connection.query_row("SELECT max(arrival_us) FROM space", [], |row| row.get(0))?;
    let sql = "SELECT no, content FROM block ORDER BY no DESC LIMIT 1";
    let block = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let logged = match block {
        Some((no, content)) => {
            let no: BlockNo = no;
            let content: Vec<u8> = content;
            let block =
                Block::decode(&Bytes::from(content)).ok_or_else(|| corrupt("block", "content", no))?;
            block.head.arrival_us
        }
        None => 0,
    };
    let backup = find_meta(connection, BACKUP)?.as_deref().and_then(restores::moment);
    Ok([flushed.unwrap_or(0), logged, backup.unwrap_or(0)].into_iter().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record { file: 7, starts: [[1; 16], [2; 16]], block: 30 };

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = RECORD.text();
        assert_eq!(Record::parse(&text), Some(RECORD));
        let at = usize::try_from(BLOCK_AT).expect("a small number");
        assert_eq!(&text[at..], "00000000000000000030\n");
        for broken in ["", "lattice-server starts 2", &text[..at], &text.replace("file ", "fil ")] {
            assert_eq!(Record::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_file_is_its_own_only_as_it_was_left() {
        let differs = |start: Option<u8>, file, block| {
            let start = start.map(|byte| vec![byte; 16]);
            difference(Some(&RECORD), start.as_deref(), file, block).is_some()
        };
        // A crash while a start was noted leaves either of its two names.
        assert!(!differs(Some(1), 7, 30) && !differs(Some(2), 7, 31));
        assert!(differs(Some(3), 7, 30), "an older start");
        assert!(differs(None, 7, 30), "from before starts were kept");
        assert!(differs(Some(1), 8, 30), "another file");
        assert!(differs(Some(1), 7, 29), "a block is gone");
        assert!(difference(None, Some(&[1; 16]), 7, 0).is_some(), "copied alone");
        assert!(difference(None, None, 7, 9).is_none(), "new, or from before starts were kept");
        assert!(difference(Some(&RECORD), Some(OF_A_BACKUP), 7, 30).is_some());
    }
}
