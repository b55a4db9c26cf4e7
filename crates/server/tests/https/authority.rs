//! An authority of the tests' own, and files that servers are given.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// Whom the tests' clients believe.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert: CertificateDer<'static>,
    pem: String,
}

/// A certificate chain and its key, as PEM.
pub(crate) struct Pems {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        Self { cert: cert.der().clone(), pem: cert.pem(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).expect("a root");
        roots
    }

    /// Its own certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Signs what a server asks for, if it asks for these names.
    pub(crate) fn sign(&self, request: &[u8], names: &[String]) -> Option<String> {
        let request = CertificateSigningRequestParams::from_der(&request.to_vec().into()).ok()?;
        let asked = request.params.subject_alt_names.iter();
        let asked = asked.filter_map(|name| match name {
            SanType::DnsName(name) => Some(name.as_str()),
            _ => None,
        });
        let asked: Vec<&str> = asked.collect();
        (asked == names).then(|| request.signed_by(&self.issuer).ok().map(|cert| cert.pem())).flatten()
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Pems {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pems { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// Files of a server.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new(pems: &Pems) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.put(pems);
        files
    }

    /// Replaces them, one after the other.
    pub(crate) fn put(&self, pems: &Pems) {
        self.write("cert.pem", &pems.cert);
        self.write("key.pem", &pems.key);
    }

    /// Replaces one as programs do that renew certificates.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, self.path(name)).expect("renamed");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
