//! `POST /auth/anonymous {deviceName?}`: makes an account that nothing leads to but the session that is answered, 201.
//!
//! Refusals: `anonymous_off` (403) unless `ANONYMOUS_ACCOUNTS` is set.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::client::{FromAddress, FromClient};
use crate::http::json::MaybeJson;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::limits::Class;

/// What the device is called.
#[derive(Deserialize, Default, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnonymousAccount)]
pub(in crate::http) struct Body {
    /// What the device is called, for its owner to recognise the session by; what is longer than 128 bytes is cut.
    #[serde(default)]
    device_name: Option<String>,
}

problems!(Problems, [BODY], 401 "invalid_credentials", 403 "anonymous_off", 429 "rate_limited", 503 "busy", 503 "closing");

/// Makes an account without showing who one is.
#[utoipa::path(
    post,
    path = "/auth/anonymous",
    tag = "accounts",
    request_body = Option<Body>,
    responses((status = 201, description = "Tokens.", body = answer::SessionAnswer), Problems)
)]
pub(in crate::http) async fn sign_up_anonymously(
    State(state): State<AppState>,
    FromClient(client): FromClient,
    FromAddress(address): FromAddress,
    MaybeJson(body): MaybeJson<Body>,
) -> Result<Response, Problem> {
    state.limits.address(Class::SignUpAddress, address).await?;
    let device_name = body.unwrap_or_default().device_name;
    let tokens = state.auth.sign_up_anonymously(client.named(device_name)).await?;
    Ok(answer::session(StatusCode::CREATED, &tokens))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn somebody_gets_an_account_of_which_nothing_is_known() {
        let bench = Bench::with(|auth| auth.with_anonymous_accounts(true));
        let answer = bench.post("/auth/anonymous", None, &json!({"deviceName": "a phone"})).await.is(201);
        let user = &answer["user"];
        assert_eq!(
            (&user["email"], &user["fullName"], &user["providers"]),
            (&Value::Null, &Value::Null, &json!([]))
        );
        assert_eq!(user["emailVerified"], json!(false));
        assert_eq!(bench.get("/profile", answer["token"].as_str()).await.is(200), *user);
        let sessions = bench.get("/auth/sessions", answer["token"].as_str()).await.is(200);
        let session = &sessions["sessions"][0];
        assert_eq!((&session["method"], &session["deviceName"]), (&json!("anonymous"), &json!("a phone")));
        let other = bench.call("POST", "/auth/anonymous", &[], "").await.is(201);
        assert_ne!(other["user"]["id"], user["id"], "without a body, and never the same");
        let body = json!({"refreshToken": answer["refreshToken"]});
        assert_eq!(bench.post("/auth/refresh", None, &body).await.is(200)["user"], *user);
    }

    #[tokio::test]
    async fn it_is_off_unless_somebody_turns_it_on() {
        let bench = Bench::new();
        bench.post("/auth/anonymous", None, &json!({})).await.is_problem(403, "anonymous_off");
        bench.post("/auth/anonymous", None, &json!({"deviceName": 1})).await.is_problem(400, "bad_request");
    }
}
