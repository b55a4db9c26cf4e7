//! What an issuer says of itself (OpenID Connect Discovery 1.0, section 4).

use openidconnect::http::header::ACCEPT;
use openidconnect::http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;
use url::Url;

use super::fetch::{HttpFetch, check_address};

const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// The members of the document that matter here. More than `issuer` and `jwks_uri` is not asked of those whose tokens alone are taken.
#[derive(Deserialize)]
pub(crate) struct Document {
    issuer: String,
    pub(crate) jwks_uri: String,
    pub(crate) authorization_endpoint: Option<String>,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// Asks an issuer, which must call itself by this very name.
pub(crate) async fn discover(fetch: &dyn HttpFetch, issuer: &str) -> Result<Document, String> {
    let address = format!("{}{DISCOVERY_PATH}", issuer.strip_suffix('/').unwrap_or(issuer));
    let address = check_address(&address).map_err(|error| error.to_string())?;
    let (body, _) = get(fetch, &address).await?;
    let document: Document =
        serde_json::from_slice(&body).map_err(|_| "the discovery document cannot be understood")?;
    if document.issuer != issuer {
        return Err("the discovery document is that of another issuer".to_owned());
    }
    Ok(document)
}

/// An address that the document names.
pub(crate) fn endpoint(issuer: &str, address: &str) -> Result<Url, String> {
    let base = check_address(issuer).map_err(|error| error.to_string())?;
    let address = check_address(address).map_err(|error| error.to_string())?;
    // Who answers over TLS may not send us to this machine, where plain HTTP is allowed.
    if base.scheme() == "https" && address.scheme() != "https" {
        return Err("the discovery document names what is not at an https address".to_owned());
    }
    Ok(address)
}

pub(crate) async fn get(fetch: &dyn HttpFetch, address: &Url) -> Result<(Vec<u8>, HeaderMap), String> {
    let request = Request::builder().uri(address.as_str()).header(ACCEPT, "application/json");
    let request = request.body(Vec::new()).map_err(|error| error.to_string())?;
    let (parts, body) = fetch.send(request).await.map_err(|error| error.to_string())?.into_parts();
    if parts.status == StatusCode::OK {
        Ok((body, parts.headers))
    } else {
        Err(format!("the answer is {}", parts.status.as_u16()))
    }
}
