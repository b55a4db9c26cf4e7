//! PostgreSQL's own tools, `pg_dump` and `pg_restore`: finding them, running them, and looking at what they did.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lattice_store::backup::BackupError;
use lattice_store::postgres::BackupConnection;

/// Where Debian keeps the tools of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Characters of what a tool says that the operator is shown.
const MAX_SAID: usize = 600;

/// The tools of one version.
#[derive(Debug)]
pub(super) struct Tools {
    dump: PathBuf,
    restore: PathBuf,
}

impl Tools {
    /// The tools in `folder`, or else those in PATH or of Debian's newest version: the first that are not older than the server, which
    /// others refuse to dump.
    pub(super) fn find(folder: Option<&Path>, connection: &BackupConnection) -> Result<Self, String> {
        let wanted = connection.version();
        let mut seen = Vec::new();
        for folder in candidates(folder) {
            let tools = Self { dump: folder.join("pg_dump"), restore: folder.join("pg_restore") };
            let (Some(dump), Some(restore)) = (version(&tools.dump), version(&tools.restore)) else {
                continue;
            };
            if dump.min(restore) >= wanted {
                return Ok(tools);
            }
            seen.push(format!("{} ({})", folder.display(), dump.min(restore)));
        }
        let found =
            if seen.is_empty() { "none was found".to_owned() } else { format!("found: {}", seen.join(", ")) };
        Err(format!(
            "this needs pg_dump and pg_restore of PostgreSQL {wanted} or later; {found}. Install them (Debian: postgresql-client-{wanted}) or \
             name their folder with --pg-bin"
        ))
    }

    fn run(
        &self,
        tool: &Path,
        connection: Option<&BackupConnection>,
        arguments: &[&str],
        input: &str,
    ) -> Result<Output, BackupError> {
        let failed = |error: std::io::Error| BackupError::Unusable(format!("{}: {error}", tool.display()));
        let mut command = Command::new(tool);
        // Nothing of the operator's own settings leads elsewhere.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.envs(connection.map(BackupConnection::environment).unwrap_or_default()).env("LC_ALL", "C");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take();
        let input = input.to_owned();
        // A tool that ends without reading is told of by its status.
        let writing =
            std::thread::spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().map_err(failed)?;
        let _ = writing.join();
        Ok(output)
    }

    /// Makes the file that the archive is written to, which only its owner may read.
    pub(super) fn begin_dump(&self, to: &Path) -> Result<Partial, BackupError> {
        if to.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(to.to_path_buf()));
        }
        let mut name = to.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Partial(path)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(BackupError::Unfinished(path))
            }
            Err(reason) => Err(BackupError::File { path, reason }),
        }
    }

    /// Writes the tables to the archive, as they are at one moment.
    pub(super) fn dump(&self, connection: &BackupConnection, to: &Path) -> Result<(), BackupError> {
        let schema = format!("--schema=\"{}\"", connection.schema().replace('"', "\"\""));
        let file = format!("--file={}", to.display());
        let arguments = ["--format=custom", "--no-owner", "--no-privileges", "--no-password", &schema, &file];
        let output = self.run(&self.dump, Some(connection), &arguments, "")?;
        if output.status.success() {
            Ok(())
        } else {
            Err(BackupError::Unusable(format!("pg_dump ended with {}: {}", output.status, said(&output))))
        }
    }
}

/// Folders that may have the tools.
fn candidates(folder: Option<&Path>) -> Vec<PathBuf> {
    if let Some(folder) = folder {
        return vec![folder.to_path_buf()];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path);
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    debian.sort_unstable_by(|one, other| other.cmp(one));
    in_path.chain(debian.into_iter().map(|(_, folder)| folder)).collect()
}

/// The major version of a tool, if it runs.
fn version(tool: &Path) -> Option<u32> {
    let output = Command::new(tool).arg("--version").stdin(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Of `pg_dump (PostgreSQL) 17.2 (Debian 17.2-1)`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split_once(") ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a tool said, on one line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(MAX_SAID).collect()
}

/// An archive that is being written. It is removed unless it gets its name.
#[derive(Debug)]
pub(super) struct Partial(PathBuf);

impl Partial {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name, durably, unless one of that name has come up meanwhile.
    pub(super) fn publish(self, to: &Path) -> Result<(), BackupError> {
        let at = |reason| BackupError::File { path: to.to_path_buf(), reason };
        File::open(&self.0).and_then(|file| file.sync_all()).map_err(at)?;
        match std::fs::hard_link(&self.0, to) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(to.to_path_buf()));
            }
            // Some file systems know no second names.
            Err(_) => std::fs::rename(&self.0, to).map_err(at)?,
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An archive of `pg_dump`'s that was read from its beginning to its end.
pub(super) struct Archive {
    path: PathBuf,
    /// Its table of contents, as `pg_restore --list` writes it.
    list: String,
}

impl Archive {
    pub(super) fn read(tools: &Tools, path: &Path) -> Result<Self, BackupError> {
        let file = path.display().to_string();
        let listed = tools.run(&tools.restore, None, &["--list", &file], "")?;
        if !listed.status.success() {
            return Err(BackupError::NotABackup(path.to_path_buf(), said(&listed)));
        }
        // Into nothing: what cannot be unpacked is found out now.
        let read = tools.run(&tools.restore, None, &["--file=/dev/null", &file], "")?;
        if !read.status.success() {
            return Err(BackupError::Damaged(path.to_path_buf(), said(&read)));
        }
        let list = String::from_utf8_lossy(&listed.stdout).into_owned();
        Ok(Self { path: path.to_path_buf(), list })
    }

    /// Looks whether it holds the rows of these tables, in this schema.
    pub(super) fn must_have(&self, schema: &str, tables: &[String]) -> Result<(), BackupError> {
        let missing = tables.iter().find(|table| !has_rows_of(&self.list, schema, table));
        match missing {
            None => Ok(()),
            Some(table) => {
                let why = format!("it has no table {schema}.{table}");
                Err(BackupError::NotABackup(self.path.clone(), why))
            }
        }
    }

    /// Puts all of it back, or nothing.
    pub(super) fn restore(&self, tools: &Tools, connection: &BackupConnection) -> Result<(), BackupError> {
        let file = self.path.display().to_string();
        let environment = connection.environment();
        let database = environment.iter().find(|(name, _)| *name == "PGDATABASE").map(|(_, value)| value);
        let database = format!("--dbname={}", database.map_or("", String::as_str));
        let arguments = [
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
            "--no-privileges",
            "--no-password",
            "--use-list=/dev/stdin",
            &database,
            &file,
        ];
        let output = tools.run(&tools.restore, Some(connection), &arguments, &without_schema(&self.list))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(BackupError::Unusable(format!("pg_restore ended with {}: {}", output.status, said(&output))))
        }
    }
}

/// Whether a table of contents names the rows of a table: `3412; 0 16390 TABLE DATA public meta owner`.
fn has_rows_of(list: &str, schema: &str, table: &str) -> bool {
    let wanted = format!(" TABLE DATA {schema} {table} ");
    list.lines().any(|line| !line.starts_with(';') && line.contains(&wanted))
}

/// The schema is there already: what makes it, and says what it is, is left out.
fn without_schema(list: &str) -> String {
    let makes_it = |line: &&str| {
        let mut words = line.split(' ').skip(3);
        matches!(
            (words.next(), words.next(), words.next()),
            (Some("SCHEMA"), Some("-"), _) | (Some("COMMENT"), Some("-"), Some("SCHEMA"))
        )
    };
    list.lines().filter(|line| !makes_it(line)).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = ";\n; Archive created at 2026-12-01\n;\n5; 2615 2200 SCHEMA - public pg_database_owner\n\
        3427; 0 0 COMMENT - SCHEMA public pg_database_owner\n215; 1259 16390 TABLE public meta ann\n\
        3421; 0 16390 TABLE DATA public meta ann\n3275; 2606 16396 CONSTRAINT public meta meta_pkey ann\n";

    #[test]
    fn a_list_tells_tables_with_rows() {
        assert!(has_rows_of(LIST, "public", "meta"));
        assert!(!has_rows_of(LIST, "public", "met") && !has_rows_of(LIST, "other", "meta"));
        let left = without_schema(LIST);
        assert!(
            !left.contains("SCHEMA")
                && left.contains("TABLE DATA public meta")
                && left.contains("CONSTRAINT")
        );
    }

    #[test]
    fn versions_are_read_as_the_tools_write_them() {
        for (text, version) in [
            ("pg_dump (PostgreSQL) 17.2 (Debian 17.2-1.pgdg120+1)\n", Some(17)),
            ("pg_restore (PostgreSQL) 18beta1\n", Some(18)),
            ("something else", None),
        ] {
            assert_eq!(parse_version(text), version);
        }
    }
}
