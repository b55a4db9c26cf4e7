//! Passwords that are guessed first.

use zxcvbn::zxcvbn;

/// A password that takes fewer guesses is refused. Covers the ten thousand that are used most, plain sequences, dates, and
/// what stands in the person's own name and address; and no rules on which characters it must have (NIST SP 800-63B,
/// section 5.1.1.2).
pub(crate) const MIN_GUESSES: u64 = 10_000;
/// How much of a password is looked at, in characters: the work grows with the square of it, and one that is longer is not among
/// those that are guessed first because of its end.
const MAX_CHARS: usize = 64;

/// Whether a password is among those that are guessed first, for a person with this e-mail address and name.
pub(crate) fn is_guessed_first(password: &str, email: Option<&str>, full_name: Option<&str>) -> bool {
    let looked_at: String = password.chars().take(MAX_CHARS).collect();
    if password.chars().nth(MAX_CHARS).is_some() {
        // Longer than any list has them; only repetition could make it weak.
        let mut distinct: Vec<char> = looked_at.chars().collect();
        distinct.sort_unstable();
        distinct.dedup();
        return distinct.len() < 3;
    }
    let parts = email.into_iter().flat_map(|email| email.split(['@', '.', '+', '-', '_']));
    let own: Vec<&str> = email
        .into_iter()
        .chain(parts)
        .chain(full_name.into_iter().flat_map(str::split_whitespace))
        .chain(["lattice"])
        .filter(|part| part.len() >= 3)
        .collect();
    zxcvbn(&looked_at, &own).guesses() < MIN_GUESSES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(password: &str) -> bool {
        is_guessed_first(password, Some("zoe.brumquazzle@example.com"), Some("Zoë Brumquazzle"))
    }

    #[test]
    fn what_everybody_takes_is_refused() {
        for password in [
            "password",
            "Password",
            "12345678",
            "123456789",
            "qwertyuiop",
            "iloveyou",
            "sunshine",
            "football",
            "princess",
            "11111111",
            "abcdefgh",
            "password1",
            "letmein1",
            "trustno1",
            "aaaaaaaaaaaa",
            "87654321",
        ] {
            assert!(refused(password), "{password}");
        }
        assert!(refused(&"a".repeat(1_000)) && refused(&"ab".repeat(500)));
    }

    #[test]
    fn what_everybody_knows_of_the_person_is_refused() {
        for password in ["brumquazzle", "Brumquazzle", "zoe.brumquazzle@example.com"] {
            assert!(refused(password), "{password}");
        }
        assert!(!is_guessed_first("brumquazzle", None, None), "somebody else may");
    }

    #[test]
    fn other_passwords_are_taken_whatever_they_are_made_of() {
        for password in [
            "correct horse",
            "wxzkvqjp",
            "8164930275",
            "       x ß 語 y",
            "\u{1f600}\u{1f680}\u{1f40e}\u{1f50b}",
        ] {
            assert!(!refused(password), "{password}");
        }
        let long: String = ('a'..='z').cycle().take(1_000).collect();
        assert!(!refused(&long));
    }
}
