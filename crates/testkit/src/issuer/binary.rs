//! Where the provider's program is. Tests of other packages do not make cargo build it, so it is built when it is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

const NAME: &str = "lattice-test-issuer";

/// The program beside this test; it is built first if it is not there, or older than its source.
///
/// # Panics
/// When it cannot be built.
pub(super) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("this test has a file");
        let deps = test.parent().expect("a folder");
        // Tests are in TARGET/PROFILE/deps, programs in TARGET/PROFILE.
        let folder = if deps.ends_with("deps") { deps.parent().expect("a folder") } else { deps };
        let path = folder.join(format!("{NAME}{}", std::env::consts::EXE_SUFFIX));
        if !is_fresh(&path) {
            build(folder);
        }
        assert!(path.is_file(), "{} was not built", path.display());
        path
    })
}

fn is_fresh(path: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin").join(NAME);
    let changed = |path: PathBuf| path.metadata().and_then(|data| data.modified()).ok();
    let newest: Option<SystemTime> = std::fs::read_dir(source)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| changed(file.path()))
        .max();
    changed(path.to_owned()).is_some_and(|built| newest.is_none_or(|newest| built >= newest))
}

fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(profile) => profile,
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--offline", "--locked", "--quiet", "-p", "lattice-testkit", "--bin", NAME]);
    command.args(["--profile", profile]);
    command.arg("--target-dir").arg(folder.parent().expect("a folder"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let status = command.status().expect("tests need cargo to build the test issuer");
    assert!(status.success(), "the test issuer could not be built ({status})");
}
