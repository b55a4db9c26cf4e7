//! Copies from SQLite to PostgreSQL and back: everything arrives, also when one is broken off, and what does not is noticed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_engine::{PairKey, PairWrite, PullRequest, Role, Row, Seq, SpaceHead, SpaceId, WriterId};
use lattice_protocol::value::{integer, text};
use lattice_protocol::{Change, Code, EntryId, Field, Incoming, Operation, Refused, RowId, Spelling};
use lattice_store::access_log::{AccessEvent, AccessLog};
use lattice_store::accounts::{
    AccountStore, IdentityId, PasskeyId, Session, SessionId, SessionKind, TokenHash, User, UserId,
};
use lattice_store::anonymous::AnonymousAccounts;
use lattice_store::conformance::RecordingSink;
use lattice_store::copy::{
    CopyError, CopySource, CopyTarget, Part, Progress, Record, Secrets, Section, copy,
};
use lattice_store::directory::{Accept, Directory, Invitee, NewInvite, NewSpace, Selector, SpaceKind};
use lattice_store::factors::{Added, Factors, SecondFactors, StoredPasskey, Totp};
use lattice_store::identities::{Identities, Link, LinkedIdentity};
use lattice_store::one_time::{OneTimeToken, OneTimeTokens};
use lattice_store::postgres::{OpenError as PostgresOpenError, PostgresOptions, PostgresStore};
use lattice_store::quotas::{Limit, Limits, LimitsChange, QuotaStore, Subject};
use lattice_store::spaces::{AuditLine, Origin, Space, SpaceStore, Upload};
use lattice_store::sqlite::{OpenError, SqliteOptions, SqliteStore};
use lattice_store::time::{SystemClock, SystemRandom, random_id};
use lattice_store::{BoxFuture, StoreError};
use lattice_testkit::Database;

const NOW_US: i64 = 1_700_000_000_000_000;

fn sqlite(path: &Path, for_copy: bool) -> Result<SqliteStore, OpenError> {
    let options = SqliteOptions { for_copy, ..SqliteOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    SqliteStore::open(path, options, Arc::new(RecordingSink::default()), clock, random)
}

async fn postgres(database: &Database, for_copy: bool) -> Result<PostgresStore, PostgresOpenError> {
    let options = PostgresOptions { for_copy, ..PostgresOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    PostgresStore::open(&database.url(), options, Arc::new(RecordingSink::default()), clock, random).await
}

/// Counts, and wants nothing else.
#[derive(Default)]
struct Count {
    records: AtomicU64,
    spaces: AtomicU64,
}

impl Progress for Count {
    fn begins(&self, _: u64) {}
    fn space_done(&self) {
        self.spaces.fetch_add(1, Ordering::Relaxed);
    }
    fn records(&self, count: u64) {
        self.records.fetch_add(count, Ordering::Relaxed);
    }
}

fn user(n: u8) -> UserId {
    UserId([n; 16])
}

fn change(operation: Operation, table: &str, row: &str, fields: &[(&str, Bytes)]) -> Incoming {
    let field = |(name, value): &(&str, Bytes)| Field { name: ByteString::from(*name), value: value.clone() };
    Incoming::Change(Change {
        id: EntryId(random_id(&SystemRandom)),
        id_spelling: Spelling(0x8000_0001),
        table: ByteString::from(table),
        operation,
        row: RowId::parse(row).expect("a row id"),
        fields: fields.iter().map(field).collect(),
        timestamp_us: None,
        synthesized: false,
        filter_removal: false,
        by_filter: false,
        raw: Bytes::from(format!("{{\"row\":\"{row}\"}}")),
    })
}

async fn send(store: &SqliteStore, space: &Arc<Space>, user: UserId, incoming: Vec<Incoming>) {
    let origin = Origin {
        writer: WriterId(random_id(&SystemRandom)),
        user: user.0,
        session: [9; 16],
        address: "192.0.2.1".into(),
        user_agent: "tests".into(),
        opened_us: NOW_US,
    };
    let (space, origin) = (Arc::clone(space), Arc::new(origin));
    let upload = Upload {
        space,
        origin,
        incoming,
        plain: false,
        echoes: false,
        read_only: false,
        applied: None,
        bytes: 1,
    };
    store.upload(upload).await.expect("it is taken").await.expect("an answer").expect("it is stored");
}

/// An identity, a passkey, codes and recovery codes.
async fn add_ways_in(store: &SqliteStore, user: UserId) {
    let identity = LinkedIdentity {
        id: IdentityId([1; 16]),
        user,
        issuer: "https://one.example".into(),
        subject: "Zoë".into(),
        email: None,
        created_us: NOW_US,
    };
    assert_eq!(store.link_identity(identity, 9).await, Ok(Link::Made));
    let secret = vec![7; 20];
    let totp = Totp { user, secret: secret.clone(), created_us: NOW_US, confirmed_us: None, last_step: 0 };
    assert!(store.offer_totp(totp).await.expect("an offer"));
    assert!(store.confirm_totp(user, secret, 5, NOW_US).await.expect("confirmed"));
    let codes = vec![TokenHash([3; 32]), TokenHash([4; 32])];
    assert!(store.set_recovery_codes(user, codes).await.expect("codes"));
    let passkey = StoredPasskey {
        id: PasskeyId([1; 16]),
        user,
        credential_id: vec![9; 32],
        name: "Zoë's phone".into(),
        credential: "{}".into(),
        second_factor: true,
        created_us: NOW_US,
        last_used_us: Some(NOW_US),
    };
    assert_eq!(store.add_passkey(passkey, 9).await, Ok(Added::Kept));
}

/// Events, and somebody who is gone.
async fn log_in_and_go(store: &SqliteStore) {
    let event = |n: u8| AccessEvent {
        at_us: NOW_US,
        id: [n; 16],
        kind: "sign_in".into(),
        code: (n == 2).then(|| "busy".into()),
        actor: (n == 1).then(|| user(5)),
        subject: None,
        space: None,
        session: Some(SessionId([5; 16])),
        address: Some("192.0.2.1".into()),
        user_agent: None,
        detail: Some("{}".into()),
    };
    let leaver = User {
        id: user(5),
        email: None,
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: NOW_US,
    };
    store.create_user(leaver).await.expect("a user");
    store.append_events(vec![event(2), event(1)]).await.expect("events");
    assert!(store.delete_user(user(5)).await.expect("a user who goes"));
}

/// People, spaces and rows of every kind. Answers the spaces, the first of which is larger than a page of a copy.
async fn fill(store: &SqliteStore) -> Vec<Arc<Space>> {
    add_people(store).await;
    add_ways_in(store, user(2)).await;
    log_in_and_go(store).await;
    let own = store.private_space(user(1).0).await.expect("a space");
    let shared = share(store).await;
    write(store, &own, &shared).await;
    vec![own, shared]
}

async fn add_people(store: &SqliteStore) {
    for n in 1..=3 {
        let (email, email_verified_us) = (Some(format!("{n}@example.com")), Some(NOW_US));
        let (full_name, password_hash) = (Some("Zoë".to_owned()), Some("$argon2id$x".to_owned()));
        let user =
            User { id: user(n), email, email_verified_us, full_name, password_hash, created_us: NOW_US };
        store.create_user(user).await.expect("a user");
    }
    let session = Session {
        id: SessionId([5; 16]),
        user: user(1),
        kind: SessionKind::Device,
        method: "password".into(),
        token_hash: TokenHash([6; 32]),
        refresh_hash: None,
        previous_refresh_hash: None,
        rotated_us: None,
        expires_us: i64::MAX,
        created_us: NOW_US,
        last_used_us: NOW_US,
        revoked_us: Some(NOW_US),
        device_name: Some("Zoë's phone".into()),
        user_agent: Some("a phone".into()),
        address: None,
    };
    assert!(store.create_session(session).await.expect("a session"));
    let token = OneTimeToken {
        hash: TokenHash([8; 32]),
        purpose: "tests".into(),
        user: Some(user(1)),
        payload: "{}".into(),
        created_us: NOW_US,
        expires_us: i64::MAX,
    };
    assert!(store.put_token(token).await.expect("a token"));
    let anonymous = User {
        id: user(4),
        email: None,
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: NOW_US,
    };
    store.create_anonymous(anonymous, NOW_US + 5).await.expect("a user");
}

/// A space of the first user with invites and a member, and one that is deleted.
async fn share(store: &SqliteStore) -> Arc<Space> {
    let new =
        |kind, name: &str| NewSpace { owner: user(1), kind, name: name.into(), max_owned: 9, now_us: NOW_US };
    let shared =
        store.create_space(new(SpaceKind::Shared, "trip")).await.expect("an answer").expect("a space").id;
    let gone =
        store.create_space(new(SpaceKind::Public, "gone")).await.expect("an answer").expect("a space").id;
    for (role, hash) in [(Role::Viewer, TokenHash([1; 32])), (Role::Editor, TokenHash([2; 32]))] {
        let invite = NewInvite {
            actor: user(1),
            space: shared,
            role,
            invitee: Invitee::Link(hash),
            max_uses: 2,
            expires_us: i64::MAX,
            max_open: 9,
            now_us: NOW_US,
        };
        store.create_invite(invite).await.expect("an answer").expect("an invite");
    }
    let accept = Accept::Link(TokenHash([1; 32]));
    store.accept_invite(user(2), accept, 9, NOW_US).await.expect("an answer").expect("a member");
    let access = store.access(user(2), Selector::Id(shared)).await.expect("an answer").expect("a space");
    store.remember_view(&access.space, user(2), u64::MAX - 5, "{}".into()).await.expect("remembered");
    store.delete_space(user(1), gone, NOW_US).await.expect("an answer").expect("deleted");
    access.space
}

/// Changes that are accepted, corrected and refused.
async fn write(store: &SqliteStore, own: &Arc<Space>, shared: &Arc<Space>) {
    let rows = |from: usize| {
        (from..from + 500).map(|n| {
            change(
                Operation::Insert,
                "Item",
                &format!("row {n}"),
                &[("n", integer(n.try_into().unwrap_or(0)))],
            )
        })
    };
    for from in [0, 500, 1_000, 1_500, 2_000] {
        send(store, own, user(1), rows(from).collect()).await;
    }
    let ends = [("lhs", text("a")), ("rhs", text("b"))];
    let refused = Incoming::Refused(Refused {
        ack: None,
        id: Some((EntryId([8; 16]), Spelling::default())),
        target: None,
        code: Code::BadValue,
        detail: "a test".into(),
        raw: Bytes::from_static(b"{}"),
    });
    send(
        store,
        shared,
        user(1),
        vec![
            change(
                Operation::Insert,
                "Item",
                "0E87cd17-7a1f-4aA3-Ad56-905de90042c3",
                &[("t", text("é\u{0}"))],
            ),
            change(Operation::Insert, "_Item_list", "l1", &ends),
            change(Operation::Insert, "_Item_list", "l2", &ends),
            change(Operation::Delete, "Item", "row of nobody", &[]),
            refused,
        ],
    )
    .await;
    // A viewer's change is refused and leaves a stub.
    send(store, shared, user(2), vec![change(Operation::Insert, "Item", "r", &[("n", integer(1))])]).await;
    send(store, shared, user(1), vec![change(Operation::Delete, "_Item_list", "l1", &[])]).await;
}

/// What two stores hold, as far as it can be read.
async fn assert_equal(one: &impl SpaceStore, other: &impl SpaceStore, spaces: &[Arc<Space>]) {
    for space in spaces {
        let request = PullRequest::page(0, 9_999, 1 << 30);
        let (here, there) = (one.pull(space, &request).await, other.pull(space, &request).await);
        assert_eq!(here.expect("a page"), there.expect("a page"));
        let (here, there) = (one.audit(space, 0, 9_999).await, other.audit(space, 0, 9_999).await);
        let line = |line: &AuditLine| (line.record.clone(), line.writer, line.user);
        let lines = |lines: Vec<AuditLine>| lines.iter().map(line).collect::<Vec<_>>();
        assert_eq!(lines(here.expect("the log")), lines(there.expect("the log")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = sqlite(&folder.path().join("a.db"), false).expect("it opens");
    let spaces = fill(&source).await;
    let change = LimitsChange { bytes: Some(Limit::Most(1 << 30)), ..LimitsChange::default() };
    let subjects = [Subject::User(user(1)), Subject::Space(spaces[1].id)];
    for subject in &subjects {
        source.change_limits(subject.clone(), change).await.expect("an answer").expect("somebody");
    }

    let database = Database::create();
    let middle = postgres(&database, true).await.expect("it opens");
    let count = Count::default();
    let report = copy(&source, &middle, &count).await.expect("copied");
    assert_eq!((report.spaces, report.known_spaces), (2, 0));
    assert_eq!((report.lines, report.rows), (2_500 + 7, count.records.load(Ordering::Relaxed) - 2_507));
    assert!(middle.mint_key().0 != source.mint_key().0, "the open store has the key that it was opened with");

    let last = sqlite(&folder.path().join("b.db"), true).expect("it opens");
    copy(&middle, &last, &Count::default()).await.expect("copied back");
    middle.close().await;
    last.close().await;
    drop(last);

    let middle = postgres(&database, false).await.expect("it opens");
    assert_eq!(middle.mint_key().0, source.mint_key().0);
    let last = sqlite(&folder.path().join("b.db"), false).expect("it opens");
    assert_eq!(last.mint_key().0, source.mint_key().0);
    assert_equal(&source, &middle, &spaces).await;
    // SQLite numbers spaces in its own way.
    for (at, space) in spaces.iter().enumerate() {
        let selector = if at == 0 { Selector::Me } else { Selector::Id(space.id) };
        let there = last.access(user(1), selector).await.expect("an answer").expect("a space").space;
        let request = PullRequest::page(0, 9_999, 1 << 30);
        let (here, back) = (source.pull(space, &request).await, last.pull(&there, &request).await);
        assert_eq!(here.expect("a page"), back.expect("a page"));
        let known = EntryId([8; 16]);
        let (here, back) = (source.receipt(space, known).await, last.receipt(&there, known).await);
        assert_eq!(here.expect("an answer"), back.expect("an answer"));
    }
    for subject in &subjects {
        let here = source.quota_account(subject.clone()).await.expect("an answer").expect("somebody");
        assert!(here.usage.bytes > here.usage.changes && here.limits != Limits::default());
        for there in [&middle as &dyn QuotaStore, &last] {
            assert_eq!(there.quota_account(subject.clone()).await, Ok(Some(here)));
        }
    }
    let viewer = last.access(user(2), Selector::Id(spaces[1].id)).await.expect("an answer").expect("a space");
    assert_eq!(viewer.role, Role::Viewer);
    assert_eq!(last.views(&viewer.space, user(2)).await.expect("views").len(), 1);
    assert!(last.session_by_token_hash(TokenHash([6; 32])).await.expect("an answer").is_some());
    let factors = last.second_factors(user(2)).await.expect("an answer");
    assert_eq!(factors, SecondFactors { totp: true, passkey: true, recovery_codes: 2 });
    assert_eq!(last.passkeys(user(2), 9).await, source.passkeys(user(2), 9).await);
    assert_eq!(last.totp(user(2)).await, source.totp(user(2)).await);
    assert_eq!(last.identities(user(2), 9).await.map(|found| found.len()), Ok(1));
    assert!(last.is_anonymous(user(4)).await.expect("an answer"));
    last.close().await;
    source.close().await;
    middle.close().await;
}

/// A target that fails after so many parts, or swallows a row.
struct Faulty<'a> {
    inner: &'a PostgresStore,
    parts_left: AtomicU64,
    swallows: bool,
}

impl CopySource for Faulty<'_> {
    fn secrets(&self) -> BoxFuture<'_, Result<Secrets, StoreError>> {
        self.inner.secrets()
    }
    fn records<'a>(
        &'a self,
        section: &'static Section,
        after: Option<&'a Record>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.records(section, after, limit)
    }
    fn space_head(&self, space: SpaceId) -> BoxFuture<'_, Result<SpaceHead, StoreError>> {
        self.inner.space_head(space)
    }
    fn lines(
        &self,
        space: SpaceId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditLine>, StoreError>> {
        self.inner.lines(space, after, limit)
    }
    fn origin(&self, space: SpaceId, writer: WriterId) -> BoxFuture<'_, Result<Option<Origin>, StoreError>> {
        self.inner.origin(space, writer)
    }
    fn rows(
        &self,
        space: SpaceId,
        after: Seq,
        max_rows: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<(Vec<Row>, bool), StoreError>> {
        self.inner.rows(space, after, max_rows, max_bytes)
    }
    fn pairs(
        &self,
        space: SpaceId,
        after: Option<PairKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<PairWrite>, StoreError>> {
        self.inner.pairs(space, after, limit)
    }
}

impl CopyTarget for Faulty<'_> {
    fn begin(&self, secrets: Secrets) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.begin(secrets)
    }
    fn put_records(
        &self,
        section: &'static Section,
        records: Vec<Record>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.put_records(section, records)
    }
    fn put_part(&self, space: SpaceId, mut part: Part) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.swallows {
            part.rows.pop();
        } else if self.parts_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Box::pin(async { Err(StoreError::Closed) });
        }
        self.inner.put_part(space, part)
    }
    fn space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.space_done(space)
    }
    fn is_space_done(&self, space: SpaceId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.is_space_done(space)
    }
    fn finish(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.finish()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_breaks_off_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = sqlite(&folder.path().join("a.db"), false).expect("it opens");
    let spaces = fill(&source).await;
    let database = Database::create();
    let target = postgres(&database, true).await.expect("it opens");
    let mut broken_off = 0;
    loop {
        // Each try comes one part further.
        let faulty = Faulty { inner: &target, parts_left: AtomicU64::new(broken_off), swallows: false };
        match copy(&source, &faulty, &Count::default()).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error, CopyError::Target(StoreError::Closed)),
        }
        broken_off += 1;
        let opened = postgres(&database, false).await;
        assert!(
            matches!(opened.err(), Some(PostgresOpenError::Unfinished(_))),
            "no server opens it meanwhile"
        );
    }
    assert!(broken_off > 3, "{broken_off}");
    target.close().await;
    let target = postgres(&database, false).await.expect("it opens");
    assert_equal(&source, &target, &spaces).await;
    let busy = postgres(&database, true).await;
    assert!(matches!(busy.err(), Some(PostgresOpenError::InUse(_))), "no copy opens what a server uses");
    target.close().await;
    source.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = sqlite(&folder.path().join("a.db"), false).expect("it opens");
    fill(&source).await;
    let database = Database::create();
    let target = postgres(&database, true).await.expect("it opens");
    let faulty = Faulty { inner: &target, parts_left: AtomicU64::new(0), swallows: true };
    let result = copy(&source, &faulty, &Count::default()).await;
    assert!(matches!(result, Err(CopyError::Differs(_))), "{result:?}");
    // Another source does not go on where this one was.
    let other = sqlite(&folder.path().join("b.db"), false).expect("it opens");
    assert_eq!(copy(&other, &target, &Count::default()).await, Err(CopyError::NotEmpty));
    // Nor does a target take anything that has people in it.
    assert_eq!(copy(&target, &source, &Count::default()).await, Err(CopyError::NotEmpty));
    source.close().await;
    other.close().await;
    target.close().await;
}

/// A table that is added must be copied, or be named here with the reason why not.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_copied() {
    let known = [
        // Copied as records.
        "users",
        "sessions",
        "one_time_token",
        "anonymous_account",
        "identity",
        "totp",
        "recovery_code",
        "passkey",
        "access_log",
        "trace_to_erase",
        "space",
        "member",
        "invite",
        "remembered_view",
        "quota",
        // Copied as what spaces hold; of these the refusals follow from the lines.
        "space_head",
        "writer",
        "entry",
        "refusal",
        "row_state",
        "pair",
        // The secrets.
        "meta",
        // Of the database itself: its migrations, and a counter that only has to grow while servers run.
        "refinery_schema_history",
        "access_version",
    ];
    let database = Database::create();
    postgres(&database, false).await.expect("it opens").close().await;
    let names: Vec<String> = known.iter().map(|name| format!("'{name}'")).collect();
    database.execute(&format!(
        "DO $$ DECLARE unknown text; BEGIN
             SELECT string_agg(tablename, ', ') INTO unknown FROM pg_tables
             WHERE schemaname = 'public' AND tablename NOT IN ({});
             IF unknown IS NOT NULL THEN RAISE EXCEPTION 'not copied: %', unknown; END IF;
         END $$",
        names.join(", ")
    ));
}
