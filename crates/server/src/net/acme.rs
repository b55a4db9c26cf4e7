//! A certificate by ACME (RFC 8555): ordered, checked by TLS-ALPN-01 (RFC 8737) on our own port, kept in the data folder, and
//! renewed when two thirds of its time are over.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::acme::ACME_TLS_ALPN_NAME;
use rustls_acme::{AccountCache, AcmeConfig, AcmeState, CertCache, EventOk};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::settings::TlsSettings;

/// The protocol by which the authority looks for its challenge.
pub(super) const CHALLENGE: &[u8] = ACME_TLS_ALPN_NAME;
/// The folder, in the data folder, of what was fetched.
const FOLDER: &str = "acme";

pub(super) type State = AcmeState<io::Error, io::Error>;

/// What fetches and renews the certificate, as the settings say.
///
/// # Errors
/// What cannot be used, in a sentence.
pub(super) fn state(
    settings: &TlsSettings,
    data_dir: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<State, String> {
    let cache = FileCache::open(data_dir.join(FOLDER))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let client = builder.with_root_certificates(authorities(settings)?).with_no_client_auth();
    let names = settings.acme_domains.iter().map(|name| name.to_ascii_lowercase());
    let config = AcmeConfig::new_with_client_config(names, Arc::new(client))
        .directory(&settings.acme_directory)
        .contact(settings.acme_email.iter().map(|email| format!("mailto:{email}")))
        .cache(cache);
    Ok(config.state())
}

/// Whom we believe that they are the directory.
fn authorities(settings: &TlsSettings) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.acme_directory_ca {
        let bad = |reason: &dyn std::fmt::Display| format!("ACME_DIRECTORY_CA: {}: {reason}", path.display());
        for cert in CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))? {
            roots.add(cert.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        return if roots.is_empty() { Err(bad(&"there is no certificate in it")) } else { Ok(roots) };
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no certificate authorities that ACME_DIRECTORY could be checked with; \
                    install ca-certificates or set ACME_DIRECTORY_CA"
            .to_owned());
    }
    Ok(roots)
}

/// Fetches and renews the certificate until `stop` is cancelled.
pub(super) async fn keep(mut state: State, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = state.next() => event,
        };
        match event {
            Some(Ok(EventOk::DeployedNewCert)) => tracing::info!("a new certificate is in use"),
            Some(Ok(EventOk::DeployedCachedCert)) => {
                tracing::info!("the certificate of the last run is in use")
            }
            Some(Ok(event)) => tracing::debug!(?event, "kept in the data folder"),
            Some(Err(error)) => {
                tracing::error!(%error, "cannot fetch a certificate by ACME; it is tried again, less and less often");
            }
            None => return,
        }
    }
}

/// Account and certificate in files that are their owner's alone.
struct FileCache {
    folder: PathBuf,
}

impl FileCache {
    fn open(folder: PathBuf) -> Result<Self, String> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        Ok(Self { folder })
    }

    /// A file of its own for each authority and each list of names.
    fn path(&self, kind: &str, parts: &[String], directory: &str) -> PathBuf {
        let mut hash = Sha256::new();
        for part in parts.iter().map(String::as_str).chain([directory]) {
            hash.update(part);
            hash.update([0]);
        }
        let name: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{kind}-{name}"))
    }
}

async fn load(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    blocking(move || match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

/// Whole or not at all: half an account's key would be in the way for good.
async fn store(path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
    blocking(move || {
        let draft = path.with_extension("draft");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // One that was left by a crash might be open to others.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options.open(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}

#[async_trait]
impl CertCache for FileCache {
    type EC = io::Error;

    async fn load_cert(&self, domains: &[String], directory_url: &str) -> io::Result<Option<Vec<u8>>> {
        load(self.path("certificate", domains, directory_url)).await
    }

    async fn store_cert(&self, domains: &[String], directory_url: &str, cert: &[u8]) -> io::Result<()> {
        store(self.path("certificate", domains, directory_url), cert.to_vec()).await
    }
}

#[async_trait]
impl AccountCache for FileCache {
    type EA = io::Error;

    async fn load_account(&self, contact: &[String], directory_url: &str) -> io::Result<Option<Vec<u8>>> {
        load(self.path("account", contact, directory_url)).await
    }

    async fn store_account(&self, contact: &[String], directory_url: &str, account: &[u8]) -> io::Result<()> {
        store(self.path("account", contact, directory_url), account.to_vec()).await
    }
}
