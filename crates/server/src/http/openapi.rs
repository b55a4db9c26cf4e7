//! `GET /openapi.json`: the API as an OpenAPI 3.1 document. Routes are added with `routes!`, which takes them from the same
//! attribute that documents them, so that neither can be there without the other.

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::http::{HeaderName, HeaderValue, header};
use bytes::Bytes;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

/// Refusals of a group of endpoints: status and code.
pub(crate) type Codes = &'static [(u16, &'static str)];

/// Of whoever needs a token.
pub(crate) const TOKEN: Codes = &[
    (401, "token_missing"),
    (401, "token_invalid"),
    (401, "token_expired"),
    (401, "session_revoked"),
    (403, "permission_denied"),
    (503, "busy"),
    (503, "closing"),
    (503, "provider_unavailable"),
];
/// Of whoever reads a JSON body.
pub(super) const BODY: Codes = &[(400, "bad_request"), (408, "request_timeout"), (413, "body_too_large")];
/// Of lists.
pub(super) const PAGE: Codes = &[(400, "bad_query")];
/// Of a space that one may not see.
pub(crate) const SPACE: Codes = &[(404, "space_not_found")];
/// Of whoever syncs.
pub(crate) const SYNC: Codes = &[
    (400, "bad_frame"),
    (400, "bad_schema_version"),
    (409, "schema_version"),
    (503, "access_changed"),
    (503, "overloaded"),
];
/// Of what only the owner of a space with members may do.
pub(super) const OWNER: Codes = &[(404, "space_not_found"), (403, "forbidden"), (409, "private_space")];

/// Declares the refusals of an endpoint: groups of them, then its own.
macro_rules! problems {
    ($name:ident, [$($group:ident),*] $(, $status:literal $code:literal)* $(,)?) => {
        /// What may be answered instead.
        pub(super) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::http::openapi::responses(&[
                    $($crate::http::openapi::$group,)*
                    &[$(($status, $code)),*],
                ])
            }
        }
    };
}
pub(crate) use problems;

/// One response for each status, with the codes that its problem document may hold.
pub(crate) fn responses(groups: &[Codes]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::from([(500, BTreeSet::from(["internal"]))]);
    for (status, code) in groups.iter().copied().flatten() {
        by_status.entry(*status).or_default().insert(code);
    }
    let response = |codes: BTreeSet<&str>| {
        let description = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
        let code = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(codes));
        let narrowed = ObjectBuilder::new().schema_type(SchemaType::new(Type::Object)).property("code", code);
        let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(narrowed);
        let content = ContentBuilder::new().schema(Some(Schema::AllOf(schema.build()))).build();
        ResponseBuilder::new().description(description).content("application/problem+json", content).build()
    };
    by_status.into_iter().map(|(status, codes)| (status.to_string(), RefOr::T(response(codes)))).collect()
}

/// What is not taken from the routes themselves.
#[derive(OpenApi)]
#[openapi(
    info(title = "Lattice Server", description = "The HTTP side of a Lattice sync server."),
    components(schemas(super::problem::Document<'static>)),
    modifiers(&Security),
    tags(
        (name = "accounts", description = "Signing up, logging in, and what an account is."),
        (name = "spaces", description = "What is shared and with whom. `{space}` is `me` or the id of a space."),
        (name = "invites", description = "How others become members."),
        (name = "sync", description = "The sync protocol itself."),
        (name = "server", description = "How the server is."),
    )
)]
pub(super) struct Base;

/// Access and device tokens are sent alike.
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An access token (a JWT), of this server or of the external issuer, or a device token (`ldt_…`)."))
            .build();
        let components = document.components.get_or_insert_default();
        components.security_schemes.insert("bearer".to_owned(), SecurityScheme::Http(scheme).into());
    }
}

/// The document, as it is served.
#[derive(Clone)]
pub(super) struct Served(Bytes);

impl Served {
    pub(super) fn new(document: &utoipa::openapi::OpenApi) -> Self {
        // A document of strings and numbers cannot fail to be written.
        Self(serde_json::to_vec(document).unwrap_or_default().into())
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "server",
    responses((status = 200, description = "The document.", content_type = "application/json", body = serde_json::Value))
)]
pub(super) async fn openapi(
    Extension(Served(json)): Extension<Served>,
) -> ([(HeaderName, HeaderValue); 1], Bytes) {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json)
}

#[cfg(test)]
mod tests;
