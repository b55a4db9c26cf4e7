//! Settings of TLS.

use std::path::PathBuf;

use axum::http::HeaderValue;
use clap::Args;
use rustls::pki_types::ServerName;
use rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY;

/// How long browsers remember that we are reached by HTTPS only, in seconds, if nothing else is said: a year.
const DEFAULT_HSTS_S: u64 = 365 * 24 * 3_600;
/// The longest that may be asked for, in seconds: two years.
const MAX_HSTS_S: u64 = 2 * DEFAULT_HSTS_S;
/// Names that one certificate may have: what Let's Encrypt allows.
const MAX_ACME_DOMAINS: usize = 100;

/// Settings of TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsSettings {
    /// Certificate chain for HTTPS, as a PEM file, our own certificate first. It is read again when it changes.
    #[arg(long, env = "TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, as a PEM file.
    #[arg(long, env = "TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Names that a certificate is fetched for by ACME, separated by commas. Port 443 of each must reach this server.
    #[arg(long, env = "ACME_DOMAINS", value_delimiter = ',')]
    pub acme_domains: Vec<String>,
    /// Whom the authority may write to about the certificate.
    #[arg(long, env = "ACME_EMAIL")]
    pub acme_email: Option<String>,
    /// The authority: the address of its ACME directory.
    #[arg(long, env = "ACME_DIRECTORY", default_value = LETS_ENCRYPT_PRODUCTION_DIRECTORY)]
    pub acme_directory: String,
    /// Certificate authorities of the ACME directory itself, as a PEM file. By default the system's.
    #[arg(long, env = "ACME_DIRECTORY_CA")]
    pub acme_directory_ca: Option<PathBuf>,
    /// A second port, without TLS, that sends everybody to HTTPS.
    #[arg(long, env = "HTTP_REDIRECT_PORT")]
    pub http_redirect_port: Option<u16>,
    /// The port that clients reach HTTPS by, where that is not PORT.
    #[arg(long, env = "HTTP_REDIRECT_TO_PORT")]
    pub http_redirect_to_port: Option<u16>,
    /// How long browsers remember that this server is reached by HTTPS only, in seconds; 0: not at all. By default a year.
    #[arg(long, env = "HSTS_SECONDS")]
    pub hsts_seconds: Option<u64>,
}

impl TlsSettings {
    /// Whether the server speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tls_cert.is_some() || !self.acme_domains.is_empty()
    }

    /// The first setting that cannot be used, in a sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let with_acme = !self.acme_domains.is_empty();
        let problem = match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => "TLS_CERT is set but TLS_KEY is not",
            (None, Some(_)) => "TLS_KEY is set but TLS_CERT is not",
            (Some(_), Some(_)) if with_acme => {
                "TLS_CERT and ACME_DOMAINS are both set; a server has one of them"
            }
            _ if self.acme_email.is_some() && !with_acme => "ACME_EMAIL is set but ACME_DOMAINS is not",
            _ if self.acme_directory_ca.is_some() && !with_acme => {
                "ACME_DIRECTORY_CA is set but ACME_DOMAINS is not"
            }
            _ if self.http_redirect_port.is_some() && !self.is_on() => {
                "HTTP_REDIRECT_PORT is set but there is no HTTPS to go to: set TLS_CERT and TLS_KEY, or ACME_DOMAINS"
            }
            _ if self.http_redirect_to_port.is_some() && self.http_redirect_port.is_none() => {
                "HTTP_REDIRECT_TO_PORT is set but HTTP_REDIRECT_PORT is not"
            }
            _ if self.hsts_seconds.is_some_and(|seconds| seconds > 0) && !self.is_on() => {
                "HSTS_SECONDS is set but there is no HTTPS: set TLS_CERT and TLS_KEY, or ACME_DOMAINS"
            }
            _ => return self.other_problem(),
        };
        Some(problem.to_owned())
    }

    fn other_problem(&self) -> Option<String> {
        if self.acme_domains.len() > MAX_ACME_DOMAINS {
            return Some(format!("ACME_DOMAINS names more than {MAX_ACME_DOMAINS}"));
        }
        let is_name =
            |name: &String| matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_)));
        if let Some(name) = self.acme_domains.iter().find(|name| !is_name(name)) {
            return Some(format!(
                "ACME_DOMAINS: {name:?} is no name of a host; wildcards and addresses cannot be checked by TLS-ALPN-01"
            ));
        }
        if let Some(email) = self.acme_email.as_ref().filter(|email| !is_address(email)) {
            return Some(format!("ACME_EMAIL: {email:?} is no e-mail address"));
        }
        let is_https = self.acme_directory.parse().is_ok_and(|uri: axum::http::Uri| {
            uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !is_https {
            return Some("ACME_DIRECTORY is no https:// address".to_owned());
        }
        let hsts_s = self.hsts_seconds.filter(|seconds| *seconds > MAX_HSTS_S)?;
        Some(format!("HSTS_SECONDS is {hsts_s}; it must be 0 to {MAX_HSTS_S}"))
    }

    /// What `Strict-Transport-Security` says (RFC 6797); `None`: nothing. Other names of the domain are not spoken for.
    #[must_use]
    pub fn hsts(&self) -> Option<HeaderValue> {
        let seconds = self.hsts_seconds.unwrap_or(DEFAULT_HSTS_S);
        let value = format!("max-age={seconds}");
        (self.is_on() && seconds > 0).then(|| HeaderValue::from_str(&value).ok()).flatten()
    }
}

/// Whether it can be written behind `mailto:`.
fn is_address(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && !"@?%&<>\"".contains(c))
    };
    text.split_once('@').is_some_and(|(name, host)| plain(name) && plain(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut TlsSettings)) -> TlsSettings {
        let acme_directory = LETS_ENCRYPT_PRODUCTION_DIRECTORY.to_owned();
        let mut settings = TlsSettings { acme_directory, ..TlsSettings::default() };
        change(&mut settings);
        settings
    }

    fn files(settings: &mut TlsSettings) {
        settings.tls_cert = Some("cert.pem".into());
        settings.tls_key = Some("key.pem".into());
    }

    fn acme(settings: &mut TlsSettings) {
        settings.acme_domains = vec!["sync.example.com".to_owned()];
    }

    #[test]
    fn what_belongs_together_comes_together() {
        for good in [settings(|_| {}), settings(files), settings(acme)] {
            assert_eq!(good.problem(), None);
        }
        let problem = |change: &dyn Fn(&mut TlsSettings)| settings(change).problem().unwrap_or_default();
        type Change<'a> = &'a dyn Fn(&mut TlsSettings);
        let cases: [(&str, Change<'_>); 9] = [
            ("TLS_KEY is not", &|s: &mut TlsSettings| s.tls_cert = Some("x".into())),
            ("TLS_CERT is not", &|s| s.tls_key = Some("x".into())),
            ("both set", &|s| {
                files(s);
                acme(s);
            }),
            ("ACME_DOMAINS is not", &|s| s.acme_email = Some("a@example.com".into())),
            ("ACME_DOMAINS is not", &|s| s.acme_directory_ca = Some("ca.pem".into())),
            ("no HTTPS to go to", &|s| s.http_redirect_port = Some(80)),
            ("HTTP_REDIRECT_PORT is not", &|s| {
                files(s);
                s.http_redirect_to_port = Some(443);
            }),
            ("there is no HTTPS", &|s| s.hsts_seconds = Some(1)),
            ("0 to 63072000", &|s| {
                files(s);
                s.hsts_seconds = Some(u64::MAX);
            }),
        ];
        for (text, change) in cases {
            assert!(problem(change).contains(text), "{text}: {}", problem(change));
        }
    }

    #[test]
    fn acme_is_told_names_and_addresses() {
        for name in ["*.example.com", "127.0.0.1", "::1", "", "a b", "https://example.com"] {
            let problem = settings(|s| s.acme_domains = vec![name.to_owned()]).problem();
            assert!(problem.is_some_and(|problem| problem.contains("ACME_DOMAINS")), "{name}");
        }
        for (email, is_good) in
            [("ann@example.com", true), ("ann", false), ("a@b?bcc=c@d", false), ("a@b\n", false)]
        {
            let checked = settings(|s| {
                acme(s);
                s.acme_email = Some(email.to_owned());
            });
            assert_eq!(checked.problem().is_none(), is_good, "{email}");
        }
        for directory in ["http://127.0.0.1/dir", "example.com", "https://", "nonsense"] {
            let checked = settings(|s| {
                acme(s);
                s.acme_directory = directory.to_owned();
            });
            assert!(
                checked.problem().is_some_and(|problem| problem.contains("ACME_DIRECTORY")),
                "{directory}"
            );
        }
    }

    #[test]
    fn browsers_are_told_of_https_only_where_there_is_some() {
        assert_eq!(settings(|_| {}).hsts(), None);
        assert_eq!(settings(files).hsts().expect("a header"), "max-age=31536000");
        let with = |seconds| {
            settings(|s| {
                acme(s);
                s.hsts_seconds = Some(seconds);
            })
        };
        assert_eq!(with(300).hsts().expect("a header"), "max-age=300");
        assert_eq!((with(0).hsts(), with(0).problem()), (None, None));
    }
}
