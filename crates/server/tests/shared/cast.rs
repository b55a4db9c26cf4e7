//! Who plays: Ann owns a space, Bob and Cat have accounts.

use std::time::{Duration, Instant};

use lattice_protocol::RowId;
use serde_json::Value;

use crate::common::device::{Device, field};
use crate::common::http::{Account, call, join, make_space, sign_up};
use crate::common::json_client::JsonClient;
use crate::common::server::TestServer;
use crate::common::socket::{Socket, handshake};

/// What is revoked takes effect within 5 s; the rest is for a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(8);

pub(crate) struct Cast {
    pub(crate) server: TestServer,
    pub(crate) ann: Account,
    pub(crate) bob: Account,
    pub(crate) cat: Account,
    pub(crate) space: String,
}

impl Cast {
    #[track_caller]
    pub(crate) fn new(kind: &str) -> Self {
        let server = TestServer::start(&[]);
        let (ann, bob, cat) = (sign_up(&server, "ann"), sign_up(&server, "bob"), sign_up(&server, "cat"));
        let space = make_space(&server, &ann, kind);
        Self { server, ann, bob, cat, space }
    }

    /// A shared space with Bob in it.
    #[track_caller]
    pub(crate) fn with_bob(role: &str) -> Self {
        let cast = Self::new("shared");
        join(&cast.server, &cast.space, &cast.ann, &cast.bob, role);
        cast
    }

    /// A native client that is connected.
    #[track_caller]
    pub(crate) fn device(&self, account: &Account, seed: u64) -> Device {
        let mut device = Device::in_space(&format!("device {seed}"), account, seed, &self.space);
        device.connect(&self.server);
        device
    }

    /// A native socket.
    #[track_caller]
    pub(crate) fn socket(&self, token: &str) -> Socket {
        handshake(&self.server, &format!("/sync/{}", self.space), Some(token), b"").socket()
    }

    #[track_caller]
    pub(crate) fn json(&self, name: &str, account: &Account) -> JsonClient {
        JsonClient::in_space(&self.server, name, account, &self.space)
    }

    /// What is refused to a user, or in the space: row and code, the last first.
    #[track_caller]
    pub(crate) fn inbox(&self, path: &str, account: &Account) -> Vec<(String, String)> {
        let (status, page) = call(&self.server, "GET", path, &account.token, None);
        assert_eq!(status, 200, "{page}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let refusals = page["refusals"].as_array().expect("refusals").iter();
        refusals.map(|refusal| (text(&refusal["globalRowId"]), text(&refusal["code"]))).collect()
    }
}

/// Runs something that must happen soon.
#[track_caller]
pub(crate) fn soon<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = act();
    let took = started.elapsed();
    assert!(took < SOON, "{what} took {took:?}");
    done
}

/// Sets one text column.
pub(crate) fn name(text: &str) -> Vec<lattice_protocol::Field> {
    vec![field("name", lattice_protocol::value::text(text))]
}

/// The text of a row's id.
pub(crate) fn text(row: &RowId) -> String {
    row.to_text()
}
