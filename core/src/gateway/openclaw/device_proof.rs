//! The proof of a device: it signs this connection's challenge, and its name is the hash of its key.
//!
//! ```text
//!  v3|id|client|mode|role|scopes|signed at|token|nonce|platform|family
//!  v2|id|client|mode|role|scopes|signed at|token|nonce
//! ```
//!
//! An older text without the nonce is not taken: whoever has seen it once could send it again.

use super::super::api_keys::hex;
use super::connect_params::{ConnectParams, DeviceParams, PeerRole};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// A device's public key, Ed25519 (RFC 8032 section 5.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceKey(pub(in crate::gateway) [u8; 32]);

impl DeviceKey {
    /// The key of its text: base64url or plain base64, with or without padding.
    pub(in crate::gateway) fn parse(text: &str) -> Option<Self> {
        let bytes = decode::<32>(text)?;
        Some(Self(bytes))
    }

    /// The name of the device: the SHA-256 of the key in lower-case hexadecimal digits.
    pub(in crate::gateway) fn id(&self) -> Arc<str> {
        hex(&Sha256::digest(self.0)).into()
    }

    /// In base64url without padding, as clients write it.
    pub(in crate::gateway) fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// A device that has proved to be the one that it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct ProvedDevice {
    /// Its name.
    pub(in crate::gateway) id: Arc<str>,
    /// Its key.
    pub(in crate::gateway) key: DeviceKey,
    /// Whether it has signed the platform and the family, too.
    pub(in crate::gateway) signs_platform: bool,
}

/// What a connection was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Challenge<'a> {
    /// Made for this connection alone.
    pub(in crate::gateway) nonce: &'a str,
    /// When, in Unix milliseconds.
    pub(in crate::gateway) ts: u64,
}

/// Why a proof is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum ProofError {
    /// The key is not one.
    PublicKey,
    /// The name is not the key's hash.
    Id,
    /// It has signed too long before or after the challenge.
    Stale,
    /// There is no nonce.
    NonceMissing,
    /// The nonce is another connection's.
    Nonce,
    /// The signature is not the key's, or it is another text's.
    Signature,
}

impl ProofError {
    /// `error.details.code`.
    pub(in crate::gateway) const fn code(self) -> &'static str {
        match self {
            Self::PublicKey => "DEVICE_AUTH_PUBLIC_KEY_INVALID",
            Self::Id => "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            Self::Stale => "DEVICE_AUTH_SIGNATURE_EXPIRED",
            Self::NonceMissing => "DEVICE_AUTH_NONCE_REQUIRED",
            Self::Nonce => "DEVICE_AUTH_NONCE_MISMATCH",
            Self::Signature => "DEVICE_AUTH_SIGNATURE_INVALID",
        }
    }

    /// `error.details.reason`.
    pub(in crate::gateway) const fn reason(self) -> &'static str {
        match self {
            Self::PublicKey => "device-public-key",
            Self::Id => "device-id-mismatch",
            Self::Stale => "device-signature-stale",
            Self::NonceMissing => "device-nonce-missing",
            Self::Nonce => "device-nonce-mismatch",
            Self::Signature => "device-signature",
        }
    }

    /// `error.message`, and the reason of the Close.
    pub(in crate::gateway) const fn message(self) -> &'static str {
        match self {
            Self::PublicKey => "device public key invalid",
            Self::Id => "device identity mismatch",
            Self::Stale => "device signature expired",
            Self::NonceMissing => "device nonce required",
            Self::Nonce => "device nonce mismatch",
            Self::Signature => "device signature invalid",
        }
    }
}

/// How far from the challenge a signature may be. Clients sign with the challenge's own time, so that
/// their clocks do not matter; those that use their own are off by this much at most.
const SKEW_MS: u64 = 120_000;

/// Verifies the proof of `device`, which came with `params`, of a client that is to be a `role`.
///
/// # Errors
/// [`ProofError`].
pub(in crate::gateway) fn verify(
    device: &DeviceParams,
    params: &ConnectParams,
    role: PeerRole,
    challenge: Challenge<'_>,
) -> Result<ProvedDevice, ProofError> {
    let key = DeviceKey::parse(&device.public_key).ok_or(ProofError::PublicKey)?;
    let id = key.id();
    if *device.id != *id {
        return Err(ProofError::Id);
    }
    if device.signed_at.abs_diff(challenge.ts) > SKEW_MS {
        return Err(ProofError::Stale);
    }
    if device.nonce.is_empty() {
        return Err(ProofError::NonceMissing);
    }
    if *device.nonce != *challenge.nonce {
        return Err(ProofError::Nonce);
    }
    let signature = decode::<64>(&device.signature).ok_or(ProofError::Signature)?;
    let signed = common(device, params, role);
    let client = &params.client;
    let (platform, family) = (&*client.platform, client.device_family.as_deref());
    let (platform, family) = (normal(platform), normal(family.unwrap_or_default()));
    let v3 = format!("v3|{signed}|{platform}|{family}");
    let public = UnparsedPublicKey::new(&ED25519, key.0);
    let is_signed = |text: &str| public.verify(text.as_bytes(), &signature).is_ok();
    let signs_platform = is_signed(&v3);
    if signs_platform || is_signed(&format!("v2|{signed}")) {
        Ok(ProvedDevice { id, key, signs_platform })
    } else {
        Err(ProofError::Signature)
    }
}

/// As it is signed and compared: letter case and white space around it say nothing.
pub(in crate::gateway) fn normal(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// What all versions sign.
fn common(device: &DeviceParams, params: &ConnectParams, role: PeerRole) -> String {
    let DeviceParams { id, signed_at, nonce, .. } = device;
    let (client, mode) = (params.client.id, params.client.mode);
    let (role, scopes) = (role.as_str(), params.scopes.join(","));
    let token = params.auth.signed();
    format!("{id}|{client}|{mode}|{role}|{scopes}|{signed_at}|{token}|{nonce}")
}

/// Exactly `N` bytes of base64 in either alphabet.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    let plain = GeneralPurpose::new(&alphabet::STANDARD, config);
    let bytes = url.decode(text).or_else(|_| plain.decode(text)).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::value::RawValue;

    const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const ID: &str = "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9";
    const NONCE: &str = "11111111-2222-3333-4444-555555555555";
    const TS: u64 = 1_700_000_000_000;
    const CHALLENGE: Challenge<'static> = Challenge { nonce: NONCE, ts: TS };
    const V3: &str =
        "da499qcahwzEO9ioe_AWx0jwXrUzj4Z67zqnkFYbRJWP4QIE33ZMSaFhVtos95LGN2U6Ojm9PBrlOw80UulVAQ";
    const V2: &str =
        "5C8FsxYXKo54gyhvI2a3uMvb8nh4zVByBhznb73UV5qjVrRAQLaI41xGjntckBDGJEsrAiH4y9wlPJusyF4VAQ";
    const V1: &str =
        "WBEoWC5vz9SN7M-8oBkSVy8whi08mjcDZNH8temgJFq5IQCvPKxHnQwSIVUr2y9qiF9QN1-dk2AOsRbOU3HJDQ";

    fn params() -> ConnectParams {
        let text = r#"{"minProtocol":3,"maxProtocol":4,"client":{"id":"cli","version":"1",
            "platform":" Linux ","deviceFamily":"LINUX","mode":"cli"},
            "scopes":["operator.read","operator.write"],"auth":{"token":"tok"}}"#;
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        ConnectParams::read(Some(raw)).expect("fine")
    }

    fn device(signature: &str) -> DeviceParams {
        DeviceParams {
            id: ID.into(),
            public_key: KEY.into(),
            signature: signature.into(),
            signed_at: TS,
            nonce: NONCE.into(),
        }
    }

    fn proof(device: &DeviceParams) -> Result<ProvedDevice, ProofError> {
        verify(device, &params(), PeerRole::Operator, CHALLENGE)
    }

    /// RFC 8032 section 7.1, test 1.
    fn pair() -> Ed25519KeyPair {
        let seed = b"\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\
            \x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
        Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes")
    }

    fn sign(text: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(pair().sign(text.as_bytes()))
    }

    #[test]
    fn the_clients_own_signatures_are_taken() {
        let v3 = proof(&device(V3)).expect("signed");
        assert_eq!((&*v3.id, v3.signs_platform), (ID, true));
        assert_eq!((v3.key.text().as_str(), &v3.key.0[..]), (KEY, pair().public_key().as_ref()));
        let v2 = proof(&device(V2)).expect("signed");
        assert!(!v2.signs_platform && v2.id == v3.id);
        assert_eq!(proof(&device(V1)), Err(ProofError::Signature));
        let without = DeviceParams { nonce: "".into(), ..device(V1) };
        assert_eq!(proof(&without), Err(ProofError::NonceMissing));
    }

    #[test]
    fn keys_and_signatures_may_be_in_plain_base64() {
        for engine in [&BASE64_STANDARD, &base64::prelude::BASE64_STANDARD_NO_PAD] {
            let plain = |text: &str| {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url");
                engine.encode(bytes).into_boxed_str()
            };
            let device = DeviceParams { public_key: plain(KEY), ..device(&plain(V3)) };
            assert!(proof(&device).is_ok());
        }
        let wrong = ["", "x", "AAAA", &KEY[1..], &format!("A{KEY}"), &format!("{KEY}!"), V3];
        for key in wrong {
            let device = DeviceParams { public_key: key.into(), ..device(V3) };
            assert_eq!(proof(&device), Err(ProofError::PublicKey), "{key}");
        }
    }

    #[test]
    fn no_bit_of_a_signature_may_be_another() {
        for signature in [V3, V2] {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url");
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let other = BASE64_URL_SAFE_NO_PAD.encode(&bytes);
                assert_eq!(proof(&device(&other)), Err(ProofError::Signature), "bit {bit}");
            }
            for bytes in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[]] {
                let other = BASE64_URL_SAFE_NO_PAD.encode(bytes);
                assert_eq!(proof(&device(&other)), Err(ProofError::Signature));
            }
        }
    }

    #[test]
    fn a_name_is_the_hash_of_the_key() {
        for id in ["", &ID[1..], &ID.to_uppercase(), &ID.replace('2', "3")] {
            let device = DeviceParams { id: id.into(), ..device(V3) };
            assert_eq!(proof(&device), Err(ProofError::Id), "{id}");
        }
    }

    #[test]
    fn only_this_connections_nonce_counts() {
        let nonce = &NONCE.replace('1', "2");
        let other = DeviceParams { nonce: nonce.as_str().into(), ..device(V3) };
        assert_eq!(proof(&other), Err(ProofError::Nonce));
        // Nor does it help to have it signed for another connection.
        let challenge = Challenge { nonce, ts: TS };
        let verified = verify(&other, &params(), PeerRole::Operator, challenge);
        assert_eq!(verified, Err(ProofError::Signature));
    }

    #[test]
    fn a_signature_holds_two_minutes_before_and_after_its_challenge() {
        let scopes = "operator.read,operator.write";
        for (signed_at, is_fresh) in [
            (TS - SKEW_MS - 1, false),
            (TS - SKEW_MS, true),
            (TS + SKEW_MS, true),
            (TS + SKEW_MS + 1, false),
            (0, false),
            (u64::MAX, false),
        ] {
            let text = format!("v2|{ID}|cli|cli|operator|{scopes}|{signed_at}|tok|{NONCE}");
            let device = DeviceParams { signed_at, ..device(&sign(&text)) };
            let expected = if is_fresh { None } else { Some(ProofError::Stale) };
            assert_eq!(proof(&device).err(), expected, "{signed_at}");
        }
        // The time is signed, too.
        let device = DeviceParams { signed_at: TS + 1, ..device(V3) };
        assert_eq!(proof(&device), Err(ProofError::Signature));
    }

    #[test]
    fn everything_else_that_is_signed_counts() {
        type Change = fn(&mut ConnectParams);
        let changes: [(Change, bool); 8] = [
            (|params| params.scopes.reverse(), false),
            (|params| params.scopes.push("operator.admin".into()), false),
            (|params| params.scopes.clear(), false),
            (|params| params.client.id = "test", false),
            (|params| params.client.mode = "ui", false),
            (|params| params.auth = Default::default(), false),
            // The second version does not have these.
            (|params| params.client.platform = "darwin".into(), true),
            (|params| params.client.device_family = None, true),
        ];
        for (at, (change, v2_holds)) in changes.into_iter().enumerate() {
            let mut params = params();
            change(&mut params);
            for (signature, holds) in [(V3, false), (V2, v2_holds)] {
                let proof = verify(&device(signature), &params, PeerRole::Operator, CHALLENGE);
                assert_eq!(proof.is_ok(), holds, "change {at}");
            }
        }
        let node = verify(&device(V3), &params(), PeerRole::Node, CHALLENGE);
        assert_eq!(node, Err(ProofError::Signature));
    }

    #[test]
    fn each_failure_has_words_of_its_own() {
        use ProofError::*;
        let all = [PublicKey, Id, Stale, NonceMissing, Nonce, Signature];
        for one in all {
            let same = |other: &&ProofError| {
                other.code() == one.code()
                    || other.reason() == one.reason()
                    || other.message() == one.message()
            };
            assert_eq!(all.iter().filter(same).count(), 1, "{one:?}");
            assert!(one.code().starts_with("DEVICE_AUTH_") && one.reason().starts_with("device-"));
        }
    }
}
