//! The PostgreSQL backend: the conformance suites of the directory and of quotas, by one instance and by two at once.

use std::sync::Arc;

use lattice_engine::{Policy, PullRequest};
use lattice_store::accounts::{AccountStore, User, UserId};
use lattice_store::conformance::{self, RecordingSink};
use lattice_store::directory::{Denied, Directory, NewSpace, Selector, SpaceKind};
use lattice_store::postgres::PostgresStore;
use lattice_store::spaces::SpaceStore;
use lattice_testkit::Database;

mod common;

use common::{Spread, open, open_two};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_passes_the_conformance_suite_of_the_directory() {
    let database = Database::create();
    let store = open(&database.url(), &Arc::new(RecordingSink::default())).await.expect("it opens");
    conformance::directory(Arc::new(store.clone())).await;
    conformance::quotas(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_pass_it_together() {
    let database = Database::create();
    let instances = open_two(&database).await;
    conformance::directory(Arc::new(Spread::over(instances.clone()))).await;
    for instance in instances {
        instance.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_changes_the_other_learns_when_it_looks() {
    let database = Database::create();
    let [one, other] = open_two(&database).await;
    let ann = UserId([1; 16]);
    let user = User {
        id: ann,
        email: Some("ann@b".into()),
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: 0,
    };
    one.create_user(user).await.expect("a user");
    let new = NewSpace { owner: ann, kind: SpaceKind::Shared, name: "x".into(), max_owned: 9, now_us: 1 };
    let space = one.create_space(new).await.expect("an answer").expect("a space").id;
    other.look_at_version().await.expect("an answer");
    assert_eq!(one.version(), other.version());

    let set_policy = async |store: &PostgresStore, rows| {
        let policy = Policy { max_deletes_per_frame: Some(rows), ..Policy::default() };
        store.set_policy(ann, space, policy, None).await.expect("an answer").expect("ann is the owner");
    };
    set_policy(&one, 1).await;
    assert!(one.version() > other.version(), "known where it was changed");
    other.look_at_version().await.expect("an answer");
    assert_eq!(one.version(), other.version(), "and elsewhere once somebody looks");

    set_policy(&other, 2).await;
    assert!(one.version() < other.version());
    let held = one.access(ann, Selector::Id(space)).await.expect("an answer").expect("a space");
    assert_eq!(held.policy.max_deletes_per_frame, Some(2), "what is asked for is never old");
    let request = PullRequest::page(0, 9, 99);
    one.pull(&held.space, &request).await.expect("a page");
    assert_eq!(one.version(), other.version(), "a page brings the version that it was read under");

    assert_eq!(one.leave(ann, space).await, Ok(Err(Denied::IsOwner)));
    assert_eq!(one.version(), other.version(), "nothing has changed");
    other.close().await;
    one.close().await;
}
