use std::sync::Barrier;

use lattice_store::time::SystemRandom;
use secrecy::ExposeSecret;

use super::*;

fn seeds(folder: &Path) -> Vec<[u8; 32]> {
    let keys = load_or_create(folder, &SystemRandom).expect("keys");
    keys.iter().map(|key| *key.seed.expose_secret()).collect()
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
        "{\"version\":3,\"keys\":[{\"alg\":\"EdDSA\",\"seed\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
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
