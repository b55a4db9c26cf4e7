//! The settings of mail.

use std::net::IpAddr;

use clap::Args;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// Stands for the token in the address of a link.
const TOKEN: &str = "{token}";

/// How letters are sent, and where their links lead.
#[derive(Args, Clone, Debug)]
pub struct MailSettings {
    /// Mail server: `smtps://USER:PASSWORD@HOST:PORT`, or `smtp://…`, which begins in the open and changes to TLS, but for the
    /// machine's own. Without it no letters are sent, and nothing that needs them is done.
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<SecretString>,
    /// Who letters come from: `Trips <no-reply@example.com>`.
    #[arg(long, env = "MAIL_FROM")]
    pub mail_from: Option<Mailbox>,
    /// What letters call the app.
    #[arg(long, env = "APP_NAME", default_value = "Lattice")]
    pub app_name: String,
    /// How browsers reach this server, for links: `https://sync.example.com`.
    #[arg(long, env = "PUBLIC_URL")]
    pub public_url: Option<Url>,
    /// Where the link leads that verifies an address, with `{token}` in it. By default a page of this server.
    #[arg(long, env = "VERIFY_URL")]
    pub verify_url: Option<String>,
    /// Where the link leads that sets a new password, with `{token}` in it. By default a page of this server.
    #[arg(long, env = "RESET_URL")]
    pub reset_url: Option<String>,
    /// Where the link leads that changes the address, with `{token}` in it. By default a page of this server.
    #[arg(long, env = "EMAIL_CHANGE_URL")]
    pub email_change_url: Option<String>,
    /// Writes letters, with their links, to the log instead: for development only.
    #[arg(long, env = "MAIL_TO_LOG", default_value_t = false)]
    pub mail_to_log: bool,
    /// Lets nobody in by password before their e-mail address is verified.
    #[arg(long, env = "REQUIRE_VERIFIED_EMAIL", default_value_t = false)]
    pub require_verified_email: bool,
}

/// Where links lead.
#[derive(Clone, Debug)]
pub(super) struct Links {
    pub(super) verify: String,
    pub(super) reset: String,
    pub(super) email_change: String,
}

impl Links {
    /// The address of a link.
    pub(super) fn fill(template: &str, token: &SecretString) -> String {
        // A token is of letters, digits, `_` and `-`: it stands anywhere in an address as it is.
        template.replace(TOKEN, token.expose_secret())
    }
}

impl MailSettings {
    /// What cannot be used, as a sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.app_name.is_empty()
            || self.app_name.len() > 100
            || self.app_name.chars().any(char::is_control)
        {
            return Some("APP_NAME must have 1 to 100 bytes, none of them a control character".to_owned());
        }
        for (name, url) in [
            ("VERIFY_URL", &self.verify_url),
            ("RESET_URL", &self.reset_url),
            ("EMAIL_CHANGE_URL", &self.email_change_url),
        ] {
            if url.as_ref().is_some_and(|url| !url.contains(TOKEN) || Url::parse(url).is_err()) {
                return Some(format!("{name} must be an address with {TOKEN} in it"));
            }
        }
        if self
            .public_url
            .as_ref()
            .is_some_and(|url| !matches!(url.scheme(), "http" | "https") || url.query().is_some())
        {
            return Some("PUBLIC_URL must be like https://sync.example.com".to_owned());
        }
        if self.smtp_url.is_some() && self.mail_to_log {
            return Some("SMTP_URL and MAIL_TO_LOG exclude each other".to_owned());
        }
        if self.smtp_url.is_some() && self.mail_from.is_none() {
            return Some("SMTP_URL needs MAIL_FROM".to_owned());
        }
        if self.is_on() && self.links().is_none() {
            return Some("letters need PUBLIC_URL, or VERIFY_URL, RESET_URL and EMAIL_CHANGE_URL".to_owned());
        }
        if self.require_verified_email && !self.is_on() {
            return Some("REQUIRE_VERIFIED_EMAIL needs SMTP_URL: nobody could verify anything".to_owned());
        }
        self.smtp_url.as_ref().and_then(|url| Smtp::read(url).err())
    }

    /// Whether letters are sent, or logged.
    pub(crate) fn is_on(&self) -> bool {
        self.smtp_url.is_some() || self.mail_to_log
    }

    /// Where links lead; `None` when that is not known.
    pub(super) fn links(&self) -> Option<Links> {
        let own = |path: &str| {
            let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
            Some(format!("{base}{path}?token={TOKEN}"))
        };
        Some(Links {
            verify: self.verify_url.clone().or_else(|| own("/auth/email/verify"))?,
            reset: self.reset_url.clone().or_else(|| own("/auth/password/reset"))?,
            email_change: self.email_change_url.clone().or_else(|| own("/auth/email/change"))?,
        })
    }
}

/// A mail server.
pub(super) struct Smtp {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) tls: SmtpTls,
    pub(super) credentials: Option<(String, String)>,
}

/// How the connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SmtpTls {
    /// From its beginning.
    Whole,
    /// From STARTTLS on, which the server must offer.
    Upgraded,
    /// Not at all: it does not leave the machine.
    None,
}

impl Smtp {
    /// Reads an address. What is said of one that cannot be read does not hold it: there is a password in it.
    pub(super) fn read(url: &SecretString) -> Result<Self, String> {
        let shape = || "SMTP_URL must be smtps://USER:PASSWORD@HOST:PORT or smtp://…".to_owned();
        let url = Url::parse(url.expose_secret()).map_err(|_| shape())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(shape)?;
        let is_own = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            None => false,
        };
        let tls = match url.scheme() {
            "smtps" => SmtpTls::Whole,
            "smtp" if is_own => SmtpTls::None,
            "smtp" => SmtpTls::Upgraded,
            _ => return Err(shape()),
        };
        let decoded = |text: &str| {
            // As in an address, `+` is itself.
            let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
            form_urlencoded::parse(text.as_bytes())
                .next()
                .map(|(name, _)| name.into_owned())
                .unwrap_or_default()
        };
        let credentials = url.password().map(|password| (decoded(url.username()), decoded(password)));
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port: url.port(), tls, credentials })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        mail: MailSettings,
    }

    fn settings(arguments: &[&str]) -> MailSettings {
        Cli::try_parse_from([&["x"], arguments].concat()).expect("settings").mail
    }

    #[test]
    fn what_does_not_fit_together_is_a_sentence() {
        let from =
            ["--mail-from", "Trips <no-reply@example.com>", "--public-url", "https://sync.example.com"];
        let with = |more: &[&'static str]| settings(&[&from, more].concat()).problem();
        assert_eq!(settings(&[]).problem(), None);
        assert_eq!(with(&["--smtp-url", "smtps://user:secret@mail.example.com"]), None);
        for (problem, text) in [
            (settings(&["--smtp-url", "smtp://localhost"]).problem(), "MAIL_FROM"),
            (settings(&["--mail-to-log"]).problem(), "PUBLIC_URL"),
            (settings(&["--require-verified-email"]).problem(), "REQUIRE_VERIFIED_EMAIL"),
            (with(&["--smtp-url", "ftp://user:secret@mail"]), "SMTP_URL"),
            (with(&["--smtp-url", "smtp://localhost", "--mail-to-log"]), "exclude"),
            (with(&["--verify-url", "https://app.example.com/verify"]), "VERIFY_URL"),
            (with(&["--app-name", "a\nb"]), "APP_NAME"),
        ] {
            let problem = problem.expect("a problem");
            assert!(problem.contains(text) && !problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_mail_server_is_spoken_to_in_the_open_on_this_machine_alone() {
        let read = |url: &str| {
            Smtp::read(&url.into()).map(|smtp| (smtp.host, smtp.port, smtp.tls, smtp.credentials))
        };
        let whole =
            ("mail.example.com".to_owned(), Some(465), SmtpTls::Whole, Some(("a@b".into(), "p+s/w".into())));
        assert_eq!(read("smtps://a%40b:p+s%2Fw@mail.example.com:465"), Ok(whole));
        assert_eq!(read("smtp://mail.example.com").map(|smtp| smtp.2), Ok(SmtpTls::Upgraded));
        assert_eq!(read("smtp://10.0.0.1").map(|smtp| smtp.2), Ok(SmtpTls::Upgraded));
        for own in ["smtp://localhost:25", "smtp://127.0.0.1:25", "smtp://[::1]:25"] {
            assert_eq!(read(own).map(|smtp| smtp.2), Ok(SmtpTls::None), "{own}");
        }
        for bad in ["", "mail.example.com", "smtp://", "http://x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_lead_to_the_app_or_to_pages_of_ours() {
        let token: SecretString = "llt_abc".into();
        let own = settings(&["--public-url", "https://sync.example.com/base/"]).links().expect("links");
        assert_eq!(
            Links::fill(&own.reset, &token),
            "https://sync.example.com/base/auth/password/reset?token=llt_abc"
        );
        let app = settings(&["--public-url", "https://x.example", "--verify-url", "trips://verify/{token}"]);
        assert_eq!(Links::fill(&app.links().expect("links").verify, &token), "trips://verify/llt_abc");
    }
}
