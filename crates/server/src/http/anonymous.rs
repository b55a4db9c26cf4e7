//! Accounts of those who do not show who they are. One endpoint per file.

pub(super) mod delete;
pub(super) mod sign_up;
pub(super) mod upgrade;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::abandonment::Abandonment;
    use crate::http::testing::Bench;

    const DAY_S: i64 = 24 * 3_600;

    #[tokio::test]
    async fn accounts_that_nobody_can_come_back_to_are_deleted_after_a_while() {
        let bench = Bench::with(|auth| auth.with_anonymous_accounts(true));
        let retention = Abandonment::new(Arc::clone(&bench.auth), Arc::clone(&bench.spaces), 10);
        let (left, owner, upgraded) =
            (bench.somebody().await, bench.somebody().await, bench.somebody().await);
        let ann = bench.person("ann").await;
        let (alone, shared) = (bench.space(&left, "shared").await, bench.space(&owner, "shared").await);
        bench.join(&shared, &owner, &ann, "editor").await;
        let body = json!({"email": "bob@example.com", "password": "correct horse"});
        bench.post("/auth/upgrade", Some(&upgraded.token), &body).await.is(200);
        let me = bench.get("/spaces/me", Some(&left.token)).await.is(200)["id"].clone();
        bench.hints.take();
        // Their sessions end after thirty days; then ten days pass.
        for day in 0..=40 {
            assert_eq!(retention.delete().await, Ok(0), "on day {day}");
            bench.clock.forward_s(DAY_S);
            bench.auth.sweep().await.expect("swept");
        }
        assert_eq!(retention.delete().await, Ok(1));
        let hints =
            ["space ".to_owned() + me.as_str().expect("an id"), alone[1..].replace("spaces/", "space ")];
        assert_eq!(bench.hints.take(), [&hints[..], &[format!("user {}", left.id)]].concat());
        assert_eq!(retention.delete().await, Ok(0), "one owns what Ann is a member of");
        let ann = bench.log_in("ann").await;
        bench.get(&shared, Some(&ann.token)).await.is(200);
        assert_eq!(bench.log_in("bob").await.id, upgraded.id);
        bench.ask(&ann, "POST", &format!("{shared}/leave"), &Value::Null).await.is(204);
        assert_eq!(retention.delete().await, Ok(1));
    }
}
