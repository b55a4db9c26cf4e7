//! Signing in by identity providers: apps bring an ID token, browsers go there and come back with a code.
//!
//! What a browser brings back is not a session but a code of ours, which the app exchanges together with a verifier that only it
//! has. So both ways end in a [`Proof`], and a proof either signs in or is linked to an account whose owner is signed in already.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_store::StoreError;
use lattice_store::accounts::TokenHash;
use lattice_store::one_time::OneTimeToken;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::steps::same;
use super::{AuthService, Client, SignedIn, TokenKind, checked_name};
use crate::AuthError;
use crate::openid::{Nonce, Providers, Vouched, used_hash};
use crate::token::StepToken;

/// How long a code is good that a browser has brought back, in seconds: long enough to sign in to the account that is there already
/// and to link it.
pub const PROVIDER_CODE_LIFE_S: i64 = 5 * 60;
/// Lengths of a verifier (RFC 7636, section 4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

pub(super) const CODE: &str = "provider_code";
const USED: &str = "id_token_used";

/// How somebody shows who they are elsewhere.
#[derive(Debug)]
pub enum Proof {
    /// An ID token that the app has got.
    IdToken {
        /// The provider's name.
        provider: String,
        /// The token.
        token: SecretString,
        /// The nonce that the app has chosen for it.
        nonce: Option<String>,
        /// What they are called, where the provider tells the app alone; for new accounts.
        full_name: Option<String>,
    },
    /// What a browser has brought back.
    Code {
        /// The code.
        code: SecretString,
        /// What the challenge was made of.
        verifier: SecretString,
    },
}

/// Whom a code stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct Stood {
    pub(super) provider: String,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) challenge: String,
}

/// What is used up when a proof has had its effect.
enum Used {
    Nothing,
    IdToken { hash: TokenHash, expires_us: i64 },
    Code(TokenHash),
}

/// A proof that is good.
pub(super) struct Proven {
    pub(super) provider: String,
    pub(super) vouched: Vouched,
    used: Used,
}

impl AuthService {
    /// With identity providers.
    #[must_use]
    pub fn with_providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// The identity providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Signs in whoever shows who they are elsewhere; the first time that makes an account.
    ///
    /// # Errors
    /// Why the proof is not good, [`AuthError::AccountExists`] when the address that is vouched for is that of an account which the
    /// identity does not belong to, [`AuthError::SecondFactorRequired`], or the store's. Only what has succeeded, or wants a second
    /// factor, uses the proof up.
    pub async fn sign_in_by_proof(
        &self,
        proof: Proof,
        kind: TokenKind,
        client: Client,
    ) -> Result<SignedIn, AuthError> {
        let proven = self.prove(proof).await.map_err(|error| self.proof_refused(error, &client))?;
        let user = self.user_of(&proven, &client).await?;
        self.use_up(&proven).await.map_err(|error| self.proof_refused(error, &client))?;
        self.open(user, &proven.provider, kind, client).await
    }

    /// Checks a proof, which stays good.
    pub(super) async fn prove(&self, proof: Proof) -> Result<Proven, AuthError> {
        match proof {
            Proof::IdToken { provider, token, nonce, full_name } => {
                let provider = self.providers.get(&provider)?;
                let full_name = checked_name(full_name.as_deref())?;
                let (token, now_us) = (token.expose_secret(), self.clock.now_us());
                let mut vouched = provider.verify(token, Nonce::OfApp(nonce.as_deref()), now_us).await?;
                vouched.name = vouched.name.or(full_name);
                let provider = provider.name().to_owned();
                // Without a nonce it may be one that the provider's library keeps, and hands out again for an hour.
                if nonce.is_none() {
                    return Ok(Proven { provider, vouched, used: Used::Nothing });
                }
                let (hash, expires_us) = (used_hash(token), vouched.expires_us);
                if self.store.find_token(hash, USED, now_us).await?.is_some() {
                    return Err(AuthError::IdTokenUsed);
                }
                Ok(Proven { provider, vouched, used: Used::IdToken { hash, expires_us } })
            }
            Proof::Code { code, verifier } => {
                let token = StepToken::parse(&code).ok_or(AuthError::CodeInvalid)?;
                let now_us = self.clock.now_us();
                let found = self.store.find_token(token.hash(), CODE, now_us).await?;
                let found = found.ok_or(AuthError::CodeInvalid)?;
                let stood: Stood =
                    serde_json::from_str(&found.payload).map_err(|_| AuthError::CodeInvalid)?;
                let verifier = verifier.expose_secret();
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
                if !VERIFIER_CHARS.contains(&verifier.len()) || !same(&challenge, &stood.challenge) {
                    // Whoever has the code and not the verifier has caught it on the way: it is worth nothing any more.
                    self.store.take_token(token.hash(), CODE, now_us).await?;
                    return Err(AuthError::CodeInvalid);
                }
                let Stood { provider, issuer, subject, email, name, .. } = stood;
                let vouched = Vouched { issuer, subject, email, name, expires_us: found.expires_us };
                Ok(Proven { provider, vouched, used: Used::Code(token.hash()) })
            }
        }
    }

    /// Uses a proof up. Of several that use the same one at once, one may go on.
    pub(super) async fn use_up(&self, proven: &Proven) -> Result<(), AuthError> {
        let now_us = self.clock.now_us();
        match proven.used {
            Used::Nothing => Ok(()),
            Used::IdToken { hash, expires_us } => {
                let used = OneTimeToken {
                    hash,
                    purpose: USED.to_owned(),
                    // Not the user's: it stays when the user goes.
                    user: None,
                    payload: "{}".to_owned(),
                    created_us: now_us,
                    expires_us,
                };
                match self.store.put_token(used).await {
                    Err(StoreError::Conflict(_)) => Err(AuthError::IdTokenUsed),
                    kept => Ok(kept.map(drop)?),
                }
            }
            Used::Code(hash) => {
                self.store.take_token(hash, CODE, now_us).await?.map(drop).ok_or(AuthError::CodeInvalid)
            }
        }
    }
}
