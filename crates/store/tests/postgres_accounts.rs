//! The PostgreSQL backend: the conformance suite of accounts, by one instance and by two at once.

use std::sync::Arc;

use lattice_store::StoreError;
use lattice_store::accounts::{AccountStore, UserId};
use lattice_store::conformance::{self, RecordingSink};
use lattice_testkit::Database;

mod common;

use common::{Spread, open, open_two};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_passes_the_conformance_suite_of_accounts() {
    let database = Database::create();
    let store = open(&database.url(), &Arc::new(RecordingSink::default())).await.expect("it opens");
    conformance::accounts(&store).await;
    conformance::one_time_tokens(&Arc::new(store.clone())).await;
    conformance::anonymous_accounts(&store).await;
    conformance::identities(&store).await;
    conformance::factors(&store).await;
    conformance::password_hashes(&store).await;
    conformance::access_log(&store).await;
    store.close().await;
    assert_eq!(store.set_password_hash(UserId([1; 16]), "x".to_owned()).await, Err(StoreError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_pass_it_together() {
    let database = Database::create();
    let instances = open_two(&database).await;
    conformance::accounts(&Spread::over(instances.clone())).await;
    conformance::one_time_tokens(&Arc::new(Spread::over(instances.clone()))).await;
    conformance::anonymous_accounts(&Spread::over(instances.clone())).await;
    conformance::identities(&Spread::over(instances.clone())).await;
    conformance::factors(&Spread::over(instances.clone())).await;
    conformance::password_hashes(&Spread::over(instances.clone())).await;
    conformance::access_log(&Spread::over(instances.clone())).await;
    for instance in instances {
        instance.close().await;
    }
}
