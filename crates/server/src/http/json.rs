//! JSON bodies. What is refused is a problem document that never repeats what was sent: bodies hold passwords.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::MAX_BODY_BYTES;
use super::problem::Problem;

/// How long a client may take to send a body of at most [`MAX_BODY_BYTES`].
const MAX_BODY_TIME: Duration = Duration::from_secs(15);

/// A body of JSON, whatever its content type says.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read(request, state).await.and_then(|body| parse(&body)).map(Self)
    }
}

/// A body of JSON, or none.
pub(super) struct MaybeJson<T>(pub(super) Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = read(request, state).await?;
        let is_empty = body.iter().all(u8::is_ascii_whitespace);
        if is_empty { Ok(Self(None)) } else { parse(&body).map(|value| Self(Some(value))) }
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(MAX_BODY_TIME, Bytes::from_request(request, state)).await;
    let timed_out =
        |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The body took too long to arrive.");
    read.map_err(timed_out)?.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("The body has more than {MAX_BODY_BYTES} bytes."),
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "bad_request", "The body did not arrive whole."),
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Derived readers take an array for an object, its items in the order of the fields: not a shape of ours.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", "The body is not a JSON object."));
    }
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // Of the parser's own words only the name of a missing field is known to hold nothing of the body.
        let detail = match text
            .split_once('`')
            .and_then(|(start, rest)| Some((start, rest.split_once('`')?.0)))
        {
            Some(("missing field ", field)) if error.is_data() => format!("The field {field} is missing."),
            _ if error.is_data() => {
                format!("The body is JSON of another shape than expected, at line {line}, column {column}.")
            }
            _ => format!("The body is not JSON, at line {line}, column {column}."),
        };
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Login {
        #[expect(dead_code, reason = "only parsed")]
        email: String,
        #[expect(dead_code, reason = "only parsed")]
        password: String,
    }

    async fn detail(body: &[u8]) -> String {
        let problem = parse::<Login>(body).err().expect("refused");
        assert_eq!((problem.status(), problem.code()), (StatusCode::BAD_REQUEST, "bad_request"));
        let body = axum::body::to_bytes(problem.into_response().into_body(), 10_000).await.expect("a body");
        let document: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        document["detail"].as_str().expect("text").to_owned()
    }

    #[tokio::test]
    async fn a_refusal_says_where_and_never_what() {
        assert_eq!(detail(b"").await, "The body is not JSON, at line 1, column 0.");
        assert_eq!(detail(b"{\"email\":").await, "The body is not JSON, at line 1, column 9.");
        assert_eq!(detail(b"{\"email\":\"a\"}").await, "The field password is missing.");
        for body in [
            &br#"{"email":"a","password":["hunter2"]}"#[..],
            br#"{"email":"a","password":{"hunter2":1}}"#,
            br#""hunter2""#,
            br#""missing field `hunter2`""#,
            br#"{"email":"a","password":"hunter2"#,
            br#"{"email":"a","password":"x"} hunter2"#,
            b"{\"email\":\"a\",\"password\":\"hunter2\xff\"}",
        ] {
            let detail = detail(body).await;
            assert!(!detail.contains("hunter2") && detail.contains("line 1"), "{detail}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        assert!(parse::<Login>(br#" ["ann@example.com", "correct horse"]"#).is_err());
    }

    #[test]
    fn fields_that_are_not_known_are_left_alone() {
        assert!(parse::<Login>(br#"{"email":"a","password":"b","device":"c"}"#).is_ok());
    }
}
