//! What logins answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::{DeviceToken, SessionTokens, SignedIn};
use lattice_store::accounts::User;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

/// A user as their own clients see them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(super) struct PublicUser<'a> {
    #[schema(format = "uuid")]
    id: String,
    /// None for an account without one.
    #[schema(required)]
    email: Option<&'a str>,
    /// Whether its owner has shown that the address is theirs.
    email_verified: bool,
    #[schema(required)]
    full_name: Option<&'a str>,
    /// How the user may log in. Native clients cannot read a user without it.
    /// `email` stands for a password.
    providers: &'a [String],
}

impl<'a> PublicUser<'a> {
    pub(super) fn new(user: &'a User, providers: &'a [String]) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.as_deref(),
            email_verified: user.email_verified_us.is_some(),
            full_name: user.full_name.as_deref(),
            providers,
        }
    }
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub(super) struct SessionAnswer<'a> {
    /// The access token once more, under the name that upstream's clients look for.
    token: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    user: PublicUser<'a>,
}

/// A device token and its owner.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
pub(super) struct DeviceAnswer<'a> {
    token: &'a str,
    user: PublicUser<'a>,
}

/// A device token and its owner. Upstream's `/register` answers the bare user; with its keys here too, clients of either
/// reading are served.
#[derive(Serialize, ToSchema)]
#[schema(as = Registration)]
pub(super) struct RegistrationAnswer<'a> {
    #[serde(flatten)]
    login: DeviceAnswer<'a>,
    #[serde(flatten)]
    bare_user: PublicUser<'a>,
}

/// `{token, accessToken, refreshToken, tokenType, expiresIn, user}`.
pub(super) fn session(status: StatusCode, tokens: &SessionTokens) -> Response {
    let access = tokens.access.expose_secret();
    let answer = SessionAnswer {
        token: access,
        access_token: access,
        refresh_token: tokens.refresh.expose_secret(),
        token_type: "Bearer",
        expires_in: tokens.expires_in_s,
        user: PublicUser::new(&tokens.user, &tokens.ways_in),
    };
    private(status, &answer)
}

impl<'a> DeviceAnswer<'a> {
    fn new(login: &'a DeviceToken) -> Self {
        Self { token: login.token.expose_secret(), user: PublicUser::new(&login.user, &login.ways_in) }
    }
}

/// What whoever signs in has asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SignedIn)]
#[expect(dead_code, reason = "the schema of what two functions answer")]
pub(super) enum SignedInAnswer<'a> {
    Session(SessionAnswer<'a>),
    Device(DeviceAnswer<'a>),
}

/// What whoever signs in has asked for.
pub(super) fn signed_in(login: &SignedIn) -> Response {
    match login {
        SignedIn::Session(tokens) => session(StatusCode::OK, tokens),
        SignedIn::Device(login) => device(login),
    }
}

/// `{token, user}`.
pub(super) fn device(login: &DeviceToken) -> Response {
    private(StatusCode::OK, &DeviceAnswer::new(login))
}

/// `{token, user}`, with the user's own keys beside them.
pub(super) fn registration(login: &DeviceToken) -> Response {
    let bare_user = PublicUser::new(&login.user, &login.ways_in);
    let answer = RegistrationAnswer { login: DeviceAnswer::new(login), bare_user };
    private(StatusCode::OK, &answer)
}

/// JSON that nobody on the way may keep.
pub(super) fn private(status: StatusCode, answer: &impl Serialize) -> Response {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, axum::Json(answer)).into_response()
}
