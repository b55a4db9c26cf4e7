//! Connections: address, TLS, pools, and what every session is set to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::OpenError;
use super::place::Expected;

/// What sessions of servers call themselves.
pub(super) const SERVER_NAME: &str = "lattice-server";
/// What sessions of a copy call themselves.
const COPY_NAME: &str = "lattice-server copy";
/// How long a connection may take to be made, and a caller to get one.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a statement may run before the server cancels it.
const STATEMENT_TIMEOUT_MS: u32 = 15_000;
/// How long a statement waits for a lock.
const LOCK_TIMEOUT_MS: u32 = 10_000;
/// How long the server keeps a transaction, and its locks, whose client says nothing.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u32 = 20_000;

/// What every session is set to. Everything is found by key, so joins look up: without statistics, as in a young database,
/// the planner would rather read whole tables.
fn session_settings(for_copy: bool) -> String {
    let name = if for_copy { COPY_NAME } else { SERVER_NAME };
    format!(
        "SET application_name = '{name}'; SET statement_timeout = {STATEMENT_TIMEOUT_MS};
         SET lock_timeout = {LOCK_TIMEOUT_MS};
         SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_TIMEOUT_MS};
         SET default_transaction_isolation = 'read committed'; SET synchronous_commit = 'on'; SET jit = off;
         SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off"
    )
}

/// A database and how to get there.
#[derive(Clone)]
pub struct Target {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Option<MakeRustlsConnect>,
}

impl Target {
    /// Reads a `postgres://` address. `sslmode=require` checks certificate and name, against `ca` if given and else the
    /// system's authorities. `prefer`, the default, encrypts where the server can, and whoever could put a server of their
    /// own in between could as well say that it cannot: no certificate is checked, unless `ca` is given.
    ///
    /// # Errors
    /// When the address cannot be read, or the authorities cannot.
    pub fn parse(url: &str, ca: Option<&Path>) -> Result<Self, OpenError> {
        // These two of libpq ask for what is done anyway.
        let url = url
            .replace("sslmode=verify-full", "sslmode=require")
            .replace("sslmode=verify-ca", "sslmode=require");
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| OpenError::Address(error.to_string()))?;
        config.connect_timeout(MAX_CONNECT_TIME);
        config.keepalives_idle(Duration::from_secs(15));
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            SslMode::Prefer if ca.is_none() => Some(MakeRustlsConnect::new(unchecked::tls_config()?)),
            _ => Some(MakeRustlsConnect::new(tls_config(ca)?)),
        };
        Ok(Self { config, tls })
    }

    /// What the operator may be shown: no password.
    #[must_use]
    pub fn shown(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<String> = hosts.collect();
        format!("{} on {}", self.config.get_dbname().unwrap_or("the default database"), hosts.join(","))
    }

    /// A pool of at most `size` connections.
    pub(super) fn pool(
        &self,
        size: usize,
        for_copy: bool,
        expected: &Arc<Expected>,
    ) -> Result<Pool, OpenError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &self.tls {
            Some(tls) => Manager::from_config(self.config.clone(), tls.clone(), recycling),
            None => Manager::from_config(self.config.clone(), NoTls, recycling),
        };
        let settings: Arc<str> = session_settings(for_copy).into();
        let expected = Arc::clone(expected);
        let set_up = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let (settings, expected) = (Arc::clone(&settings), Arc::clone(&expected));
            Box::pin(async move {
                client.batch_execute(&settings).await.map_err(HookError::Backend)?;
                match expected.refusal(client).await.map_err(HookError::Backend)? {
                    None => Ok(()),
                    Some(why) => Err(HookError::message(why)),
                }
            })
        });
        Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(MAX_CONNECT_TIME))
            .create_timeout(Some(MAX_CONNECT_TIME))
            .recycle_timeout(Some(MAX_CONNECT_TIME))
            .post_create(set_up)
            .build()
            .map_err(|error| OpenError::Address(error.to_string()))
    }
}

fn tls_config(ca: Option<&Path>) -> Result<ClientConfig, OpenError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable = |error: String| OpenError::Authorities(path.display().to_string(), error);
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unreadable("it holds no certificate".to_owned()));
            }
        }
        // None found means that no certificate is accepted, which the server says when it is shown one.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(tls_builder()?.with_root_certificates(roots).with_no_client_auth())
}

fn tls_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, OpenError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| OpenError::Authorities("TLS".to_owned(), error.to_string()))
}

/// Encryption without knowing whom one speaks to.
mod unchecked {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

    use crate::postgres::OpenError;

    #[derive(Debug)]
    struct AnyCertificate(CryptoProvider);

    pub(super) fn tls_config() -> Result<ClientConfig, OpenError> {
        let verifier = AnyCertificate(rustls::crypto::aws_lc_rs::default_provider());
        let builder = super::tls_builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(builder.with_no_client_auth())
    }

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
