//! Rights that end: on open sockets of both dialects, soon, and with nothing more to be sent.

use serde_json::json;

use super::cast::{Cast, name, soon, text};
use crate::common::device::{Device, ITEM, row_id};
use crate::common::http::{
    Account, PASSWORD, call, device_token, get, join, log_out, make_space, post, remove,
};
use crate::common::json_client::{JsonClient, Poller, change};
use crate::common::replica::plain_rows;
use crate::common::socket::handshake;

fn code((code, reason): (u16, String)) -> (u16, String) {
    (code, reason.split(':').next().unwrap_or_default().to_owned())
}

#[test]
fn a_member_is_removed_in_midstream_and_comes_back() {
    let cast = Cast::with_bob("editor");
    let (server, space) = (&cast.server, &*cast.space);
    let mut anns = cast.json("ann", &cast.ann);
    let mut native = cast.device(&cast.bob, 2);
    let mut bobs = cast.json("bob", &cast.bob);
    bobs.subscribe("me", json!({}));
    bobs.until_complete("me");
    let (row, gone) = (row_id(1), row_id(2));
    for row in [&row, &gone] {
        anns.store(space, vec![change("insert", "Item", &text(row), json!({"name": "a"}))]);
    }
    native.until_row(ITEM, &gone);
    bobs.until_row(space, "Item", &text(&gone));
    let poll = format!("/sync/changes?space={space}");
    assert_eq!(get(server, &poll, &cast.bob.token).0, 200);

    // While changes keep coming, and one of his own is on its way.
    native.update(ITEM, &row, name("late"));
    remove(server, space, &cast.ann, &cast.bob);
    soon("a removal", || {
        let _ = native.upload();
        assert_eq!(code(native.closed()), (1008, "space_not_found".into()));
        let access = bobs.event("access");
        assert_eq!(access, json!({"type": "access", "space": space, "role": null}));
        assert_eq!(bobs.error(), "space_not_found");
    });
    let held = bobs.space(space).log.len();
    anns.store(
        space,
        vec![
            change("update", "Item", &text(&row), json!({"name": "b"})),
            change("delete", "Item", &text(&gone), json!({})),
            change("insert", "Item", &text(&row_id(3)), json!({"name": "c"})),
        ],
    );
    // The connection and his other spaces live; of this one nothing comes, and nothing is taken.
    bobs.store("me", vec![change("insert", "Item", "mine", json!({"name": "mine"}))]);
    bobs.ping();
    assert_eq!(bobs.space(space).log.len(), held);
    for frame in ["subscribe", "upload", "poll", "presence"] {
        bobs.send(&json!({"type": frame, "space": space, "changes": [], "state": 1}));
        assert_eq!(bobs.error(), "space_not_found", "{frame}");
    }
    assert_eq!(get(server, &poll, &cast.bob.token).0, 404);
    assert_eq!(handshake(server, &format!("/sync/{space}"), Some(&cast.bob.token), b"").status, 404);

    join(server, space, &cast.ann, &cast.bob, "editor");
    // Each goes on from where it was; the change that was not stored is sent again.
    native.connect(server);
    native.settle();
    bobs.disconnect();
    bobs.connect(server);
    bobs.until_complete(space);
    native.until_gone(ITEM, &gone);
    native.until_row(ITEM, &row_id(3));
    bobs.until_value(space, ("Item", &text(&row), "name"), "\"late\"");
    let fresh = cast.json("fresh", &cast.ann);
    assert_eq!(bobs.space(space).rows, fresh.space(space).rows);
    assert_eq!(plain_rows(&native), fresh.space(space).rows);
    assert_eq!(fresh.space(space).rows.len(), 2);
}

/// A native client, a JSON client and a waiting poll of somebody end when `act` is done, with this close code.
#[track_caller]
fn all_end(cast: &Cast, account: &Account, act: impl FnOnce(), reason: &str) {
    let mut native = cast.device(account, 7);
    let mut socket = cast.json("bob", account);
    act();
    soon(reason, || {
        assert_eq!(code(native.closed()), (1008, reason.into()));
        assert_eq!(code(socket.closed()), (1008, reason.into()));
    });
}

#[test]
fn sessions_are_revoked_from_elsewhere() {
    let cast = Cast::with_bob("editor");
    let server = &cast.server;
    let device = device_token(server, &cast.bob);
    let bob = Account { token: device.clone(), ..cast.bob.clone() };
    let mut here = cast.json("here", &cast.bob);
    let (status, list) = get(server, "/auth/sessions", &device);
    let own = list["sessions"].as_array().and_then(|all| all.iter().find(|one| one["current"] == true));
    let id = own.and_then(|own| own["id"].as_str()).expect("an id").to_owned();
    assert_eq!(status, 200);
    let revoke = || {
        let path = format!("/auth/sessions/{id}");
        assert_eq!(call(server, "DELETE", &path, &cast.ann.token, None).0, 404, "it is not Ann's");
        assert_eq!(call(server, "DELETE", &path, &cast.bob.token, None).0, 204);
    };
    all_end(&cast, &bob, revoke, "session_revoked");
    here.ping();
    let bob = Account { token: device_token(server, &cast.bob), ..cast.bob.clone() };
    let others = || assert_eq!(call(server, "DELETE", "/auth/sessions/others", &cast.bob.token, None).0, 204);
    all_end(&cast, &bob, others, "session_revoked");
    here.ping();
}

#[test]
fn a_session_ends() {
    let cast = Cast::with_bob("editor");
    let device = device_token(&cast.server, &cast.bob);
    let bob = Account { token: device.clone(), ..cast.bob.clone() };
    let mut other = cast.json("other session", &cast.bob);
    all_end(&cast, &bob, || log_out(&cast.server, &device), "session_revoked");
    other.ping();
    // A refresh token that is used twice ends its session without anybody having asked for it.
    let body = json!({"email": cast.bob.email, "password": PASSWORD});
    let (_, login) = post(&cast.server, "/auth/login", None, &body);
    let bob = Account { token: login["token"].as_str().expect("a token").to_owned(), ..cast.bob.clone() };
    let refresh = |token: &serde_json::Value| {
        post(&cast.server, "/auth/refresh", None, &json!({"refreshToken": token}))
    };
    let (_, second) = refresh(&login["refreshToken"]);
    let (status, _) = refresh(&second["refreshToken"]);
    assert_eq!(status, 200);
    let reuse = || {
        let (status, problem) = refresh(&login["refreshToken"]);
        assert_eq!((status, problem["code"].as_str()), (401, Some("refresh_reused")));
    };
    std::thread::scope(|scope| {
        // A poll that waits ends as well.
        let path = format!("/sync/changes?space={}&wait=50&cursor={}", cast.space, latest(&cast));
        let (server, token) = (&cast.server, &bob.token);
        let waiting = scope.spawn(move || get(server, &path, token));
        all_end(&cast, &bob, reuse, "session_revoked");
        let (status, problem) = soon("a poll", || waiting.join().expect("an answer"));
        assert_eq!((status, problem["code"].as_str()), (401, Some("session_revoked")));
    });
    other.ping();
}

#[test]
fn an_account_is_deleted() {
    let cast = Cast::with_bob("editor");
    let mut anns = cast.json("ann", &cast.ann);
    let mut bobs = cast.json("bob", &cast.bob);
    bobs.store(&cast.space, vec![change("insert", "Item", "his", json!({"name": "his"}))]);
    let delete = |account: &Account, password: &str| {
        call(&cast.server, "DELETE", "/profile", &account.token, Some(&json!({"password": password})))
    };
    assert_eq!(delete(&cast.bob, "wrong").0, 403);
    let (status, problem) = delete(&cast.ann, PASSWORD);
    assert_eq!((status, problem["code"].as_str()), (409, Some("owns_spaces")));
    let act = || assert_eq!(delete(&cast.bob, PASSWORD).0, 204);
    all_end(&cast, &cast.bob, act, "session_revoked");
    assert_eq!(code(bobs.closed()), (1008, "session_revoked".into()));
    // What he made for others is theirs.
    anns.until_row(&cast.space, "Item", "his");
    let (_, members) = get(&cast.server, &format!("/spaces/{}/members", cast.space), &cast.ann.token);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(1), "{members}");
    assert_eq!(get(&cast.server, "/profile", &cast.bob.token).0, 401);
}

#[test]
fn a_space_is_deleted() {
    let cast = Cast::with_bob("editor");
    let (server, space) = (&cast.server, &*cast.space);
    let mut anns = cast.json("ann", &cast.ann);
    let mut bobs = cast.json("bob", &cast.bob);
    let mut native = cast.device(&cast.bob, 2);
    let mut owner = cast.device(&cast.ann, 3);
    bobs.store(space, vec![change("insert", "Item", "r", json!({"name": "a"}))]);
    let cursor = latest(&cast);
    std::thread::scope(|scope| {
        // A poll that waits does not wait for something that is gone.
        let waiting = scope.spawn(|| {
            let path = format!("/sync/changes?space={space}&wait=50&cursor={cursor}");
            get(server, &path, &cast.bob.token)
        });
        let (status, _) = call(server, "DELETE", &format!("/spaces/{space}"), &cast.ann.token, None);
        assert_eq!(status, 204);
        soon("a deletion", || {
            for device in [&mut native, &mut owner] {
                assert_eq!(code(device.closed()), (1008, "space_not_found".into()));
            }
            for client in [&mut anns, &mut bobs] {
                assert_eq!(client.event("access")["role"], json!(null));
            }
            assert_eq!(waiting.join().expect("an answer").0, 404);
        });
    });
    anns.ping();
    for account in [&cast.ann, &cast.bob] {
        assert_eq!(get(server, &format!("/spaces/{space}"), &account.token).0, 404);
        assert_eq!(get(server, &format!("/sync/changes?space={space}"), &account.token).0, 404);
    }
}

/// The cursor of somebody who has everything.
fn latest(cast: &Cast) -> String {
    let mut poller = Poller::new(&cast.bob, &cast.space);
    poller.catch_up(&cast.server);
    poller.replica.cursor.expect("a cursor")
}

#[test]
fn members_leave_and_owners_change() {
    let cast = Cast::with_bob("editor");
    let (server, space) = (&cast.server, &*cast.space);
    let mut anns = cast.json("ann", &cast.ann);
    let mut bobs = cast.json("bob", &cast.bob);
    let mut native = cast.device(&cast.ann, 2);
    let transfer = |who: &Account, to: &Account| {
        post(server, &format!("/spaces/{space}/transfer"), Some(&who.token), &json!({"userId": to.user}))
    };
    assert_eq!(transfer(&cast.bob, &cast.bob).0, 403);
    assert_eq!(transfer(&cast.ann, &cast.cat).1["code"], "member_not_found");
    let leave = |who: &Account| post(server, &format!("/spaces/{space}/leave"), Some(&who.token), &json!({}));
    assert_eq!(leave(&cast.ann).1["code"], "is_owner");
    assert_eq!(transfer(&cast.ann, &cast.bob).0, 204);
    soon("a transfer", || {
        bobs.until(|client| client.space(space).role.as_deref() == Some("owner"));
        anns.until(|client| client.space(space).role.as_deref() == Some("editor"));
    });
    assert_eq!(leave(&cast.ann).0, 204);
    soon("leaving", || {
        assert_eq!(code(native.closed()), (1008, "space_not_found".into()));
        assert_eq!(anns.event("access")["role"], json!(null));
    });
    // Nobody else is touched, and the new owner decides.
    let results = bobs.store(space, vec![change("insert", "Item", "r", json!({"name": "a"}))]);
    assert_eq!(results[0]["status"], "applied");
    join(server, space, &cast.bob, &cast.ann, "viewer");
    let back = cast.json("back", &cast.ann);
    assert_eq!(back.space(space).role.as_deref(), Some("viewer"));
    assert_eq!(back.space(space).rows, bobs.space(space).rows);
}

#[test]
fn what_ends_in_one_space_goes_on_in_others() {
    let cast = Cast::with_bob("editor");
    let other = make_space(&cast.server, &cast.ann, "shared");
    join(&cast.server, &other, &cast.ann, &cast.bob, "editor");
    let mut bobs = JsonClient::open(&cast.server, "bob", &cast.bob);
    for space in [&cast.space, &other] {
        bobs.subscribe(space, json!({}));
        bobs.until_complete(space);
    }
    let mut device = Device::in_space("other", &cast.bob, 5, &other);
    device.connect(&cast.server);
    // In the midst of uploads to both.
    for number in 0..20 {
        for space in [&*cast.space, &other] {
            bobs.send(
                &json!({"type": "upload", "id": format!("{number} {space}"), "space": space, "changes":
                [change("insert", "Item", &format!("r{number}"), json!({"count": number}))]}),
            );
        }
        if number == 10 {
            remove(&cast.server, &cast.space, &cast.ann, &cast.bob);
        }
    }
    let last = format!("\"19 {other}\"");
    bobs.until(|client| client.acks.contains_key(&last));
    assert_eq!(bobs.acks[&last]["results"][0]["status"], "applied");
    bobs.until(|client| client.space(&cast.space).role.is_none());
    // What was acknowledged is stored, and what came after the end is not; the answer to what was on its way may be lost.
    let acked = |number: u64| bobs.acks.contains_key(&format!("\"{number} {}\"", cast.space));
    let anns = cast.json("ann", &cast.ann);
    let stored = |number: u64| anns.space(&cast.space).row("Item", &format!("r{number}")).is_some();
    assert!((0..20).all(|number| stored(number) || !acked(number)));
    assert!((1..20).all(|number| stored(number - 1) || !stored(number)), "none overtook another");
    let fresh = JsonClient::in_space(&cast.server, "fresh", &cast.ann, &other);
    assert_eq!(fresh.space(&other).rows.len(), 20);
}
