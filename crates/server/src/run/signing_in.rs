//! The service that signs people in, as the settings have it.

use std::sync::Arc;

use lattice_auth::jwks::{HttpClient, HttpFetch};
use lattice_auth::{AuthService, PasswordCost, Passwords, ServerSecret};
use lattice_store::time::{Clock, Random};

use super::StartError;
use crate::audit::Recorder;
use crate::backend::Backend;
use crate::config::Config;
use crate::mail::{Mail, Post};

/// Makes the service, and what sends its letters, where mail is on.
pub(super) async fn open(
    config: &Config,
    backend: &Backend,
    recorder: &Arc<Recorder>,
    (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
) -> Result<(Arc<AuthService>, Option<Arc<Post>>), StartError> {
    let keys = backend.keys(config, random).await?;
    let passwords = Passwords::new(PasswordCost::default());
    let passwords = passwords.map_err(|error| StartError::Keys(error.to_string()))?;
    let accounts = Arc::clone(&backend.accounts);
    let auth = AuthService::new(accounts, keys, passwords, Arc::clone(clock), Arc::clone(random))
        .with_secret(ServerSecret::from_root(&backend.mint_key.0))
        .with_anonymous_accounts(config.anonymous_accounts)
        .with_audit(Arc::clone(recorder) as _)
        .requiring_verified_email(config.mail.require_verified_email);
    let (auth, post) = match Mail::new(&config.mail)? {
        Some((mail, post)) => (auth.with_mailer(mail), Some(post)),
        None => (auth, None),
    };
    let auth = match config.providers.passkeys(&config.mail.app_name).map_err(StartError::External)? {
        Some(passkeys) => auth.with_passkeys(passkeys),
        None => auth,
    };
    Ok((Arc::new(with_others(auth, config, clock)?), post))
}

/// Lets the service take tokens of the external issuer and of identity providers, if there are any. Their keys are fetched right
/// away, so that a wrong setting is in the log before the first client comes.
fn with_others(
    auth: AuthService,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<AuthService, StartError> {
    if config.external.issuer.is_none() && config.providers.is_empty() {
        return Ok(auth);
    }
    let client = HttpClient::new().map_err(|error| StartError::External(error.to_string()))?;
    let client: Arc<dyn HttpFetch> = Arc::new(client);
    let providers = config.providers.build(config.mail.public_url.clone(), &client, clock);
    let providers = providers.map_err(StartError::External)?;
    let external = config.external.build(client, Arc::clone(clock));
    for provider in &providers.list {
        let keys = provider.keys().clone();
        tokio::spawn(async move { keys.keys().await });
    }
    let auth = auth.with_providers(providers);
    let Some(issuer) = external else { return Ok(auth) };
    let keys = issuer.keys().clone();
    tokio::spawn(async move { keys.keys().await });
    Ok(auth.with_external(issuer))
}
