//! A host that embeds the gateway and has its own provider of cryptography for JWTs. There is one per
//! process, so this test has a process of its own.
#![cfg(feature = "gateway")]

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use moorline_core::gateway::{JwtAlg, JwtKey, JwtKeyError, Secret};

/// It verifies nothing, and takes secrets only.
static HOST: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |alg, key| match key.family() {
        AlgorithmFamily::Hmac => Ok(Box::new(Nobody(*alg))),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Nobody(Algorithm);

impl Verifier<Vec<u8>> for Nobody {
    fn verify(&self, _: &[u8], _: &Vec<u8>) -> Result<(), Error> {
        Err(Error::new())
    }
}

impl JwtVerifier for Nobody {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

#[test]
fn the_hosts_own_provider_stays_and_a_key_that_it_does_not_take_is_told() {
    HOST.install_default().expect("the first in this process");
    let key = |alg, text: &str| JwtKey {
        alg,
        key: Secret::new(text),
        issuer: "https://id.example.com".into(),
        audience: "moorline".into(),
        role_claim: "role".into(),
        user_claim: "sub".into(),
    };
    assert_eq!(key(JwtAlg::Hs256, "0123456789abcdef0123456789abcdef").check(), Ok(()));
    let pem = include_str!("../src/gateway/jwt/vectors/eddsa.pem");
    assert_eq!(key(JwtAlg::EdDsa, pem).check(), Err(JwtKeyError::Provider));
}
