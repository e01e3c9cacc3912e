//! `connect`: who is it, and what may they do.

use super::chat::write_agents;
use super::config::{Secret, TokenId};
use super::conn::ConnId;
use super::fact::{Credential, Fact, Source};
use super::json::{self, Object};
use super::methods::{EVENTS, methods};
use super::params::Params;
use super::presence::{Entry, conn_name};
use super::principal::{Principal, Role};
use super::refusal::{Code, Refusal};
use super::resume::{Hello, Wanted};
use super::send::{Cx, ReplyTo};
use super::{Gateway, Timer};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a user id.
const MAX_USER: usize = 255;

/// The user of a client that names none: one person with one token, whose sessions are still there
/// after a reconnect. An id per connection would lose them.
const DEFAULT_USER: &str = "default";

/// The longest token, in a parameter or a header.
pub(super) const MAX_TOKEN: usize = 4096;

/// The `connect` method. On an open connection a success replaces who is logged in, and a failure
/// logs out: what is connected is always what was proved last.
pub(super) fn connect(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Result<(), Refusal> {
    let Some(ReplyTo::Local { conn, .. }) = to else { return Ok(()) };
    let conn = *conn;
    let done = Wanted::of(&params)
        .and_then(|wanted| Ok((gateway.authenticate(cx.now, conn, &params)?, wanted)));
    match done {
        Ok((principal, wanted)) => {
            let keep = matches!(wanted, Wanted::Back(..));
            gateway.log_in(cx, conn, principal.clone(), keep);
            if let Some(to) = to.take() {
                gateway.link_up(cx, conn, principal, wanted, to);
            }
            Ok(())
        }
        Err(refusal) => {
            if gateway.log_out(cx, conn, false) {
                gateway.await_connect(cx.now, conn);
            }
            Err(refusal)
        }
    }
}

impl Gateway {
    fn authenticate(
        &mut self,
        now: Instant,
        id: ConnId,
        params: &Params<'_>,
    ) -> Result<Principal, Refusal> {
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
        let Some(conn) = self.conns.get_mut(&id) else { return Err(conn_gone()) };
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
        let (principal, token) = self.prove(now, id, &user, (offered, source), counted)?;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.token = token;
        }
        Ok(principal)
    }

    /// Who a plain request with this `Authorization: Bearer` is from; it names its user in a header.
    pub(super) fn authenticate_request(
        &mut self,
        now: Instant,
        id: ConnId,
        bearer: Option<&str>,
        user: Option<&str>,
    ) -> Result<Principal, Refusal> {
        let offered = match bearer {
            Some(token) if token.len() > MAX_TOKEN => {
                return Err(Refusal::invalid("the token is longer than 4096 bytes"));
            }
            Some(token) => (Some(Secret::new(token)), Source::Header),
            None => (None, Source::Nowhere),
        };
        let user = user.filter(|user| !user.is_empty()).unwrap_or(DEFAULT_USER);
        let (principal, _) = self.prove(now, id, user, offered, false)?;
        let Some(conn) = self.conns.get_mut(&id) else { return Err(conn_gone()) };
        conn.last_principal = Some(principal.clone());
        if std::mem::take(&mut conn.budgeted) {
            self.budget.leave(conn.address, self.config.bounds());
        }
        Ok(principal)
    }

    /// Judges a credential. `counted`: that it is wrong was counted before.
    fn prove(
        &mut self,
        now: Instant,
        id: ConnId,
        user: &str,
        (offered, source): (Option<Secret>, Source),
        counted: bool,
    ) -> Result<(Principal, Option<TokenId>), Refusal> {
        if user.len() > MAX_USER || user.chars().any(char::is_control) {
            return Err(Refusal::invalid(
                "user_id must have at most 255 bytes and no control characters",
            ));
        }
        let Some(conn) = self.conns.get(&id) else { return Err(conn_gone()) };
        let (peer, address) = (conn.peer, conn.address);
        if self.config.raw.tokens.is_empty() {
            // Only a loopback listener may be without tokens: see `ConfigError::NoToken`.
            let principal = Principal { user: Arc::from(user), role: Role::Operator };
            self.note_login(id, &principal, Credential::None, Source::Nowhere);
            return Ok((principal, None));
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
        let credential = Credential::Token;
        // Who guesses waits; but nobody is locked out of their own machine by a retry loop.
        let loopback = peer.ip().to_canonical().is_loopback();
        let locked = self.failures.locked(now, address, credential);
        if !loopback && let Some(wait) = locked {
            if !counted {
                self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
            }
            return Err(locked_out(wait, source));
        }
        let Some((token_id, token)) = self.config.token(&offered) else {
            let mut locked = locked;
            if !counted {
                locked = self.failures.count(now, address, credential);
                self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
            }
            return Err(match locked {
                Some(wait) => locked_out(wait, source),
                None => wrong(source),
            });
        };
        let user = token.user.as_deref().unwrap_or(user);
        let role = self.config.role_by(token, user);
        let principal = Principal { user: Arc::from(user), role };
        self.failures.forget(address, credential);
        self.note_login(id, &principal, credential, source);
        Ok((principal, Some(token_id)))
    }

    /// Whether an upgrade that is accepted brings a credential that `connect` would accept, too. A
    /// wrong one counts as a failure, because the client can see the answer; the first `connect` with
    /// it is then no other one.
    pub(super) fn is_credible(&mut self, now: Instant, id: ConnId, bearer: Option<&str>) -> bool {
        let (Some(bearer), Some(conn)) = (bearer, self.conns.get(&id)) else { return false };
        if !self.config.raw.limits.compresses() {
            return false;
        }
        let (peer, address) = (conn.peer, conn.address);
        let loopback = peer.ip().to_canonical().is_loopback();
        if !loopback && self.failures.locked(now, address, Credential::Token).is_some() {
            return false;
        }
        if self.config.token(&Secret::new(bearer)).is_some() {
            return true;
        }
        if !self.config.raw.tokens.is_empty() {
            let (credential, source) = (Credential::Token, Source::Header);
            let locked = self.failures.count(now, address, credential);
            self.note(Fact::AuthFailed { conn: id, peer, credential, source, locked });
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.bearer_counted = true;
            }
        }
        false
    }

    fn note_login(
        &mut self,
        conn: ConnId,
        principal: &Principal,
        credential: Credential,
        source: Source,
    ) {
        let Principal { user, role } = principal.clone();
        self.note(Fact::Authenticated { conn, user, role, credential, source });
    }

    /// `keep`: the link of the login before, if there is one, may be wanted back.
    fn log_in(&mut self, cx: &mut Cx<'_>, id: ConnId, principal: Principal, keep: bool) {
        self.log_out(cx, id, keep);
        self.disarm_connect(id);
        let active = self.ms(cx.now);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::take(&mut conn.budgeted) {
            self.budget.leave(conn.address, self.config.bounds());
        }
        if let Some(outbox) = cx.outbox(id) {
            outbox.limit_messages(u32::MAX);
        }
        let (peer, since) = (conn.peer, conn.since_ms);
        conn.principal = Some(principal.clone());
        conn.last_principal = Some(principal.clone());
        let Principal { user, role } = principal;
        self.presence_enter(cx.now, Entry { conn: id, user, role, since, active, peer });
    }

    /// Says whether anybody was logged in. `keep`: the client may come back for its link.
    pub(super) fn log_out(&mut self, cx: &mut Cx<'_>, id: ConnId, keep: bool) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if conn.principal.take().is_none() {
            return false;
        }
        self.stop_resuming(cx, id);
        self.detach(cx, id, keep);
        if let Some(outbox) = cx.outbox(id) {
            outbox.limit_messages(self.config.bounds().pre_auth_message);
        }
        self.presence_leave(cx.now, id);
        true
    }

    /// From now on the connection has a limited time to log in.
    pub(super) fn await_connect(&mut self, now: Instant, id: ConnId) {
        let by = now + self.config.bounds().connect_within;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !std::mem::replace(&mut conn.budgeted, true) {
            self.budget.enter(conn.address, self.config.bounds());
        }
        if let Some(old) = conn.connect_by.replace(by) {
            self.timers.remove(&(old, Timer::Connect(id)));
        }
        self.timers.insert((by, Timer::Connect(id)));
    }

    pub(super) fn disarm_connect(&mut self, id: ConnId) {
        if let Some(by) = self.conns.get_mut(&id).and_then(|conn| conn.connect_by.take()) {
            self.timers.remove(&(by, Timer::Connect(id)));
        }
    }

    pub(super) fn write_hello(
        &self,
        out: &mut String,
        now: Instant,
        id: ConnId,
        who: &Principal,
        hello: &Hello,
    ) {
        let config = &self.config.raw;
        let limits = &config.limits;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let silence = limits.ping_every.saturating_add(limits.pong_within);
        let listed = config.bounds.presence_listed;
        Object::new(out)
            .str("type", "hello-ok")
            .num("protocol", super::PROTOCOL)
            .str("role", who.role.as_str())
            .str("user_id", &who.user)
            .bool("is_owner", who.role == Role::Owner)
            .object("server", |o| {
                o.str("name", "moorline")
                    .str("version", &config.version)
                    .str("connId", &conn_name(self.node.id(), id))
                    .str("instance", &self.instance)
            })
            .object("resume", |o| {
                o.str("token", &hello.token)
                    .num("windowMs", ms(config.bounds.resume_within))
                    .bool("resumed", hello.resumed)
                    .num("replayed", hello.replayed as u64)
                    .bool("gap", hello.gap)
            })
            .object("policy", |o| {
                o.num("maxPayload", u64::from(limits.message))
                    .num("maxBufferedBytes", u64::from(limits.outbox))
                    .num("pingIntervalMs", ms(limits.ping_every))
                    .num("readTimeoutMs", ms(silence))
                    // No ticks: pings of the protocol prove life.
                    .num("tickIntervalMs", 0)
                    .str("uploadPath", super::upload::PATHS[0])
                    .num("maxUploadBytes", config.max_upload_bytes as u64)
                    .object("rateLimit", |o| {
                        o.num("rpm", u64::from(config.rate_limit_rpm))
                            .num("burst", u64::from(config.bounds.burst))
                    })
            })
            .object("features", |o| {
                o.list("methods", methods(), |out, method| json::string(out, method.name)).list(
                    "events",
                    EVENTS,
                    json::string,
                )
            })
            .object("snapshot", |mut o| {
                self.presence.write_list(o.key("presence"), self.ms(now), listed);
                write_agents(o.key("agents"), self);
                self.health_object(o.key("health"), now).end();
                o
            })
            .end();
    }
}

fn conn_gone() -> Refusal {
    Refusal::new(Code::Internal, "the connection is gone")
}

fn wrong(source: Source) -> Refusal {
    let place = match source {
        Source::Header => "the Authorization header",
        _ => "the connect params",
    };
    Refusal::new(Code::Unauthorized, format!("wrong gateway token in {place}"))
        .details(|o| o.str("credential", "token").str("source", source.as_str()))
}

fn locked_out(wait: Duration, source: Source) -> Refusal {
    wrong_often(source).retry_after(wait)
}

fn wrong_often(source: Source) -> Refusal {
    Refusal::new(Code::Unauthorized, "too many wrong gateway tokens from this address")
        .details(|o| o.str("credential", "token").str("source", source.as_str()))
}
