//! Settings of identity providers.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use lattice_auth::jwks::HttpFetch;
use lattice_auth::openid::{
    ClientAuthentication, KeyedSecret, Provider, ProviderSettings, Providers, apple, google,
};
use lattice_auth::{PasskeySettings, Passkeys};
use lattice_store::time::Clock;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// Most providers.
const MAX_PROVIDERS: usize = 32;
/// Largest file with a setting, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The settings of identity providers.
#[derive(Args, Clone, Debug)]
pub struct ProviderConfig {
    /// Client ids of the apps at Google, separated by commas; the first is that of the web client. Without any, nobody signs in by
    /// Google.
    #[arg(long, env = "GOOGLE_CLIENT_ID", value_delimiter = ',')]
    pub google_client_id: Vec<String>,
    /// Secret of the first client id at Google, for sign-in with a browser.
    #[arg(long, env = "GOOGLE_CLIENT_SECRET", hide_env_values = true)]
    pub google_client_secret: Option<SecretString>,
    /// Client ids at Apple, separated by commas: bundle ids of apps, and the services id of the web, which comes first. Without any,
    /// nobody signs in by Apple.
    #[arg(long, env = "APPLE_CLIENT_ID", value_delimiter = ',')]
    pub apple_client_id: Vec<String>,
    /// Team at Apple, for sign-in with a browser.
    #[arg(long, env = "APPLE_TEAM_ID", requires = "apple_private_key")]
    pub apple_team_id: Option<String>,
    /// Name of the key at Apple.
    #[arg(long, env = "APPLE_KEY_ID", requires = "apple_private_key")]
    pub apple_key_id: Option<String>,
    /// The key at Apple: what the `.p8` file holds, or its path.
    #[arg(long, env = "APPLE_PRIVATE_KEY", hide_env_values = true, allow_hyphen_values = true)]
    pub apple_private_key: Option<SecretString>,
    /// Other identity providers, found by discovery: a JSON array, or the path of a file with one.
    #[arg(long, env = "OIDC_PROVIDERS", hide_env_values = true)]
    pub oidc_providers: Option<SecretString>,
    /// Domain that passkeys belong to: `example.com`. Without it there are none.
    #[arg(long, env = "PASSKEY_DOMAIN")]
    pub passkey_domain: Option<String>,
    /// Origins of the pages and apps that use passkeys, separated by commas: `https://app.example.com`. By default the domain over HTTPS.
    #[arg(long, env = "PASSKEY_ORIGINS", value_delimiter = ',')]
    pub passkey_origins: Vec<Url>,
    /// Where browsers may be sent when they have signed in by a provider: exact addresses, separated by commas.
    #[arg(long, env = "REDIRECT_URIS", value_delimiter = ',', value_parser = parse_redirect)]
    pub redirect_uris: Vec<String>,
}

/// A provider as `OIDC_PROVIDERS` has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    name: String,
    issuer: String,
    #[serde(default)]
    issuer_spellings: Vec<String>,
    client_ids: Vec<String>,
    client_secret: Option<SecretString>,
    signed_secret: Option<Signed>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    form_post: bool,
}

/// A secret that is a JWT.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Signed {
    team_id: String,
    key_id: String,
    private_key: SecretString,
}

impl ProviderConfig {
    /// What cannot be used, as a sentence for the operator.
    pub(crate) fn problem(&self, public_url: Option<&Url>) -> Option<String> {
        if !self.redirect_uris.is_empty() && public_url.is_none() {
            return Some(
                "REDIRECT_URIS needs PUBLIC_URL: providers must know where browsers come back".to_owned(),
            );
        }
        if self.passkey_domain.is_none() && !self.passkey_origins.is_empty() {
            return Some("PASSKEY_ORIGINS is set but PASSKEY_DOMAIN is not".to_owned());
        }
        if let Err(problem) = self.passkeys("Lattice") {
            return Some(format!("PASSKEY_DOMAIN and PASSKEY_ORIGINS cannot be used: {problem}"));
        }
        match self.settings() {
            Err(problem) => Some(problem),
            Ok(all) => {
                let mut names: Vec<&str> = all.iter().map(|settings| settings.name.as_str()).collect();
                names.sort_unstable();
                let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
                twice.map(|pair| format!("there are two identity providers of the name {:?}", pair[0]))
            }
        }
    }

    /// The providers, which are asked by `fetch`.
    ///
    /// # Errors
    /// What cannot be used, as a sentence for the operator.
    pub fn build(
        &self,
        public_url: Option<Url>,
        fetch: &Arc<dyn HttpFetch>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Providers, String> {
        let provider = |settings| Provider::new(settings, Arc::clone(fetch), Arc::clone(clock));
        Ok(Providers {
            list: self.settings()?.into_iter().map(provider).collect(),
            public_url,
            redirect_uris: self.redirect_uris.clone(),
        })
    }

    /// What checks passkeys, where there are any. `name` is what people call the app.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn passkeys(&self, name: &str) -> Result<Option<Passkeys>, String> {
        let Some(domain) = &self.passkey_domain else { return Ok(None) };
        let own = || Url::parse(&format!("https://{domain}")).map_err(|_| format!("{domain} is no domain"));
        let origins = match &self.passkey_origins[..] {
            [] => vec![own()?],
            origins => origins.to_vec(),
        };
        Passkeys::new(&PasskeySettings { rp_id: domain.clone(), origins, name: name.to_owned() }).map(Some)
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        trimmed(&self.google_client_id).is_empty()
            && trimmed(&self.apple_client_id).is_empty()
            && self.oidc_providers.is_none()
    }

    fn settings(&self) -> Result<Vec<ProviderSettings>, String> {
        let mut all = Vec::new();
        let (google_ids, apple_ids) = (trimmed(&self.google_client_id), trimmed(&self.apple_client_id));
        let secret = self.google_client_secret.clone();
        match (google_ids.is_empty(), &secret) {
            (true, Some(_)) => {
                return Err("GOOGLE_CLIENT_SECRET is set but GOOGLE_CLIENT_ID is not".to_owned());
            }
            (true, None) => {}
            (false, _) => {
                let authentication = secret.map_or(ClientAuthentication::None, ClientAuthentication::Secret);
                all.push(google(google_ids, authentication));
            }
        }
        if apple_ids.is_empty() && self.apple_private_key.is_some() {
            return Err("APPLE_PRIVATE_KEY is set but APPLE_CLIENT_ID is not".to_owned());
        }
        if !apple_ids.is_empty() {
            let keyed = |key: &SecretString| {
                let private_key = text_or_file("APPLE_PRIVATE_KEY", key, |text| text.contains("-----BEGIN"))?;
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                let (team_id, key_id) = (text(&self.apple_team_id), text(&self.apple_key_id));
                Ok::<_, String>(KeyedSecret { team_id, key_id, private_key })
            };
            all.push(apple(apple_ids, self.apple_private_key.as_ref().map(keyed).transpose()?));
        }
        if let Some(json) = &self.oidc_providers {
            let json = text_or_file("OIDC_PROVIDERS", json, |text| text.trim_start().starts_with('['))?;
            // What serde says may hold a piece of what it could not read, and that may be a secret.
            let named: Vec<Named> = serde_json::from_str(json.expose_secret()).map_err(|error| {
                format!(
                    "OIDC_PROVIDERS is not a JSON array of providers, at line {}, column {}",
                    error.line(),
                    error.column()
                )
            })?;
            all.extend(named.into_iter().map(ProviderSettings::from));
        }
        if all.len() > MAX_PROVIDERS {
            return Err(format!("there are more than {MAX_PROVIDERS} identity providers"));
        }
        match all.iter().find_map(|settings| Some((&settings.issuer, settings.problem()?))) {
            Some((issuer, problem)) => Err(format!("the identity provider at {issuer} {problem}")),
            None => Ok(all),
        }
    }
}

impl From<Named> for ProviderSettings {
    fn from(named: Named) -> Self {
        let authentication = match (named.client_secret, named.signed_secret) {
            (_, Some(Signed { team_id, key_id, private_key })) => {
                ClientAuthentication::Keyed(KeyedSecret { team_id, key_id, private_key })
            }
            (Some(secret), None) => ClientAuthentication::Secret(secret),
            (None, None) => ClientAuthentication::None,
        };
        Self {
            name: named.name,
            issuer: named.issuer,
            issuer_spellings: named.issuer_spellings,
            client_ids: named.client_ids,
            authentication,
            scopes: named.scopes.unwrap_or_else(|| vec!["email".to_owned(), "profile".to_owned()]),
            form_post: named.form_post,
        }
    }
}

fn trimmed(names: &[String]) -> Vec<String> {
    let names = names.iter().map(|name| name.trim());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A setting, or what the file holds that it names.
fn text_or_file(
    name: &str,
    value: &SecretString,
    is_text: impl Fn(&str) -> bool,
) -> Result<SecretString, String> {
    if is_text(value.expose_secret()) {
        return Ok(value.clone());
    }
    // Not repeated: it may be what should have been in the file.
    let failed =
        |reason: &dyn std::fmt::Display| format!("{name} names a file that cannot be read: {reason}");
    let path = Path::new(value.expose_secret());
    let length = path.metadata().map_err(|error| failed(&error))?.len();
    if length > MAX_FILE_BYTES {
        return Err(failed(&format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map(Into::into).map_err(|error| failed(&error))
}

/// An address that browsers may be sent to: of the web over HTTPS, of this machine, or of an app.
fn parse_redirect(text: &str) -> Result<String, String> {
    let text = text.trim();
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("it must hold neither a fragment nor a password".to_owned());
    }
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" => lattice_auth::jwks::check_address(text)
            .map(|_| text.to_owned())
            .map_err(|_| "plain http is for this machine alone".to_owned()),
        "javascript" | "data" | "file" | "blob" | "about" | "vbscript" => {
            Err("browsers are not sent to such an address".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
