//! Providers that everybody has.

use super::{ClientAuthentication, KeyedSecret, ProviderSettings};

/// Google. Its tokens spell their issuer with and without `https://`.
#[must_use]
pub fn google(client_ids: Vec<String>, authentication: ClientAuthentication) -> ProviderSettings {
    ProviderSettings {
        name: "google".to_owned(),
        issuer: "https://accounts.google.com".to_owned(),
        issuer_spellings: vec!["accounts.google.com".to_owned()],
        client_ids,
        authentication,
        scopes: vec!["email".to_owned(), "profile".to_owned()],
        form_post: false,
    }
}

/// Apple, which asks for a JWT as the client's secret, and posts a form back where a name or an address is asked for.
#[must_use]
pub fn apple(client_ids: Vec<String>, secret: Option<KeyedSecret>) -> ProviderSettings {
    ProviderSettings {
        name: "apple".to_owned(),
        issuer: "https://appleid.apple.com".to_owned(),
        issuer_spellings: Vec::new(),
        client_ids,
        authentication: secret.map_or(ClientAuthentication::None, ClientAuthentication::Keyed),
        scopes: vec!["name".to_owned(), "email".to_owned()],
        form_post: true,
    }
}
