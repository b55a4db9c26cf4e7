//! `lattice-server import-users`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use lattice_auth::{ImportError, Imported, Importer, ServerSecret};
use lattice_store::spaces::NoSink;
use lattice_store::time::{Clock, Random, SystemClock, SystemRandom};

use super::say;
use crate::backend::Backend;
use crate::config::Config;

/// Longest line, in bytes: an address, a hash and a name need less than two thousand.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Lines that are imported at the same time, so that many share a flush.
const CONCURRENT_LINES: usize = 32;

/// What became of the lines.
#[derive(Default)]
struct Report {
    new: u64,
    known: u64,
    skipped: u64,
}

/// A line, or why there is none.
type Line = Result<String, String>;

/// Imports all lines that can be. Says which could not, and fails at the end if there are any.
pub(super) async fn run(config: &Config, file: &Path) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let reader: Box<dyn BufRead + Send> = if file == Path::new("-") {
        Box::new(BufReader::new(stdin()))
    } else {
        Box::new(BufReader::new(File::open(file).map_err(unreadable)?))
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let backend = Backend::open(config, Arc::new(NoSink), &clock, &random).await;
    let backend = backend.map_err(|error| error.to_string())?;
    let secret = ServerSecret::from_root(&backend.mint_key.0);
    let importer = Importer::new(Arc::clone(&backend.accounts), secret, clock);
    let imported = import(&importer, reader).await;
    backend.close().await;
    let report = imported.map_err(|error| match error {
        Failure::Reading(error) => unreadable(error),
        Failure::Storing(number, error) => {
            format!("line {number}: {error}; lines before it are imported, and may be imported again")
        }
    })?;
    say(&format!(
        "imported {} accounts; {} were there already; {} lines were skipped",
        report.new, report.known, report.skipped
    ));
    match report.skipped {
        0 => Ok(()),
        skipped => Err(format!("{skipped} lines were skipped")),
    }
}

enum Failure {
    Reading(std::io::Error),
    Storing(u64, ImportError),
}

async fn import(importer: &Importer, reader: Box<dyn BufRead + Send>) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut outcomes = stream::iter(lines(reader))
        .map(|(number, line)| async move {
            match line.map_err(Failure::Reading)? {
                Ok(line) => match importer.import(&line).await {
                    Err(error @ ImportError::Store(_)) => Err(Failure::Storing(number, error)),
                    outcome => Ok((number, outcome.map_err(|error| error.to_string()))),
                },
                Err(reason) => Ok((number, Err(reason))),
            }
        })
        .buffered(CONCURRENT_LINES);
    while let Some(outcome) = outcomes.next().await {
        match outcome? {
            (_, Ok(Imported::New)) => report.new += 1,
            (_, Ok(Imported::Known)) => report.known += 1,
            (number, Err(reason)) => {
                report.skipped += 1;
                say(&format!("line {number} was skipped: {reason}"));
            }
        }
    }
    Ok(report)
}

/// The lines that are not empty, by their numbers. What is too long is passed over, never held.
fn lines(mut reader: Box<dyn BufRead + Send>) -> impl Iterator<Item = (u64, std::io::Result<Line>)> {
    let mut numbers = 1..;
    std::iter::from_fn(move || {
        loop {
            let number = numbers.next()?;
            match next_line(&mut reader) {
                Ok(None) => return None,
                Ok(Some(Ok(line))) if line.trim().is_empty() => {}
                Ok(Some(line)) => return Some((number, Ok(line))),
                Err(error) => return Some((number, Err(error))),
            }
        }
    })
}

fn next_line(reader: &mut dyn BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    if reader.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        reader.skip_until(b'\n')?;
        return Ok(Some(Err(format!("it has {MAX_LINE_BYTES} bytes or more"))));
    }
    Ok(Some(String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let long = "x".repeat(MAX_LINE_BYTES);
        let text = [b"a\n\n  \nb\r\n".as_slice(), long.as_bytes(), b"yz\n\xff\nlast"].concat();
        let found: Vec<_> = lines(Box::new(Cursor::new(text)))
            .map(|(number, line)| (number, line.expect("it is read").map(|line| line.trim().to_owned())))
            .collect();
        let too_long = Err("it has 65536 bytes or more".to_owned());
        let expected = [
            (1, Ok("a".to_owned())),
            (4, Ok("b".to_owned())),
            (5, too_long),
            (6, Err("it is not UTF-8".to_owned())),
            (7, Ok("last".to_owned())),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_read() {
        let longest = "x".repeat(MAX_LINE_BYTES - 1);
        let text = format!("{longest}\nb");
        let found: Vec<_> = lines(Box::new(Cursor::new(text))).map(|(number, _)| number).collect();
        assert_eq!(found, [1, 2]);
    }
}
