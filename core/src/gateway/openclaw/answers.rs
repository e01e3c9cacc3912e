//! Answers of this dialect, made of what the gateway answers in its own.

use super::super::Gateway;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::principal::Authenticated;
use super::super::refusal::Code;
use super::super::send::{Body, Cx, ReplyTo};
use super::super::session::Op;
use super::history::History;
use super::run_events::Awaited;
use super::sessions::Changed;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// What becomes of the gateway's own answer to what a request needs.
#[derive(Debug)]
pub(in crate::gateway) enum Then {
    /// It is the answer.
    AsItIs,
    /// It is the beginning of a run, or the end of one that was asked for before.
    Sent {
        /// What the client calls the run.
        key: Arc<str>,
        /// It waits for the run's end, too.
        agent: Option<Arc<str>>,
    },
    /// A run has ended, or takes longer.
    Waited {
        /// What the client calls the run.
        key: Arc<str>,
    },
    /// Runs were stopped.
    Aborted,
    /// A node has done what it was told, or has not.
    Invoked {
        /// The caller's name for it.
        ask: Arc<str>,
    },
    /// A part of a conversation was read.
    History(Box<History>),
    /// It was done.
    Done,
    /// A session has changed.
    Changed {
        /// Its key.
        session: Arc<str>,
        /// How.
        what: Box<Changed>,
    },
}

/// The answer to what makes a run.
#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(rename = "runId", borrow)]
    run: Cow<'a, str>,
    #[serde(rename = "sessionKey", borrow)]
    session: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(rename = "stopReason", borrow)]
    stop: Option<Cow<'a, str>>,
    #[serde(default)]
    cancelled: bool,
    #[serde(default)]
    again: bool,
}

#[derive(Deserialize)]
struct Waited<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(rename = "startedAt")]
    started: Option<u64>,
    #[serde(rename = "endedAt")]
    ended: Option<u64>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Aborted<'a> {
    aborted: bool,
    #[serde(borrow)]
    runs: Vec<AbortedRun<'a>>,
}

#[derive(Deserialize)]
struct AbortedRun<'a> {
    #[serde(rename = "runId", borrow)]
    run: Cow<'a, str>,
    #[serde(rename = "idempotencyKey", borrow)]
    key: Option<Cow<'a, str>>,
}

/// The second answer of `agent`: what a run came to.
pub(super) struct Final<'a> {
    pub(super) key: &'a str,
    pub(super) session: &'a str,
    pub(super) content: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    /// The gateway's own code of the error.
    pub(super) code: Option<&'a str>,
    pub(super) retry_after: Option<u64>,
    pub(super) stop: Option<&'a str>,
    pub(super) usage: Option<&'a str>,
    pub(super) ms: u64,
}

impl Final<'_> {
    /// The members of the answer, from `ok` on.
    pub(super) fn write(&self, out: &mut String) {
        if let Some(error) = self.error {
            out.push_str("\"ok\":false,\"error\":");
            let late = Code::AgentTimeout.as_str();
            let code = if self.code == Some(late) { late } else { Code::Unavailable.as_str() };
            let object = Object::new(out).str("code", code).str("message", error);
            match self.retry_after {
                Some(ms) => object.bool("retryable", true).num("retryAfterMs", ms).end(),
                None => object.end(),
            }
            out.push_str(",\"payload\":");
            return Object::new(out)
                .str("runId", self.key)
                .str("status", "error")
                .str("summary", error)
                .end();
        }
        let aborted = self.content.is_none();
        out.push_str("\"ok\":true,\"payload\":");
        Object::new(out)
            .str("runId", self.key)
            .str("status", "ok")
            .str("summary", if aborted { "aborted" } else { "completed" })
            .object("result", |o| {
                o.list("payloads", self.content, |out, text| {
                    Object::new(out).str("text", text).raw("mediaUrl", "null").end();
                })
                .object("meta", |o| {
                    o.num("durationMs", self.ms)
                        .object("agentMeta", |o| {
                            let o = o
                                .str("sessionId", &session_id(self.session))
                                .str("provider", PROVIDER)
                                .str("model", PROVIDER);
                            match self.usage {
                                Some(usage) => o.raw("usage", usage),
                                None => o,
                            }
                        })
                        .bool("aborted", aborted)
                        .str(
                            "stopReason",
                            if aborted { "aborted" } else { self.stop.unwrap_or("stop") },
                        )
                })
            })
            .end();
    }
}

/// What stands for model and provider where clients want one: the gateway's agents hide theirs.
pub(super) const PROVIDER: &str = "moorline";

/// Sessions have one name here; clients want a second one, which is made of it.
pub(super) fn session_id(key: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(key.as_bytes())[..16]);
    super::super::session::uuid(id)
}

impl Gateway {
    /// The gateway's own answer has come: gives the client its own.
    pub(in crate::gateway) fn openclaw_answer(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        then: Then,
        body: &Body,
    ) {
        let ReplyTo::Local { conn, .. } = &to else { return };
        let conn = *conn;
        if let Then::History(history) = then {
            return self.history_read(cx, conn, to, *history, body);
        }
        if let Then::Changed { session, what } = then {
            return self.session_changed(cx, to, session, *what, body);
        }
        if let Then::Invoked { ask } = &then {
            self.openclaw.invokes.answered(conn, ask);
            return self.reply_body(cx, to, body);
        }
        let Some(payload) = body.payload() else {
            if matches!(then, Then::Aborted) && body.error == Some(Code::NotFound) {
                // Where nothing was said, nothing is under way.
                return self.reply_ok(cx, to, |_, out| {
                    Object::new(out)
                        .bool("ok", true)
                        .bool("aborted", false)
                        .raw("runIds", "[]")
                        .end();
                });
            }
            return self.reply_body(cx, to, body);
        };
        match then {
            Then::AsItIs | Then::History(_) | Then::Changed { .. } | Then::Invoked { .. } => {
                self.reply_body(cx, to, body);
            }
            Then::Done => self.reply_ok(cx, to, |_, out| out.push_str(r#"{"ok":true}"#)),
            Then::Sent { key, agent } => match serde_json::from_str::<Sent<'_>>(payload) {
                Ok(sent) => self.openclaw_sent(cx, conn, to, &key, agent.as_deref(), &sent),
                Err(_) => self.reply_body(cx, to, body),
            },
            Then::Waited { key } => match serde_json::from_str::<Waited<'_>>(payload) {
                Ok(waited) => self.reply_ok(cx, to, |_, out| {
                    let mut object =
                        Object::new(out).str("runId", &key).str("status", &waited.status);
                    if let Some(at) = waited.started {
                        object = object.num("startedAt", at);
                    }
                    if let Some(at) = waited.ended {
                        object = object.num("endedAt", at);
                    }
                    object.maybe_str("error", waited.error.as_deref()).end();
                }),
                Err(_) => self.reply_body(cx, to, body),
            },
            Then::Aborted => match serde_json::from_str::<Aborted<'_>>(payload) {
                Ok(Aborted { aborted, runs }) => self.reply_ok(cx, to, |_, out| {
                    let name = |out: &mut String, run: &AbortedRun<'_>| {
                        json::string(out, run.key.as_deref().unwrap_or(&run.run));
                    };
                    Object::new(out)
                        .bool("ok", true)
                        .bool("aborted", aborted)
                        .list("runIds", &runs, name)
                        .end();
                }),
                Err(_) => self.reply_body(cx, to, body),
            },
        }
    }

    /// A run has begun, waits its turn, or has ended before.
    fn openclaw_sent(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        to: ReplyTo,
        key: &str,
        agent: Option<&str>,
        sent: &Sent<'_>,
    ) {
        let over = sent.content.is_some() || sent.cancelled;
        let Some(agent) = agent else {
            let status = match (over, sent.again) {
                (true, _) => "ok",
                (false, true) => "in_flight",
                (false, false) => "started",
            };
            return self.reply_ok(cx, to, |_, out| {
                Object::new(out).str("runId", key).str("status", status).end();
            });
        };
        if over {
            let done = Final {
                key,
                session: &sent.session,
                content: sent.content.as_deref(),
                error: None,
                code: None,
                retry_after: None,
                stop: sent.stop.as_deref(),
                usage: sent.usage.map(RawValue::get),
                ms: 0,
            };
            let mut json = String::new();
            done.write(&mut json);
            return self.reply_body(cx, to, &Body { json, error: None });
        }
        let ReplyTo::Local { id, .. } = &to else { return };
        let session = Arc::from(&*sent.session);
        let awaited = Awaited { conn, id: id.clone(), since: cx.now, session, key: key.into() };
        self.openclaw.await_end(&sent.run, awaited);
        if let Some(peer) = self.conns.get_mut(&conn).and_then(|conn| conn.openclaw.as_mut()) {
            peer.awaited += 1;
        }
        let at = self.ms(cx.now);
        self.reply_ok(cx, to, |_, out| {
            Object::new(out)
                .str("runId", key)
                .str("sessionKey", &sent.session)
                .str("agentId", agent)
                .str("status", "accepted")
                .num("acceptedAt", at)
                .end();
        });
    }

    /// Asks something of a session on behalf of who is logged in.
    pub(super) fn openclaw_route(&mut self, cx: &mut Cx<'_>, conn: ConnId, op: Op, to: ReplyTo) {
        let Some(who) = self.conns.get(&conn).and_then(Authenticated::of) else { return };
        self.route(cx, who.principal(), op, to);
    }
}

/// This dialect's word for a code of the gateway's own.
pub(in crate::gateway) const fn code(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest | Code::NotFound | Code::FailedPrecondition => "INVALID_REQUEST",
        Code::Unauthorized | Code::Forbidden => "FORBIDDEN",
        Code::NotPaired => "NOT_PAIRED",
        Code::ResourceExhausted | Code::Unavailable | Code::Internal => "UNAVAILABLE",
        Code::AgentTimeout => "AGENT_TIMEOUT",
    }
}
