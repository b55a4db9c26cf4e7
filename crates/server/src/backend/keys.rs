//! Where the keys that sign tokens are kept.

use std::sync::Arc;

use lattice_auth::{FileKeys, KeyError, KeyRing, KeyStore, Keys, StoredKeys};
use lattice_store::postgres::PostgresStore;
use lattice_store::time::Random;
use lattice_store::{BoxFuture, StoreError};

use super::{Backend, Kind};
use crate::config::Config;
use crate::run::StartError;

/// Under which name the database keeps the keys, where instances share it.
pub(crate) const STORED_KEYS: &str = "keys";

/// The keys that instances share.
struct DatabaseKeys(PostgresStore);

impl KeyStore for DatabaseKeys {
    fn read(&self) -> BoxFuture<'_, Result<StoredKeys, KeyError>> {
        Box::pin(async {
            let found = self.0.find_shared_value(STORED_KEYS).await.map_err(unreachable)?;
            found.map(StoredKeys::new).ok_or(KeyError::Stored("there is nothing"))
        })
    }

    fn replace(&self, expected: &StoredKeys, new: &StoredKeys) -> BoxFuture<'_, Result<bool, KeyError>> {
        let (expected, new) = (expected.clone(), new.clone());
        Box::pin(async move {
            self.0.replace_shared_value(STORED_KEYS, &expected, &new).await.map_err(unreachable)
        })
    }
}

fn unreachable(error: StoreError) -> KeyError {
    KeyError::Unreachable(error.to_string())
}

impl Backend {
    /// The keys that sign tokens; they are made where there are none. Any instance takes a token of any other: where they
    /// share a database, it holds the keys.
    ///
    /// # Errors
    /// When there are none to be had.
    pub async fn keys(&self, config: &Config, random: &Arc<dyn Random>) -> Result<KeyRing, StartError> {
        let keys = match &config.jwt_secret {
            Some(secret) => Keys::from_secrets(secret, config.jwt_secret_previous.as_ref()).map(Into::into),
            None => self.generated_keys(config, random).await,
        };
        keys.map_err(|error| StartError::Keys(error.to_string()))
    }

    async fn generated_keys(&self, config: &Config, random: &Arc<dyn Random>) -> Result<KeyRing, KeyError> {
        match &self.kind {
            Kind::Sqlite(_) => {
                Keys::load_or_create(&config.data_dir, &**random)?;
            }
            Kind::Postgres(store) => {
                let fresh = Keys::fresh(&**random);
                store.shared_value(STORED_KEYS, fresh.as_bytes()).await.map_err(unreachable)?;
            }
        }
        KeyRing::open(self.key_store(config, random)).await
    }

    /// Where generated keys are kept.
    #[must_use]
    pub fn key_store(&self, config: &Config, random: &Arc<dyn Random>) -> Arc<dyn KeyStore> {
        match &self.kind {
            Kind::Sqlite(_) => Arc::new(FileKeys::new(&config.data_dir, Arc::clone(random))),
            Kind::Postgres(store) => Arc::new(DatabaseKeys(store.clone())),
        }
    }
}
