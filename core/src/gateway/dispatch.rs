//! A connection's life, and a message's way to its handler: the checks in their order.

use super::Gateway;
use super::bus::{BusMessage, Route, shutting_down};
use super::call::Call;
use super::conn::ConnId;
use super::fact::Fact;
use super::host;
use super::intake::Request;
use super::json::Object;
use super::methods::{self, Handler, Method};
use super::openclaw::{self, Then};
use super::params::Params;
use super::principal::{Authenticated, Principal, Role};
use super::proof::Proof;
use super::rate::{MISTAKE, Payers};
use super::refusal::{Code, Refusal, SOON, cut};
use super::retained::ENTRY;
use super::send::{Called, Cx, ReplyTo};
use super::session::uuid;
use crate::error::LimitError;
use crate::event::{Cause, Initiator, Why};
use crate::frame::CloseCode;

impl Gateway {
    // --- a connection's life -------------------------------------------------------------------

    pub(super) fn opened(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let nonce = self.random();
        let ts = self.ms(cx.now);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.closing.is_some() {
            return;
        }
        conn.open = true;
        (conn.nonce, conn.challenged) = (nonce, ts);
        self.await_connect(cx.now, id);
        let mut payload = String::new();
        Object::new(&mut payload).str("nonce", &uuid(nonce)).num("ts", ts).end();
        self.send_unnumbered(cx, id, "connect.challenge", &payload);
    }

    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, id: ConnId, cause: Cause<'_>) {
        // A client that says goodbye does not come back for its events.
        let keep = !matches!(cause, Cause::Peer(CloseCode::NORMAL, _));
        self.log_out(cx, id, keep);
        self.disarm_connect(id);
        self.drop_upload(cx, id);
        self.drop_completion(cx, id);
        self.downloads.remove(&id);
        self.set_budgeted(id, false);
        let Some(conn) = self.conns.remove(&id) else { return };
        if conn.accepted {
            self.accepted -= 1;
        }
        let was_open = conn.accepted || conn.open;
        let (code, reason, deadline) = match (cause, conn.closing) {
            (Cause::Local(_), Some(closing)) => (closing.code, closing.reason, closing.deadline),
            (Cause::Local(code), None) => (code, "closed by the host".into(), None),
            (Cause::Peer(code, reason), _) => (code, String::from(reason).into(), None),
            (Cause::Timeout(why), _) => (cause.close_code(), why.reason().into(), Some(why.name())),
            (Cause::SlowReader, _) => {
                (cause.close_code(), Why::Drain.reason().into(), Some(Why::Drain.name()))
            }
            (Cause::Limit(LimitError::Message { .. }), _) => {
                let hint = self.config.raw.limits.message_hint;
                (cause.close_code(), format!("{cause}{hint}").into(), None)
            }
            _ => (cause.close_code(), cause.to_string().into(), None),
        };
        let initiator = match deadline {
            Some(_) => Initiator::Clock,
            None => cause.initiator(),
        };
        let (user, role) = conn.last_principal.map(|who| (who.user, who.role)).unzip();
        self.note(Fact::Closed {
            conn: id,
            peer: conn.peer,
            // Before that there is no Close that could be missing.
            code: (was_open || code != CloseCode::ABNORMAL).then_some(code),
            reason,
            cause: deadline.unwrap_or(cause.name()),
            initiator,
            duration: cx.now.saturating_duration_since(conn.since),
            deadline,
            user,
            role,
            requests: conn.requests,
            failed: conn.failed,
        });
    }

    // --- a message -----------------------------------------------------------------------------

    /// `None` is a message that is not text.
    pub(super) fn message(&mut self, cx: &mut Cx<'_>, id: ConnId, text: Option<&str>) {
        if self.conns.get(&id).is_none_or(|conn| conn.closing.is_some()) {
            return;
        }
        if self.conns.get(&id).is_some_and(|conn| conn.joining.is_some()) {
            return self.said_while_joining(cx, id, text);
        }
        if self.conns.get(&id).is_some_and(|conn| conn.openclaw.is_some()) {
            return self.openclaw_message(cx, id, text);
        }
        let request = match text {
            Some(text) => Request::parse(text),
            None => Err(Refusal::invalid("invalid frame: not UTF-8")),
        };
        match request {
            Ok(request) => self.dispatch(cx, id, &request),
            Err(refusal) => {
                let who = self.conns.get(&id).and_then(Authenticated::of);
                let refusal = match who {
                    Some(who) => self.charge_mistake(cx, id, "invalid", &who).unwrap_or(refusal),
                    None => refusal,
                };
                self.refuse_frame(cx, id, "", &refusal);
                self.strike(cx, id, "too many invalid frames");
            }
        }
    }

    /// The checks from the envelope to the handler, in their order.
    fn dispatch(&mut self, cx: &mut Cx<'_>, id: ConnId, request: &Request<'_>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let who = Authenticated::of(conn);
        if who.is_none() && request.method == "connect" && openclaw::is_connect(request.params) {
            return self.openclaw_connect(cx, id, request);
        }
        let waits = conn.waiting.is_some() && request.method == "browser.pairing.status";
        if who.is_none() && request.method != "connect" && !waits {
            let refusal = Refusal::new(Code::Unauthorized, "first request must be 'connect'");
            self.refuse_frame(cx, id, &request.id, &refusal);
            return self.strike(cx, id, "too many invalid frames");
        }
        let method = methods::find(&request.method).or_else(|| host::find(&request.method));
        let Some(method) = method else {
            self.tally.unknown_methods += 1;
            let text = format!("unknown method: {}", cut(&request.method, 128));
            let charged = who.and_then(|who| self.charge_mistake(cx, id, "unknown", &who));
            let refusal = charged.unwrap_or_else(|| Refusal::invalid(text));
            return self.refuse_frame(cx, id, &request.id, &refusal);
        };
        self.presence_active(cx.now, id);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.requests += 1;
        conn.in_flight += 1;
        let crowded = conn.in_flight > self.config.bounds().in_flight;
        let mut to = Some(ReplyTo::Local {
            conn: id,
            id: Box::from(&*request.id),
            method: Called { name: method.name, reads: method.role == Some(Role::Viewer) },
            since: cx.now,
            held: None,
            then: Then::AsItIs,
        });
        let done = if crowded {
            let text = "too many requests of this connection have no answer yet";
            Err(Refusal::exhausted(text, SOON))
        } else {
            self.call(cx, id, method, who.as_ref(), request, &mut to)
        };
        if let Err(refusal) = done
            && let Some(to) = to
        {
            self.reply_error(cx, to, &refusal);
            // Guessing on one socket ends, wherever it comes from.
            if who.is_none() && method.role.is_none() && refusal.code == Code::Unauthorized {
                self.strike(cx, id, "too many refused logins");
            }
        }
    }

    fn call(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        method: &'static Method,
        who: Option<&Authenticated>,
        request: &Request<'_>,
        to: &mut Option<ReplyTo>,
    ) -> Result<(), Refusal> {
        let (handler, who) = match (&method.handler, who) {
            (Handler::Open(handler), _) => {
                if self.draining.is_some() && !self.is_local(id) {
                    return Err(shutting_down());
                }
                let params = Params::parse(request.params, method.params)?;
                return handler(self, cx, params, to);
            }
            (_, None) => {
                let text = "first request must be 'connect'";
                return Err(Refusal::new(Code::Unauthorized, text));
            }
            (Handler::Host(work), Some(who)) => {
                self.may_ask_host(id, who)?;
                let work = work(&Params::parse(request.params, method.params)?)?;
                self.ask_host(cx, work, to);
                return Ok(());
            }
            (Handler::Authenticated(handler), Some(who)) => {
                let needed = method.role.unwrap_or(Role::Owner);
                if !who.role().may(needed) {
                    let name = method.name;
                    let text = format!("permission denied: {name} requires {needed} role");
                    return Err(Refusal::new(Code::Unauthorized, text));
                }
                self.charge(cx, id, method.name, method.cost, who.principal())?;
                // What is free ends things, or takes a right away: it must always work.
                if method.cost > 0 {
                    self.hold_request(who.principal(), request, to)?;
                }
                (handler, who)
            }
        };
        // The host may watch the log to the end, and workers end what they have.
        let watches = method.name == "logs.tail" && self.is_local(id);
        if self.draining.is_some() && !watches && method.role != Some(Role::Agent) {
            return Err(shutting_down());
        }
        if !self.has_started() {
            // Only a local connection is let in so early.
            let text = "the gateway is starting: its store does not answer yet";
            return Err(Refusal::new(Code::Unavailable, text).retry_after(SOON));
        }
        let params = Params::parse(request.params, method.params)?;
        handler(self, cx, &mut Call { who, params, to })
    }

    /// Counts what is kept of a request until it is answered, if there is room for that.
    pub(super) fn hold_request(
        &mut self,
        who: &Principal,
        request: &Request<'_>,
        to: &mut Option<ReplyTo>,
    ) -> Result<(), Refusal> {
        if who.proof == Proof::Local {
            return Ok(());
        }
        let bytes = ENTRY + request.params.map_or(0, |params| params.get().len());
        self.room_for(&who.user, bytes)?;
        if let Some(ReplyTo::Local { held, .. }) = to {
            *held = Some(self.retained.hold(&who.user, bytes));
        }
        Ok(())
    }

    /// Takes what something costs from whoever wants it done.
    pub(super) fn charge(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        method: &'static str,
        cost: u64,
        who: &Principal,
    ) -> Result<(), Refusal> {
        if !self.rate.is_on() || cost == 0 || who.proof == Proof::Local {
            return Ok(());
        }
        let mut payers = Payers::user(&who.user);
        let chosen = !self.is_user_proved(who);
        if let Some(state) = self.conns.get(&conn).filter(|_| chosen) {
            payers = payers.and(state.address);
        }
        if let Err(spent) = self.rate.spend(cx.now, &payers, cost) {
            let (user, retry_after) = (who.user.clone(), spent.wait);
            self.note(Fact::RateLimited { conn, user, method, retry_after });
            let text = if spent.by_address {
                "rate limit exceeded for this address: clients that choose their user_id share it"
            } else {
                "rate limit exceeded"
            };
            return Err(Refusal::exhausted(text, retry_after));
        }
        self.publish(Route::Others, BusMessage::Spent { payers, cost });
        Ok(())
    }

    /// What is no request, or none that is known, costs, too; gives the refusal of who cannot pay.
    pub(super) fn charge_mistake(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        what: &'static str,
        who: &Authenticated,
    ) -> Option<Refusal> {
        self.charge(cx, conn, what, MISTAKE, who.principal()).err()
    }

    /// Counts what was not a request, or a login that was refused; too many end the connection.
    pub(super) fn strike(&mut self, cx: &mut Cx<'_>, id: ConnId, reason: &'static str) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.strikes += 1;
        let strikes = conn.strikes;
        self.note(Fact::InvalidFrame { conn: id, strikes });
        if strikes >= self.config.bounds().strikes {
            self.close(cx, id, CloseCode::POLICY, reason, None);
        }
    }
}
