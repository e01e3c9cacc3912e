//! Public keys in PEM (RFC 7468 section 13): the few kinds that sign tokens here.

use super::JwtKeyError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What a key can verify.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    P256,
    Ed25519,
}

/// A key, as `ring` takes it: of RSA the PKCS #1 structure, of P-256 the uncompressed point, of Ed25519
/// the 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// Object identifiers: RFC 3279 sections 2.3.1 and 2.3.5, RFC 8410 section 3.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

impl PublicKey {
    /// The key of a text; what stands around it is ignored, as RFC 7468 section 2 allows.
    pub(super) fn parse(text: &str) -> Result<Self, JwtKeyError> {
        let der = unarmor(text).ok_or(JwtKeyError::NotPublic)?;
        let Subject { algorithm, curve, key } = subject(&der).ok_or(JwtKeyError::NotPublic)?;
        let kind = match (algorithm, curve) {
            (RSA, _) => Kind::Rsa,
            (EC, Some(P256)) if key.len() == 65 && key[0] == 4 => Kind::P256,
            (ED25519, None) if key.len() == 32 => Kind::Ed25519,
            _ => return Err(JwtKeyError::OtherAlgorithm),
        };
        if kind == Kind::Rsa {
            let bits = modulus_bits(key).ok_or(JwtKeyError::NotPublic)?;
            if !(2048..=8192).contains(&bits) {
                return Err(JwtKeyError::Size);
            }
        }
        Ok(Self { kind, bytes: key.to_vec() })
    }
}

fn unarmor(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64_STANDARD.decode(body).ok()
}

/// A SubjectPublicKeyInfo (RFC 5280 section 4.1).
struct Subject<'a> {
    algorithm: &'a [u8],
    curve: Option<&'a [u8]>,
    key: &'a [u8],
}

fn subject(der: &[u8]) -> Option<Subject<'_>> {
    let (outer, rest) = take(der, SEQUENCE)?;
    let (identifier, outer) = take(outer, SEQUENCE)?;
    let (bits, after) = take(outer, BIT_STRING)?;
    let (algorithm, params) = take(identifier, OBJECT)?;
    let key = bits.strip_prefix(&[0])?;
    let curve = take(params, OBJECT).map(|(oid, _)| oid);
    (rest.is_empty() && after.is_empty()).then_some(Subject { algorithm, curve, key })
}

fn modulus_bits(key: &[u8]) -> Option<usize> {
    let (inner, _) = take(key, SEQUENCE)?;
    let (modulus, _) = take(inner, INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// The content of the first element, which must have this tag, and what follows it (X.690 section 8.1).
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7F => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    if *first != tag {
        return None;
    }
    rest.split_at_checked(length)
}
