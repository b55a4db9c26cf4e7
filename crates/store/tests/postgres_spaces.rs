//! The PostgreSQL backend: the conformance suite of spaces, and what is particular to a server.

use std::sync::Arc;

use lattice_store::conformance::{self, RecordingSink};
use lattice_store::postgres::{MAX_NOTICE_BYTES, OpenError, PostgresOptions, PostgresStore};
use lattice_store::spaces::SpaceStore;
use lattice_store::time::{SystemClock, SystemRandom};
use lattice_testkit::{Database, PostgresServer};

async fn open(url: &str, sink: &Arc<RecordingSink>) -> Result<PostgresStore, OpenError> {
    let options = PostgresOptions { max_start_wait: std::time::Duration::ZERO, ..PostgresOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    PostgresStore::open(url, options, Arc::clone(sink) as _, clock, random).await
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_passes_the_conformance_suite_of_spaces() {
    let database = Database::create();
    let sink = Arc::new(RecordingSink::default());
    let store = open(&database.url(), &sink).await.expect("it opens");
    conformance::spaces(Arc::new(store.clone()), &sink).await;
    store.close().await;
    conformance::closed(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_with_one_space_in_each_transaction_as_well() {
    let database = Database::create();
    let sink = Arc::new(RecordingSink::default());
    let options =
        PostgresOptions { max_group_spaces: 1, writers: 2, connections: 2, ..PostgresOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let store = PostgresStore::open(&database.url(), options, Arc::clone(&sink) as _, clock, random).await;
    let store = store.expect("it opens");
    conformance::spaces(Arc::new(store.clone()), &sink).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_a_database_and_its_secret() {
    let database = Database::create();
    let (sinks, url) = ([Arc::new(RecordingSink::default()), Arc::default()], database.url());
    // Together, as after a deployment: one migrates, the other waits for it.
    let (first, second) = tokio::join!(open(&url, &sinks[0]), open(&url, &sinks[1]));
    let (first, second) = (first.expect("it opens"), second.expect("it opens"));
    assert_eq!(first.mint_key().0, second.mint_key().0);
    let (one, other) = tokio::join!(first.shared_value("x", b"first"), second.shared_value("x", b"second"));
    assert_eq!(one.expect("a value"), other.expect("a value"), "of two values that race one is kept");
    assert_eq!(first.deployment().await, second.deployment().await);
    let space = first.private_space([1; 16]).await.expect("a space");
    assert_eq!(second.private_space([1; 16]).await.expect("a space").id, space.id);
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_are_not_ours_are_refused() {
    let sink = Arc::new(RecordingSink::default());
    let foreign = Database::create();
    foreign.execute("CREATE TABLE theirs (x int)");
    assert!(matches!(open(&foreign.url(), &sink).await, Err(OpenError::Foreign(_))), "another program's");

    let newer = Database::create();
    open(&newer.url(), &sink).await.expect("it opens").close().await;
    newer.execute(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
         SELECT 9999, 'future', applied_on, '1' FROM refinery_schema_history LIMIT 1",
    );
    assert!(matches!(open(&newer.url(), &sink).await, Err(OpenError::Newer(_))), "a newer version's");

    let url = newer.url().replace("lattice_test_", "no_such_");
    assert!(matches!(open(&url, &sink).await, Err(OpenError::Unreachable { .. })), "not there");
    assert!(matches!(open("postgres://:5432:x", &sink).await, Err(OpenError::Address(_))), "no address");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_whoever_asks_for_it_knows_to_whom() {
    let server = PostgresServer::start_with_tls();
    let url = |host: &str, mode: &str| {
        format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}", server.port())
    };
    let open = |url: String, tls_ca: Option<std::path::PathBuf>| async move {
        let options = PostgresOptions {
            tls_ca,
            max_start_wait: std::time::Duration::ZERO,
            ..PostgresOptions::default()
        };
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        PostgresStore::open(&url, options, Arc::new(RecordingSink::default()), clock, random).await
    };
    let known = Some(server.authority());
    let store = open(url("localhost", "require"), known.clone()).await.expect("the authority vouches for it");
    let space = store.private_space([1; 16]).await.expect("a space");
    assert_eq!(store.head(&space).await.expect("a head").seq, 0);
    store.close().await;
    open(url("localhost", "verify-full"), known.clone())
        .await
        .expect("the same, as libpq calls it")
        .close()
        .await;
    open(url("localhost", "prefer"), None).await.expect("nobody asked who it is").close().await;

    let refused =
        |opened: Result<PostgresStore, OpenError>| matches!(opened, Err(OpenError::Unreachable { .. }));
    assert!(
        refused(open(url("localhost", "require"), None).await),
        "the system's authorities do not know it"
    );
    assert!(refused(open(url("127.0.0.1", "require"), known.clone()).await), "it has another name");
    let plain = PostgresServer::start();
    let unencrypted = format!("postgres://postgres@localhost:{}/postgres?sslmode=require", plain.port());
    assert!(refused(open(unencrypted, known).await), "a server that does not speak TLS");
    let missing = open(url("localhost", "require"), Some("/nowhere/ca.pem".into())).await;
    assert!(matches!(missing, Err(OpenError::Authorities(..))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_reaches_all_who_listen() {
    let database = Database::create();
    let store = open(&database.url(), &Arc::default()).await.expect("it opens");
    let (sender, mut receiver) = store.channel("lattice_a").await.expect("a channel");
    let (_other_sender, mut other) = store.channel("lattice_a").await.expect("a channel");
    let (elsewhere, mut unheard) = store.channel("lattice_b").await.expect("a channel");
    let long = "x".repeat(MAX_NOTICE_BYTES);
    sender.send(&["one".to_owned(), long.clone()]).await.expect("sent");
    for receiver in [&mut receiver, &mut other] {
        assert_eq!(receiver.next().await.as_deref(), Some("one"));
        assert_eq!(receiver.next().await, Some(long.clone()));
    }
    assert!(sender.send(&[long + "x"]).await.is_err(), "longer than the server takes");
    elsewhere.send(&["two".to_owned()]).await.expect("sent");
    assert_eq!(unheard.next().await.as_deref(), Some("two"), "and nothing of the other channel");
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'lattice-server bus'",
    );
    assert_eq!(receiver.next().await, None, "a lost connection is told");
    assert!(sender.send(&["three".to_owned()]).await.is_err());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_waits_for_a_database_that_is_not_there_yet() {
    let mut server = PostgresServer::start();
    let database = server.database();
    server.stop();
    let url = database.url();
    let opening = tokio::spawn(async move {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let sink = Arc::new(RecordingSink::default());
        PostgresStore::open(&url, PostgresOptions::default(), sink, clock, random).await
    });
    server.start_again();
    opening.await.expect("no panic").expect("it opens once the database is there").close().await;
}
