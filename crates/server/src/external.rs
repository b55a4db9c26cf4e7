//! Settings of an external issuer: whose tokens are taken beside those of this server, and what their claims mean.

use std::sync::Arc;

use clap::{ArgAction, Args};
use lattice_auth::ISSUER;
use lattice_auth::external::{ExternalIssuer, ExternalSettings};
use lattice_auth::jwks::{HttpFetch, JwksCache, JwksSource, MAX_STALE_S, check_address};
use lattice_store::time::Clock;

/// Longest time for which keys may be used while the issuer cannot be reached, in seconds: a week.
const MAX_STALE_SETTING_S: i64 = 7 * 24 * 3_600;

/// The settings of an external issuer.
#[derive(Args, Clone, Debug)]
pub struct ExternalConfig {
    /// Another issuer whose tokens are taken: the `iss` that they have. Its keys are found by discovery, unless EXTERNAL_JWKS_URL names
    /// them.
    #[arg(long = "external-issuer", env = "EXTERNAL_ISSUER")]
    pub issuer: Option<String>,
    /// Where the keys of the external issuer are.
    #[arg(long = "external-jwks-url", env = "EXTERNAL_JWKS_URL")]
    pub jwks_url: Option<String>,
    /// For whom tokens of the external issuer must be (`aud`): one or several, separated by commas.
    #[arg(long = "external-audience", env = "EXTERNAL_AUDIENCE", value_delimiter = ',')]
    pub audience: Vec<String>,
    /// The claim that tells users of the external issuer apart.
    #[arg(long = "external-user-claim", env = "EXTERNAL_USER_CLAIM", default_value = "sub")]
    pub user_claim: String,
    /// The claim with the e-mail address, which counts where `email_verified` is true; empty for none.
    #[arg(long = "external-email-claim", env = "EXTERNAL_EMAIL_CLAIM", default_value = "email")]
    pub email_claim: String,
    /// The claim with the full name; empty for none.
    #[arg(long = "external-name-claim", env = "EXTERNAL_NAME_CLAIM", default_value = "name")]
    pub name_claim: String,
    /// The claim that says what a token may be used for, `read` and `write`; without this setting everything.
    #[arg(long = "external-permissions-claim", env = "EXTERNAL_PERMISSIONS_CLAIM")]
    pub permissions_claim: Option<String>,
    /// How long keys of the external issuer are used that it would have renewed, while it cannot be reached, in seconds.
    #[arg(long = "external-stale-seconds", env = "EXTERNAL_STALE_SECONDS", default_value_t = MAX_STALE_S)]
    pub stale_seconds: i64,
    /// Whether people may sign up and in at this server itself.
    #[arg(long = "local-sign-in", env = "LOCAL_SIGN_IN", default_value_t = true, action = ArgAction::Set)]
    pub local_sign_in: bool,
}

impl ExternalConfig {
    /// What cannot be used, as a sentence for the operator.
    pub(crate) fn problem(&self) -> Option<String> {
        let Some(issuer) = self.issuer() else {
            if !self.local_sign_in {
                return Some(
                    "LOCAL_SIGN_IN is false but EXTERNAL_ISSUER is not set: nobody could sign in".to_owned(),
                );
            }
            let set = [
                ("EXTERNAL_JWKS_URL", self.jwks_url.is_some()),
                ("EXTERNAL_AUDIENCE", !self.audience.is_empty()),
                ("EXTERNAL_PERMISSIONS_CLAIM", self.permissions_claim.is_some()),
            ];
            let orphan = set.iter().find(|(_, is_set)| *is_set);
            return orphan.map(|(name, _)| format!("{name} is set but EXTERNAL_ISSUER is not"));
        };
        if issuer == ISSUER {
            return Some(format!("EXTERNAL_ISSUER is {ISSUER}, which is what this server calls itself"));
        }
        if self.audiences().is_empty() {
            return Some(
                "EXTERNAL_AUDIENCE is not set: tokens that were made for others must not be taken".to_owned(),
            );
        }
        if self.user_claim.is_empty() {
            return Some("EXTERNAL_USER_CLAIM is empty".to_owned());
        }
        if !(0..=MAX_STALE_SETTING_S).contains(&self.stale_seconds) {
            return Some(format!(
                "EXTERNAL_STALE_SECONDS is {}; it must be 0 to {MAX_STALE_SETTING_S}",
                self.stale_seconds
            ));
        }
        let (name, address) = match &self.jwks_url {
            Some(url) => ("EXTERNAL_JWKS_URL", url.as_str()),
            None => ("EXTERNAL_ISSUER", issuer),
        };
        check_address(address).err().map(|error| format!("{name} cannot be used: {error}"))
    }

    /// The issuer, if there is one; its keys are asked for by `fetch`.
    #[must_use]
    pub fn build(&self, fetch: Arc<dyn HttpFetch>, clock: Arc<dyn Clock>) -> Option<ExternalIssuer> {
        let issuer = self.issuer()?;
        let named = |claim: &str| (!claim.is_empty()).then(|| claim.to_owned());
        let source = match &self.jwks_url {
            Some(url) => JwksSource::Url(check_address(url).ok()?),
            None => JwksSource::Issuer(issuer.to_owned()),
        };
        let settings = ExternalSettings {
            issuer: issuer.to_owned(),
            audiences: self.audiences(),
            user_claim: self.user_claim.clone(),
            email_claim: named(&self.email_claim),
            name_claim: named(&self.name_claim),
            permissions_claim: self.permissions_claim.as_deref().and_then(named),
        };
        Some(ExternalIssuer::new(
            settings,
            JwksCache::with_max_stale(source, fetch, clock, self.stale_seconds),
        ))
    }

    fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref().filter(|issuer| !issuer.is_empty())
    }

    fn audiences(&self) -> Vec<String> {
        let names = self.audience.iter().map(|name| name.trim());
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        external: ExternalConfig,
    }

    fn problem(arguments: &[&str]) -> Option<String> {
        let all = std::iter::once("lattice-server").chain(arguments.iter().copied());
        Cli::try_parse_from(all).expect("arguments").external.problem()
    }

    #[test]
    fn what_can_be_used_is() {
        let issuer = ["--external-issuer", "https://id.example", "--external-audience", "sync, other"];
        assert_eq!(problem(&[]), None);
        assert_eq!(problem(&issuer), None);
        let named = ["--external-issuer", "our app", "--external-audience", "sync"];
        let keys = ["--external-jwks-url", "http://127.0.0.1:9/keys", "--local-sign-in", "false"];
        assert_eq!(problem(&[named, keys].concat()), None);
        let cli = Cli::try_parse_from(std::iter::once("lattice-server").chain(issuer)).expect("arguments");
        assert_eq!(cli.external.audiences(), ["sync", "other"]);
    }

    #[test]
    fn what_cannot_says_why() {
        let issuer = ["--external-issuer", "https://id.example"];
        let audience = ["--external-audience", "sync"];
        for (arguments, expected) in [
            (vec!["--local-sign-in", "false"], "EXTERNAL_ISSUER is not set"),
            (audience.to_vec(), "EXTERNAL_AUDIENCE is set but"),
            (vec!["--external-jwks-url", "https://x.example"], "EXTERNAL_JWKS_URL is set but"),
            (issuer.to_vec(), "EXTERNAL_AUDIENCE is not set"),
            ([&issuer[..], &["--external-audience", " ,"]].concat(), "EXTERNAL_AUDIENCE is not set"),
            ([&["--external-issuer", ISSUER], &audience[..]].concat(), "calls itself"),
            ([&["--external-issuer", "our app"], &audience[..]].concat(), "EXTERNAL_ISSUER cannot be used"),
            ([&["--external-issuer", "http://id.example"], &audience[..]].concat(), "EXTERNAL_ISSUER cannot"),
            (
                [&issuer[..], &audience, &["--external-jwks-url", "http://id.example"]].concat(),
                "EXTERNAL_JWKS_URL",
            ),
            ([&issuer[..], &audience, &["--external-user-claim", ""]].concat(), "EXTERNAL_USER_CLAIM"),
            ([&issuer[..], &audience, &["--external-stale-seconds=-1"]].concat(), "EXTERNAL_STALE_SECONDS"),
        ] {
            let problem = problem(&arguments).unwrap_or_default();
            assert!(problem.contains(expected), "{arguments:?}: {problem}");
        }
    }
}
