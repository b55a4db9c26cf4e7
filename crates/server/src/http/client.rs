//! Where a request comes from, for the owner of a session to recognise it by.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::{FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use lattice_auth::Client;
use lattice_auth::audit::{Origin, from_origin};

use crate::net::listen::PeerAddress;

/// The client of a request.
pub(super) struct FromClient(pub(super) Client);

/// The network address of a request, where it is known.
pub(super) struct FromAddress(pub(super) Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for FromAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip())))
    }
}

impl<S: Sync> FromRequestParts<S> for FromClient {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip().to_string());
        Ok(Self(Client { device_name: None, user_agent: user_agent.map(str::to_owned), address }))
    }
}

/// Lets whatever is noted while a request is answered know where it comes from.
pub(super) async fn note_origin(FromClient(client): FromClient, request: Request, next: Next) -> Response {
    let Client { address, user_agent, .. } = client;
    from_origin(Origin { address, user_agent }, next.run(request)).await
}
