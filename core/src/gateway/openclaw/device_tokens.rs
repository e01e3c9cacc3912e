//! The tokens that a device gets for what it was let in for: kept as hashes, as many as it has programs.
//!
//! The programs of one machine share its key but not what they remember, and a token cannot be told
//! twice when only its hash is kept. So whoever comes without one gets another, and the newest few stay
//! valid side by side until somebody takes them all back.

use super::super::api_keys::{hex, unhex};
use super::super::config::Secret;
use super::super::json::Object;
use super::scopes::Scopes;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Tokens of one device and role that are valid at a time. More: a machine with more programs than this
/// asks for new ones in turn. Fewer: they would put each other out.
const MOST: usize = 4;

/// What a device was let in for in one role, and the tokens that it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Grant {
    /// No token has more than these.
    pub(in crate::gateway) scopes: Scopes,
    /// Oldest first.
    tokens: Vec<Token>,
    /// Whatever was made before is void, in Unix milliseconds.
    valid_from: u64,
    rotated: Option<u64>,
    used: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Token {
    /// Unix milliseconds. First, so that tokens sort by it.
    created: u64,
    hash: [u8; 32],
    scopes: Scopes,
}

/// Why a token does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum TokenError {
    /// It is none of this device's in this role.
    Mismatch,
    /// It is valid, for less than what was asked.
    Scopes,
}

impl TokenError {
    /// `error.details.code`.
    pub(in crate::gateway) const fn code(self) -> &'static str {
        match self {
            Self::Mismatch => "AUTH_DEVICE_TOKEN_MISMATCH",
            Self::Scopes => "AUTH_SCOPE_MISMATCH",
        }
    }

    /// `error.message`, after `unauthorized: `.
    pub(in crate::gateway) const fn message(self) -> &'static str {
        match self {
            Self::Mismatch => "device token mismatch",
            Self::Scopes => "device token does not have these scopes",
        }
    }
}

impl Grant {
    /// Without a token yet.
    pub(super) fn new(scopes: Scopes) -> Self {
        Self { scopes, tokens: Vec::new(), valid_from: 0, rotated: None, used: None }
    }

    /// Makes one more token, of random bytes; the oldest goes if there are too many. None when the
    /// scopes are more than was allowed.
    pub(super) fn issue(&mut self, scopes: Scopes, random: &[u8; 32], at: u64) -> Option<String> {
        if !self.scopes.allows(scopes) {
            return None;
        }
        let text = BASE64_URL_SAFE_NO_PAD.encode(random);
        // No two of the same time: they are put in order by it.
        let created = at.max(self.valid_from).max(self.newest().saturating_add(1));
        self.tokens.push(Token { created, hash: hash(&text), scopes });
        self.keep_newest();
        Some(text)
    }

    /// When a token was made that was offered for `asked`. All are compared, in a time that tells
    /// nothing about them.
    pub(super) fn prove(&self, offered: &Secret, asked: Scopes) -> Result<u64, TokenError> {
        use subtle::ConstantTimeEq as _;
        let hash = hash(offered.expose());
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.hash[..].ct_eq(&hash[..])) {
                found = Some((token.created, token.scopes.within(self.scopes)));
            }
        }
        let (created, scopes) = found.ok_or(TokenError::Mismatch)?;
        if scopes.allows(asked) { Ok(created) } else { Err(TokenError::Scopes) }
    }

    /// Whether what was made then has not been taken back. One that made room for newer ones was not.
    pub(super) fn is_valid(&self, created: u64) -> bool {
        self.valid_from <= created
    }

    /// What the newest token may do; without one, what the next may.
    pub(super) fn newest_scopes(&self) -> Scopes {
        self.tokens.last().map_or(self.scopes, |token| token.scopes.within(self.scopes))
    }

    /// One new token instead of all there were. None when the scopes are more than was allowed.
    pub(super) fn rotate(&mut self, scopes: Scopes, random: &[u8; 32], at: u64) -> Option<String> {
        if !self.scopes.allows(scopes) {
            return None;
        }
        self.revoke(at);
        self.rotated = Some(at);
        self.issue(scopes, random, at)
    }

    /// Takes all tokens back.
    pub(super) fn revoke(&mut self, at: u64) {
        // Beyond the newest, or a token of the same millisecond would come back from another node.
        self.valid_from = at.max(self.newest().saturating_add(1)).max(self.valid_from);
        self.tokens.clear();
    }

    pub(super) fn used(&mut self, at: u64) {
        self.used = self.used.max(Some(at));
    }

    /// Takes over what another node knows of the same grant. In whatever order nodes learn of changes,
    /// they end with the same, and what was taken back stays taken back.
    pub(super) fn merge(&mut self, other: &Self) {
        self.scopes = self.scopes.or(other.scopes);
        self.valid_from = self.valid_from.max(other.valid_from);
        self.rotated = self.rotated.max(other.rotated);
        self.used = self.used.max(other.used);
        self.tokens.extend(other.tokens.iter().cloned());
        self.tokens.sort();
        self.tokens.dedup();
        self.keep_newest();
    }

    fn keep_newest(&mut self) {
        let from = self.valid_from;
        self.tokens.retain(|token| token.created >= from);
        let excess = self.tokens.len().saturating_sub(MOST);
        self.tokens.drain(..excess);
    }

    /// When the newest was made.
    pub(super) fn newest(&self) -> u64 {
        self.tokens.last().map_or(0, |token| token.created)
    }

    /// Whether there is one.
    pub(super) fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// For people, as the one token that they think there is: since when there is one, and what the
    /// newest may do.
    pub(super) fn write_token(&self, role: &str, out: &mut String) {
        let scopes = self.tokens.last().map_or(Scopes::NONE, |token| token.scopes);
        let mut object = Object::new(out).str("role", role);
        scopes.within(self.scopes).write(object.key("scopes"));
        object = object.num("createdAtMs", self.tokens.first().map_or(0, |token| token.created));
        for (name, time) in [("rotatedAtMs", self.rotated), ("lastUsedAtMs", self.used)] {
            if let Some(time) = time {
                object = object.num(name, time);
            }
        }
        object.end();
    }

    /// For a record.
    pub(super) fn save(&self, role: &str, out: &mut String) {
        let mut object = Object::new(out)
            .str("role", role)
            .str("scopes", &self.scopes.to_string())
            .num("valid_from", self.valid_from)
            .list("tokens", &self.tokens, |out, token| {
                Object::new(out)
                    .num("created", token.created)
                    .str("hash", &hex(&token.hash))
                    .str("scopes", &token.scopes.to_string())
                    .end();
            });
        for (name, time) in [("rotated", self.rotated), ("used", self.used)] {
            if let Some(time) = time {
                object = object.num(name, time);
            }
        }
        object.end();
    }
}

/// As [`Grant::save`] writes it.
#[derive(Deserialize)]
pub(super) struct SavedGrant {
    pub(super) role: String,
    scopes: String,
    valid_from: u64,
    tokens: Vec<SavedToken>,
    rotated: Option<u64>,
    used: Option<u64>,
}

#[derive(Deserialize)]
struct SavedToken {
    created: u64,
    hash: String,
    scopes: String,
}

impl SavedGrant {
    /// A scope that a later version has written is dropped, as this one cannot know what it allows.
    pub(super) fn restore(self) -> Option<Grant> {
        let scopes = |text: &str| Scopes::of(text.split(',')).0;
        let token = |saved: SavedToken| {
            let hash = unhex(&saved.hash)?;
            Some(Token { created: saved.created, hash, scopes: scopes(&saved.scopes) })
        };
        Some(Grant {
            scopes: scopes(&self.scopes),
            tokens: self.tokens.into_iter().map(token).collect::<Option<_>>()?,
            valid_from: self.valid_from,
            rotated: self.rotated,
            used: self.used,
        })
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: Scopes = Scopes::READ.or(Scopes::WRITE);

    fn proves(grant: &Grant, text: &str) -> bool {
        grant.prove(&Secret::new(text), Scopes::NONE).is_ok()
    }

    #[test]
    fn a_token_proves_what_it_was_made_for_and_no_more() {
        let mut grant = Grant::new(CHAT);
        let text = grant.issue(Scopes::READ, &[7; 32], 10).expect("allowed");
        assert_eq!(text.len(), 43);
        let offered = Secret::new(&text);
        assert_eq!(grant.prove(&offered, Scopes::READ), Ok(10));
        assert_eq!(grant.prove(&offered, Scopes::NONE), Ok(10));
        assert_eq!(grant.prove(&offered, CHAT), Err(TokenError::Scopes));
        assert_eq!(grant.issue(Scopes::ADMIN, &[8; 32], 11), None);
        for wrong in ["", "x", &text[1..], &format!("{text} "), &text.replace('B', "C")] {
            assert_eq!(grant.prove(&Secret::new(wrong), Scopes::NONE), Err(TokenError::Mismatch));
        }
        let mut saved = format!("{grant:?}");
        grant.save("operator", &mut saved);
        assert!(!saved.contains(&text));
    }

    #[test]
    fn the_newest_four_are_valid_side_by_side() {
        let mut grant = Grant::new(CHAT);
        // Made in the same millisecond, too, and told to another node.
        let texts: Vec<_> =
            (0..6).map(|n| grant.issue(CHAT, &[n; 32], 5).expect("allowed")).collect();
        let mut elsewhere = Grant::new(CHAT);
        elsewhere.merge(&grant);
        for grant in [grant, elsewhere] {
            let valid: Vec<_> = texts.iter().map(|text| proves(&grant, text)).collect();
            assert_eq!(valid, [false, false, true, true, true, true]);
        }
    }

    #[test]
    fn rotation_leaves_one_and_revocation_none() {
        let mut grant = Grant::new(CHAT);
        let old = grant.issue(Scopes::READ, &[1; 32], 5).expect("allowed");
        assert_eq!((grant.newest(), grant.newest_scopes()), (5, Scopes::READ));
        let new = grant.rotate(Scopes::READ, &[2; 32], 5).expect("allowed");
        assert!(!proves(&grant, &old) && proves(&grant, &new));
        assert!(!grant.is_valid(5) && grant.is_valid(grant.newest()));
        assert_eq!(grant.rotate(Scopes::PAIRING, &[3; 32], 6), None);
        assert!(proves(&grant, &new), "what was refused has changed nothing");
        let wide = grant.rotate(Scopes::WRITE, &[3; 32], 6).expect("allowed");
        assert!(grant.prove(&Secret::new(&wide), Scopes::READ).is_ok());
        let last = grant.newest();
        grant.revoke(7);
        grant.revoke(7);
        assert!(!proves(&grant, &wide) && !grant.is_valid(last));
        assert_eq!(grant.newest_scopes(), CHAT);
        let next = grant.issue(CHAT, &[4; 32], 7).expect("allowed");
        assert!(proves(&grant, &next) && grant.is_valid(grant.newest()));
    }

    #[test]
    fn nodes_agree_in_any_order_and_what_was_revoked_stays_so() {
        let mut base = Grant::new(CHAT);
        let first = base.issue(CHAT, &[1; 32], 5).expect("allowed");
        let (mut issued, mut used, mut revoked) = (base.clone(), base.clone(), base.clone());
        let second = issued.issue(CHAT, &[2; 32], 6).expect("allowed");
        let third = issued.issue(CHAT, &[3; 32], 7).expect("allowed");
        used.used(8);
        revoked.revoke(6);
        let all = [&base, &issued, &used, &revoked];
        let mut ends = Vec::new();
        for at in 0..64 {
            let mut grant = base.clone();
            for other in [at & 3, at >> 2 & 3, at >> 4 & 3, 1, 2, 3] {
                grant.merge(all[other]);
            }
            ends.push(grant);
        }
        assert!(ends.iter().all(|end| *end == ends[0]));
        assert!(!proves(&ends[0], &first));
        assert!(proves(&ends[0], &second) && proves(&ends[0], &third));
        assert_eq!(ends[0].used, Some(8));
    }

    #[test]
    fn a_grant_is_restored_as_it_was_saved() {
        let mut grant = Grant::new(Scopes::ALL);
        grant.issue(Scopes::NONE, &[1; 32], 5).expect("allowed");
        grant.rotate(CHAT, &[2; 32], 6).expect("allowed");
        grant.used(9);
        for grant in [grant, Grant::new(Scopes::NONE)] {
            let mut text = String::new();
            grant.save("node", &mut text);
            let saved: SavedGrant = serde_json::from_str(&text).expect("JSON");
            assert_eq!(saved.role, "node");
            assert_eq!(saved.restore(), Some(grant));
        }
        let wrong = r#"{"role":"node","scopes":"","valid_from":0,
            "tokens":[{"created":1,"hash":"00","scopes":""}]}"#;
        let saved: SavedGrant = serde_json::from_str(wrong).expect("JSON");
        assert_eq!(saved.restore(), None);
    }

    #[test]
    fn people_see_one_token_of_a_role() {
        let mut grant = Grant::new(CHAT);
        let mut out = String::new();
        assert!(!grant.has_token());
        grant.issue(Scopes::READ, &[1; 32], 5).expect("allowed");
        grant.used(8);
        assert!(grant.has_token());
        grant.write_token("operator", &mut out);
        let seen =
            r#"{"role":"operator","scopes":["operator.read"],"createdAtMs":5,"lastUsedAtMs":8}"#;
        assert_eq!(out, seen);
    }
}
