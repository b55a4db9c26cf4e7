//! `GET /refusals`: one's own refused changes, in all spaces that one sees, the last that arrived first.
//!
//! Refusals: `bad_query` (400).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lattice_engine::Verdict;
use lattice_protocol::id::format_uuid;
use lattice_store::directory::{Page, RefusalCursor, RefusedChange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer;
use super::bearer::Caller;
use super::openapi::problems;
use super::page::{Cursor, PageOf, PageQuery, uuid};
use super::problem::Problem;
use super::spaces::seconds;
use super::state::AppState;

/// A refused change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Refusal)]
pub(super) struct RefusalView {
    #[schema(format = "uuid")]
    space_id: String,
    /// Who made it.
    #[schema(format = "uuid")]
    user_id: String,
    /// The id of the change.
    #[schema(format = "uuid")]
    id: String,
    /// Why it was refused; the codes are those of PROTOCOL.md.
    code: &'static str,
    /// The table, where the change names one.
    #[schema(required)]
    table_name: Option<String>,
    /// The row, where the change names one.
    #[schema(required)]
    global_row_id: Option<String>,
    /// When it arrived, in seconds since 1970.
    arrived_at: f64,
    /// The change as it was received.
    entry: String,
}

/// What of a change says where it was meant for. It was refused, so anything may be missing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Target {
    table_name: Option<String>,
    global_row_id: Option<String>,
}

impl From<RefusedChange> for RefusalView {
    fn from(change: RefusedChange) -> Self {
        let record = change.line.record;
        let target: Target = serde_json::from_slice(&record.raw).unwrap_or_default();
        // The inbox holds none but refused ones.
        let code = if let Verdict::Rejected(code) = record.verdict { code.as_str() } else { "" };
        Self {
            space_id: uuid(&change.space.0),
            user_id: change.user.to_string(),
            id: String::from_utf8_lossy(&format_uuid(&record.id.0, record.id_spelling)).into_owned(),
            code,
            table_name: target.table_name,
            global_row_id: target.global_row_id,
            arrived_at: seconds(record.arrived_us),
            entry: String::from_utf8_lossy(&record.raw).into_owned(),
        }
    }
}

/// Refused changes, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusalPage {
    refusals: Vec<RefusalView>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

impl From<Page<RefusedChange, RefusalCursor>> for RefusalPage {
    fn from(page: Page<RefusedChange, RefusalCursor>) -> Self {
        Self {
            next: page.next.map(|next| next.write()),
            refusals: page.items.into_iter().map(RefusalView::from).collect(),
        }
    }
}

problems!(Problems, [TOKEN, PAGE]);

/// Lists one's refused changes.
#[utoipa::path(
    get,
    path = "/refusals",
    tag = "sync",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = RefusalPage), Problems)
)]
pub(super) async fn list_own_refusals(
    State(state): State<AppState>,
    Caller(user): Caller,
    page: PageOf<RefusalCursor>,
) -> Result<Response, Problem> {
    let page = state.spaces.refusals_of(user, page.after, page.limit).await?;
    Ok(answer::private(StatusCode::OK, &RefusalPage::from(page)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn one_finds_one_s_own_refused_changes() {
        let bench = Bench::new();
        let (ann, bob) = (bench.person("ann").await, bench.person("bob").await);
        let shared = bench.space(&ann, "shared").await;
        bench.join(&shared, &ann, &bob, "editor").await;
        let raw = r#"{"globalId":"x","tableName":"Trip","globalRowId":"r1"}"#;
        let first = bench.refused(&bob, &shared, raw).await;
        bench.clock.forward_s(1);
        let second = bench.refused(&bob, "/spaces/me", "nonsense").await;
        bench.refused(&ann, &shared, raw).await;
        let page = bench.get("/refusals?limit=1", Some(&bob.token)).await.is(200);
        let refusal = &page["refusals"][0];
        assert_eq!(
            (&refusal["id"], &refusal["tableName"], &refusal["globalRowId"], &refusal["entry"]),
            (&json!(second), &json!(null), &json!(null), &json!("nonsense"))
        );
        let after = page["next"].as_str().expect("more");
        let page = bench.get(&format!("/refusals?limit=1&after={after}"), Some(&bob.token)).await.is(200);
        assert_eq!(page["next"], json!(null));
        let refusal = &page["refusals"][0];
        assert!(refusal["arrivedAt"].as_f64().expect("a time") >= 1_800_000_000.0);
        assert_eq!(
            refusal,
            &json!({"spaceId": shared["/spaces/".len()..], "userId": bob.id, "id": first, "code": "bad_value",
                    "tableName": "Trip", "globalRowId": "r1", "arrivedAt": refusal["arrivedAt"], "entry": raw})
        );
        bench.get("/refusals?after=x", Some(&bob.token)).await.is_problem(400, "bad_query");
        bench.get("/refusals", None).await.is_problem(401, "token_missing");
    }
}
