//! HTTP/2: requests that share a connection.

use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::Authority;
use crate::client::config;
use crate::common::http::PASSWORD;
use crate::common::server::TestServer;
use crate::protocol::{NAME, start};

/// Requests that are under way at once.
const AT_ONCE: usize = 40;

/// A connection that was agreed to be HTTP/2.
async fn open(server: &TestServer, authority: &Authority) -> h2::client::SendRequest<Bytes> {
    let tcp = TcpStream::connect(server.own_address()).await.expect("a connection");
    let connector = TlsConnector::from(Arc::new(config(authority.roots(), &["h2"])));
    let name = ServerName::try_from(NAME).expect("a name");
    let tls = connector.connect(name, tcp).await.expect("TLS");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

async fn call(
    client: &h2::client::SendRequest<Bytes>,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let mut request = axum::http::Request::builder().method(method).uri(format!("https://{NAME}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(()).expect("a request");
    let mut client = client.clone().ready().await.expect("room for a request");
    let (answer, mut sending) = client.send_request(request, body.is_none()).expect("sent");
    if let Some(body) = body {
        sending.send_data(body.to_string().into(), true).expect("a body");
    }
    let (head, mut rest) = answer.await.expect("an answer").into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = rest.data().await {
        let piece = piece.expect("a piece");
        rest.flow_control().release_capacity(piece.len()).expect("room");
        bytes.extend(piece);
    }
    assert!(head.headers.contains_key("strict-transport-security"), "{head:?}");
    (head.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_and_sync_over_one_connection() {
    let authority = Authority::new();
    let (server, _files) = start(&authority, &[]);
    let client = open(&server, &authority).await;
    let account = json!({"email": "ann@example.com", "password": PASSWORD});
    let (status, ann) = call(&client, "POST", "/auth/signup", None, Some(&account)).await;
    assert_eq!(status, 201, "{ann}");
    let token = ann["accessToken"].as_str().expect("a token");
    let upload = |at: usize| {
        json!({"changes": [{
            "operation": "insert", "tableName": "Item", "globalRowId": format!("row-{at}"),
            "changedFields": {"name": "x".repeat(10_000)},
        }]})
    };
    let bodies: Vec<Value> = (0..AT_ONCE).map(upload).collect();
    let calls = bodies.iter().map(|body| call(&client, "POST", "/sync/changes", Some(token), Some(body)));
    for (status, answer) in futures_util::future::join_all(calls).await {
        assert_eq!((status, &answer["results"][0]["status"]), (200, &json!("applied")), "{answer}");
    }
    let (status, page) = call(&client, "GET", "/sync/changes?limit=100", Some(token), None).await;
    assert_eq!((status, page["changes"].as_array().map(Vec::len)), (200, Some(AT_ONCE)), "a page of all");
    let (status, problem) = call(&client, "GET", "/nowhere", None, None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    // A socket is opened by HTTP/1.1: here that is said, and the connection goes on.
    let (status, _) = call(&client, "GET", "/sync", Some(token), None).await;
    assert_eq!(status, 426);
    assert_eq!(call(&client, "GET", "/profile", Some(token), None).await.0, 200);
}
