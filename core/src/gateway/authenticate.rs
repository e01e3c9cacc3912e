//! Who is it? The credentials, in the order in which they are tried, and how wrong ones are counted.

use super::Gateway;
use super::api_keys;
use super::bus::{BusMessage, Route};
use super::config::Secret;
use super::conn::ConnId;
use super::fact::{Credential, Fact, Source};
use super::failures::{Guess, Guesser};
use super::jwt;
use super::pairing::Sender;
use super::params::Params;
use super::principal::{Principal, Role};
use super::proof::Proof;
use super::refusal::{Code, Refusal};
use super::workers::Seat;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a user id.
const MAX_USER: usize = 255;

/// The user of a client that names none: one person with one token, whose sessions are still there
/// after a reconnect. An id per connection would lose them.
pub(super) const DEFAULT_USER: &str = "default";

/// The longest token, in a parameter or a header.
pub(super) const MAX_TOKEN: usize = 4096;

/// Somebody who has proved who they are.
pub(super) struct Login {
    pub(super) principal: Principal,
    pub(super) credential: Credential,
    /// When the proof is over, in Unix milliseconds.
    pub(super) expires: Option<u64>,
}

/// What a `connect` leads to.
pub(super) enum Way {
    In(Login),
    /// To wait until an admin has decided; `sender_id` is what was told before.
    Pair {
        user: Arc<str>,
        sender_id: Option<Secret>,
    },
}

/// Why a credential proves nothing.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Wrong {
    Unknown,
    Revoked,
    Expired,
    Jwt(jwt::Refused),
}

impl Wrong {
    /// One word for programs, and what to say of a credential of that kind.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Unknown => ("unknown", "wrong"),
            Self::Revoked => ("revoked", "revoked"),
            Self::Expired | Self::Jwt(jwt::Refused::Expired) => ("expired", "expired"),
            Self::Jwt(jwt::Refused::Malformed) => ("malformed", "malformed"),
            Self::Jwt(jwt::Refused::Signature) => ("signature", "wrongly signed"),
            Self::Jwt(jwt::Refused::Issuer) => ("issuer", "another issuer's"),
            Self::Jwt(jwt::Refused::Audience) => ("audience", "another audience's"),
            Self::Jwt(jwt::Refused::NotYet) => ("not-yet", "not yet valid"),
            Self::Jwt(jwt::Refused::Claims) => ("claims", "incomplete"),
        }
    }
}

impl Gateway {
    pub(super) fn authenticate(
        &mut self,
        now: Instant,
        id: ConnId,
        params: &Params<'_>,
    ) -> Result<Way, Refusal> {
        match params.number("protocol")? {
            None | Some(super::PROTOCOL) => {}
            Some(other) => {
                return Err(Refusal::invalid(format!(
                    "protocol {other} is not spoken here, only {}",
                    super::PROTOCOL
                )));
            }
        }
        let user = params.text("user_id")?.unwrap_or(Cow::Borrowed(DEFAULT_USER));
        check_user(&user, "user_id")?;
        let Some(conn) = self.conns.get_mut(&id) else {
            return Err(Refusal::new(Code::Internal, "the connection is gone"));
        };
        let mut counted = false;
        let (offered, source) = match params.text("token")? {
            Some(token) if token.len() > MAX_TOKEN => {
                return Err(Refusal::invalid("token is longer than 4096 bytes"));
            }
            Some(token) => (Some(Secret::new(&token)), Source::Params),
            None if conn.bearer.is_some() => {
                counted = std::mem::take(&mut conn.bearer_counted);
                (conn.bearer.clone(), Source::Header)
            }
            None => (None, Source::Nowhere),
        };
        let seat = match params.text("role")?.as_deref() {
            Some("agent") => Seat::Worker,
            _ => Seat::Any,
        };
        let asks = seat != Seat::Worker && !self.is_local(id);
        if offered.is_none() && !self.config.is_open() && asks {
            let sender_id = params.text("sender_id")?;
            if let Some(way) = self.by_sender(now, id, sender_id.as_deref(), &user)? {
                return Ok(way);
            }
        }
        self.judge(now, id, &user, (offered, source), counted, seat).map(Way::In)
    }

    /// Who a plain request with this `Authorization: Bearer` is from, and until when, in Unix milliseconds;
    /// it names its user in a header.
    pub(super) fn authenticate_request(
        &mut self,
        now: Instant,
        id: ConnId,
        bearer: Option<&str>,
        user: Option<&str>,
    ) -> Result<(Principal, Option<u64>), Refusal> {
        let offered = match bearer {
            Some(token) if token.len() > MAX_TOKEN => {
                return Err(Refusal::invalid("the token is longer than 4096 bytes"));
            }
            Some(token) => (Some(Secret::new(token)), Source::Header),
            None => (None, Source::Nowhere),
        };
        let user = user.filter(|user| !user.is_empty()).unwrap_or(DEFAULT_USER);
        check_user(user, "the user id")?;
        let Login { principal, expires, .. } =
            self.judge(now, id, user, offered, false, Seat::Client)?;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.last_principal = Some(principal.clone());
        }
        self.set_budgeted(id, false);
        Ok((principal, expires))
    }

    /// Who brings this credential, and names no user.
    pub(super) fn login_by(
        &mut self,
        now: Instant,
        id: ConnId,
        offered: (Option<Secret>, Source),
    ) -> Result<Login, Refusal> {
        self.judge(now, id, DEFAULT_USER, offered, false, Seat::Client)
    }

    /// Whether this credential would do. A wrong one is not counted: whoever asks has another to try.
    pub(super) fn is_right(&self, now: Instant, id: ConnId, offered: &Secret) -> bool {
        let Some((guesser, exempt)) = self.guesser(id) else { return false };
        let guess = Guess { who: guesser, kind: self.kind_of(offered) };
        let is_locked = self.failures.locked(now, guess).is_some();
        (exempt || !is_locked) && self.prove(now, offered, DEFAULT_USER).is_ok()
    }

    /// Judges a token, or that there is none. `counted`: that it is wrong was counted before.
    fn judge(
        &mut self,
        now: Instant,
        id: ConnId,
        user: &str,
        (offered, source): (Option<Secret>, Source),
        counted: bool,
        seat: Seat,
    ) -> Result<Login, Refusal> {
        let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else {
            return Err(Refusal::new(Code::Internal, "the connection is gone"));
        };
        if offered.is_none() && self.is_local(id) {
            let login = self.login_of_host();
            seat.check(&login)?;
            self.note_login(id, &login, source);
            return Ok(login);
        }
        // Workers need a credential wherever they are.
        if self.config.is_open() && seat != Seat::Worker {
            let by_key = offered.and_then(|offered| self.prove(now, &offered, user).ok());
            let login = by_key.unwrap_or_else(|| Login {
                principal: Principal {
                    user: Arc::from(user),
                    role: Role::Operator,
                    proof: Proof::Nothing,
                },
                credential: Credential::None,
                expires: None,
            });
            seat.check(&login)?;
            let source =
                if login.credential == Credential::None { Source::Nowhere } else { source };
            self.note_login(id, &login, source);
            return Ok(login);
        }
        let Some(offered) = offered else {
            let credential = Credential::None;
            self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked: None });
            return Err(Refusal::new(
                Code::Unauthorized,
                "a token is needed: as the connect parameter `token` or in the Authorization \
                 header of the upgrade request",
            )
            .details(|o| o.str("credential", "none").str("source", "none")));
        };
        let login = self.judge_offered(now, id, user, (&offered, source), counted)?;
        seat.check(&login)?;
        self.note_login(id, &login, source);
        Ok(login)
    }

    /// Judges a credential that was offered; only a refusal is noted.
    pub(super) fn judge_offered(
        &mut self,
        now: Instant,
        id: ConnId,
        user: &str,
        (offered, source): (&Secret, Source),
        counted: bool,
    ) -> Result<Login, Refusal> {
        let credential = self.kind_of(offered);
        let (Some(peer), Some((guesser, exempt))) =
            (self.conns.get(&id).map(|conn| conn.peer), self.guesser(id))
        else {
            return Err(Refusal::new(Code::Internal, "the connection is gone"));
        };
        let guess = Guess { who: guesser, kind: credential };
        let locked = self.failures.locked(now, guess);
        if !exempt && let Some(wait) = locked {
            if !counted {
                self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
            }
            return Err(locked_out(wait, credential, source));
        }
        match self.prove(now, offered, user) {
            Ok(login) => Ok(login),
            Err(wrong) => {
                let mut locked = locked;
                if !counted {
                    locked = self.guessed(now, guess);
                    self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
                }
                Err(match locked {
                    Some(wait) => locked_out(wait, credential, source),
                    None => refuse(wrong, credential, source),
                })
            }
        }
    }

    /// No token was offered: a device that was let in, or one that may ask to be.
    fn by_sender(
        &mut self,
        now: Instant,
        id: ConnId,
        sender_id: Option<&str>,
        user: &str,
    ) -> Result<Option<Way>, Refusal> {
        let (credential, source) = (Credential::Device, Source::Params);
        let sender_id = sender_id.map(Secret::new);
        if let Some(sender_id) = &sender_id {
            let Some((guesser, exempt)) = self.guesser(id) else { return Ok(None) };
            let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else { return Ok(None) };
            let guess = Guess { who: guesser, kind: credential };
            let locked = self.failures.locked(now, guess);
            if !exempt && let Some(wait) = locked {
                self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
                return Err(locked_out(wait, credential, source));
            }
            let (sender, at) = (Sender::of(sender_id), self.ms(now));
            let device = self.pairings.device(&sender);
            if let Some(device) = device.filter(|device| device.expires > at) {
                let proof = Proof::Device(sender.name);
                let (user, role) = (device.user.clone(), Role::Operator);
                let expires = Some(device.expires);
                let login =
                    Login { principal: Principal { user, role, proof }, credential, expires };
                self.note_login(id, &login, source);
                return Ok(Some(Way::In(login)));
            }
            if self.pairings.request(&sender, at).is_none() {
                let wrong = if device.is_some() { Wrong::Expired } else { Wrong::Unknown };
                let locked = self.guessed(now, guess);
                self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
                if let Some(wait) = locked {
                    return Err(locked_out(wait, credential, source));
                }
                if !self.config.raw.pairing {
                    return Err(refuse(wrong, credential, source));
                }
            }
        }
        Ok(self.config.raw.pairing.then(|| Way::Pair { user: user.into(), sender_id }))
    }

    /// What a text is meant to be, right or wrong: each kind is counted by itself.
    fn kind_of(&self, offered: &Secret) -> Credential {
        if offered.expose().starts_with(api_keys::PREFIX) {
            Credential::ApiKey
        } else if !self.config.jwt.is_empty() && jwt::looks_like_one(offered.expose()) {
            Credential::Jwt
        } else {
            Credential::Token
        }
    }

    /// Whoever has this credential, in its order: a gateway token, that of an agent, an API key, a JWT.
    /// `user`: who they say they are.
    fn prove(&self, now: Instant, offered: &Secret, user: &str) -> Result<Login, Wrong> {
        if let Some((id, token)) = self.config.token(offered) {
            if self.revocations.has_token(&token.secret.fingerprint()) {
                return Err(Wrong::Revoked);
            }
            let user = token.user.as_deref().unwrap_or(user);
            let (role, proof) = (self.config.role_by(token, user), Proof::Token(id));
            let principal = Principal { user: Arc::from(user), role, proof };
            return Ok(Login { principal, credential: Credential::Token, expires: None });
        }
        if let Some((id, token)) = self.config.worker_token(offered) {
            if self.revocations.has_token(&token.fingerprint()) {
                return Err(Wrong::Revoked);
            }
            let principal = self.worker(Proof::Agent(id));
            return Ok(Login { principal, credential: Credential::Token, expires: None });
        }
        let Some(key) = self.api_keys.find(offered) else {
            return self.prove_by_jwt(now, offered);
        };
        if key.is_expired(self.ms(now)) {
            return Err(Wrong::Expired);
        }
        let (role, proof) = (key.role(), Proof::ApiKey(key.id().clone()));
        let principal = if role == Role::Agent {
            self.worker(proof)
        } else {
            let user = key.user().cloned().unwrap_or_else(|| Arc::from(user));
            Principal { user, role, proof }
        };
        Ok(Login { principal, credential: Credential::ApiKey, expires: key.expires() })
    }

    fn prove_by_jwt(&self, now: Instant, offered: &Secret) -> Result<Login, Wrong> {
        let text = offered.expose();
        if self.config.jwt.is_empty() || !jwt::looks_like_one(text) {
            return Err(Wrong::Unknown);
        }
        let proved = jwt::verify(&self.config.jwt, text, self.ms(now)).map_err(Wrong::Jwt)?;
        let jwt::Proved { key, user, role, id, issued, expires } = proved;
        if self.revocations.has_jwt(id.as_deref(), &user, issued) {
            return Err(Wrong::Revoked);
        }
        let proof = Proof::Jwt { key, id, issued };
        let principal = Principal { user: user.into(), role, proof };
        Ok(Login { principal, credential: Credential::Jwt, expires: Some(expires) })
    }

    /// Whom a wrong credential of this connection is counted to, and whether they are never locked out:
    /// nobody is locked out of their own machine by a retry loop. Pages in a browser on it are: they
    /// may be anybody's, and reach no local socket.
    pub(super) fn guesser(&self, id: ConnId) -> Option<(Guesser, bool)> {
        let conn = self.conns.get(&id)?;
        let here = conn.local || conn.peer.ip().to_canonical().is_loopback();
        let page_here = here && conn.from_page && !conn.local;
        Some((Guesser { address: conn.address, page_here }, here && !page_here))
    }

    /// Counts a wrong credential, at all nodes; says for how long the address is locked out now. Of who is
    /// locked out nobody needs to be told more.
    pub(super) fn guessed(&mut self, now: Instant, guess: Guess) -> Option<Duration> {
        let was_locked = self.failures.locked(now, guess).is_some();
        if !was_locked {
            self.publish(Route::Others, BusMessage::Guessed { guess });
        }
        let locked = self.failures.count(now, guess);
        self.tally.lock_outs += u64::from(locked.is_some() && !was_locked);
        locked
    }

    /// Whether an upgrade that is accepted brings a credential that `connect` would accept, too. A
    /// wrong one counts as a failure, because the client can see the answer; the first `connect` with
    /// it is then no other one.
    pub(super) fn is_credible(&mut self, now: Instant, id: ConnId, bearer: Option<&str>) -> bool {
        let (Some(bearer), Some((guesser, exempt))) = (bearer, self.guesser(id)) else {
            return false;
        };
        if !self.config.raw.limits.compresses() {
            return false;
        }
        let offered = Secret::new(bearer);
        let (credential, source) = (self.kind_of(&offered), Source::Header);
        let guess = Guess { who: guesser, kind: credential };
        if !exempt && self.failures.locked(now, guess).is_some() {
            return false;
        }
        if self.prove(now, &offered, DEFAULT_USER).is_ok() {
            return true;
        }
        if !self.config.is_open()
            && let Some(conn) = self.conns.get_mut(&id)
        {
            conn.bearer_counted = true;
            let peer = conn.peer;
            let locked = self.guessed(now, guess);
            self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
        }
        false
    }

    pub(super) fn note_login(&mut self, conn: ConnId, login: &Login, source: Source) {
        let Principal { user, role, .. } = login.principal.clone();
        let credential = login.credential;
        let Some(peer) = self.conns.get(&conn).map(|state| state.peer) else { return };
        self.note(Fact::Authenticated { conn, peer, user, role, credential, source });
    }
}

/// Whether this can be a user id.
pub(super) fn is_user(user: &str) -> bool {
    !user.is_empty() && user.len() <= MAX_USER && !user.chars().any(char::is_control)
}

/// A user id, as the parameter of this name.
pub(super) fn check_user(user: &str, name: &str) -> Result<(), Refusal> {
    if !is_user(user) {
        return Err(Refusal::invalid(format!(
            "{name} must have at most 255 bytes and no control characters"
        )));
    }
    Ok(())
}

/// What is wrong, of which kind and from where; never the value.
fn refuse(wrong: Wrong, credential: Credential, source: Source) -> Refusal {
    let place = match source {
        Source::Header => "the Authorization header",
        _ => "the connect params",
    };
    let what = match credential {
        Credential::ApiKey => "API key",
        Credential::Jwt => "JWT",
        Credential::Device => "sender_id",
        _ => "gateway token",
    };
    let (why, word) = wrong.words();
    Refusal::new(Code::Unauthorized, format!("{word} {what} in {place}")).details(|o| {
        o.str("credential", credential.as_str()).str("source", source.as_str()).str("why", why)
    })
}

fn locked_out(wait: Duration, credential: Credential, source: Source) -> Refusal {
    let what = match credential {
        Credential::ApiKey => "API keys",
        Credential::Jwt => "JWTs",
        Credential::Device => "sender_ids",
        _ => "gateway tokens",
    };
    let text = format!("too many wrong {what} from this address");
    Refusal::new(Code::Unauthorized, text)
        .details(|o| o.str("credential", credential.as_str()).str("source", source.as_str()))
        .retry_after(wait)
}
