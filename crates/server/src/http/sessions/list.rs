//! `GET /auth/sessions`: where one is logged in, the newest session first, at most 500.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_store::accounts::{Session, SessionId, SessionKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::bearer::CallerSession;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::spaces::seconds;
use crate::http::state::AppState;

/// A session as its owner sees it. Times are seconds since 1970.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedSession)]
pub(super) struct ListedSession {
    #[schema(format = "uuid")]
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// `access` with tokens that are refreshed, `device` with one token that lives long.
    kind: &'static str,
    /// How its owner showed who they are: `password`, or the name of what did instead.
    method: String,
    /// What the client calls the device.
    #[schema(required)]
    device_name: Option<String>,
    #[schema(required)]
    user_agent: Option<String>,
    /// The network address that it began or was last refreshed from.
    #[schema(required)]
    address: Option<String>,
    created_at: f64,
    /// Known to five minutes.
    last_used_at: f64,
    expires_at: f64,
}

/// Sessions.
#[derive(Serialize, ToSchema)]
#[schema(as = Sessions)]
pub(in crate::http) struct Sessions {
    sessions: Vec<ListedSession>,
}

impl ListedSession {
    fn new(session: Session, current: SessionId) -> Self {
        Self {
            id: session.id.to_string(),
            current: session.id == current,
            kind: match session.kind {
                SessionKind::Access => "access",
                SessionKind::Device => "device",
            },
            method: session.method,
            device_name: session.device_name,
            user_agent: session.user_agent,
            address: session.address,
            created_at: seconds(session.created_us),
            last_used_at: seconds(session.last_used_us),
            expires_at: seconds(session.expires_us),
        }
    }
}

problems!(Problems, [TOKEN]);

/// Lists one's sessions.
#[utoipa::path(
    get,
    path = "/auth/sessions",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 200, description = "They.", body = Sessions), Problems)
)]
pub(in crate::http) async fn list_sessions(
    State(state): State<AppState>,
    CallerSession(caller): CallerSession,
) -> Result<Response, Problem> {
    let sessions = state.auth.sessions(caller.user).await?;
    let sessions = sessions.into_iter().map(|session| ListedSession::new(session, caller.session)).collect();
    Ok(answer::private(StatusCode::OK, &Sessions { sessions }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn one_sees_where_one_is_logged_in_and_nobody_else_s() {
        let bench = Bench::new();
        let (ann, _) = (bench.person("ann").await, bench.person("bob").await);
        bench.clock.forward_s(7);
        let body =
            json!({"email": "ann@example.com", "password": "correct horse", "deviceName": "Ann's phone"});
        let headers = [("user-agent", "Trips/3".to_owned())];
        let phone = bench.call("POST", "/login", &headers, &body.to_string()).await.is(200);
        let answer = bench.get("/auth/sessions", Some(&ann.token)).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = answer.is(200);
        let sessions = answer["sessions"].as_array().expect("sessions");
        let mut phone_entry = sessions[0].clone();
        assert!(phone_entry["id"].as_str().is_some_and(|id| id.len() == 36));
        phone_entry["id"] = json!(null);
        let now = 1_800_000_007.0;
        assert_eq!(
            phone_entry,
            json!({
                "id": null, "current": false, "kind": "device", "method": "password", "deviceName": "Ann's phone",
                "userAgent": "Trips/3", "address": null, "createdAt": now, "lastUsedAt": now,
                "expiresAt": now + 30.0 * 24.0 * 3_600.0,
            })
        );
        assert_eq!((&sessions[1]["current"], &sessions[1]["kind"]), (&json!(true), &json!("access")));
        assert_eq!(sessions.len(), 2);
        let text = answer.to_string();
        assert!(!text.contains("ldt_") && !text.contains(phone["token"].as_str().expect("a token")));
        bench.get("/auth/sessions", None).await.is_problem(401, "token_missing");
    }
}
