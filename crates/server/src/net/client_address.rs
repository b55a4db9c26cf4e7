//! Where a request comes from, behind proxies that the operator trusts and behind no others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use ipnet::IpNet;

use super::listen::PeerAddress;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Hops that are looked at, from the nearest: more than any chain of proxies has.
const MAX_HOPS: usize = 32;

/// Reads an address, or a network of them, that is trusted.
///
/// # Errors
/// One sentence.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "it must be addresses or networks like 10.0.0.0/8".to_owned())
}

/// Gives every request of a trusted proxy the address of the client behind it.
pub fn resolve(router: Router, trusted: &[IpNet]) -> Router {
    if trusted.is_empty() {
        return router;
    }
    router.layer(middleware::from_fn_with_state(Arc::<[IpNet]>::from(trusted), replace))
}

async fn replace(State(trusted): State<Arc<[IpNet]>>, mut request: Request, next: Next) -> Response {
    if let Some(PeerAddress(peer)) = request.extensions().get().copied() {
        let client = client_address(peer.ip(), request.headers(), &trusted);
        if client != peer.ip().to_canonical() {
            // The port is the proxy's, and means nothing.
            request.extensions_mut().insert(PeerAddress(SocketAddr::new(client, 0)));
        }
    }
    next.run(request).await
}

/// The address of the client: of what proxies have added, from the nearest on, the first address that is not trusted itself.
/// What stands before it was said by the client, who may say anything. Where what a trusted proxy says cannot be read, its own
/// address is all that is known.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    if !is_trusted(&nearest) {
        return nearest;
    }
    // Two headers may contradict each other, and whoever sends one that the proxy does not know gets it through. The newer
    // one is looked at where the older one is not there.
    let hops: Vec<Option<IpAddr>> = if headers.contains_key(X_FORWARDED_FOR) {
        values(headers, &X_FORWARDED_FOR).map(read_address).collect()
    } else {
        values(headers, &header::FORWARDED).map(read_forwarded).collect()
    };
    for hop in hops.into_iter().rev().take(MAX_HOPS) {
        let Some(address) = hop else { return nearest };
        nearest = address.to_canonical();
        if !is_trusted(&nearest) {
            return nearest;
        }
    }
    nearest
}

/// The parts of a list header, over all its lines.
fn values<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().flat_map(|value| value.to_str().unwrap_or("?").split(','))
}

/// An address with or without a port; IPv6 with or without brackets.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// `for=` of one element of `Forwarded` (RFC 7239, section 5.2).
fn read_forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    read_address(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn found(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "::1", "127.0.0.1"].map(|text| parse_network(text).expect("a network"));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
        }
        client_address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let spoofed = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(found("198.51.100.7", &spoofed), "198.51.100.7");
        assert_eq!(found("10.1.2.3", &spoofed), "203.0.113.9");
        assert_eq!(found("::ffff:10.1.2.3", &spoofed), "203.0.113.9", "the same address, as IPv6 writes it");
        assert_eq!(found("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn what_the_client_says_of_itself_is_not_reached() {
        for line in
            ["1.1.1.1, 203.0.113.9", "1.1.1.1,203.0.113.9, 10.0.0.2", "x, , 203.0.113.9:4711, 10.0.0.2,::1"]
        {
            assert_eq!(found("10.1.2.3", &[("x-forwarded-for", line)]), "203.0.113.9", "{line}");
        }
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9, 10.0.0.2")];
        assert_eq!(found("10.1.2.3", &lines), "203.0.113.9", "several lines are one list");
        let both = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(found("10.1.2.3", &both), "203.0.113.9");
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        for line in
            ["unknown", "", "1.1.1.1, unknown", "1.1.1.1, \u{e9}", "203.0.113.300", "1.1.1.1, <script>"]
        {
            assert_eq!(found("10.1.2.3", &[("x-forwarded-for", line)]), "10.1.2.3", "{line}");
        }
        let endless = "10.0.0.1,".repeat(10_000) + "10.0.0.1";
        assert_eq!(found("10.1.2.3", &[("x-forwarded-for", &endless)]), "10.0.0.1");
    }

    #[test]
    fn the_standard_s_own_header_is_read() {
        for (line, address) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"203.0.113.9:47011\";proto=https", "203.0.113.9"),
            ("for=1.1.1.1, proto=http;FOR=203.0.113.9, for=10.0.0.7", "203.0.113.9"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("for=_hidden", "10.1.2.3"),
            ("proto=https", "10.1.2.3"),
        ] {
            assert_eq!(found("10.1.2.3", &[("forwarded", line)]), address, "{line}");
        }
    }

    #[test]
    fn networks_are_read() {
        assert!(parse_network("10.0.0.0/8").is_ok() && parse_network(" ::1").is_ok());
        for bad in ["", "10.0.0.0/33", "proxy", "10.0.0"] {
            assert!(parse_network(bad).is_err(), "{bad}");
        }
    }
}
