//! JSON Web Tokens of other services (RFC 7519) as credentials: which keys are believed for what, and what
//! the claims of a good token mean here. Tokens are read and verified by the `jsonwebtoken` crate.
//!
//! The key decides the algorithm, never the token (RFC 8725 section 3.1), and is bound to one issuer and
//! one audience. A signature is looked at before anything that it signs.

mod provider;
mod public_key;

use super::api_keys::{hex, unhex};
use super::config::Secret;
use super::principal::Role;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use public_key::{Kind, PublicKey};
use serde_json::error::Category;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;

/// How far the clock of an issuer may be off, in milliseconds: half a minute. It counts at both ends of
/// a token's life.
pub(super) const LEEWAY_MS: u64 = 30_000;

/// Bytes of a secret that signs: as many as the hash has (RFC 7518 section 3.2).
const MIN_SECRET: usize = 32;

/// Bytes of a token's id that is looked at.
const MAX_ID: usize = 255;

/// How a token is signed.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtAlg {
    /// HMAC with SHA-256: who can verify can sign.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, of 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlg {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name in a token's header (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == name)
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// Whose tokens are believed.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it may hold a secret")]
pub struct JwtKey {
    /// The only algorithm that tokens of this key may have.
    pub alg: JwtAlg,
    /// With HS256 the shared secret, of at least 32 bytes; else the public key in PEM (`BEGIN PUBLIC
    /// KEY`).
    pub key: Secret,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or have among others.
    pub audience: String,
    /// The claim with the role: `viewer`, `operator` or `admin`, or a list with one of them, of which
    /// the highest counts. Usually `role`.
    pub role_claim: String,
    /// The claim with the user id. Usually `sub`.
    pub user_claim: String,
}

impl JwtKey {
    /// Whether tokens can be verified by it.
    ///
    /// # Errors
    /// [`JwtKeyError`].
    pub fn check(&self) -> Result<(), JwtKeyError> {
        Verifier::new(self).map(|_| ())
    }
}

/// Why no token can be verified by a key.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// The secret has fewer than 32 bytes.
    ShortSecret,
    /// It is not a public key in PEM.
    NotPublic,
    /// It is a public key for another algorithm.
    OtherAlgorithm,
    /// An RSA key of fewer than 2048 or more than 8192 bits.
    Size,
    /// Issuer, audience or the name of a claim is empty.
    Empty,
    /// The host has chosen a provider of cryptography for `jsonwebtoken` that does not take it.
    Provider,
}

impl fmt::Display for JwtKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShortSecret => "a secret for HS256 needs at least 32 bytes",
            Self::NotPublic => "the key is no public key in PEM (-----BEGIN PUBLIC KEY-----)",
            Self::OtherAlgorithm => "the public key is for another algorithm",
            Self::Size => "an RSA key needs 2048 to 8192 bits",
            Self::Empty => "iss, aud, role_claim and user_claim cannot be empty",
            Self::Provider => {
                "this process's provider of cryptography for JWTs does not take the key"
            }
        })
    }
}

impl std::error::Error for JwtKeyError {}

/// A configured key's name: the start of the SHA-256 of all that it says.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct JwtKeyId([u8; 32]);

impl JwtKeyId {
    fn of(key: &JwtKey) -> Self {
        let mut hash = Sha256::new();
        let texts = [&key.issuer, &key.audience, &key.role_claim, &key.user_claim];
        let texts = texts.into_iter().map(String::as_str);
        for text in texts.chain([key.alg.as_str(), key.key.expose()]) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        Self(hash.finalize().into())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Display for JwtKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A key that is ready.
pub(super) struct Verifier {
    pub(super) id: JwtKeyId,
    key: JwtKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// What a token proves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proved {
    pub(super) key: JwtKeyId,
    pub(super) user: String,
    pub(super) role: Role,
    pub(super) id: Option<Arc<str>>,
    /// Unix milliseconds; 0 where the token does not tell.
    pub(super) issued: u64,
    /// When it proves nothing any more, the leeway included.
    pub(super) expires: u64,
}

/// Why a token proves nothing.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not three parts of base64url with JSON, or has a header that asks for more.
    Malformed,
    /// No key signs so, or the signature is wrong.
    Signature,
    Issuer,
    Audience,
    Expired,
    NotYet,
    /// `exp`, a user or a role is missing, or is not what it must be.
    Claims,
}

/// Whether a text has the form of a token, right or wrong.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// What a token proves at this time, in Unix milliseconds.
pub(super) fn verify(keys: &[Verifier], text: &str, at: u64) -> Result<Proved, Refused> {
    let header = decode_header(text).map_err(|error| match error.kind() {
        // It is JSON, and names no algorithm that anybody knows.
        ErrorKind::Json(error) if error.classify() == Category::Data => Refused::Signature,
        _ => Refused::Malformed,
    })?;
    // Extensions that must be understood: none is (RFC 7515 section 4.1.11).
    if header.crit.is_some() {
        return Err(Refused::Malformed);
    }
    let mut refused = Refused::Signature;
    for key in keys.iter().filter(|key| key.key.alg.algorithm() == header.alg) {
        let decoded = decode::<Map<String, Value>>(text, &key.decoding, &key.validation);
        match decoded
            .map_err(|error| Refused::of(&error))
            .and_then(|data| key.judge(&data.claims, at))
        {
            Ok(proved) => return Ok(proved),
            // Signed by another key, of which more may have been said already.
            Err(Refused::Signature) => {}
            // The same key may be there for another issuer.
            Err(other) => refused = other,
        }
    }
    Err(refused)
}

impl Refused {
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidIssuer => Self::Issuer,
            // Only the audience is required.
            ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => Self::Audience,
            ErrorKind::InvalidToken
            | ErrorKind::Base64(_)
            | ErrorKind::Json(_)
            | ErrorKind::Utf8(_) => Self::Malformed,
            _ => Self::Signature,
        }
    }
}

impl Verifier {
    pub(super) fn new(key: &JwtKey) -> Result<Self, JwtKeyError> {
        let names = [&key.issuer, &key.audience, &key.role_claim, &key.user_claim];
        if names.into_iter().any(String::is_empty) {
            return Err(JwtKeyError::Empty);
        }
        let text = key.key.expose();
        let public = |wanted| match PublicKey::parse(text)? {
            PublicKey { kind, bytes } if kind == wanted => Ok(bytes),
            _ => Err(JwtKeyError::OtherAlgorithm),
        };
        let decoding = match key.alg {
            JwtAlg::Hs256 if text.len() < MIN_SECRET => return Err(JwtKeyError::ShortSecret),
            JwtAlg::Hs256 => DecodingKey::from_secret(text.as_bytes()),
            JwtAlg::Rs256 => DecodingKey::from_rsa_der(&public(Kind::Rsa)?),
            JwtAlg::Es256 => DecodingKey::from_ec_der(&public(Kind::P256)?),
            JwtAlg::EdDsa => DecodingKey::from_ed_der(&public(Kind::Ed25519)?),
        };
        provider::install();
        if !provider::takes(&decoding, key.alg.algorithm()) {
            return Err(JwtKeyError::Provider);
        }
        let mut validation = Validation::new(key.alg.algorithm());
        validation.set_issuer(&[&key.issuer]);
        validation.set_audience(&[&key.audience]);
        // Of several that are missing the crate names any, and replay must be exact: `iss` is looked
        // at here.
        validation.set_required_spec_claims(&["aud"]);
        // Against the gateway's clock, which is not the system's.
        validation.validate_exp = false;
        Ok(Self { id: JwtKeyId::of(key), key: key.clone(), decoding, validation })
    }

    fn judge(&self, claims: &Map<String, Value>, at: u64) -> Result<Proved, Refused> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // The crate takes a list of issuers, too, and what is no text for none (RFC 7519 section 4.1.1).
        if text("iss").is_none() {
            return Err(Refused::Issuer);
        }
        let expires = time(claims, "exp")?.ok_or(Refused::Claims)?.saturating_add(LEEWAY_MS);
        if expires <= at {
            return Err(Refused::Expired);
        }
        let issued = time(claims, "iat")?.unwrap_or(0);
        let from = time(claims, "nbf")?.unwrap_or(0).max(issued);
        if from > at.saturating_add(LEEWAY_MS) {
            return Err(Refused::NotYet);
        }
        let role = match claims.get(&self.key.role_claim) {
            Some(Value::String(name)) => role(name),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).filter_map(role).max(),
            _ => None,
        };
        let user = text(&self.key.user_claim).filter(|user| super::authenticate::is_user(user));
        let id = match claims.get("jti") {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_ID => Some(id.as_str().into()),
            // It could not be revoked.
            Some(_) => return Err(Refused::Claims),
        };
        match (user, role) {
            (Some(user), Some(role)) => {
                Ok(Proved { key: self.id, user: user.into(), role, id, issued, expires })
            }
            _ => Err(Refused::Claims),
        }
    }
}

/// Nobody is made an owner by another service.
fn role(name: &str) -> Option<Role> {
    Role::parse(name).filter(|role| *role <= Role::Admin)
}

/// A time in Unix milliseconds. Tokens have seconds, and may have fractions of them.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refused> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds >= 0.0 => Ok(Some((seconds * 1000.0) as u64)),
            _ => Err(Refused::Claims),
        },
    }
}

#[cfg(test)]
#[path = "jwt/tests.rs"]
mod tests;
