//! What a client of this dialect logs in by: a secret that it shares with the gateway, or the token that
//! its device was given.
//!
//! A client may bring both, and in either member: the secret comes first. A device token counts only from
//! who has proved to be its device.

use super::super::Gateway;
use super::super::authenticate::Login;
use super::super::config::Secret;
use super::super::conn::ConnId;
use super::super::fact::{Credential, Fact, Source};
use super::super::failures::Guess;
use super::super::principal::{Principal, Role};
use super::super::proof::Proof;
use super::super::refusal::Refusal;
use super::connect::Refused;
use super::connect_params::{ConnectParams, PeerRole};
use super::device_proof::ProvedDevice;
use super::device_tokens::TokenError;
use super::scopes::Scopes;
use std::time::{Duration, Instant};

/// A device token that its client knows, or will be told.
pub(in crate::gateway) struct Issued {
    /// The token.
    pub(super) text: Secret,
    /// When it was made, in Unix milliseconds.
    pub(super) at: u64,
}

/// Somebody who has proved who they are.
pub(super) struct Credentials {
    pub(super) login: Login,
    /// The most that this can be used for.
    pub(super) limit: Scopes,
    /// By a secret of the gateway's own: more than a device that comes back.
    pub(super) by_secret: bool,
    /// The device token that was offered and is right.
    pub(super) token: Option<Issued>,
}

impl Gateway {
    /// Who it is. `device` has proved to be the one that it says.
    pub(super) fn credentials(
        &mut self,
        now: Instant,
        conn: ConnId,
        params: &ConnectParams,
        device: Option<&ProvedDevice>,
        (role, asked): (PeerRole, Scopes),
    ) -> Result<Credentials, Refused> {
        let auth = &params.auth;
        let secrets = || [&auth.token, &auth.password].into_iter().flatten();
        let right = secrets().find(|secret| self.is_right(now, conn, secret));
        let by_secret = right.is_some() || self.config.is_open();
        if let Some(device) = device.filter(|_| !by_secret) {
            // The text that was signed names one credential only: a client that tries its token after a
            // secret that did not do has signed the secret.
            if let Some(offered) = auth.device_token.as_ref().or(auth.token.as_ref()) {
                let is_named = auth.device_token.is_some();
                let alone = is_named && secrets().next().is_none();
                let done = self.device_token(now, conn, device, (role, asked), (offered, is_named));
                if done.is_ok() || matches!(done, Err(TokenRefused::Scopes)) || alone {
                    self.count_others(now, conn, params, Some(offered), (Some(device), role));
                    return done.map_err(Refused::from);
                }
            }
        }
        let secret = right.or_else(|| secrets().next()).cloned();
        if secret.is_none() && auth.bootstrap_token.is_some() && !by_secret {
            let (text, code) =
                ("bootstrap token invalid or expired", "AUTH_BOOTSTRAP_TOKEN_INVALID");
            return Err(unauthorized(text, code).into());
        }
        let can_retry = device.is_some() && auth.device_token.is_none();
        self.count_others(now, conn, params, secret.as_ref(), (device, role));
        let login = self.shared_secret(now, conn, secret, can_retry)?;
        let limit = Scopes::of_role(login.principal.role);
        Ok(Credentials { login, limit, by_secret: true, token: None })
    }

    /// Counts the wrong secrets beside the credential that is judged: nobody may try them without end
    /// beside one that is right.
    fn count_others(
        &mut self,
        now: Instant,
        conn: ConnId,
        params: &ConnectParams,
        judged: Option<&Secret>,
        (device, role): (Option<&ProvedDevice>, PeerRole),
    ) {
        if self.config.is_open() {
            return;
        }
        for other in [&params.auth.token, &params.auth.password].into_iter().flatten() {
            let known = device.and_then(|device| self.devices.get(&device.id));
            let is_token =
                known.is_some_and(|known| known.prove(role, other, Scopes::NONE).is_ok());
            let is_judged = judged.is_none_or(|judged| judged.matches(other));
            if !is_judged && !is_token && !self.is_right(now, conn, other) {
                let _ = self.shared_secret(now, conn, Some(other.clone()), false);
            }
        }
    }

    /// A token, as a token or as a password: a gateway token, an API key or a JWT.
    fn shared_secret(
        &mut self,
        now: Instant,
        conn: ConnId,
        secret: Option<Secret>,
        can_retry: bool,
    ) -> Result<Login, Refused> {
        let given = secret.is_some();
        let source = if given { Source::Params } else { Source::Nowhere };
        self.login_by(now, conn, (secret, source)).map_err(|refusal| {
            if let Some(wait) = refusal.wait() {
                return TokenRefused::Locked(wait).into();
            }
            let (code, text, next) = match (given, can_retry) {
                (false, _) => (
                    "AUTH_TOKEN_MISSING",
                    "unauthorized: gateway token missing (give it to the client)",
                    "update_auth_configuration",
                ),
                (true, true) => ("AUTH_TOKEN_MISMATCH", TOKEN_MISMATCH, "retry_with_device_token"),
                (true, false) => ("AUTH_TOKEN_MISMATCH", TOKEN_MISMATCH, "update_auth_credentials"),
            };
            Refusal::invalid(text)
                .details(|o| {
                    o.str("code", code)
                        .str("authReason", refusal.message())
                        .bool("canRetryWithDeviceToken", can_retry)
                        .str("recommendedNextStep", next)
                })
                .into()
        })
    }

    /// The token of a device. `is_named`: it can be nothing else, so that a wrong one counts here.
    fn device_token(
        &mut self,
        now: Instant,
        conn: ConnId,
        device: &ProvedDevice,
        (role, asked): (PeerRole, Scopes),
        (offered, is_named): (&Secret, bool),
    ) -> Result<Credentials, TokenRefused> {
        let credential = Credential::Device;
        let mismatch = TokenRefused::Mismatch;
        let Some((guesser, exempt)) = self.guesser(conn) else { return Err(mismatch) };
        let Some(peer) = self.conns.get(&conn).map(|conn| conn.peer) else { return Err(mismatch) };
        let source = Source::Params;
        let guess = Guess { who: guesser, kind: credential };
        let locked = self.failures.locked(now, guess).filter(|_| !exempt);
        if let Some(wait) = locked {
            if is_named {
                self.note(Fact::AuthFailed { conn, peer, credential, source, locked });
            }
            return Err(TokenRefused::Locked(wait));
        }
        let known = self.devices.get(&device.id);
        let proved = match known {
            Some(known) => known.prove(role, offered, asked),
            None => Err(TokenError::Mismatch),
        };
        match (proved, known) {
            (Ok(token), Some(known)) => {
                let user = known.user.clone();
                let proof = Proof::DeviceKey { device: device.id.clone(), role, token };
                let mut principal = Principal { user, role: Role::Viewer, proof };
                principal.role = self.role_now(&principal).ok_or(mismatch)?;
                let login = Login { principal, credential, expires: None };
                self.note_login(conn, &login, source);
                let token = Some(Issued { text: offered.clone(), at: token });
                Ok(Credentials { login, limit: asked, by_secret: false, token })
            }
            (Err(TokenError::Scopes), _) => Err(TokenRefused::Scopes),
            _ => {
                if is_named {
                    let locked = self.guessed(now, guess);
                    self.note(Fact::AuthFailed { conn, peer, credential, source, locked });
                    if let Some(wait) = locked.filter(|_| !exempt) {
                        return Err(TokenRefused::Locked(wait));
                    }
                }
                Err(mismatch)
            }
        }
    }
}

const TOKEN_MISMATCH: &str =
    "unauthorized: gateway token mismatch (give the client the gateway's token)";

/// Why a device token does not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenRefused {
    Mismatch,
    /// It is right, for less than was asked.
    Scopes,
    /// Its address has offered too many wrong ones.
    Locked(Duration),
}

impl From<TokenRefused> for Refused {
    fn from(refused: TokenRefused) -> Self {
        match refused {
            TokenRefused::Mismatch => {
                unauthorized(TokenError::Mismatch.message(), TokenError::Mismatch.code())
            }
            TokenRefused::Scopes => {
                unauthorized(TokenError::Scopes.message(), TokenError::Scopes.code())
            }
            TokenRefused::Locked(wait) => Refusal::invalid(
                "unauthorized: too many failed authentication attempts (retry later)",
            )
            .details(|o| {
                o.str("code", "AUTH_RATE_LIMITED")
                    .bool("canRetryWithDeviceToken", false)
                    .str("recommendedNextStep", "wait_then_retry")
            })
            .retry_after(wait),
        }
        .into()
    }
}

/// A credential that a client must get anew.
fn unauthorized(text: &str, code: &str) -> Refusal {
    Refusal::invalid(format!("unauthorized: {text}")).details(|o| {
        o.str("code", code)
            .bool("canRetryWithDeviceToken", false)
            .str("recommendedNextStep", "update_auth_credentials")
    })
}
