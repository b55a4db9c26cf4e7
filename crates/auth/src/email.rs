//! E-mail addresses: what makes two of them the same account.

use crate::AuthError;

/// Longest address: what fits into an SMTP path (RFC 5321, section 4.5.3.1.3).
pub const MAX_EMAIL_BYTES: usize = 254;
/// Longest part before the `@` (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// The form in which addresses are stored and compared: trimmed and in lower case. Whether mail arrives is for a
/// confirmation to find out; here only what can be no address is refused.
///
/// # Errors
/// [`AuthError::BadEmail`].
pub fn normalise_email(text: &str) -> Result<String, AuthError> {
    // Before anything is copied: lower case can be longer or shorter by a few bytes, not by this much.
    if text.len() > 4 * MAX_EMAIL_BYTES {
        return Err(AuthError::BadEmail);
    }
    let email = text.trim().to_lowercase();
    let (local, domain) = email.split_once('@').ok_or(AuthError::BadEmail)?;
    let sane = email.len() <= MAX_EMAIL_BYTES
        && (1..=MAX_LOCAL_BYTES).contains(&local.len())
        && !domain.is_empty()
        && !domain.contains('@')
        && !domain.split('.').any(str::is_empty)
        && !email.chars().any(|c| c.is_control() || c.is_whitespace() || "<>(),;:\\\"".contains(c));
    if sane { Ok(email) } else { Err(AuthError::BadEmail) }
}

#[cfg(test)]
mod tests {
    use super::normalise_email;
    use crate::AuthError;

    #[test]
    fn the_same_address_has_one_form() {
        for text in ["ann@example.com", " Ann@Example.COM\n", "ANN@EXAMPLE.COM"] {
            assert_eq!(normalise_email(text).as_deref(), Ok("ann@example.com"));
        }
        assert_eq!(normalise_email("Änn+trips@exämple.org").as_deref(), Ok("änn+trips@exämple.org"));
        assert_eq!(normalise_email("root@localhost").as_deref(), Ok("root@localhost"));
        let longest = format!("{}@{}", "a".repeat(64), "b".repeat(189));
        assert_eq!(normalise_email(&longest).as_deref(), Ok(longest.as_str()));
    }

    #[test]
    fn what_can_be_no_address_is_refused() {
        let (local, whole) = (format!("{}@b", "a".repeat(65)), format!("a@{}", "b".repeat(253)));
        let huge = "a".repeat(1 << 20);
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@.b",
            "a@b.",
            "a@b..c",
            "a\0@b",
            "<a@b>",
            "a,b@c",
            "a@b\u{2028}c",
            "\u{0}",
            &local,
            &whole,
            &huge,
        ] {
            assert_eq!(normalise_email(text), Err(AuthError::BadEmail), "{text:?}");
        }
    }
}
