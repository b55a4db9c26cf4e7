//! Certificate and key from files, read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use secrecy::zeroize::Zeroizing;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the files have changed: by their content, since certificates are often put in place by
/// turning a link.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Larger files are not read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// What earlier looks have found.
#[derive(Default)]
struct Looks {
    /// What is in use, once a look has found it.
    taken: Option<Contents>,
    /// What was wrong at the last look.
    problem: Option<Problem>,
}

struct Problem {
    text: String,
    said: bool,
}

/// The certificate that is in use, and where it comes from.
pub(super) struct FileCertificate {
    cert_path: PathBuf,
    key_path: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for FileCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileCertificate").field("cert_path", &self.cert_path).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for FileCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl FileCertificate {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong with them, in a sentence.
    pub(super) fn load(cert: &Path, key: &Path, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let contents = Contents::read(cert, key)?;
        let current = RwLock::new(Arc::new(contents.parse(cert, key, &provider)?));
        Ok(Self { cert_path: cert.to_path_buf(), key_path: key.to_path_buf(), provider, current })
    }

    /// Whether the certificate is one for this name or address.
    pub(super) fn covers(&self, name: &ServerName<'_>) -> bool {
        let current = self.current();
        let parsed = current.cert.first().and_then(|cert| ParsedCertificate::try_from(cert).ok());
        parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }

    /// Takes what the files hold into use whenever that changes, until `stop` is cancelled.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut due = tokio::time::interval(RELOAD_INTERVAL);
        let mut looks = Looks::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = due.tick() => {}
            }
            let this = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || {
                this.look(&mut looks);
                looks
            });
            match look.await {
                Ok(after) => looks = after,
                Err(_) => return,
            }
        }
    }

    /// Looks at the files once. What cannot be used is said once, and the certificate before stays.
    fn look(&self, looks: &mut Looks) {
        let read = Contents::read(&self.cert_path, &self.key_path);
        if read.as_ref().is_ok_and(|contents| looks.taken.as_ref() == Some(contents)) {
            looks.problem = None;
            return;
        }
        match read.and_then(|contents| Ok((self.take(&contents)?, contents))) {
            Ok((is_new, contents)) => {
                if is_new {
                    tracing::info!(path = %self.cert_path.display(), "the certificate was replaced");
                }
                *looks = Looks { taken: Some(contents), problem: None };
            }
            // The two files are not replaced in one moment: what does not fit together now may do so at the next look. So it
            // is said when two looks in a row find the same.
            Err(problem) => {
                let is_known = looks.problem.as_ref().is_some_and(|known| known.text == problem);
                let said = looks.problem.take().is_some_and(|known| is_known && known.said);
                if is_known && !said {
                    tracing::error!(problem, "the new certificate cannot be used; the one before stays");
                }
                looks.problem = Some(Problem { text: problem, said: is_known });
            }
        }
    }

    /// Takes these contents into use, and says whether that changes anything.
    fn take(&self, contents: &Contents) -> Result<bool, String> {
        let new = contents.parse(&self.cert_path, &self.key_path, &self.provider)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = current.cert != new.cert;
        *current = Arc::new(new);
        Ok(is_new)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Contents {
    fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        Ok(Self { cert: read("TLS_CERT", cert)?, key: Zeroizing::new(read("TLS_KEY", key)?) })
    }

    fn parse(&self, cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let chain = CertificateDer::pem_slice_iter(&self.cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| format!("TLS_CERT: {} is not a PEM file", cert.display()))?;
        if chain.is_empty() {
            return Err(format!("TLS_CERT: there is no certificate in {}", cert.display()));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound if holds_encrypted_key(&self.key) => {
                format!("TLS_KEY: the key in {} is encrypted; store it without a passphrase", key.display())
            }
            pem::Error::NoItemsFound => format!("TLS_KEY: there is no private key in {}", key.display()),
            _ => format!("TLS_KEY: {} is not a PEM file", key.display()),
        })?;
        CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("the key in {} is not that of the certificate in {}", key.display(), cert.display())
            }
            Error::InvalidCertificate(_) => {
                format!("TLS_CERT: what {} holds is no certificate", cert.display())
            }
            _ => format!("TLS_KEY: the key in {} is of a kind that is not known", key.display()),
        })
    }
}

fn holds_encrypted_key(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("ENCRYPTED")
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("{name}: cannot read {}: {reason}", path.display());
    let length = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > MAX_FILE_BYTES {
        return Err(failed(&format!("it has {length} bytes")));
    }
    fs::read(path).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests;
