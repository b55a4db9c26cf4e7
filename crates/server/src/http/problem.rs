//! Refusals: `application/problem+json` (RFC 9457) with a stable `code`. Clients match the code, never the text.

use std::borrow::Cow;
use std::error::Error;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::{AuthError, Challenge, SECOND_FACTOR_LIFE_S};
use lattice_store::StoreError;
use lattice_store::directory::Denied;
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::RateLimited;
use crate::spaces::SpaceError;

/// After how long a busy server may be asked again, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    retry_after_s: Option<u32>,
    /// What failed, for the log alone.
    reason: Option<Cow<'static, str>>,
    challenge: Option<Box<Challenge>>,
}

/// What the log says of a refusal, as an extension of its answer.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// The status that says it.
    pub(super) status: StatusCode,
    /// The stable name of the problem.
    pub(super) code: &'static str,
    /// What failed.
    pub(super) reason: Option<Cow<'static, str>>,
}

/// A problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
    /// RFC 9457, section 4.2.1: the status says it all, the code says which.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// What the status is called.
    title: &'a str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable name of the problem.
    code: &'static str,
    /// One sentence for people.
    detail: &'a str,
    /// With `second_factor_required`: what the second factor is to be sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<&'a str>,
    /// With `second_factor_required`: `totp`, `passkey`, `recovery_code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    methods: Option<Vec<&'static str>>,
    /// With `second_factor_required`: how long there is for it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "expiresIn")]
    expires_in: Option<i64>,
}

impl Problem {
    /// A refusal. The detail is one sentence, and never repeats what the client sent.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None, reason: None, challenge: None }
    }

    /// The request does not say who makes it.
    #[must_use]
    pub fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token_missing",
            "A token is needed: Authorization: Bearer TOKEN.",
        )
    }

    /// The server failed. The reason is for its log alone.
    #[must_use]
    pub fn internal(reason: impl Into<Cow<'static, str>>) -> Self {
        let problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed; the same request may succeed later.",
        );
        problem.because(reason)
    }

    /// What is behind it, for the log alone.
    #[must_use]
    pub fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The request cannot be served right now.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::unavailable_for(code, detail, RETRY_AFTER_S)
    }

    /// The request cannot be served for so many seconds.
    #[must_use]
    pub fn unavailable_for(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        retry_after_s: u32,
    ) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        Self { retry_after_s: Some(retry_after_s), ..problem }
    }

    /// It was tried too often.
    #[must_use]
    pub fn rate_limited(retry_after_s: u32) -> Self {
        let detail = "This was tried too often; try again when Retry-After says.";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        Self { retry_after_s: Some(retry_after_s), ..problem }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// When it may be tried again, in seconds.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        self.retry_after_s
    }

    /// One sentence for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The stable name of the problem.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// An answer that tells of it in another form, to be logged like the document.
    #[must_use]
    pub(crate) fn told_by(self, mut answer: Response) -> Response {
        answer.extensions_mut().insert(Refused { status: self.status, code: self.code, reason: self.reason });
        answer
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = error.code();
        match error {
            AuthError::SecondFactorRequired(challenge) => {
                let detail = "A second factor is needed: POST /auth/second-factor.";
                let problem = Self::new(StatusCode::FORBIDDEN, code, detail);
                Self { challenge: Some(Box::new(challenge)), ..problem }
            }
            AuthError::Busy | AuthError::ProviderUnavailable | AuthError::ProviderRefused => {
                Self::unavailable(code, sentence(&error.to_string()))
            }
            AuthError::Store(cause) => cause.into(),
            AuthError::Internal(reason) => Self::internal(reason),
            error => match status_of(&error) {
                Some(status) => Self::new(status, code, sentence(&error.to_string())),
                None => Self::internal(with_sources(&error)),
            },
        }
    }
}

/// The status of what is refused for a reason of its sender's.
fn status_of(error: &AuthError) -> Option<StatusCode> {
    Some(match error {
        AuthError::BadEmail
        | AuthError::WeakPassword
        | AuthError::CommonPassword
        | AuthError::LinkInvalid
        | AuthError::BadName => StatusCode::UNPROCESSABLE_ENTITY,
        AuthError::RedirectNotAllowed | AuthError::BadChallenge | AuthError::StateInvalid => {
            StatusCode::BAD_REQUEST
        }
        AuthError::EmailTaken
        | AuthError::NotAnonymous
        | AuthError::AccountExists
        | AuthError::IdentityTaken
        | AuthError::TooManyIdentities
        | AuthError::TotpOn
        | AuthError::NoSecondFactor
        | AuthError::PasskeyKnown
        | AuthError::TooManyPasskeys
        | AuthError::LastWayIn => StatusCode::CONFLICT,
        AuthError::AnonymousOff
        | AuthError::BrowserFlowOff
        | AuthError::PasskeysOff
        | AuthError::AccessDenied
        | AuthError::IdentityEmailUnverified => StatusCode::FORBIDDEN,
        AuthError::SessionNotFound
        | AuthError::ProviderUnknown
        | AuthError::IdentityNotFound
        | AuthError::TotpOff
        | AuthError::PasskeyNotFound => StatusCode::NOT_FOUND,
        AuthError::EmailUnverified => StatusCode::FORBIDDEN,
        AuthError::MailUnavailable => StatusCode::FORBIDDEN,
        AuthError::InvalidCredentials
        | AuthError::TokenExpired
        | AuthError::TokenInvalid
        | AuthError::SessionRevoked
        | AuthError::SecondFactorInvalid
        | AuthError::ChallengeInvalid
        | AuthError::PasskeyInvalid
        | AuthError::CodeInvalid
        | AuthError::IdTokenInvalid(_)
        | AuthError::IdTokenExpired
        | AuthError::NonceMismatch
        | AuthError::IdTokenUsed
        | AuthError::RefreshReused(_) => StatusCode::UNAUTHORIZED,
        AuthError::SessionNotFresh | AuthError::PermissionDenied => StatusCode::FORBIDDEN,
        _ => return None,
    })
}

impl From<RateLimited> for Problem {
    fn from(limited: RateLimited) -> Self {
        Self::rate_limited(limited.retry_after_s())
    }
}

impl From<SpaceError> for Problem {
    fn from(error: SpaceError) -> Self {
        let status = match &error {
            SpaceError::Denied(denied) => match denied {
                Denied::NotFound | Denied::NotMember | Denied::InviteNotFound => StatusCode::NOT_FOUND,
                Denied::Forbidden => StatusCode::FORBIDDEN,
                Denied::NoUser => StatusCode::UNAUTHORIZED,
                Denied::Private
                | Denied::IsOwner
                | Denied::TooManySpaces
                | Denied::TooManyMembers
                | Denied::TooManyInvites
                | Denied::OwnsSpaces => StatusCode::CONFLICT,
            },
            SpaceError::BadName
            | SpaceError::BadEmail
            | SpaceError::BadInvite(_)
            | SpaceError::BadPolicy(_) => StatusCode::UNPROCESSABLE_ENTITY,
            SpaceError::Store(cause) => return cause.clone().into(),
        };
        Self::new(status, error.code(), sentence(&error.to_string()))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::unavailable("busy", "The server is busy; try again shortly."),
            StoreError::Closed => Self::unavailable("closing", "The server is closing; try again shortly."),
            StoreError::Unavailable(_) => {
                let detail = "The database cannot be reached; try again shortly.";
                Self::unavailable("database_unavailable", detail).because(with_sources(&error))
            }
            error => Self::internal(with_sources(&error)),
        }
    }
}

/// An error and what is behind it.
fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Errors start in lower case and end without a full stop; what people read does not.
pub(crate) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", rest.as_str())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            challenge: self.challenge.as_ref().map(|challenge| challenge.token.as_str()),
            methods: self
                .challenge
                .as_ref()
                .map(|challenge| challenge.methods.iter().map(|method| method.as_str()).collect()),
            expires_in: self.challenge.as_ref().map(|_| SECOND_FACTOR_LIFE_S),
        };
        // Text and numbers alone cannot fail to be written.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let mut response = (self.status, headers, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        self.told_by(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(problem: Problem) -> (Response<()>, String) {
        let (parts, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.expect("a body");
        (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn a_problem_is_a_problem_document() {
        let (response, body) = read(AuthError::EmailTaken.into()).await;
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            body,
            r#"{"type":"about:blank","title":"Conflict","status":409,"code":"email_taken","detail":"An account with this e-mail address exists already."}"#
        );
    }

    #[tokio::test]
    async fn statuses_come_with_the_headers_they_ask_for() {
        let (response, _) = read(AuthError::TokenExpired.into()).await;
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        for busy in [AuthError::Busy, AuthError::Store(StoreError::Closed)] {
            let (response, _) = read(busy.into()).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
    }

    #[tokio::test]
    async fn what_failed_inside_stays_inside() {
        let failures = [
            AuthError::Store(StoreError::Database("no such table: users".to_owned())),
            AuthError::Internal("an access token could not be signed"),
        ];
        for failure in failures {
            let (response, body) = read(failure.into()).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(
                body.contains(r#""code":"internal""#) && !body.contains("users") && !body.contains("signed"),
                "{body}"
            );
        }
    }
}
