//! An authenticator (WebAuthn level 3) in software, with a browser around it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const HAS_CREDENTIAL: u8 = 0x40;

/// A passkey in an authenticator.
struct Held {
    id: Vec<u8>,
    user: Vec<u8>,
    rp_id: String,
    key: EcdsaKeyPair,
}

/// An authenticator that one person holds, on a page of one origin. What it answers is what a browser makes JSON of.
pub struct Authenticator {
    origin: String,
    held: Vec<Held>,
    /// How often it has signed.
    pub counter: u32,
    /// Whether it asks its owner who they are, by a finger or a PIN.
    pub verifies: bool,
}

impl Authenticator {
    /// An empty one.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), held: Vec::new(), counter: 0, verifies: true }
    }

    /// The same keys on a page of another origin, as a page that fishes would have it.
    pub fn move_to(&mut self, origin: &str) {
        origin.clone_into(&mut self.origin);
    }

    /// Makes a passkey, as `navigator.credentials.create(options)` does.
    ///
    /// # Panics
    /// When the options are none.
    #[track_caller]
    pub fn create(&mut self, options: &Value) -> Value {
        let options = &options["publicKey"];
        let rp_id = text(&options["rp"]["id"]);
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let mut id = vec![0; 32];
        getrandom::fill(&mut id).expect("randomness");
        // A COSE key (RFC 9053, section 7.1): EC2, ES256, P-256, x, y.
        let point = key.public_key().as_ref();
        let mut cose = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
        cose.extend(&point[1..33]);
        cose.extend([0x22, 0x58, 0x20]);
        cose.extend(&point[33..65]);
        let mut data = self.data(&rp_id, HAS_CREDENTIAL);
        data.extend([0; 16]);
        data.extend(u16::try_from(id.len()).expect("a short id").to_be_bytes());
        data.extend(&id);
        data.extend(cose);
        // {"fmt": "none", "attStmt": {}, "authData": …} in CBOR.
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        object.extend(u16::try_from(data.len()).expect("little").to_be_bytes());
        object.extend(&data);
        let client = self.client_data("webauthn.create", &options["challenge"]);
        let user = decoded(&options["user"]["id"]);
        let answer = json!({
            "id": encoded(&id), "rawId": encoded(&id), "type": "public-key",
            "response": {"attestationObject": encoded(&object), "clientDataJSON": encoded(client.as_bytes())},
            "extensions": {},
        });
        self.held.push(Held { id, user, rp_id, key });
        answer
    }

    /// Signs with the newest passkey that is asked for, as `navigator.credentials.get(options)` does.
    ///
    /// # Panics
    /// When it holds none.
    #[track_caller]
    pub fn get(&mut self, options: &Value) -> Value {
        let options = &options["publicKey"];
        self.counter += 1;
        let rp_id = text(&options["rpId"]);
        let allowed: Vec<Vec<u8>> = options["allowCredentials"]
            .as_array()
            .map(|all| all.iter().map(|one| decoded(&one["id"])).collect())
            .unwrap_or_default();
        let is_asked =
            |held: &&Held| held.rp_id == rp_id && (allowed.is_empty() || allowed.contains(&held.id));
        let held = self.held.iter().rev().find(is_asked).expect("a passkey");
        let data = self.data(&rp_id, 0);
        let client = self.client_data("webauthn.get", &options["challenge"]);
        let mut signed = data.clone();
        signed.extend(Sha256::digest(client.as_bytes()));
        let signature = held.key.sign(&SystemRandom::new(), &signed).expect("signed");
        json!({
            "id": encoded(&held.id), "rawId": encoded(&held.id), "type": "public-key",
            "response": {
                "authenticatorData": encoded(&data), "clientDataJSON": encoded(client.as_bytes()),
                "signature": encoded(signature.as_ref()), "userHandle": encoded(&held.user),
            },
            "extensions": {},
        })
    }

    /// What the authenticator says of itself, up to its counter.
    fn data(&self, rp_id: &str, flags: u8) -> Vec<u8> {
        let verified = if self.verifies { USER_VERIFIED } else { 0 };
        let mut data = Sha256::digest(rp_id).to_vec();
        data.push(USER_PRESENT | verified | flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    fn client_data(&self, kind: &str, challenge: &Value) -> String {
        json!({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false}).to_string()
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
fn decoded(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text(value)).expect("base64url")
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
