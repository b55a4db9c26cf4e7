//! The cookie by which a browser is known again when it comes back from a provider. It signs nobody in.

use axum::http::{HeaderMap, HeaderValue, header};
use lattice_auth::PROVIDER_STATE_LIFE_S;
use url::Url;

/// Longest cookie header that is looked at, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// Cookies of this server, as its browsers reach it.
pub(super) struct Cookies {
    is_https: bool,
    /// Whether they come back with a form that another site posts.
    cross_site: bool,
}

impl Cookies {
    pub(super) fn new(public_url: Option<&Url>, cross_site: bool) -> Self {
        Self { is_https: public_url.is_some_and(|url| url.scheme() == "https"), cross_site }
    }

    /// With `__Host-` no page of another host, and none that was changed on the way, can set it.
    fn name(&self, name: &str) -> String {
        let prefix = if self.is_https { "__Host-" } else { "" };
        format!("{prefix}lattice-sign-in-{name}")
    }

    /// What makes a browser keep it. Values are of letters, digits, `-` and `_`.
    pub(super) fn set(&self, name: &str, value: &str) -> Option<HeaderValue> {
        let site = if self.cross_site && self.is_https { "None" } else { "Lax" };
        let secure = if self.is_https { "; Secure" } else { "" };
        let (name, age) = (self.name(name), if value.is_empty() { 0 } else { PROVIDER_STATE_LIFE_S });
        let cookie = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite={site}{secure}");
        HeaderValue::from_str(&cookie).ok()
    }

    /// What makes a browser forget it.
    pub(super) fn remove(&self, name: &str) -> Option<HeaderValue> {
        self.set(name, "")
    }

    /// The one of this name that a browser has sent.
    pub(super) fn find(&self, headers: &HeaderMap, name: &str) -> Option<String> {
        let name = self.name(name);
        let sent = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = sent.filter(|text| text.len() <= MAX_BYTES).flat_map(|text| text.split(';'));
        pairs.find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(url: &str, cross_site: bool) -> Cookies {
        Cookies::new(Some(&Url::parse(url).expect("an address")), cross_site)
    }

    #[test]
    fn a_cookie_is_as_strict_as_the_way_back_allows() {
        let set = |cookies: Cookies| cookies.set("ab", "value").expect("a header");
        assert_eq!(
            set(cookies("https://sync.example.com", false)),
            "__Host-lattice-sign-in-ab=value; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            set(cookies("https://sync.example.com", true)),
            "__Host-lattice-sign-in-ab=value; Path=/; Max-Age=600; HttpOnly; SameSite=None; Secure"
        );
        // Without HTTPS browsers take no `Secure` cookie, and none with `SameSite=None` either.
        assert_eq!(
            set(cookies("http://127.0.0.1:8080", true)),
            "lattice-sign-in-ab=value; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let cookies = cookies("https://sync.example.com", false);
        let sent = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static("first=1"));
            headers.append(header::COOKIE, text.parse().expect("a header"));
            headers
        };
        let found = |text: &str| cookies.find(&sent(text), "ab");
        assert_eq!(found("a=b; __Host-lattice-sign-in-ab=x").as_deref(), Some("x"));
        for other in
            ["lattice-sign-in-ab=x", "__Host-lattice-sign-in-abc=x", "x__Host-lattice-sign-in-ab=x", ""]
        {
            assert_eq!(found(other), None, "{other}");
        }
        let huge = format!("{}; __Host-lattice-sign-in-ab=x", "a".repeat(MAX_BYTES));
        assert_eq!(found(&huge), None);
    }
}
