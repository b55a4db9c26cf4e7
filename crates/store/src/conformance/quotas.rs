//! Quotas: what is counted, what is refused, and what is set for one.

use std::sync::Arc;

use lattice_engine::SpaceId;
use lattice_protocol::Incoming;

use super::spaces::{Device, insert, uuid_row};
use crate::StoreError;
use crate::accounts::{AccountStore, User, UserId};
use crate::directory::{Denied, Directory, NewSpace, Selector, SpaceKind};
use crate::quotas::{Limit, Limits, LimitsChange, QuotaStore, Subject, Usage};
use crate::spaces::SpaceStore;
use crate::time::{SystemRandom, random_id};

macro_rules! ok {
    ($call:expr) => {
        $call.await.expect("the store answers")
    };
}

const NOW_US: i64 = 1_700_000_000_000_000;
/// Bytes of a change as [`insert`] makes them.
const BYTES: u64 = 17;

/// Bytes and changes that were set.
fn set(bytes: Limit, changes: Limit) -> LimitsChange {
    LimitsChange { bytes: Some(bytes), changes: Some(changes), spaces: None }
}

/// Calls every method of the store. It makes its own users, and expects no quota for those for whom none was set.
///
/// # Panics
/// When the store breaks a promise.
pub async fn quotas<S: QuotaStore + Directory + AccountStore + SpaceStore>(store: &S) {
    usage_is_counted(store).await;
    a_space_takes_no_more_than_its_quota(store).await;
    an_owner_answers_for_all_their_spaces(store).await;
    spaces_are_counted(store).await;
    what_is_set_goes_with_whom_it_is_set_for(store).await;
}

async fn user<S: AccountStore>(store: &S) -> UserId {
    let id = UserId(random_id(&SystemRandom));
    let user = User {
        id,
        email: Some(format!("{id}@quotas.test")),
        email_verified_us: None,
        full_name: None,
        password_hash: None,
        created_us: NOW_US,
    };
    ok!(store.create_user(user));
    id
}

async fn shared<S: Directory>(store: &S, owner: UserId, max_owned: u32) -> Result<SpaceId, Denied> {
    let new = NewSpace { owner, kind: SpaceKind::Shared, name: "x".to_owned(), max_owned, now_us: NOW_US };
    ok!(store.create_space(new)).map(|entry| entry.id)
}

async fn device<S: Directory>(store: &S, user: UserId, selector: Selector) -> (Device, SpaceId) {
    let space = ok!(store.access(user, selector)).expect("a space").space;
    (Device::of(Arc::clone(&space), user.0), space.id)
}

fn rows(count: usize) -> Vec<Incoming> {
    (0..count).map(|n| insert(&uuid_row(), n as i64)).collect()
}

async fn usage<S: QuotaStore>(store: &S, subject: Subject) -> Usage {
    ok!(store.quota_account(subject)).expect("somebody").usage
}

async fn usage_is_counted<S: QuotaStore + Directory + AccountStore + SpaceStore>(store: &S) {
    let ann = user(store).await;
    assert_eq!(usage(store, Subject::User(ann)).await, Usage::default());
    let (phone, me) = device(store, ann, Selector::Me).await;
    let sent = rows(3);
    phone.send(store, sent.clone()).await;
    let three = Usage { bytes: 3 * BYTES, changes: 3 };
    assert_eq!(usage(store, Subject::Space(me)).await, three);
    phone.send(store, sent).await;
    assert_eq!(usage(store, Subject::Space(me)).await, three, "what is known is not counted again");
    let trips = shared(store, ann, 9).await.expect("a space");
    let (other, _) = device(store, ann, Selector::Id(trips)).await;
    other.send(store, rows(2)).await;
    assert_eq!(usage(store, Subject::User(ann)).await, Usage { bytes: 5 * BYTES, changes: 5 });
    let email = Subject::Email(format!("{ann}@quotas.test"));
    assert_eq!(usage(store, email).await.changes, 5);
    ok!(store.delete_space(ann, trips, NOW_US)).expect("deleted");
    assert_eq!(usage(store, Subject::User(ann)).await, three, "a space that is gone is not counted");
    assert_eq!(ok!(store.quota_account(Subject::Space(trips))), None);
    let nobody = Subject::User(UserId(random_id(&SystemRandom)));
    assert_eq!(ok!(store.quota_account(nobody.clone())), None);
    assert_eq!(ok!(store.change_limits(nobody, set(Limit::Most(1), Limit::Most(1)))), None);
}

async fn a_space_takes_no_more_than_its_quota<S: QuotaStore + Directory + AccountStore + SpaceStore>(
    store: &S,
) {
    let ann = user(store).await;
    let (phone, me) = device(store, ann, Selector::Me).await;
    let sent = rows(4);
    phone.send(store, sent.clone()).await;
    let subject = Subject::Space(me);
    let limits = ok!(store.change_limits(subject.clone(), set(Limit::AsConfigured, Limit::Most(6))));
    assert_eq!(limits, Some(Limits { changes: Limit::Most(6), ..Limits::default() }));
    phone.send(store, rows(2)).await;
    for count in [1, 5] {
        assert_eq!(phone.try_send(store, rows(count)).await, Err(StoreError::QuotaExceeded));
    }
    assert_eq!(usage(store, subject.clone()).await.changes, 6, "nothing of it was kept");
    phone.send(store, sent).await;
    ok!(store.change_limits(subject.clone(), set(Limit::Most(8 * BYTES - 1), Limit::Unlimited)));
    phone.send(store, rows(1)).await;
    let both = rows(2);
    assert_eq!(phone.try_send(store, both.clone()).await, Err(StoreError::QuotaExceeded));
    assert_eq!(phone.try_send(store, rows(1)).await, Err(StoreError::QuotaExceeded), "one byte too many");
    ok!(store.change_limits(subject.clone(), set(Limit::Most(9 * BYTES), Limit::Unlimited)));
    phone.send(store, both).await;
    assert_eq!(usage(store, subject).await, Usage { bytes: 9 * BYTES, changes: 9 });
}

async fn an_owner_answers_for_all_their_spaces<S: QuotaStore + Directory + AccountStore + SpaceStore>(
    store: &S,
) {
    let [ann, bob] = [user(store).await, user(store).await];
    let (phone, _) = device(store, ann, Selector::Me).await;
    let trips = shared(store, ann, 9).await.expect("a space");
    let (laptop, _) = device(store, ann, Selector::Id(trips)).await;
    phone.send(store, rows(2)).await;
    ok!(store.change_limits(Subject::User(ann), set(Limit::AsConfigured, Limit::Most(5))));
    laptop.send(store, rows(2)).await;
    for device in [&phone, &laptop] {
        assert_eq!(device.try_send(store, rows(2)).await, Err(StoreError::QuotaExceeded));
    }
    phone.send(store, rows(1)).await;
    assert_eq!(laptop.try_send(store, rows(1)).await, Err(StoreError::QuotaExceeded));
    let (others, _) = device(store, bob, Selector::Me).await;
    others.send(store, rows(9)).await;
    ok!(store.delete_space(ann, trips, NOW_US)).expect("deleted");
    phone.send(store, rows(2)).await;
    assert_eq!(phone.try_send(store, rows(1)).await, Err(StoreError::QuotaExceeded));
}

async fn spaces_are_counted<S: QuotaStore + Directory + AccountStore + SpaceStore>(store: &S) {
    let ann = user(store).await;
    shared(store, ann, 1).await.expect("a space");
    assert_eq!(shared(store, ann, 1).await, Err(Denied::TooManySpaces));
    let spaces = |spaces| LimitsChange { spaces: Some(spaces), ..LimitsChange::default() };
    ok!(store.change_limits(Subject::User(ann), spaces(Limit::Most(2))));
    shared(store, ann, 1).await.expect("a second space");
    assert_eq!(shared(store, ann, 9).await, Err(Denied::TooManySpaces));
    ok!(store.change_limits(Subject::User(ann), spaces(Limit::Unlimited)));
    shared(store, ann, 1).await.expect("a third space");
    let limits = ok!(store.change_limits(Subject::User(ann), spaces(Limit::AsConfigured)));
    assert_eq!(limits, Some(Limits::default()));
    assert_eq!(shared(store, ann, 1).await, Err(Denied::TooManySpaces));
}

async fn what_is_set_goes_with_whom_it_is_set_for<S: QuotaStore + Directory + AccountStore + SpaceStore>(
    store: &S,
) {
    let ann = user(store).await;
    let (_, me) = device(store, ann, Selector::Me).await;
    for subject in [Subject::User(ann), Subject::Space(me)] {
        ok!(store.change_limits(subject.clone(), set(Limit::Most(1), Limit::AsConfigured)));
        let held = ok!(store.quota_account(subject)).expect("somebody").limits;
        assert_eq!(held, Limits { bytes: Limit::Most(1), ..Limits::default() });
    }
    assert!(ok!(store.delete_user(ann)));
    for subject in [Subject::User(ann), Subject::Space(me)] {
        assert_eq!(ok!(store.quota_account(subject)), None);
    }
}
