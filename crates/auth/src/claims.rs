//! What is read out of claims that were signed, by somebody who may spell them as they like.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::external::{MAX_CLOCK_AHEAD_S, MAX_EXTERNAL_TOKEN_LIFE_S, MAX_SUBJECT_BYTES};
use crate::{AuthError, CLOCK_LEEWAY_S, Permissions, normalise_email};

const SECOND_US: i64 = 1_000_000;
/// Longest name, in characters; as for those who sign up here.
const MAX_NAME_CHARS: usize = 200;
/// Times beyond this are none: the year 9999, in seconds since 1970.
const MAX_TIME_S: f64 = 253_402_300_799.0;

pub(crate) struct Claims(pub(crate) Map<String, Value>);

impl Claims {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Whether `aud`, a name or a list of them, holds one of these.
    pub(crate) fn is_for(&self, audiences: &HashSet<&str>) -> bool {
        match self.0.get("aud") {
            Some(Value::String(name)) => audiences.contains(name.as_str()),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).any(|name| audiences.contains(name))
            }
            _ => false,
        }
    }

    /// Whether `aud` names these alone, and one of them at least.
    pub(crate) fn is_for_nobody_else(&self, audiences: &HashSet<&str>) -> bool {
        let is_named = |name: &Value| name.as_str().is_some_and(|name| audiences.contains(name));
        match self.0.get("aud") {
            Some(Value::Array(names)) => !names.is_empty() && names.iter().all(is_named),
            Some(name) => is_named(name),
            None => false,
        }
    }

    /// When it was made, if it says so, and when it expires, in microseconds since 1970.
    pub(crate) fn times(&self, now_us: i64) -> Result<(Option<i64>, i64), AuthError> {
        let ahead_us = now_us + MAX_CLOCK_AHEAD_S * SECOND_US;
        let expires_us = self.time_us("exp")?.ok_or(AuthError::TokenInvalid)?;
        let begins_us = self.time_us("nbf")?;
        let issued_us = self.time_us("iat")?;
        if begins_us.is_some_and(|at_us| at_us > ahead_us)
            || issued_us.is_some_and(|at_us| at_us > ahead_us)
            || expires_us - now_us > MAX_EXTERNAL_TOKEN_LIFE_S * SECOND_US
        {
            return Err(AuthError::TokenInvalid);
        }
        if now_us >= expires_us + CLOCK_LEEWAY_S * SECOND_US {
            return Err(AuthError::TokenExpired);
        }
        Ok((issued_us, expires_us))
    }

    /// A NumericDate (RFC 7519, section 2), which may have a fraction.
    fn time_us(&self, name: &str) -> Result<Option<i64>, AuthError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_TIME_S).contains(seconds));
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
        seconds.map(|seconds| Some((seconds * 1e6) as i64)).ok_or(AuthError::TokenInvalid)
    }

    /// Who it is: text, or an integer as own accounts often have them.
    pub(crate) fn subject(&self, name: &str) -> Result<String, AuthError> {
        let subject = match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
            _ => return Err(AuthError::TokenInvalid),
        };
        let is_sane =
            (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && !subject.chars().any(char::is_control);
        if is_sane { Ok(subject) } else { Err(AuthError::TokenInvalid) }
    }

    /// An address that the issuer says is its owner's; Apple says so by text.
    pub(crate) fn verified_email(&self, name: &str) -> Option<String> {
        let is_verified = match self.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        is_verified.then(|| normalise_email(self.text(name)?).ok()).flatten()
    }

    /// A name that can be shown.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        let name = self.text(name)?.trim();
        let is_sane =
            !name.is_empty() && name.chars().count() <= MAX_NAME_CHARS && !name.chars().any(char::is_control);
        is_sane.then(|| name.to_owned())
    }

    /// What it permits: a list of names, or names between spaces, as `scope` has them (RFC 8693, section 4.2).
    pub(crate) fn permissions(&self, name: &str) -> Permissions {
        match self.0.get(name) {
            Some(Value::String(text)) => Permissions::of_names(text.split(' ')),
            Some(Value::Array(names)) => Permissions::of_names(names.iter().filter_map(Value::as_str)),
            _ => Permissions::default(),
        }
    }
}
