//! `chat.history` and `chat.startup`: what is known of a session, what is being said, and what was said, in
//! this order, so that nothing falls between the last two.

use super::super::Gateway;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::refusal::{Code, Refusal};
use super::super::send::{Body, Cx, ReplyTo};
use super::super::session::Op;
use super::answers::{PROVIDER, Then, session_id};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

/// A history that is being put together.
#[derive(Debug)]
pub(in crate::gateway) struct History {
    pub(super) session: Arc<str>,
    pub(super) limit: usize,
    /// So many of the newest messages are left out.
    pub(super) offset: usize,
    /// So many of those were passed already.
    pub(super) passed: usize,
    /// What is known by now.
    pub(super) read: Read,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum Read {
    Nothing,
    /// How many messages there are.
    Info(Info),
    /// And what is being said.
    Run(Info, Option<Running>),
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Info {
    label: Option<String>,
    #[serde(rename = "messageCount")]
    messages: u64,
    created: u64,
    updated: u64,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "runId")]
    run: Option<String>,
    #[serde(rename = "idempotencyKey")]
    key: Option<String>,
    #[serde(rename = "startedAt")]
    started: Option<u64>,
    text: Option<String>,
}

/// A run that is under way.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    started: u64,
    text: String,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    more: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    label: Option<Cow<'a, str>>,
    /// Of the request that it came with, or answers.
    #[serde(rename = "idempotencyKey", borrow)]
    key: Option<Cow<'a, str>>,
    /// Why it ended there, if something is missing.
    #[serde(rename = "stopReason", borrow)]
    stop: Option<Cow<'a, str>>,
    ts: u64,
}

impl Gateway {
    /// A piece of it was read: asks for the next one, or answers.
    pub(super) fn history_read(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        to: ReplyTo,
        mut history: History,
        body: &Body,
    ) {
        let Some(payload) = body.payload() else {
            if body.error == Some(Code::NotFound) {
                // A conversation that nobody has begun is an empty one.
                let info = Info { label: None, messages: 0, created: 0, updated: 0 };
                let page = Page { messages: Vec::new(), more: false };
                return self.reply_ok(cx, to, |_, out| history.write(out, &info, None, &page));
            }
            return self.reply_body(cx, to, body);
        };
        let session = history.session.clone();
        match std::mem::replace(&mut history.read, Read::Nothing) {
            Read::Nothing => {
                let Ok(info) = serde_json::from_str(payload) else {
                    return self.reply_error(cx, to, &unreadable());
                };
                history.read = Read::Info(info);
                let to = to.then(Then::History(history.into()));
                self.openclaw_route(cx, conn, Op::Status { session }, to);
            }
            Read::Info(info) => {
                let Ok(status) = serde_json::from_str::<Status>(payload) else {
                    return self.reply_error(cx, to, &unreadable());
                };
                let run = status.run.map(|run| Running {
                    name: status.key.unwrap_or(run),
                    started: status.started.unwrap_or(0),
                    text: status.text.unwrap_or_default(),
                });
                history.read = Read::Run(info, run);
                let limit = history.limit + history.offset;
                let to = to.then(Then::History(history.into()));
                self.openclaw_route(cx, conn, Op::History { session, limit, before: None }, to);
            }
            Read::Run(info, run) => {
                let Ok(mut page) = serde_json::from_str::<Page<'_>>(payload) else {
                    return self.reply_error(cx, to, &unreadable());
                };
                let before = page.messages.first().and_then(|oldest| oldest.id.parse().ok());
                let left = history.offset - history.passed;
                if page.more && page.messages.len() <= left && before.is_some() {
                    // The store reads so much at once: what is wanted lies before it.
                    history.passed += page.messages.len();
                    history.read = Read::Run(info, run);
                    let limit = history.limit + history.offset - history.passed;
                    let to = to.then(Then::History(history.into()));
                    let op = Op::History { session, limit, before };
                    return self.openclaw_route(cx, conn, op, to);
                }
                let kept = page.messages.len().saturating_sub(left);
                page.messages.truncate(kept);
                let first = kept.saturating_sub(history.limit);
                page.more |= first > 0;
                page.messages.drain(..first);
                self.reply_ok(cx, to, |_, out| history.write(out, &info, run.as_ref(), &page));
            }
        }
    }
}

impl History {
    fn write(&self, out: &mut String, info: &Info, run: Option<&Running>, page: &Page<'_>) {
        let key = &self.session;
        let mut object = Object::new(out)
            .str("sessionKey", key)
            .str("sessionId", &session_id(key))
            .list("messages", &page.messages, |out, message| message.write(out))
            .object("pendingInputs", |o| o.raw("items", "[]").num("total", 0))
            .num("deltaCursor", info.messages)
            .bool("hasMore", page.more);
        if page.more {
            object = object.num("nextOffset", (self.offset + page.messages.len()) as u64);
        }
        object = object
            .num("totalMessages", info.messages)
            .object("defaults", |o| {
                o.str("modelProvider", PROVIDER).str("model", PROVIDER).num("contextTokens", 0)
            })
            .object("sessionInfo", |o| {
                o.str("key", key)
                    .str("sessionId", &session_id(key))
                    .maybe_str("label", info.label.as_deref())
                    .num("createdAt", info.created)
                    .num("updatedAt", info.updated)
                    .bool("hasActiveRun", run.is_some())
            });
        if let Some(run) = run {
            object = object.object("inFlightRun", |o| {
                o.str("runId", &run.name).str("text", &run.text).num("startedAt", run.started)
            });
        }
        object.end();
    }
}

impl Message<'_> {
    fn write(&self, out: &mut String) {
        let mut object = Object::new(out).str("role", &self.role);
        let key = self.key.as_deref();
        if self.role == "user" {
            json::string(object.key("content"), &self.content);
            object = object.maybe_str("idempotencyKey", key.map(sent_as).as_deref());
        } else {
            let text = labelled(&self.content, self.label.as_deref());
            write_content(object.key("content"), &text);
            object = object.str("stopReason", self.stop.as_deref().unwrap_or("stop"));
        }
        let run = key.filter(|_| self.role != "user");
        object
            .num("timestamp", self.ts)
            .object("__openclaw", |o| {
                o.str("id", &self.id).raw("seq", &self.id).maybe_str("runId", run)
            })
            .end();
    }
}

/// What a client that shows a message when it sends it finds it by, instead of showing it twice.
pub(super) fn sent_as(run: &str) -> String {
    format!("{run}:user")
}

/// A text that was put in by hand, with its label where clients look for it.
pub(super) fn labelled<'t>(text: &'t str, label: Option<&str>) -> Cow<'t, str> {
    match label {
        Some(label) => Cow::Owned(format!("[{label}]\n\n{text}")),
        None => Cow::Borrowed(text),
    }
}

/// What the gateway has answered itself cannot be read.
fn unreadable() -> Refusal {
    Refusal::new(Code::Internal, "the history could not be put together")
}

/// What an assistant says, as clients of this dialect have it.
pub(super) fn write_content(out: &mut String, text: &str) {
    json::list(out, [text], |out, text| {
        Object::new(out).str("type", "text").str("text", text).end();
    });
}
