use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

use super::*;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn paths(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("cert.pem"), self.folder.path().join("key.pem"))
    }

    fn write(&self, cert: &str, key: &str) {
        let (cert_path, key_path) = self.paths();
        fs::write(cert_path, cert).expect("written");
        fs::write(key_path, key).expect("written");
    }

    fn load(&self) -> Result<FileCertificate, String> {
        let (cert, key) = self.paths();
        FileCertificate::load(&cert, &key, Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
    }
}

fn made(name: &str) -> (String, String) {
    let Made { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    (cert.pem(), signing_key.serialize_pem())
}

#[test]
fn what_cannot_be_used_is_one_clear_sentence() {
    let files = Files::new();
    assert!(files.load().expect_err("missing").starts_with("TLS_CERT: cannot read "));
    let (cert, key) = made("a.example.com");
    let (other, _) = made("b.example.com");
    files.write(&cert, &key);
    assert!(files.load().is_ok());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (cert, key, text) in [
        (other.as_str(), key.as_str(), "is not that of the certificate in"),
        (&key, &key, "there is no certificate in"),
        ("", &key, "there is no certificate in"),
        (nonsense, &key, "holds is no certificate"),
        ("-----BEGIN CERTIFICATE-----\n*\n", &key, "is not a PEM file"),
        (&cert, &cert, "there is no private key in"),
        (&cert, encrypted, "is encrypted"),
        (
            &cert,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "of a kind that is not known",
        ),
    ] {
        files.write(cert, key);
        let problem = files.load().expect_err("refused");
        assert!(problem.contains(text) && !problem.contains('\n'), "{text}: {problem}");
    }
    files.write(&" ".repeat((1 << 20) + 1), &key);
    assert!(files.load().expect_err("too large").contains("bytes"));
}

#[test]
fn a_replaced_certificate_is_taken_and_a_broken_one_is_not() {
    let files = Files::new();
    let (cert, key) = made("a.example.com");
    files.write(&cert, &key);
    let loaded = files.load().expect("good");
    let covers = |name: &str| loaded.covers(&ServerName::try_from(name).expect("a name"));
    let mut looks = Looks::default();
    loaded.look(&mut looks);
    assert!(covers("a.example.com") && !covers("b.example.com") && !covers("127.0.0.1"));
    let (new_cert, new_key) = made("b.example.com");
    // Halfway: the certificate is there, its key is not yet.
    files.write(&new_cert, &key);
    loaded.look(&mut looks);
    assert!(covers("a.example.com") && looks.problem.as_ref().is_some_and(|problem| !problem.said));
    files.write(&new_cert, &new_key);
    loaded.look(&mut looks);
    assert!(covers("b.example.com") && !covers("a.example.com") && looks.problem.is_none());
    files.write("", &new_key);
    loaded.look(&mut looks);
    loaded.look(&mut looks);
    assert!(covers("b.example.com") && looks.problem.as_ref().is_some_and(|problem| problem.said));
    files.write(&new_cert, &new_key);
    loaded.look(&mut looks);
    assert!(looks.problem.is_none());
}
