//! What letters say.

use lattice_auth::mailer::{Letter, LetterContent};
use lettre::Message;
use lettre::message::{Mailbox, MultiPart};

use super::settings::Links;

/// A letter that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LetterError(String);

/// Subject, text, and the address of the link.
struct Text {
    subject: String,
    text: String,
    link: Option<String>,
}

fn text(content: &LetterContent, app: &str, links: &Links) -> Text {
    match content {
        LetterContent::VerifyEmail(token) => Text {
            subject: format!("Verify your e-mail address for {app}"),
            text: format!(
                "Somebody made an account at {app} with this address. If that was you, follow this link within a day:"
            ),
            link: Some(Links::fill(&links.verify, token)),
        },
        LetterContent::ResetPassword(token) => Text {
            subject: format!("A new password for {app}"),
            text: format!(
                "Somebody asked for a new password for your account at {app}. If that was you, follow this link within an hour; \
                 if not, nothing has changed:"
            ),
            link: Some(Links::fill(&links.reset, token)),
        },
        LetterContent::ConfirmNewEmail(token) => Text {
            subject: format!("Confirm your new e-mail address for {app}"),
            text: format!(
                "Somebody asked to make this the address of their account at {app}. If that was you, follow this link within an \
                 hour; if not, nothing has changed:"
            ),
            link: Some(Links::fill(&links.email_change, token)),
        },
        LetterContent::PasswordChanged => Text {
            subject: format!("Your password for {app} was changed"),
            text: format!(
                "The password of your account at {app} was changed, and other devices were signed out. If that was not you, ask \
                 for a new password at once."
            ),
            link: None,
        },
        LetterContent::EmailChanged => Text {
            subject: format!("Your account at {app} has another e-mail address"),
            text: format!(
                "Your account at {app} has another e-mail address from now on, and other devices were signed out. If that was not \
                 you, tell whoever runs {app}."
            ),
            link: None,
        },
        LetterContent::WayInAdded => Text {
            subject: format!("A new way to sign in to {app}"),
            text: format!(
                "There is another way to sign in to your account at {app} from now on. If that was not you, ask for a new password at \
                 once, and remove it."
            ),
            link: None,
        },
        LetterContent::SecondFactorRemoved => Text {
            subject: format!("A passkey or second factor was removed at {app}"),
            text: format!(
                "A passkey or second factor of your account at {app} was removed. If that was not you, ask for a new password at once, and add it \
                 again."
            ),
            link: None,
        },
    }
}

/// The letter as text, for a log.
pub(super) fn plain(letter: &Letter, app: &str, links: &Links) -> String {
    let Text { subject, text, link } = text(&letter.content, app, links);
    format!("{subject}\n{text}\n{}", link.unwrap_or_default())
}

/// The letter as it is sent.
pub(super) fn message(
    letter: &Letter,
    from: &Mailbox,
    app: &str,
    links: &Links,
) -> Result<Message, LetterError> {
    let to = letter.to.parse().map_err(|_| LetterError("the address cannot be written to".to_owned()))?;
    let Text { subject, text, link } = text(&letter.content, app, links);
    let link = link.unwrap_or_default();
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><p>{}</p><p><a href=\"{link}\">{link}</a></p>",
        escape(&text),
        link = escape(&link)
    );
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(subject)
        .multipart(MultiPart::alternative_plain_html(format!("{text}\n\n{link}\n"), html))
        .map_err(|error| LetterError(error.to_string()))
}

/// Text as it stands in HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links {
            verify: "https://x.example/v?token={token}&a=b".to_owned(),
            reset: "https://x.example/r?token={token}".to_owned(),
            email_change: "https://x.example/e?token={token}".to_owned(),
        }
    }

    fn written(to: &str, app: &str) -> Result<String, LetterError> {
        let letter = Letter { to: to.to_owned(), content: LetterContent::VerifyEmail("llt_abc".into()) };
        let from = "Trips <no-reply@example.com>".parse().expect("a mailbox");
        message(&letter, &from, app, &links())
            .map(|message| String::from_utf8_lossy(&message.formatted()).into_owned())
    }

    #[test]
    fn a_letter_has_its_link_as_text_and_as_html() {
        let letter = written("ann@example.com", "Trips & <Co>").expect("a letter");
        assert!(
            letter.contains("To: ann@example.com") && letter.contains("From: Trips <no-reply@example.com>")
        );
        let flat = letter.replace("=\r\n", "").replace("=3D", "=");
        assert!(flat.contains("https://x.example/v?token=llt_abc&a=b"), "{flat}");
        assert!(
            flat.contains("https://x.example/v?token=llt_abc&amp;a=b")
                && flat.contains("Trips &amp; &lt;Co&gt;")
        );
    }

    #[test]
    fn nobody_adds_a_header() {
        for to in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com, eve@example.com",
            "ann@example.com\0",
            "",
        ] {
            assert!(written(to, "Trips").is_err(), "{to:?}");
        }
        let letter = written("ann@example.com", "Trips\r\nBcc: eve@example.com").expect("a letter");
        let head = letter.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc:")), "{head}");
    }
}
