//! `/auth/{provider}/callback`: where a browser comes back from a provider, by `GET` or by posting a form. It goes on to the app, with
//! a code or with the name of an error. Only a browser that nobody knows to have left is answered here, by a page.

use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lattice_auth::Arrival;
use utoipa::IntoParams;

use super::cookie::Cookies;
use crate::http::links::page::html;
use crate::http::openapi::problems;
use crate::http::path::OfProvider;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// What a provider sends a browser back with.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand, from the address or from a form")]
pub(in crate::http) struct Callback {
    /// The state that the browser left with.
    state: Option<String>,
    /// The provider's code.
    code: Option<String>,
    /// Why there is none.
    error: Option<String>,
}

problems!(Problems, [BODY], 404 "provider_unknown", 400 "state_invalid", 403 "browser_flow_off", 503 "busy", 503 "closing");

/// Takes a browser that comes back.
#[utoipa::path(
    get,
    path = "/auth/{provider}/callback",
    tag = "accounts",
    params(("provider" = String, Path, description = "The name of the provider."), Callback),
    responses((status = 303, description = "To the app."), Problems)
)]
pub(in crate::http) async fn come_back(
    State(state): State<AppState>,
    OfProvider(provider): OfProvider,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    arrive(&state, &provider, &headers, query.unwrap_or_default().as_bytes()).await
}

/// Takes a browser that comes back by a form, as from Apple.
#[utoipa::path(
    post,
    path = "/auth/{provider}/callback",
    tag = "accounts",
    params(("provider" = String, Path, description = "The name of the provider.")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "To the app."), Problems)
)]
pub(in crate::http) async fn come_back_by_form(
    State(state): State<AppState>,
    OfProvider(provider): OfProvider,
    headers: HeaderMap,
    request: Request,
) -> Response {
    match axum::body::to_bytes(request.into_body(), crate::http::MAX_BODY_BYTES).await {
        Ok(body) => arrive(&state, &provider, &headers, &body).await,
        Err(_) => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_request", "The form cannot be read.");
            refused(&headers, problem)
        }
    }
}

async fn arrive(state: &AppState, provider: &str, headers: &HeaderMap, form: &[u8]) -> Response {
    let providers = state.auth.providers();
    let cookies = Cookies::new(providers.public_url.as_ref(), providers.comes_back_by_form(provider));
    let arrival = read(form);
    let name = arrival.state.as_deref().and_then(|known| state.auth.browser_name(known));
    let browser = name.and_then(|name| cookies.find(headers, &name));
    match state.auth.arrive(provider, arrival, browser).await {
        Ok((url, name)) => {
            let mut answer = HeaderMap::new();
            answer.extend(cookies.remove(&name).map(|cookie| (header::SET_COOKIE, cookie)));
            answer.extend(HeaderValue::from_str(url.as_str()).ok().map(|url| (header::LOCATION, url)));
            (StatusCode::SEE_OTHER, answer).into_response()
        }
        Err(error) => refused(headers, error.into()),
    }
}

/// A page for whoever asks for one, as browsers do.
fn refused(headers: &HeaderMap, problem: Problem) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|kinds| kinds.contains("text/html")) {
        let page = html(problem.status(), problem.detail(), "");
        problem.told_by(page)
    } else {
        problem.into_response()
    }
}

fn read(form: &[u8]) -> Arrival {
    let mut arrival = Arrival::default();
    for (key, value) in form_urlencoded::parse(form) {
        let value = value.into_owned();
        match &*key {
            "state" => arrival.state = Some(value),
            "code" => arrival.code = Some(value.into()),
            "error" => arrival.error = Some(value),
            "user" => arrival.user = Some(value),
            _ => {}
        }
    }
    arrival
}
