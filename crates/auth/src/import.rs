//! Accounts of the server before this one, a line of JSON each.

use std::sync::Arc;

use lattice_store::StoreError;
use lattice_store::accounts::{User, UserId};
use lattice_store::auth::AuthStore;
use lattice_store::time::Clock;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::service::checked_name;
use crate::{AuthError, ServerSecret, legacy, normalise_email};

const SECOND_US: i64 = 1_000_000;
/// How far from now an account's beginning may be, in seconds: clocks differ.
const MAX_SKEW_S: i64 = 24 * 3_600;

/// A line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    /// A UUID; without one the account gets an id that follows from its address.
    id: Option<String>,
    email: String,
    /// bcrypt; without one the account has no password until its owner sets one.
    password_hash: Option<SecretString>,
    full_name: Option<String>,
    /// Seconds since 1970.
    created_at: Option<f64>,
    email_verified: Option<bool>,
}

/// What became of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Imported {
    /// There is an account now.
    New,
    /// The account was there already, and stays as it is.
    Known,
}

/// Why a line was not imported: a sentence that repeats nothing of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be parsed.
    #[error("it is not JSON, at column {0}")]
    NotJson(usize),
    /// It is JSON of another shape.
    #[error(
        "it is not an object of email and perhaps id, passwordHash, fullName, createdAt (a number) and emailVerified, \
         at column {0}"
    )]
    Shape(usize),
    /// The id is none.
    #[error("its id is no UUID")]
    BadId,
    /// The address is none.
    #[error("its email is no e-mail address")]
    BadEmail,
    /// The hash is not one that is verified.
    #[error("its passwordHash cannot be taken: {0}")]
    BadHash(String),
    /// The name is too long or holds control characters.
    #[error("its fullName has more than 200 characters or a control character")]
    BadName,
    /// The time is none, or not yet.
    #[error("its createdAt is not a time between 1970 and now, in seconds")]
    BadTime,
    /// Another account has its address.
    #[error("another account has its e-mail address")]
    EmailTaken,
    /// The store failed: so will the lines that follow.
    #[error("the database failed: {0}")]
    Store(StoreError),
}

/// Makes accounts of lines.
pub struct Importer {
    store: Arc<dyn AuthStore>,
    secret: ServerSecret,
    clock: Arc<dyn Clock>,
}

impl Importer {
    /// With the secret of the database, by which accounts that come without an id get the same one each time.
    #[must_use]
    pub fn new(store: Arc<dyn AuthStore>, secret: ServerSecret, clock: Arc<dyn Clock>) -> Self {
        Self { store, secret, clock }
    }

    /// Makes the account of a line, unless it is there. An account that is there stays as it is, whatever it has become since.
    ///
    /// # Errors
    /// [`ImportError`]: why the line was left out.
    pub async fn import(&self, line: &str) -> Result<Imported, ImportError> {
        let user = self.read(line)?;
        let id = user.id;
        if self.exists(id).await? {
            return Ok(Imported::Known);
        }
        match self.store.create_user(user).await {
            Ok(()) => Ok(Imported::New),
            // Its id, if the same account stood in the line before.
            Err(StoreError::Conflict(_)) if self.exists(id).await? => Ok(Imported::Known),
            Err(StoreError::Conflict(_)) => Err(ImportError::EmailTaken),
            Err(error) => Err(ImportError::Store(error)),
        }
    }

    async fn exists(&self, id: UserId) -> Result<bool, ImportError> {
        let found = self.store.user_by_id(id).await.map_err(ImportError::Store)?;
        Ok(found.is_some())
    }

    fn read(&self, line: &str) -> Result<User, ImportError> {
        // Derived readers take an array for an object, its items in the order of the fields.
        if line.trim_start().starts_with('[') {
            return Err(ImportError::Shape(1));
        }
        // The parser's own words may hold what stands in the line.
        let line: Line = serde_json::from_str(line).map_err(|error| {
            let column = error.column();
            if error.is_data() { ImportError::Shape(column) } else { ImportError::NotJson(column) }
        })?;
        let email = normalise_email(&line.email).map_err(|_| ImportError::BadEmail)?;
        let id = match line.id.as_deref() {
            Some(id) => UserId::parse(id).ok_or(ImportError::BadId)?,
            None => self.id_of(&email),
        };
        let password_hash = line.password_hash.map(|hash| hash.expose_secret().to_owned());
        if let Some(hash) = &password_hash {
            legacy::cost(hash).map_err(|error| ImportError::BadHash(error.to_string()))?;
        }
        let full_name =
            checked_name(line.full_name.as_deref()).map_err(|_: AuthError| ImportError::BadName)?;
        let now_us = self.clock.now_us();
        let created_us = line.created_at.map_or(Ok(now_us), |seconds| time_us(seconds, now_us))?;
        Ok(User {
            id,
            email: Some(email),
            email_verified_us: line.email_verified.unwrap_or(false).then_some(now_us),
            full_name,
            password_hash,
            created_us,
        })
    }

    /// The id of an account that came without one: a version-8 UUID (RFC 9562) that says nothing about the address to whoever does
    /// not have the secret.
    fn id_of(&self, email: &str) -> UserId {
        let hash = self.secret.derive("id of an imported account", &[email.as_bytes()]);
        let mut id: [u8; 16] = std::array::from_fn(|at| hash[at]);
        id[6] = (id[6] & 0x0f) | 0x80;
        id[8] = (id[8] & 0x3f) | 0x80;
        UserId(id)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the range is checked before"
)]
fn time_us(seconds: f64, now_us: i64) -> Result<i64, ImportError> {
    let latest = (now_us / SECOND_US + MAX_SKEW_S) as f64;
    if (0.0..=latest).contains(&seconds) {
        Ok((seconds * SECOND_US as f64) as i64)
    } else {
        Err(ImportError::BadTime)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Client;
    use crate::testing::Bench;

    const NOW_US: i64 = 1_800_000_000_000_000;
    const ID: &str = "5f0c3ab4-4f9b-4f0e-8a65-0d5b3a5f2a11";
    const PASSWORD: &str = "correct horse";
    /// In whatever column.
    const SHAPE: ImportError = ImportError::Shape(0);

    fn importer(bench: &Bench) -> Importer {
        Importer::new(bench.store.clone(), ServerSecret::from_root(b"root"), bench.clock.clone())
    }

    fn hash() -> String {
        bcrypt::hash_with_salt(PASSWORD, 4, [1; 16])
            .expect("hashed")
            .format_for_version(bcrypt::Version::TwoY)
    }

    #[tokio::test]
    async fn an_account_is_imported_once_and_its_owner_signs_in() {
        let bench = Bench::new();
        let line = json!({
            "id": ID.to_uppercase(), "email": " Ann@Example.com", "passwordHash": hash(), "fullName": "Ann ",
            "createdAt": 1_600_000_000.5, "emailVerified": true,
        });
        assert_eq!(importer(&bench).import(&line.to_string()).await, Ok(Imported::New));
        let login = async || bench.auth.login("ann@example.com", PASSWORD.into(), Client::default()).await;
        let user = login().await.expect("the right password").user;
        let expected = User {
            id: UserId::parse(ID).expect("an id"),
            email: Some("ann@example.com".to_owned()),
            email_verified_us: Some(NOW_US),
            full_name: Some("Ann".to_owned()),
            created_us: 1_600_000_000_500_000,
            password_hash: user.password_hash.clone(),
        };
        assert_eq!(user, expected);
        assert_eq!(importer(&bench).import(&line.to_string()).await, Ok(Imported::Known));
        let now = bench.store.user_by_id(user.id).await.expect("read").expect("the user");
        assert!(now.password_hash.is_some_and(|hash| hash.starts_with("$argon2id$")), "it stays as it is");
    }

    #[tokio::test]
    async fn an_account_without_an_id_gets_the_same_each_time() {
        let bench = Bench::new();
        let line = r#"{"email":"ann@example.com","passwordHash":null}"#;
        assert_eq!(importer(&bench).import(line).await, Ok(Imported::New));
        let user = bench.store.user_by_email("ann@example.com").await.expect("read").expect("the user");
        assert_eq!(
            (user.password_hash.as_deref(), user.email_verified_us, user.created_us),
            (None, None, NOW_US)
        );
        assert_eq!(importer(&bench).import(r#"{"email":"ANN@example.com"}"#).await, Ok(Imported::Known));
        let other = Importer { secret: ServerSecret::from_root(b"toor"), ..importer(&bench) };
        assert_ne!(other.id_of("ann@example.com"), user.id);
        assert_eq!(other.import(line).await, Err(ImportError::EmailTaken));
        let login = bench.auth.login("ann@example.com", PASSWORD.into(), Client::default()).await;
        assert_eq!(login.err(), Some(AuthError::InvalidCredentials));
    }

    #[tokio::test]
    async fn what_cannot_be_imported_says_why_and_leaves_nothing() {
        let bench = Bench::new();
        let importer = importer(&bench);
        bench.auth.signup("ann@example.com", PASSWORD.into(), None, Client::default()).await.expect("new");
        let with = |key: &str, value: serde_json::Value| {
            let mut line = json!({"email": "bob@example.com"});
            line[key] = value;
            line.to_string()
        };
        let hash = hash();
        let bad_hash = |why: &str| ImportError::BadHash(why.to_owned());
        for (line, error) in [
            (String::new(), ImportError::NotJson(0)),
            ("{\"email\":".to_owned(), ImportError::NotJson(9)),
            ("[]".to_owned(), SHAPE),
            (r#"[null, "bob@example.com", null, null, null, null]"#.to_owned(), SHAPE),
            ("{}".to_owned(), SHAPE),
            (with("passwordhash", json!("x")), SHAPE),
            (with("passwordHash", json!(5)), SHAPE),
            (with("createdAt", json!("2020-01-01")), SHAPE),
            (with("id", json!("7")), ImportError::BadId),
            (with("email", json!("bob")), ImportError::BadEmail),
            (with("email", json!("ann@EXAMPLE.com")), ImportError::EmailTaken),
            (with("fullName", json!("a\nb")), ImportError::BadName),
            (with("createdAt", json!(-1)), ImportError::BadTime),
            (with("createdAt", json!(1_800_000_000_000_i64)), ImportError::BadTime),
            (with("passwordHash", json!("hunter2")), bad_hash("it is no bcrypt hash ($2a$, $2b$ or $2y$)")),
            (
                with("passwordHash", json!(hash.replacen("$04$", "$15$", 1))),
                bad_hash("its cost is 15; 4 to 14 are taken"),
            ),
        ] {
            let refused = importer.import(&line).await;
            let refused = match refused.expect_err("refused") {
                ImportError::Shape(_) => SHAPE,
                refused => refused,
            };
            assert!(!refused.to_string().contains("hunter2"));
            assert_eq!(refused, error, "{line}");
        }
        assert_eq!(bench.store.user_by_email("bob@example.com").await, Ok(None));
    }
}
