//! `connect`: a login, its beginning, its end, and what its answer says.

use super::agents;
use super::authenticate::{Login, Way};
use super::client::Client;
use super::conn::ConnId;
use super::json::{self, Object};
use super::methods::{EVENTS, methods};
use super::openclaw::Seen;
use super::params::Params;
use super::presence::conn_name;
use super::principal::{Principal, Role};
use super::proof::Proof;
use super::refusal::Refusal;
use super::resume::{Hello, Wanted};
use super::send::{Cx, ReplyTo};
use super::{Gateway, Timer, tick};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a login costs at first, about: its answer lists methods and who is connected.
pub(super) const LOGIN: usize = 16 * 1024;

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
        .and_then(|wanted| Ok((wanted, Client::of(&params)?, params.flag("tick")?)))
        .and_then(|asked| Ok((gateway.authenticate(cx.now, conn, &params)?, asked)));
    match done {
        Ok((Way::Pair { user, sender_id }, _)) => {
            if gateway.log_out(cx, conn, false) {
                gateway.await_connect(cx.now, conn);
            }
            if let Some(to) = to.take() {
                gateway.wait_for_pairing(cx, conn, user, sender_id, to);
            }
            Ok(())
        }
        Ok((Way::In(login), (wanted, client, ticks))) => {
            let Login { principal, expires, .. } = login;
            let local = principal.proof == Proof::Local;
            let wanted = if local { Wanted::Fresh } else { wanted };
            let keep = matches!(wanted, Wanted::Back(..));
            // Who comes back reads what is kept already; another login would only add to it.
            if !keep
                && !local
                && let Err(refusal) = gateway.room_for(&principal.user, LOGIN)
            {
                gateway.log_out_refused(cx, conn);
                return Err(refusal);
            }
            gateway.log_in(cx, conn, principal.clone(), client, keep);
            gateway.arm_expiry(cx.now, conn, expires);
            gateway.set_ticks(cx.now, conn, ticks.unwrap_or(false));
            if let Some(to) = to.take() {
                gateway.link_up(cx, conn, principal, wanted, to);
            }
            Ok(())
        }
        Err(refusal) => {
            gateway.log_out_refused(cx, conn);
            Err(refusal)
        }
    }
}

impl Gateway {
    /// `keep`: the link of the login before, if there is one, may be wanted back.
    pub(super) fn log_in(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        principal: Principal,
        client: Option<Arc<Client>>,
        keep: bool,
    ) {
        self.log_out(cx, id, keep);
        self.disarm_connect(id);
        self.set_budgeted(id, false);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Some(outbox) = cx.outbox(id) {
            outbox.limit_messages(u32::MAX);
        }
        conn.waiting = None;
        conn.queued = Some(self.retained.hold(&principal.user, 0));
        conn.client = client.or_else(|| conn.user_agent.clone());
        conn.last_principal = Some(principal.clone());
        conn.principal = Some(principal);
        self.presence_enter(cx.now, id);
    }

    /// A `connect` was refused: whoever was logged in is not any more.
    fn log_out_refused(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        if self.log_out(cx, id, false) {
            self.await_connect(cx.now, id);
        }
    }

    /// Says whether anybody was logged in. `keep`: the client may come back for its link.
    pub(super) fn log_out(&mut self, cx: &mut Cx<'_>, id: ConnId, keep: bool) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if conn.principal.take().is_none() {
            return false;
        }
        conn.queued = None;
        let keep = keep && !conn.local;
        self.set_ticks(cx.now, id, false);
        self.stop_tail(id);
        self.arm_expiry(cx.now, id, None);
        self.stop_resuming(cx, id);
        self.detach(cx, id, keep);
        if let Some(peer) = self.conns.get_mut(&id).and_then(|conn| conn.openclaw.take()) {
            self.openclaw.forget(id);
            if let Some(device) = peer.device.filter(|_| peer.paired.is_some()) {
                let at = self.ms(cx.now);
                self.device_seen(&device, Seen::Disconnect, None, at);
            }
            self.openclaw_left(cx, id);
        }
        if let Some(outbox) = cx.outbox(id) {
            outbox.limit_messages(self.config.bounds().pre_auth_message);
        }
        self.presence_leave(cx.now, id);
        true
    }

    /// From now on the connection has a limited time to log in.
    pub(super) fn await_connect(&mut self, now: Instant, id: ConnId) {
        self.await_connect_for(now, id, self.config.bounds().connect_within);
    }

    pub(super) fn await_connect_for(&mut self, now: Instant, id: ConnId, time: Duration) {
        let by = now + time;
        self.set_budgeted(id, true);
        let Some(conn) = self.conns.get_mut(&id) else { return };
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

    /// Which gateway this is.
    pub(super) fn write_server<'o>(&self, object: Object<'o>, conn: ConnId) -> Object<'o> {
        object
            .str("name", "moorline")
            .str("version", &self.config.raw.version)
            .str("connId", &conn_name(self.node.id(), conn))
            .str("instance", &self.instance)
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
            .object("server", |o| self.write_server(o, id))
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
                    .num("tickIntervalMs", if self.ticks.has(id) { ms(tick::EVERY) } else { 0 })
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
                agents::write_list(o.key("agents"), self);
                self.health_object(o.key("health"), now).end();
                o
            })
            .end();
    }
}
