//! `DELETE /auth/anonymous`: deletes the anonymous account of the bearer token with everything that is its own alone, 204. It has no
//! password that could be asked for again.
//!
//! Refusals: `not_anonymous` (409), `owns_spaces` (409) while it owns shared or public spaces with other members.

use axum::extract::State;
use axum::http::StatusCode;
use lattice_auth::AuthError;

use crate::http::bearer::Caller;
use crate::http::openapi::problems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

problems!(Problems, [TOKEN], 409 "not_anonymous", 409 "owns_spaces");

/// Deletes one's anonymous account.
#[utoipa::path(
    delete,
    path = "/auth/anonymous",
    tag = "accounts",
    security(("bearer" = [])),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(in crate::http) async fn delete_anonymous(
    State(state): State<AppState>,
    Caller(user): Caller,
) -> Result<StatusCode, Problem> {
    if !state.auth.is_anonymous(user).await? {
        return Err(AuthError::NotAnonymous.into());
    }
    state.spaces.delete_account(user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::http::testing::Bench;

    #[tokio::test]
    async fn it_goes_without_a_password_and_nothing_else_does() {
        let bench = Bench::with(|auth| auth.with_anonymous_accounts(true));
        let (somebody, ann) = (bench.somebody().await, bench.person("ann").await);
        let space = bench.space(&somebody, "shared").await;
        bench.join(&space, &somebody, &ann, "editor").await;
        let delete = async |who| bench.ask(who, "DELETE", "/auth/anonymous", &Value::Null).await;
        delete(&ann).await.is_problem(409, "not_anonymous");
        delete(&somebody).await.is_problem(409, "owns_spaces");
        bench.ask(&somebody, "DELETE", &space, &Value::Null).await.is(204);
        delete(&somebody).await.is(204);
        bench.get("/profile", Some(&somebody.token)).await.is_problem(401, "token_invalid");
        bench.get("/profile", Some(&ann.token)).await.is(200);
    }
}
