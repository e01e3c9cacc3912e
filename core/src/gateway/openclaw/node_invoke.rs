//! `node.invoke`: a caller tells a node to do something, and gets its answer.
//!
//! ```text
//!  caller's loop                     node's loop                          node
//!  node.invoke ── checks ── Op ────▶ checks ── node.invoke.request ────▶
//!  answer      ◀──────────────────── node.invoke.result ◀────────────────  or its time is over, or it goes
//!  caller goes ── Cancelled ───────▶ nobody waits ── node.invoke.cancel ▶
//! ```

use super::super::Gateway;
use super::super::Timer;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::principal::Principal;
use super::super::refusal::{Code, Refusal, SOON, cut};
use super::super::request::Fingerprint;
use super::super::retained::ENTRY;
use super::super::send::{Body, Cx, OK, ReplyTo};
use super::super::session::Op;
use super::answers::Then;
use super::dispatch::{Call, Done, missing};
use super::node_connections::NodeNews;
use super::node_invokes::{Key, Known, MOST_OF_CALLER, MOST_OF_NODE, Open, Waiter};
use super::node_methods::{NodeOp, NodeWhat, text};
use super::node_surface::is_powerful;
use super::nodes::not_connected;
use super::scopes::Scopes;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// What a node is to do.
#[derive(Debug, Clone)]
pub(super) struct Invoke {
    /// The caller's name for it.
    ask: Arc<str>,
    command: Arc<str>,
    /// JSON.
    params: Option<Arc<str>>,
    within: Duration,
    key: Option<Arc<str>>,
}

/// How long a node may take if the caller does not say.
const WITHIN_MS: u64 = 30_000;

/// The longest that a caller may wait: somebody looks at a picture that is taken, nobody waits longer.
const MOST_WITHIN_MS: u64 = 10 * 60 * 1000;

/// What a node has answered.
pub(super) struct Answered<'a> {
    pub(super) payload: Option<&'a RawValue>,
    /// The same as a string.
    pub(super) payload_json: Option<&'a str>,
    pub(super) error: Option<(&'a str, &'a str)>,
}

pub(super) fn invoke(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (node, command) = (text(call, "nodeId"), text(call, "command"));
    if is_powerful(&command) && !call.scopes.allows(Scopes::ADMIN) {
        return Err(missing(Scopes::ADMIN));
    }
    let (at, _) = gateway.openclaw.nodes.find(&node, &command)?;
    let params = call.values.raw("params").map(RawValue::get).filter(|params| *params != "null");
    let most = gateway.most_invoked();
    if params.is_some_and(|params| params.len() > most) {
        return Err(Refusal::invalid(format!("params are longer than {most} bytes")));
    }
    if gateway.openclaw.invokes.asked_by(call.conn) >= MOST_OF_CALLER {
        let text = "this connection waits for too many answers of nodes";
        return Err(Refusal::exhausted(text, SOON));
    }
    let within = call.values.integer("timeoutMs").map(i64::unsigned_abs).unwrap_or(WITHIN_MS);
    let invoke = Invoke {
        ask: gateway.uuid().into(),
        command: command.into(),
        params: params.map(Into::into),
        within: Duration::from_millis(within.clamp(1, MOST_WITHIN_MS)),
        key: call.values.text("idempotencyKey").map(Into::into),
    };
    if let Some(to) = call.take(Then::Invoked { ask: invoke.ask.clone() }) {
        gateway.openclaw.invokes.ask(call.conn, invoke.ask.clone(), at);
        let what = NodeWhat::Invoke(Box::new(invoke));
        let op = Op::Node(NodeOp { node: node.into(), at: Some(at), what });
        gateway.openclaw_route(cx, call.conn, op, to);
    }
    Ok(())
}

impl NodeOp {
    /// How long it takes at most besides its way.
    pub(in crate::gateway) fn takes(&self) -> Duration {
        match &self.what {
            NodeWhat::Invoke(invoke) => invoke.within,
            _ => Duration::ZERO,
        }
    }
}

impl Gateway {
    /// Bytes of what a node is told, and of what it answers. An answer has them as JSON and as a string, whose
    /// escapes may double them: together they fit into a message, and into an outbox.
    fn most_invoked(&self) -> usize {
        let limits = &self.config.raw.limits;
        limits.message.min(limits.outbox) as usize / 4
    }

    /// Tells the node, whose connection is one of this loop.
    pub(super) fn invoke_here(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        node: &Arc<str>,
        invoke: Invoke,
        to: ReplyTo,
    ) {
        let conn = match self.openclaw.nodes.find(node, &invoke.command) {
            Ok((of, conn)) if of == self.node.id() => conn,
            // It has moved while the request was on its way.
            Ok(_) => return self.reply_error(cx, to, &not_connected()),
            Err(refusal) => return self.reply_error(cx, to, &refusal),
        };
        let params = invoke.params.as_deref();
        let print = Fingerprint::of(&format!("{}\n{}", invoke.command, params.unwrap_or("null")));
        let key: Option<Key> =
            invoke.key.as_ref().map(|key| (who.user.clone(), node.clone(), key.clone()));
        let waiter = Waiter { ask: invoke.ask.clone(), to };
        let known = key.as_ref().map(|key| self.openclaw.invokes.known(key, print, cx.now));
        let is_full = self.openclaw.invokes.waiting_for(conn) >= MOST_OF_NODE;
        let full = || Refusal::exhausted("the node has too much to do", SOON);
        match known {
            Some(Known::Told(body)) => return self.reply_body(cx, waiter.to, &body),
            Some(Known::Other) => {
                let text = "the idempotencyKey belongs to another request";
                return self.reply_error(cx, waiter.to, &Refusal::invalid(text));
            }
            _ if is_full => return self.reply_error(cx, waiter.to, &full()),
            Some(Known::Open(id)) => return self.openclaw.invokes.join(&id, waiter),
            Some(Known::Nothing) | None => {}
        }
        // The beginning names the node to whoever answers; late answers come to loops that know nothing else.
        let id: Arc<str> = format!("{}-{}", own_part(node), self.uuid()).into();
        let mut payload = String::new();
        let mut object = Object::new(&mut payload)
            .str("id", &id)
            .str("nodeId", node)
            .str("command", &invoke.command);
        match params {
            Some(params) => json::string(object.key("paramsJSON"), params),
            None => object.key("paramsJSON").push_str("null"),
        }
        object
            .num("timeoutMs", invoke.within.as_millis() as u64)
            .str("idempotencyKey", invoke.key.as_ref().unwrap_or(&invoke.ask))
            .end();
        let queued = self.conns.get(&conn).and_then(|state| state.queued.as_ref());
        let room = self.config.raw.limits.outbox as usize / 2;
        if queued.is_some_and(|queued| queued.bytes() > 0 && queued.bytes() + payload.len() > room)
        {
            // One message more could end its connection.
            return self.reply_error(cx, waiter.to, &full());
        }
        let what = (node.clone(), invoke.command);
        let deadline = cx.now + invoke.within;
        self.openclaw.invokes.open(id, conn, what, key, print, deadline, waiter);
        self.arm_invokes();
        self.send_unnumbered(cx, conn, "node.invoke.request", &payload);
    }

    /// A node answers: tells the callers. Says whether anybody was left to tell.
    ///
    /// # Errors
    /// It is not this node that was asked, or it says too much.
    pub(super) fn node_answered(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        (node, id): (&str, &str),
        answered: &Answered<'_>,
    ) -> Result<bool, Refusal> {
        let is_own = id.strip_prefix(own_part(node)).is_some_and(|rest| rest.starts_with('-'));
        let open = self.openclaw.invokes.get(id);
        if !is_own || open.is_some_and(|open| open.conn != conn) {
            return Err(Refusal::invalid("this was asked of another node"));
        }
        let Some(open) = self.openclaw.invokes.close(id) else { return Ok(false) };
        let most = self.most_invoked();
        let payload = answered.payload.map(RawValue::get);
        let bytes = payload.map_or(0, str::len).max(answered.payload_json.map_or(0, str::len));
        if bytes > most {
            let text = format!("the node's answer is longer than {most} bytes");
            self.arm_invokes();
            self.answer_waiters(cx, open, &failed("TOO_LARGE", &text).into());
            return Err(Refusal::invalid(format!("the payload is longer than {most} bytes")));
        }
        let body = match answered.error {
            Some((code, message)) => failed(cut(code, 128), cut(message, 4096)).into(),
            None => done(&open, payload, answered.payload_json),
        };
        if let Some((user, ..)) = &open.key {
            let held = self.retained.hold(user, ENTRY + body.json.len());
            self.openclaw.invokes.tell_again(&open, &body, cx.now, held);
        }
        self.arm_invokes();
        self.answer_waiters(cx, open, &body);
        Ok(true)
    }

    fn answer_waiters(&mut self, cx: &mut Cx<'_>, open: Open, body: &Body) {
        for waiter in open.waiters {
            self.reply_body(cx, waiter.to, body);
        }
    }

    // --- endings ---------------------------------------------------------------------------------------

    /// A node's connection has ended: what it was told fails at once.
    pub(super) fn fail_invokes(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        for id in self.openclaw.invokes.of_conn(conn) {
            if let Some(open) = self.openclaw.invokes.close(&id) {
                let text = "the node went away before it answered";
                self.answer_waiters(cx, open, &failed("NOT_CONNECTED", text).into());
            }
        }
        self.arm_invokes();
    }

    /// A caller's connection has ended.
    pub(super) fn cancel_asked(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        for (ask, at) in self.openclaw.invokes.forget_caller(conn) {
            if at == self.node.id() {
                self.cancel_ask(cx, &ask);
            } else {
                let (to, news) = (super::super::bus::Route::Node(at), NodeNews::Cancelled(ask));
                self.publish(to, super::super::bus::BusMessage::Nodes { news });
            }
        }
    }

    /// One who waits has gone; the node is told when it was the last.
    pub(super) fn cancel_ask(&mut self, cx: &mut Cx<'_>, ask: &str) {
        let Some((waiter, over)) = self.openclaw.invokes.leave(ask) else { return };
        // The loop of the caller must not wait for it either.
        self.reply_error(cx, waiter.to, &failed("CANCELLED", "the caller has gone"));
        if let Some(open) = over.and_then(|id| Some((self.openclaw.invokes.close(&id)?, id))) {
            self.tell_cancelled(cx, &open.0, &open.1);
        }
        self.arm_invokes();
    }

    pub(in crate::gateway) fn invokes_due(&mut self, cx: &mut Cx<'_>) {
        self.openclaw.invokes.timer = None;
        while let Some(id) = self.openclaw.invokes.overdue(cx.now) {
            let Some(open) = self.openclaw.invokes.close(&id) else { break };
            self.tell_cancelled(cx, &open, &id);
            let text = "the node did not answer in time";
            self.answer_waiters(cx, open, &failed("TIMEOUT", text).into());
        }
        self.openclaw.invokes.expire(cx.now);
        self.arm_invokes();
    }

    fn tell_cancelled(&mut self, cx: &mut Cx<'_>, open: &Open, id: &str) {
        let mut payload = String::new();
        Object::new(&mut payload).str("invokeId", id).str("nodeId", &open.node).end();
        self.send_unnumbered(cx, open.conn, "node.invoke.cancel", &payload);
    }

    /// One timer for all: it is armed for the first of them.
    fn arm_invokes(&mut self) {
        let invokes = &mut self.openclaw.invokes;
        let next = invokes.next_end();
        if invokes.timer == next {
            return;
        }
        if let Some(old) = std::mem::replace(&mut invokes.timer, next) {
            self.timers.remove(&(old, Timer::Invokes));
        }
        if let Some(at) = next {
            self.timers.insert((at, Timer::Invokes));
        }
    }
}

/// What a node's answers are named after.
fn own_part(node: &str) -> &str {
    cut(node, 16)
}

fn done(open: &Open, payload: Option<&str>, payload_json: Option<&str>) -> Body {
    let is_json = |text: &&str| serde_json::from_str::<&RawValue>(text).is_ok();
    let value = payload.or(payload_json.filter(is_json)).unwrap_or("null");
    let mut json = String::from(OK);
    let mut object = Object::new(&mut json)
        .bool("ok", true)
        .str("nodeId", &open.node)
        .str("command", &open.command)
        .raw("payload", value);
    match payload_json {
        Some(text) => json::string(object.key("payloadJSON"), text),
        None => object.key("payloadJSON").push_str("null"),
    }
    object.end();
    Body { json, error: None }
}

/// What a node was told was not done, or nobody knows.
fn failed(code: &str, message: &str) -> Refusal {
    Refusal::new(Code::Unavailable, message.to_owned()).details(|o| {
        o.str("code", code).object("nodeError", |o| o.str("code", code).str("message", message))
    })
}
