//! The token of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use lattice_auth::{AuthError, AuthService, Identity};
use lattice_store::accounts::UserId;
use secrecy::SecretString;

use super::problem::Problem;
use super::request_log;
use super::state::AppState;

/// The token of the `Authorization: Bearer` header (RFC 6750, section 2.1); the scheme is compared without case.
#[must_use]
pub fn header_token(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.into())
}

/// The token of the header or else of `?token=`, which browsers need for WebSockets since they cannot set headers there.
/// For the sync socket only: addresses end up in logs and histories.
#[must_use]
pub fn token(headers: &HeaderMap, uri: &Uri) -> Option<SecretString> {
    header_token(headers).or_else(|| {
        let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
        let (_, token) = pairs.find(|(key, token)| key == "token" && !token.is_empty())?;
        Some(token.into_owned().into())
    })
}

/// Whose token it is; what the log says of the request from here on names them.
///
/// # Errors
/// Whatever is wrong with the token.
pub async fn authenticate(auth: &AuthService, token: &SecretString) -> Result<Identity, AuthError> {
    let identity = auth.authenticate(token).await?;
    request_log::note_identity(&identity);
    Ok(identity)
}

/// The token of the header; without one the request is refused.
pub(super) struct Bearer(pub(super) SecretString);

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        header_token(&parts.headers).map(Self).ok_or_else(Problem::no_token)
    }
}

/// The session that the token of the header belongs to, and its user; without a good one the request is refused, as it is when it
/// changes something and the token may not.
pub(super) struct CallerSession(pub(super) Identity);

impl FromRequestParts<AppState> for CallerSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Bearer(token) = Bearer::from_request_parts(parts, state).await?;
        let identity = authenticate(&state.auth, &token).await?;
        // A token that may only read must not change anything, whatever its user may do.
        if parts.method.is_safe() || identity.permissions.can_write() {
            Ok(Self(identity))
        } else {
            Err(AuthError::PermissionDenied.into())
        }
    }
}

/// Whoever the token of the header belongs to; without a good one the request is refused.
pub(super) struct Caller(pub(super) UserId);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        CallerSession::from_request_parts(parts, state)
            .await
            .map(|CallerSession(identity)| Self(identity.user))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn found(authorization: Option<&[u8]>, uri: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header"));
        }
        let uri = uri.parse().expect("an address");
        token(&headers, &uri).map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn the_scheme_has_no_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc", " Bearer abc "] {
            assert_eq!(found(Some(value.as_bytes()), "/sync").as_deref(), Some("abc"), "{value:?}");
        }
    }

    #[test]
    fn other_headers_are_no_token() {
        for value in [&b"abc"[..], b"Basic abc", b"Bearer", b"Bearer ", b"", b"Bearer \xff", b"Bearerabc"] {
            assert_eq!(found(Some(value), "/sync"), None);
        }
    }

    #[test]
    fn browsers_send_it_in_the_address() {
        assert_eq!(found(None, "/sync?last-event-id=1&token=a%2Bb%2F").as_deref(), Some("a+b/"));
        assert_eq!(
            found(Some(b"Bearer abc"), "/sync?token=def").as_deref(),
            Some("abc"),
            "the header comes first"
        );
        assert_eq!(found(Some(b"Basic abc"), "/sync?token=def").as_deref(), Some("def"));
        for uri in ["/sync", "/sync?", "/sync?token=", "/sync?token", "/sync?xtoken=1"] {
            assert_eq!(found(None, uri), None, "{uri}");
        }
    }
}
