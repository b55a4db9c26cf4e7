//! How long an answer may be used without asking again (RFC 9111, as a private cache).

use std::time::UNIX_EPOCH;

use openidconnect::http::HeaderMap;
use openidconnect::http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderName};

/// How long keys are used of an issuer that says nothing about it, in seconds.
pub const FRESH_S: i64 = 600;
/// Shortest time for which keys are used, whatever the issuer says, in seconds: it is not asked for each token.
pub const MIN_FRESH_S: i64 = 60;
/// Longest, in seconds: a key that an issuer has withdrawn is not trusted for longer.
pub const MAX_FRESH_S: i64 = 24 * 3_600;

/// For how many seconds an answer that came at `now_s` (seconds since 1970) is fresh.
pub(super) fn fresh_for_s(headers: &HeaderMap, now_s: i64) -> i64 {
    said_s(headers, now_s).unwrap_or(FRESH_S).clamp(MIN_FRESH_S, MAX_FRESH_S)
}

/// What the answer says, if anything; below zero when it is old already.
fn said_s(headers: &HeaderMap, now_s: i64) -> Option<i64> {
    let mut max_age_s = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(0),
                // The first one counts; one that is no number makes the answer stale (RFC 9111, section 4.2.1).
                "max-age" => {
                    max_age_s = max_age_s.or(Some(number(value.trim().trim_matches('"')).unwrap_or(0)))
                }
                _ => {}
            }
        }
    }
    if let Some(max_age_s) = max_age_s {
        let age_s = headers.get(AGE).and_then(|age| number(age.to_str().ok()?.trim())).unwrap_or(0);
        return Some(max_age_s.saturating_sub(age_s));
    }
    let expires = headers.get(EXPIRES)?;
    // One that cannot be read, such as 0, lies in the past (section 5.3). By the sender's own clock, if it tells it.
    let expires_s = expires.to_str().ok().and_then(date_s).unwrap_or(0);
    Some(expires_s.saturating_sub(header_date_s(headers, DATE).unwrap_or(now_s)))
}

fn header_date_s(headers: &HeaderMap, name: HeaderName) -> Option<i64> {
    date_s(headers.get(name)?.to_str().ok()?)
}

fn date_s(text: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Digits only; what is too large counts as the largest.
fn number(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use openidconnect::http::HeaderValue;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW_S: i64 = 784_111_777;

    fn fresh(headers: &[(&'static str, &'static str)]) -> i64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        fresh_for_s(&map, NOW_S)
    }

    #[test]
    fn max_age_counts_from_when_the_answer_was_made() {
        assert_eq!(fresh(&[("cache-control", "public, max-age=3600, must-revalidate")]), 3_600);
        assert_eq!(fresh(&[("cache-control", "public"), ("cache-control", "Max-Age=\"300\"")]), 300);
        assert_eq!(fresh(&[("cache-control", "max-age=3600"), ("age", "600")]), 3_000);
        assert_eq!(fresh(&[("cache-control", "max-age=3600"), ("age", "junk")]), 3_600);
        assert_eq!(
            fresh(&[("cache-control", "max-age=900"), ("expires", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            900,
            "max-age comes before Expires"
        );
    }

    #[test]
    fn expires_is_read_by_the_senders_clock() {
        let expires = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(fresh(&[expires]), 3_600);
        assert_eq!(fresh(&[expires, ("date", "Sun, 06 Nov 1994 09:39:37 GMT")]), 600);
    }

    #[test]
    fn bounds_hold_whatever_is_said() {
        let shortest = [
            ("cache-control", "max-age=0"),
            ("cache-control", "max-age=-5"),
            ("cache-control", "max-age=junk"),
            ("cache-control", "no-store, max-age=3600"),
            ("cache-control", "no-cache"),
            ("expires", "0"),
            ("expires", "-1"),
            ("expires", "Sun, 06 Nov 1993 08:49:37 GMT"),
        ];
        for header in shortest {
            assert_eq!(fresh(&[header]), MIN_FRESH_S, "{header:?}");
        }
        for header in [
            ("cache-control", "max-age=99999999999999999999999"),
            ("expires", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(fresh(&[header]), MAX_FRESH_S, "{header:?}");
        }
        assert_eq!(fresh(&[]), FRESH_S);
        assert_eq!(fresh(&[("cache-control", "public")]), FRESH_S);
    }
}
