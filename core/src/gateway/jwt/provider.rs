//! The cryptography of `jsonwebtoken`, by ring.
//!
//! The crate has one provider for the whole process and takes none by argument. Whoever embeds this core
//! and has chosen one keeps it: it verifies here, too. Nobody else's is replaced, and this one is only set
//! where a key for JWTs is configured.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils, verify};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

/// Makes ring the provider of this process, unless it has one.
pub(super) fn install() {
    // An error is that there is one.
    let _ = PROVIDER.install_default();
}

/// Whether the provider of this process verifies with this key.
pub(super) fn takes(key: &DecodingKey, alg: Algorithm) -> bool {
    verify("", b"", key, alg).is_ok()
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _: &EncodingKey| only_verifies::<Box<dyn JwtSigner>>(),
    verifier_factory: |alg, key| Ok(Box::new(Ring::new(*alg, key)?)),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| only_verifies(),
        rsa_pub_components_from_public_key: |_| only_verifies(),
        ec_pub_components_from_private_key: |_, _| only_verifies(),
        ed_pub_components_from_private_key: |_, _| only_verifies(),
        compute_digest: |_, _| only_verifies(),
    },
};

/// A gateway issues no tokens; a host that does has to say by what.
fn only_verifies<T>() -> Result<T, Error> {
    let text = "the gateway's provider only verifies: install another before the gateway is made";
    Err(ErrorKind::Provider(text.into()).into())
}

/// A key that verifies, of one of the algorithms that keys are configured for.
struct Ring {
    alg: Algorithm,
    key: Key,
}

enum Key {
    Secret(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Ring {
    fn new(alg: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        if key.family() != alg.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let bytes = key.try_get_as_bytes()?;
        let public: &'static dyn VerificationAlgorithm = match alg {
            Algorithm::HS256 => {
                let key = Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes));
                return Ok(Self { alg, key });
            }
            Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDSA => &ED25519,
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        };
        Ok(Self { alg, key: Key::Public(UnparsedPublicKey::new(public, bytes.to_vec())) })
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        match &self.key {
            Key::Secret(key) => hmac::verify(key, message, signature),
            Key::Public(key) => key.verify(message, signature),
        }
        .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.alg
    }
}
