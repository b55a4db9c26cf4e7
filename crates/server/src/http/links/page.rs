//! The pages of links: no script, no style, nothing from elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::{AuthError, AuthService};
use lattice_store::accounts::UserId;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::json::Json;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;
use crate::mail::escape;

/// A page may show itself and send its form here.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Longest token that a page repeats; ours are shorter.
const MAX_TOKEN_CHARS: usize = 128;

/// What a link's address says.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LinkQuery {
    /// The token of the link.
    #[serde(default)]
    pub(super) token: String,
}

/// What a link is taken with.
#[derive(Deserialize, ToSchema)]
#[schema(as = Link)]
pub(in crate::http) struct Link {
    /// The token of the link.
    #[schema(value_type = String, example = "llt_…")]
    pub(super) token: SecretString,
    /// The new password, where the link is for that. 8 to 1024 bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    pub(super) password: Option<SecretString>,
}

/// A link that was sent by an app as JSON, or by a page of ours as a form.
pub(in crate::http) struct Sent {
    link: Link,
    from_page: bool,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let from_page = kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if !from_page {
            let Json(link) = Json::from_request(request, state).await?;
            return Ok(Self { link, from_page });
        }
        let bad = || Problem::new(StatusCode::BAD_REQUEST, "bad_request", "The form cannot be read.");
        let body = axum::body::to_bytes(request.into_body(), crate::http::MAX_BODY_BYTES)
            .await
            .map_err(|_| bad())?;
        let (mut token, mut password) = (None, None);
        for (name, value) in form_urlencoded::parse(&body) {
            match &*name {
                "token" => token = Some(value.into_owned().into()),
                "password" => password = Some(value.into_owned().into()),
                _ => {}
            }
        }
        Ok(Self { link: Link { token: token.ok_or_else(bad)?, password }, from_page })
    }
}

/// A page with a button that takes the link.
pub(super) fn ask(token: &str, title: &str, button: &str, asks_password: bool) -> Response {
    let known = token.len() <= MAX_TOKEN_CHARS
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let token = if known { token } else { "" };
    let password = if asks_password {
        "<p><label>New password <input type=\"password\" name=\"password\" minlength=\"8\" autocomplete=\"new-password\" required></label></p>"
    } else {
        ""
    };
    // The form goes to the page's own address, without the token in it.
    html(
        StatusCode::OK,
        title,
        &format!(
            "<form method=\"post\" action=\"?\"><input type=\"hidden\" name=\"token\" value=\"{}\">{password}<p><button>{}</button></p></form>",
            escape(token),
            escape(button)
        ),
    )
}

/// Takes a link by `act`, which answers whose account it was for, and says what became of it: nothing to an app, a page to a
/// browser.
pub(super) async fn take<F: Future<Output = Result<UserId, AuthError>>>(
    state: AppState,
    address: Option<IpAddr>,
    Sent { link, from_page }: Sent,
    done: &str,
    act: impl FnOnce(Arc<AuthService>, Link) -> F,
) -> Response {
    let taken = async {
        // Guessing at links is guessing at accounts.
        state.limits.address(Class::SignInAddress, address).await?;
        let user = act(Arc::clone(&state.auth), link).await?;
        state.spaces.hints().user_changed(user);
        Ok::<(), Problem>(())
    };
    match (taken.await, from_page) {
        (Ok(()), false) => StatusCode::NO_CONTENT.into_response(),
        (Ok(()), true) => html(StatusCode::OK, done, ""),
        (Err(problem), false) => problem.into_response(),
        (Err(problem), true) => {
            let page = html(problem.status(), problem.detail(), "");
            problem.told_by(page)
        }
    }
}

pub(in crate::http) fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escape(title);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1>{body}</html>"
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (status, headers, page).into_response()
}
