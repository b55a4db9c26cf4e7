//! How one becomes a member, and public spaces.

use serde_json::json;

use super::cast::{Cast, name, text};
use crate::common::device::{ITEM, row_id};
use crate::common::http::{Account, get, post, sign_up};
use crate::common::json_client::change;
use crate::common::replica::plain_rows;
use crate::common::socket::handshake;

#[test]
fn a_link_is_used_as_often_as_it_says() {
    let cast = Cast::new("shared");
    let (server, space) = (&cast.server, &*cast.space);
    let dan = sign_up(server, "dan");
    let invite = |body| {
        let (status, invite) =
            post(server, &format!("/spaces/{space}/invites"), Some(&cast.ann.token), &body);
        assert_eq!(status, 201, "{invite}");
        invite["token"].clone()
    };
    let accept = |who: &Account, token: &serde_json::Value| {
        let (status, answer) = post(server, "/invites/accept", Some(&who.token), &json!({"token": token}));
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let once = invite(json!({"role": "editor"}));
    assert_eq!(accept(&cast.bob, &once), (200, String::new()));
    // For a member it changes nothing; for another it is used up.
    assert_eq!(accept(&cast.bob, &once), (200, String::new()));
    assert_eq!(accept(&cast.cat, &once), (404, "invite_not_found".into()));
    let mut device = cast.device(&cast.bob, 1);
    device.insert(ITEM, &row_id(1), name("a"));
    device.settle();
    assert_eq!(handshake(server, &format!("/sync/{space}"), Some(&cast.cat.token), b"").status, 404);
    let twice = invite(json!({"role": "viewer", "maxUses": 2}));
    assert_eq!(accept(&cast.cat, &twice).0, 200);
    assert_eq!(accept(&cast.bob, &twice).0, 200, "a member uses nothing up");
    assert_eq!(accept(&dan, &twice).0, 200);
    assert_eq!(accept(&sign_up(server, "eve"), &twice), (404, "invite_not_found".into()));
    let cats = cast.json("cat", &cast.cat);
    assert_eq!(cats.space(space).role.as_deref(), Some("viewer"));
    assert_eq!(cats.space(space).rows, plain_rows(&device));
    // One that has been taken back, and ones that never were.
    let path = format!("/spaces/{space}/invites");
    let (_, made) =
        post(server, &path, Some(&cast.ann.token), &json!({"role": "viewer", "expiresInSeconds": 60}));
    let id = made["id"].as_str().expect("an id");
    let revoke = crate::common::http::call(server, "DELETE", &format!("{path}/{id}"), &cast.ann.token, None);
    assert_eq!(revoke.0, 204);
    let fay = sign_up(server, "fay");
    assert_eq!(accept(&fay, &made["token"]), (404, "invite_not_found".into()));
    assert_eq!(accept(&fay, &json!("lit_nonsense")), (404, "invite_not_found".into()));
    for bad in [json!({"role": "viewer", "expiresInSeconds": 59}), json!({"role": "viewer", "maxUses": 0})] {
        assert_eq!(post(server, &path, Some(&cast.ann.token), &bad).1["code"], "bad_invite");
    }
    assert!(made["expiresAt"].as_f64().is_some_and(|at| at > 1e9), "{made}");
}

#[test]
fn an_invite_by_mail_is_for_that_address() {
    let cast = Cast::new("shared");
    let (server, space) = (&cast.server, &*cast.space);
    let path = format!("/spaces/{space}/invites");
    let (status, invite) =
        post(server, &path, Some(&cast.ann.token), &json!({"role": "editor", "email": "BOB@Example.com"}));
    assert_eq!((status, &invite["token"]), (201, &json!(null)), "no link: {invite}");
    let accept = format!("/invites/{}/accept", invite["id"].as_str().expect("an id"));
    assert_eq!(post(server, &accept, Some(&cast.cat.token), &json!({})).1["code"], "invite_not_found");
    let (_, mine) = get(server, "/invites", &cast.bob.token);
    assert_eq!(mine["invites"][0]["id"], invite["id"]);
    assert_eq!(post(server, &accept, Some(&cast.bob.token), &json!({})).0, 200);
    let bobs = cast.json("bob", &cast.bob);
    assert_eq!(bobs.space(space).role.as_deref(), Some("editor"));
}

#[test]
fn a_public_space_is_read_by_strangers_and_not_written() {
    let cast = Cast::new("public");
    let (server, space) = (&cast.server, &*cast.space);
    let mut owner = cast.device(&cast.ann, 1);
    owner.insert(ITEM, &row_id(1), name("for all"));
    owner.settle();
    let mut native = cast.device(&cast.bob, 2);
    native.until_row(ITEM, &row_id(1));
    let mut socket = cast.json("cat", &cast.cat);
    assert_eq!(socket.space(space).role.as_deref(), Some("viewer"));
    assert_eq!(socket.space(space).rows, plain_rows(&owner));
    native.update(ITEM, &row_id(1), name("mine"));
    native.insert(ITEM, &row_id(2), name("mine"));
    native.settle();
    let results = socket.store(space, vec![change("delete", "Item", &text(&row_id(1)), json!({}))]);
    assert_eq!(results[0]["code"], "forbidden");
    // Live all the same.
    owner.update(ITEM, &row_id(1), name("live"));
    owner.settle();
    socket.until_value(space, ("Item", &text(&row_id(1)), "name"), "\"live\"");
    native.until_rows(&plain_rows(&owner), "live");
    assert_eq!(socket.space(space).rows, plain_rows(&owner));
    assert_eq!(cast.inbox(&format!("/spaces/{space}/refusals"), &cast.ann).len(), 3);
    // It is found without being told of, and its members are not everybody's business.
    let (_, list) = get(server, "/spaces/public", &cast.cat.token);
    assert_eq!(list["spaces"][0]["id"], json!(space));
    assert_eq!(get(server, &format!("/spaces/{space}/refusals"), &cast.cat.token).0, 403);
}
