//! What somebody has logged in by, and whether that still holds.

use super::api_keys::ApiKey;
use super::config::TokenId;
use super::conn::ConnId;
use super::jwt::JwtKeyId;
use super::link::{Dialect, LinkId};
use super::openclaw::{AUTH_CHANGED, DEVICE_REMOVED, NOT_VALID, PeerRole, Scopes};
use super::principal::{Principal, Role};
use super::send::Cx;
use super::{Gateway, Timer};
use crate::frame::CloseCode;
use std::sync::Arc;
use std::time::Instant;

/// What a login rests on. It names the credential and is none itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing was needed.
    Nothing,
    /// A connection of the host itself, and no other.
    Local,
    /// A gateway token.
    Token(TokenId),
    /// The token of agents, which their workers have.
    Agent(TokenId),
    /// The API key with this id.
    ApiKey(Arc<str>),
    /// A JSON Web Token.
    Jwt {
        /// The configured key that it was verified by.
        key: JwtKeyId,
        /// Its `jti`.
        id: Option<Arc<str>>,
        /// Its `iat` in Unix milliseconds; 0 if it has none.
        issued: u64,
    },
    /// The paired device with this name.
    Device(Arc<str>),
    /// The token of a device of the second dialect, which is known by its key.
    DeviceKey {
        /// The hash of its key.
        device: Arc<str>,
        /// What it logs in as.
        role: PeerRole,
        /// When the token was made, in Unix milliseconds.
        token: u64,
    },
}

/// The reason of a Close, when a credential is valid no more.
pub(super) const REVOKED: &str = "revoked";

/// The reason of a Close, when a credential's own time is over. Whoever has a new one may come back
/// for the same events.
pub(super) const EXPIRED: &str = "credential expired";

impl Proof {
    /// For the store. [`Proof::parse`] reads it, all but that of a connection: it does not outlive that.
    pub(super) fn write(&self) -> String {
        match self {
            Self::Nothing => "nothing".into(),
            Self::Local => "local".into(),
            Self::Token(id) => format!("token:{id}"),
            Self::Agent(id) => format!("agent:{id}"),
            Self::ApiKey(id) => format!("key:{id}"),
            Self::Device(name) => format!("device:{name}"),
            Self::DeviceKey { device, role, token } => {
                format!("device-key:{}:{token}:{device}", role.as_str())
            }
            Self::Jwt { key, id, issued } => match id {
                None => format!("jwt:{key}:{issued}"),
                Some(id) => format!("jwt:{key}:{issued}:{id}"),
            },
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            None if text == "nothing" => Self::Nothing,
            Some(("token", id)) => Self::Token(TokenId::parse(id)?),
            Some(("agent", id)) => Self::Agent(TokenId::parse(id)?),
            Some(("key", id)) => Self::ApiKey(id.into()),
            Some(("device", name)) => Self::Device(name.into()),
            Some(("device-key", rest)) => {
                let (role, rest) = rest.split_once(':')?;
                let (token, device) = rest.split_once(':')?;
                let (role, token) = (PeerRole::parse(role)?, token.parse().ok()?);
                Self::DeviceKey { device: device.into(), role, token }
            }
            Some(("jwt", rest)) => {
                let (key, rest) = rest.split_once(':')?;
                let (issued, id) =
                    rest.split_once(':').map_or((rest, None), |(issued, id)| (issued, Some(id)));
                let (key, issued) = (JwtKeyId::parse(key)?, issued.parse().ok()?);
                Self::Jwt { key, id: id.map(Into::into), issued }
            }
            _ => return None,
        })
    }
}

impl Gateway {
    /// The role that somebody has now by what they have logged in by; none when that is no proof any
    /// more.
    pub(super) fn role_now(&self, who: &Principal) -> Option<Role> {
        match &who.proof {
            Proof::Nothing => self.config.is_open().then_some(Role::Operator),
            Proof::Local => Some(Role::Owner),
            Proof::Token(id) => {
                let token = self.config.token_named(*id)?;
                let revoked = self.revocations.has_token(&token.secret.fingerprint());
                (!revoked).then(|| self.config.role_by(token, &who.user))
            }
            Proof::Agent(id) => {
                let token = self.config.worker_token_named(*id)?;
                (!self.revocations.has_token(&token.fingerprint())).then_some(Role::Agent)
            }
            Proof::ApiKey(id) => self.api_keys.get(id).map(ApiKey::role),
            Proof::Device(name) => self.pairings.device_named(name).map(|_| Role::Operator),
            Proof::DeviceKey { device, role, token } => {
                let device = self.devices.get(device).filter(|device| *device.user == *who.user)?;
                let grant = device.grant(*role).filter(|_| device.is_valid(*role, *token))?;
                let most =
                    if self.config.is_owner(&device.user) { Role::Owner } else { Role::Admin };
                // The lowest that has all that it was let in for: pairing is less than reading, and is
                // for admins nevertheless.
                let fits = |role: &Role| Scopes::of_role(*role).allows(grant.scopes);
                Some([Role::Viewer, Role::Operator].into_iter().find(fits).unwrap_or(most))
            }
            Proof::Jwt { key, id, issued } => {
                let known = self.config.jwt.iter().any(|known| known.id == *key);
                let revoked = self.revocations.has_jwt(id.as_deref(), &who.user, *issued);
                (known && !revoked).then_some(who.role)
            }
        }
    }

    /// Whether the credential belongs to one user: then who is logged in did not choose who to be.
    pub(super) fn is_user_proved(&self, who: &Principal) -> bool {
        match &who.proof {
            Proof::Nothing => false,
            Proof::Token(id) => {
                self.config.token_named(*id).is_some_and(|token| token.user.is_some())
            }
            Proof::ApiKey(id) => self.api_keys.get(id).is_some_and(|key| key.user().is_some()),
            Proof::Local
            | Proof::Agent(_)
            | Proof::Device(_)
            | Proof::DeviceKey { .. }
            | Proof::Jwt { .. } => true,
        }
    }

    /// Closes whoever is logged in by what is no proof any more, drops their links, and gives others
    /// the role that they have now. Work in proportion to the connections and links.
    pub(super) fn judge_logins(&mut self, cx: &mut Cx<'_>) {
        let conns: Vec<_> = self.conns.keys().copied().collect();
        for id in conns {
            self.judge_conn(cx, id);
        }
        self.judge_workers(cx);
        self.judge_uploads(cx);
        self.judge_completions(cx);
        let links: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        for id in links {
            let Some(role) = self.links.get(id).map(|link| self.role_now(&link.who)) else {
                continue;
            };
            match role {
                None => self.drop_link(id),
                Some(role) => {
                    // In the second dialect what was asked for narrows the role; its connection has it.
                    if let Some(link) =
                        self.links.get_mut(id).filter(|link| link.dialect == Dialect::Base)
                    {
                        link.who.role = role;
                    }
                }
            }
        }
    }

    /// The same for one connection.
    pub(super) fn judge_conn(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Some(principal) = &conn.principal else { return };
        let role = self.role_now(principal);
        if let Some(peer) = &conn.openclaw {
            let by_device = matches!(principal.proof, Proof::DeviceKey { .. });
            if !self.is_let_in(peer, &principal.user) || role.is_none() && by_device {
                return self.close(cx, id, NOT_VALID, DEVICE_REMOVED, None);
            } else if role.is_none() {
                return self.close(cx, id, NOT_VALID, AUTH_CHANGED, None);
            }
        }
        let Some(role) = role else {
            return self.close(cx, id, CloseCode::POLICY, REVOKED, None);
        };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let role = match &mut conn.openclaw {
            Some(peer) => peer.narrow(role),
            None => role,
        };
        let Some(principal) = &mut conn.principal else { return };
        if std::mem::replace(&mut principal.role, role) == role {
            return;
        }
        conn.last_principal = Some(principal.clone());
        self.presence_enter(cx.now, id);
    }

    /// A login that ends by itself, in Unix milliseconds.
    pub(super) fn arm_expiry(&mut self, now: Instant, id: ConnId, expires: Option<u64>) {
        let at = expires.map(|expires| self.clock.when(now, expires));
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Some((at, _)) = conn.expiry.take() {
            self.timers.remove(&(at, Timer::Expiry(id)));
        }
        self.expiring.remove(&id);
        if let (Some(expires), Some(at)) = (expires, at) {
            conn.expiry = Some((at, expires));
            self.expiring.insert(id);
            self.timers.insert((at, Timer::Expiry(id)));
        }
    }

    pub(super) fn expiry_due(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let expiry = self.conns.get_mut(&id).and_then(|conn| conn.expiry.take());
        let Some((_, expires)) = expiry else { return };
        self.expiring.remove(&id);
        if self.ms(cx.now) < expires {
            return self.arm_expiry(cx.now, id, Some(expires));
        }
        if self.uploads.contains_key(&id) {
            return self.upload_expired(cx, id);
        }
        if self.completions.has(id) {
            return self.completion_expired(cx, id);
        }
        self.close(cx, id, CloseCode::POLICY, EXPIRED, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt_key() -> JwtKeyId {
        JwtKeyId::parse(&"5a".repeat(32)).expect("an id")
    }

    #[test]
    fn a_proof_is_read_as_it_was_written() {
        for proof in [
            Proof::Nothing,
            Proof::Token(TokenId([0xA5; 8])),
            Proof::Agent(TokenId([0x5A; 8])),
            Proof::ApiKey("0123456789abcdef".into()),
            Proof::Device("d-0123456789abcdef".into()),
            Proof::DeviceKey { device: "5a".into(), role: PeerRole::Node, token: 9 },
            Proof::Jwt { key: jwt_key(), id: None, issued: 7 },
            Proof::Jwt { key: jwt_key(), id: Some("a:b".into()), issued: 0 },
            Proof::Jwt { key: jwt_key(), id: Some("".into()), issued: u64::MAX },
        ] {
            assert_eq!(Proof::parse(&proof.write()), Some(proof));
        }
        for wrong in [
            "",
            "token",
            "token:",
            "token:x",
            "else:1",
            // A record must not log anybody in as the host.
            "local",
            "local:",
            "device-key:x:1:5a",
            "device-key:node:5a",
            "jwt:5a:1",
            "jwt:",
        ] {
            assert_eq!(Proof::parse(wrong), None, "{wrong}");
        }
    }
}
