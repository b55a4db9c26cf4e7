use axum::body::Body;
use axum::routing::get;
use lattice_store::time::SystemRandom;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::http::problem::Problem;
use crate::http::testing::captured;

/// Refuses everything as it is told.
fn refusing(problem: Problem) -> Router {
    captured::start();
    let router = Router::new().route("/{space}", get(move || async move { Err::<(), _>(problem) }));
    watch(router, Arc::new(SystemRandom), Arc::default())
}

async fn ask(router: &Router, method: &str, path: &str, ids: &[&[u8]]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for id in ids {
        request = request.header(X_REQUEST_ID, HeaderValue::from_bytes(id).expect("a header"));
    }
    let request = request.body(Body::empty()).expect("a request");
    router.clone().oneshot(request).await.expect("an answer")
}

fn id_of(response: &Response) -> &str {
    let ids: Vec<_> = response.headers().get_all(X_REQUEST_ID).into_iter().collect();
    let [id] = ids[..] else { panic!("one id: {ids:?}") };
    id.to_str().expect("text")
}

fn lines_of(response: &Response) -> Vec<Value> {
    captured::take(id_of(response))
}

#[tokio::test]
async fn a_plain_id_comes_back_and_another_is_replaced() {
    let router = refusing(Problem::no_token());
    for id in ["1", "7d3c2a10-52b8-4f0e-8f3b-2f1f6a9d0c11", &"a".repeat(64)] {
        for path in ["/me", "/no/where"] {
            assert_eq!(id_of(&ask(&router, "GET", path, &[id.as_bytes()]).await), id, "{path}");
        }
    }
    let long = "a".repeat(65);
    let odd: [&[&[u8]]; 9] = [
        &[],
        &[b""],
        &[long.as_bytes()],
        &[b"ldt_secret"],
        &[b"ey.ey.sig"],
        &[b"two words"],
        &[b"\"quoted\""],
        &[b"\xff"],
        &[b"one", b"two"],
    ];
    for ids in odd {
        let answer = ask(&router, "GET", "/me", ids).await;
        let id = id_of(&answer);
        assert!(id.len() == 36 && is_plain(id.as_bytes()), "{id}");
        let lines = lines_of(&answer);
        assert_eq!(lines.len(), 1, "it is the one in the log");
        assert!(ids.iter().all(|odd| odd.is_empty() || *odd != id.as_bytes()), "{ids:?}");
    }
}

#[tokio::test]
async fn neither_address_nor_method_of_the_client_s_making_is_logged() {
    let router = refusing(Problem::no_token());
    for (method, path, route) in [
        ("GET", "/secret?token=secret", "/{space}"),
        ("SECRET", "/secret?token=secret", "/{space}"),
        ("GET", "/secret/secret?token=secret", "none"),
    ] {
        let answer = ask(&router, method, path, &[]).await;
        let [line] = &lines_of(&answer)[..] else { panic!("one line") };
        assert_eq!(line["span"]["route"], route);
        assert!(!line.to_string().to_lowercase().contains("secret"), "{line}");
    }
}

#[tokio::test]
async fn levels_say_whether_the_operator_has_to_act() {
    let new = |status, code| Problem::new(StatusCode::from_u16(status).expect("a status"), code, "x");
    for (problem, level, message) in [
        (Problem::no_token(), "INFO", "a request was refused"),
        (new(403, "forbidden"), "INFO", "a request was refused"),
        (new(409, "schema_version"), "INFO", "a request was refused"),
        (new(422, "bad_email"), "INFO", "a request was refused"),
        (Problem::rate_limited(1), "INFO", "a request was refused"),
        (Problem::unavailable("closing", "x"), "INFO", "a request was refused"),
        (Problem::unavailable("busy", "x"), "WARN", "a request was refused"),
        (Problem::unavailable("provider_unavailable", "x"), "WARN", "a request was refused"),
        (Problem::unavailable("not_ready", "x").because("why"), "WARN", "a request was refused"),
        (new(507, "quota_exceeded"), "WARN", "a request was refused"),
        (Problem::unavailable("database_unavailable", "x").because("why"), "ERROR", "a request failed"),
        (Problem::internal("why"), "ERROR", "a request failed"),
    ] {
        let code = problem.code();
        let router = refusing(problem);
        let lines = lines_of(&ask(&router, "GET", "/me", &[]).await);
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        assert_eq!((&line["level"], &line["fields"]["message"]), (&json!(level), &json!(message)), "{line}");
        assert_eq!(line["fields"]["code"], code);
    }
}

#[tokio::test]
async fn what_failed_is_in_the_log_and_not_in_the_answer() {
    let router = refusing(Problem::internal("no such table: users"));
    let answer = ask(&router, "GET", "/me", &[]).await;
    let lines = lines_of(&answer);
    assert_eq!(lines[0]["fields"]["reason"], "no such table: users");
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
    assert!(!String::from_utf8_lossy(&body).contains("users"));
}

#[tokio::test]
async fn a_client_that_is_refused_all_the_time_has_few_lines_by_default() {
    let router = refusing(Problem::no_token());
    let mut levels = Vec::new();
    for _ in 0..8 {
        let lines = lines_of(&ask(&router, "GET", "/me", &[]).await);
        levels.extend(lines.iter().map(|line| line["level"].as_str().expect("a level").to_owned()));
    }
    assert_eq!(levels, ["INFO", "INFO", "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "DEBUG"]);
}

#[tokio::test]
async fn what_is_logged_in_between_has_the_id_too() {
    captured::start();
    let handler = || async { tracing::warn!("in between") };
    let router = Router::new().route("/{space}", get(handler));
    let router = watch(router, Arc::new(SystemRandom), Arc::default());
    let lines = lines_of(&ask(&router, "GET", "/me", &[]).await);
    let [line] = &lines[..] else { panic!("one line: {lines:?}") };
    assert_eq!(
        (&line["fields"]["message"], &line["span"]["route"]),
        (&json!("in between"), &json!("/{space}"))
    );
}
