//! Gateway tokens: what they grant, and what they are called where their secret must not be seen.

use super::super::principal::Role;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A text that must not be shown: it has neither `Debug` nor `Display`, so nothing can print it.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a secret that can be printed will be")]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the secret in.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the lengths only.
    pub(in super::super) fn matches(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// The first 8 hexadecimal digits of its SHA-256: enough to tell which one it is.
    pub(in super::super) fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.0.as_bytes());
        hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(in super::super) fn expose(&self) -> &str {
        &self.0
    }
}

/// A gateway token and what it grants.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct Token {
    /// What the client must send.
    pub secret: Secret,
    /// The role of who has it. An [`Role::Admin`] becomes [`Role::Owner`] when its user is in
    /// [`GatewayConfig::owner_ids`](super::GatewayConfig::owner_ids).
    pub role: Role,
    /// The user it belongs to, if it is bound to one: then a client cannot choose its `user_id`.
    pub user: Option<String>,
}

impl Token {
    /// The usual gateway token: an admin of any user id.
    pub fn admin(secret: Secret) -> Self {
        Self { secret, role: Role::Admin, user: None }
    }
}

/// A gateway token's name: the start of the SHA-256 of its secret, role and user. It is the same at
/// all nodes and after a restart, for as long as the token is the same.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenId(pub(in super::super) [u8; 8]);

impl TokenId {
    pub(super) fn of(token: &Token) -> Self {
        let mut hash = Sha256::new();
        // Lengths keep texts apart that together are the same.
        for text in [&token.secret.0, token.role.as_str(), token.user.as_deref().unwrap_or("")] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update([u8::from(token.user.is_some())]);
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }

    /// That of a token of agents, whichever these are.
    pub(super) fn of_worker(token: &Secret) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"worker\0");
        hash.update(token.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }

    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}
