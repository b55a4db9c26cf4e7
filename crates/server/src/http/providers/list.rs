//! `GET /auth/providers`: what people can sign in by, for the buttons of an app.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::openapi::problems;
use crate::http::state::AppState;

/// An identity provider.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Provider)]
struct ProviderView<'a> {
    /// What addresses call it.
    name: &'a str,
    /// Its `iss`.
    issuer: &'a str,
    /// Whether a browser can be sent to it from here.
    browser: bool,
}

/// Identity providers.
#[derive(Serialize, ToSchema)]
#[schema(as = Providers)]
pub(in crate::http) struct ProvidersView<'a> {
    providers: Vec<ProviderView<'a>>,
}

problems!(Problems, []);

/// Lists the identity providers that people can sign in by.
#[utoipa::path(
    get,
    path = "/auth/providers",
    tag = "accounts",
    responses((status = 200, description = "They.", body = ProvidersView), Problems)
)]
pub(in crate::http) async fn list_providers(State(state): State<AppState>) -> Response {
    let known = state.auth.providers();
    let providers = known.list.iter().map(|provider| ProviderView {
        name: provider.name(),
        issuer: provider.issuer(),
        browser: known.has_browser_flow(provider),
    });
    answer::private(StatusCode::OK, &ProvidersView { providers: providers.collect() })
}
