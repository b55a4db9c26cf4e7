//! What every answer says to browsers: that it is data and nothing else. A handler that serves a page says otherwise itself.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

const DEFAULTS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds what the handler has left out.
pub(super) async fn harden(mut response: Response) -> Response {
    // A WebSocket from here on: nothing is rendered of it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use crate::http::testing::Bench;

    #[tokio::test]
    async fn every_answer_is_data_to_a_browser() {
        let bench = Bench::new();
        let ann = bench.person("ann").await;
        for (method, path, token) in [
            ("GET", "/profile", Some(ann.token.as_str())),
            ("GET", "/profile", None),
            ("GET", "/healthz", None),
            ("GET", "/nothing", None),
            ("PUT", "/auth/login", None),
            ("POST", "/auth/login", None),
        ] {
            let answer = bench.call(method, path, &Bench::bearer(token), "").await;
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
            assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        }
        let keys = bench.get("/.well-known/jwks.json", None).await;
        assert_eq!(keys.header("cache-control"), Some("public, max-age=300"), "a handler's own word stands");
    }
}
