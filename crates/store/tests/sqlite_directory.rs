//! The SQLite backend: the conformance suite of the directory, what decides access in the writer's own transaction, and
//! how things are found.

use std::path::Path;
use std::sync::Arc;

use lattice_engine::{Policy, Role};
use lattice_store::accounts::{AccountStore, User, UserId};
use lattice_store::conformance::{self, RecordingSink};
use lattice_store::directory::{Directory, NewSpace, SchemaRule, SpaceChange, SpaceKind};
use lattice_store::spaces::SpaceStore;
use lattice_store::sqlite::directory::access_in;
use lattice_store::sqlite::{SqliteOptions, SqliteStore};
use lattice_store::time::{SystemClock, SystemRandom};

fn open(path: &Path) -> SqliteStore {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    SqliteStore::open(path, SqliteOptions::default(), Arc::new(RecordingSink::default()), clock, random)
        .expect("it opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_conformance_suite_of_the_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder.path().join("a.db"));
    conformance::directory(Arc::new(store.clone())).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_asks_in_its_own_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder.path().join("a.db"));
    let [ann, bob] = [UserId([1; 16]), UserId([2; 16])];
    for (id, email) in [(ann, "ann@example.com"), (bob, "bob@example.com")] {
        let user = User {
            id,
            email: Some(email.into()),
            email_verified_us: None,
            full_name: None,
            password_hash: None,
            created_us: 0,
        };
        store.create_user(user).await.expect("a user");
    }
    let me = store.private_space(ann.0).await.expect("a space").no;
    let mut numbers = vec![me];
    for kind in [SpaceKind::Shared, SpaceKind::Public] {
        let new = NewSpace { owner: ann, kind, name: "x".into(), max_owned: 9, now_us: 1 };
        let id = store.create_space(new).await.expect("an answer").expect("a space").id;
        let change = SpaceChange { archived: Some(kind == SpaceKind::Public), name: None };
        store.change_space(ann, id, change, 1).await.expect("an answer").expect("changed");
        let policy = Policy { max_deletes_per_frame: Some(1), ..Policy::default() };
        let schema = Some(SchemaRule::Minimum(1));
        store.set_policy(ann, id, policy, schema).await.expect("an answer").expect("changed");
        let access = store.access(ann, lattice_store::directory::Selector::Id(id)).await.expect("an answer");
        numbers.push(access.expect("a space").space.no);
    }
    let ask = |no: u32, user: UserId| {
        let store = store.clone();
        async move {
            store.write(move |transaction| access_in(transaction, no, user.0)).await.expect("an answer").map(
                |access| (access.role, access.archived, access.private, access.policy.max_deletes_per_frame),
            )
        }
    };
    let [me, shared, public] = numbers[..] else { panic!("three spaces") };
    assert_eq!(ask(me, ann).await, Some((Role::Owner, false, true, None)));
    assert_eq!(ask(me, bob).await, None);
    assert_eq!(ask(shared, ann).await, Some((Role::Owner, false, false, Some(1))));
    assert_eq!(ask(shared, bob).await, None);
    assert_eq!(ask(public, ann).await, Some((Role::Owner, true, false, Some(1))));
    assert_eq!(ask(public, bob).await, Some((Role::Viewer, true, false, Some(1))));
    assert_eq!(ask(1_000, ann).await, None);
    assert!(store.delete_user(ann).await.expect("an answer"));
    for no in numbers {
        assert_eq!(ask(no, ann).await, None);
        assert_eq!(ask(no, bob).await, None);
    }
    store.close().await;
}
