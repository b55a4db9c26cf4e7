//! The access log.

use lattice_engine::SpaceId;

use crate::access_log::{AccessEvent, EventCursor, EventQuery};
use crate::accounts::{AccountStore, SessionId, User, UserId};
use crate::auth::AuthStore;
use crate::directory::Directory;
use crate::time::{SystemRandom, random_id};

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

const START_US: i64 = 1_700_000_000_000_000;

/// Calls every method of the store. It makes its own users under random ids.
///
/// # Panics
/// When the store breaks a promise.
pub async fn access_log<S: AuthStore + Directory>(store: &S) {
    what_is_appended_comes_back(store).await;
    pages(store).await;
    queries(store).await;
    addresses_go_with_their_user(store).await;
    old_ones_go(store).await;
}

fn id() -> [u8; 16] {
    random_id(&SystemRandom)
}

async fn user<S: AccountStore>(store: &S) -> UserId {
    let id = UserId(id());
    let user = User {
        id,
        email: None,
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: START_US,
    };
    ok!(store.create_user(user));
    id
}

fn event(at_us: i64, actor: Option<UserId>, subject: Option<UserId>) -> AccessEvent {
    AccessEvent {
        at_us,
        id: id(),
        kind: "sign_in".to_owned(),
        code: None,
        actor,
        subject,
        space: None,
        session: None,
        address: Some("203.0.113.7".to_owned()),
        user_agent: Some("Zoë's phone".to_owned()),
        detail: None,
    }
}

fn of(user: UserId) -> EventQuery {
    EventQuery { user: Some(user), limit: 100, ..EventQuery::default() }
}

async fn what_is_appended_comes_back<S: AuthStore>(store: &S) {
    let (ann, bob) = (user(store).await, user(store).await);
    let whole = AccessEvent {
        code: Some("forbidden".to_owned()),
        space: Some(SpaceId(id())),
        session: Some(SessionId(id())),
        detail: Some(r#"{"role":"editor"}"#.to_owned()),
        ..event(START_US, Some(ann), Some(bob))
    };
    let bare = AccessEvent { address: None, user_agent: None, ..event(START_US + 1, Some(ann), None) };
    ok!(store.append_events(Vec::new()));
    ok!(store.append_events(vec![whole.clone(), bare.clone()]));
    // As when the answer of a call was lost.
    ok!(store.append_events(vec![bare.clone(), whole.clone()]));
    let page = ok!(store.events(of(ann)));
    assert_eq!((page.items, page.next), (vec![bare, whole.clone()], None), "each once, the last one first");
    assert_eq!(ok!(store.events(of(bob))).items, [whole], "whom it is about finds it as well");
}

async fn pages<S: AuthStore>(store: &S) {
    let ann = user(store).await;
    // Several at the same time: the id decides.
    let made: Vec<AccessEvent> = (0..10).map(|n| event(START_US + n / 4, Some(ann), Some(ann))).collect();
    ok!(store.append_events(made.clone()));
    let mut expected = made;
    expected.sort_by_key(|event| std::cmp::Reverse(event.cursor()));
    let (mut found, mut after) = (Vec::new(), None::<EventCursor>);
    loop {
        let page = ok!(store.events(EventQuery { after, limit: 3, ..of(ann) }));
        assert!(page.items.len() <= 3);
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
        // What is appended meanwhile moves nothing.
        ok!(store.append_events(vec![event(START_US + 100, Some(ann), None)]));
    }
    assert_eq!(found, expected);
}

async fn queries<S: AuthStore>(store: &S) {
    let (ann, space) = (user(store).await, SpaceId(id()));
    let mut made: Vec<AccessEvent> = (0..6).map(|n| event(START_US + n, Some(ann), None)).collect();
    for at in [1, 3] {
        made[at].space = Some(space);
    }
    "other".clone_into(&mut made[3].kind);
    ok!(store.append_events(made.clone()));
    let times = |events: Vec<AccessEvent>| -> Vec<i64> {
        events.into_iter().map(|event| event.at_us - START_US).collect()
    };
    let found = |query: EventQuery| async { times(ok!(store.events(query)).items) };
    let in_space = EventQuery { space: Some(space), limit: 100, ..EventQuery::default() };
    assert_eq!(found(in_space.clone()).await, [3, 1]);
    assert_eq!(found(EventQuery { kind: Some("other".to_owned()), ..in_space.clone() }).await, [3]);
    assert_eq!(found(EventQuery { user: Some(ann), ..in_space.clone() }).await, [3, 1]);
    assert_eq!(found(EventQuery { user: Some(UserId(id())), ..in_space }).await, [0_i64; 0]);
    let (since_us, until_us) = (Some(START_US + 2), Some(START_US + 5));
    assert_eq!(found(EventQuery { since_us, until_us, ..of(ann) }).await, [4, 3, 2]);
    let all = ok!(store.events(EventQuery { limit: 1, ..EventQuery::default() }));
    assert!(all.items.len() == 1 && all.next.is_some(), "whoever asks for all is given all");
}

async fn erase_everything<S: Directory>(store: &S) {
    while ok!(store.purge_deleted(2)) == 2 {}
}

async fn addresses_go_with_their_user<S: AuthStore + Directory>(store: &S) {
    let (ann, bob) = (user(store).await, user(store).await);
    let events = [
        event(START_US, Some(ann), None),
        // Somebody who did not get in.
        event(START_US + 1, None, Some(ann)),
        // Bob, who changed what Ann is.
        event(START_US + 2, Some(bob), Some(ann)),
        event(START_US + 3, Some(ann), Some(bob)),
    ];
    ok!(store.append_events(events.to_vec()));
    assert!(ok!(store.delete_user(ann)));
    erase_everything(store).await;
    // One that was under way.
    ok!(store.append_events(vec![event(START_US + 4, Some(ann), None), event(START_US + 5, None, Some(ann))]));
    let found = ok!(store.events(of(ann))).items;
    let shown: Vec<(i64, bool, bool)> = found
        .iter()
        .map(|event| (event.at_us - START_US, event.address.is_some(), event.user_agent.is_some()))
        .collect();
    let (kept, gone) = (|at| (at, true, true), |at| (at, false, false));
    assert_eq!(shown, [gone(5), gone(4), gone(3), kept(2), gone(1), gone(0)]);
    assert_eq!(ok!(store.events(of(bob))).items.len(), 2);
}

async fn old_ones_go<S: AuthStore>(store: &S) {
    let ann = user(store).await;
    // So long ago that nobody else's are as old.
    ok!(store.append_events((1..=5).map(|at_us| event(at_us, Some(ann), None)).collect()));
    assert_eq!(ok!(store.delete_events(5, 3)), 3);
    assert_eq!(ok!(store.delete_events(5, 3)), 1, "the last one is not before");
    assert_eq!(ok!(store.events(of(ann))).items.len(), 1);
    assert_eq!(ok!(store.delete_events(6, 3)), 1);
    assert_eq!(ok!(store.events(of(ann))).items, []);
}
