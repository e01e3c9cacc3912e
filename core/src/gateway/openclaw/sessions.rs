//! `sessions.*`: parameters in, one look into the store or one request about a session out.

use super::super::Gateway;
use super::super::change::Change;
use super::super::jobs::Job;
use super::super::json::Object;
use super::super::refusal::{Code, Refusal, cut};
use super::super::send::{Body, Cx, ReplyTo};
use super::super::session::{Op, agent_of};
use super::super::sessions::{KEEP, check_label};
use super::super::work::{SessionFilter, StoreWork};
use super::agents::unknown_agent;
use super::answers::{Then, session_id};
use super::browse::{Browse, Page};
use super::dispatch::{Call, Done};
use super::method_params::SETTINGS;
use super::session_key::MAIN;
use super::session_row::Show;
use serde::Deserialize;
use std::sync::Arc;

/// Sessions of a page, unless the client says; and the most.
const PAGE: i64 = 100;
const MAX_PAGE: i64 = 200;

/// Sessions, those used last, among which one is found by its second name.
const RESOLVED: usize = 1000;

/// Sessions whose messages one connection may want to know of.
const MAX_SUBSCRIBED: usize = 64;

/// What was done to a session.
#[derive(Debug)]
pub(in crate::gateway) enum Changed {
    /// It has another label.
    Patched,
    /// Nothing was said in it any more.
    Reset,
    /// It is gone.
    Deleted,
    /// What was said first is gone.
    Compacted,
    /// It is there; this is what is said first.
    Created(Option<Arc<str>>),
    /// Its first run, as the client knows it.
    Sent(Arc<str>),
}

#[derive(Deserialize)]
struct Trimmed {
    removed: u64,
    #[serde(rename = "messageCount")]
    left: u64,
}

/// Whose sessions a caller sees: none are all.
pub(super) fn owner_of(call: &Call<'_>) -> Option<Arc<str>> {
    (!call.who.role().sees_all()).then(|| call.who.user().clone())
}

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    page(gateway, cx, call, false);
    Ok(())
}

fn page(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>, subscribed: bool) {
    let values = &call.values;
    let flag = |name| values.flag(name).unwrap_or(false);
    let show = Show { titles: flag("includeDerivedTitles"), lasts: flag("includeLastMessage") };
    let limit = values.integer("limit").unwrap_or(PAGE).min(MAX_PAGE).unsigned_abs() as usize;
    let offset = values.integer("offset").unwrap_or(0).unsigned_abs() as usize;
    let page = Page { limit, offset, show, subscribed };
    let agent = values.text("agentId").map(|agent| gateway.agent_called(&agent).to_owned());
    let search = values.text("search").map(|text| text.trim().to_ascii_lowercase());
    let active = values.integer("activeMinutes").map(i64::unsigned_abs);
    let filter = SessionFilter {
        owner: owner_of(call),
        agent,
        since: active.map(|minutes| gateway.ms(cx.now).saturating_sub(minutes * 60_000)),
        label: values.text("label").map(String::from),
        search: search.filter(|text| !text.is_empty()),
        ..SessionFilter::default()
    };
    // There is no archive, and nothing that sessions could be pinned to or made by.
    let is_true = |name| values.raw(name).is_some_and(|raw| raw.get() == "true");
    let is_there = |name| values.raw(name).is_some_and(|raw| raw.get() != "null");
    let none = ["archived", "pinned", "hasBoard"].into_iter().any(is_true)
        || ["spawnedBy", "group", "projectId", "workspaceDir"].into_iter().any(is_there);
    let Some(to) = call.to.take() else { return };
    if none {
        return gateway.reply_page(cx, to, page, &[], 0);
    }
    let work = StoreWork::List { filter, texts: show.titles || show.lasts, limit, offset };
    gateway.start_store(cx, work, Job::Browse { to, browse: Browse::Page(page) });
}

pub(super) fn describe(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let filter = SessionFilter {
        owner: owner_of(call),
        key: Some(gateway.openclaw_key(call, "key")?),
        ..SessionFilter::default()
    };
    if let Some(to) = call.to.take() {
        let work = StoreWork::List { filter, texts: true, limit: 1, offset: 0 };
        gateway.start_store(cx, work, Job::Browse { to, browse: Browse::Describe });
    }
    Ok(())
}

pub(super) fn resolve(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let text = |name| call.values.text(name);
    let mut filter = SessionFilter { owner: owner_of(call), ..SessionFilter::default() };
    filter.agent = text("agentId").map(|agent| gateway.agent_called(&agent).to_owned());
    let (name, id, limit) = match (text("key"), text("sessionId"), text("label")) {
        (Some(name), None, None) => {
            filter.key = Some(gateway.openclaw_key(call, "key")?);
            (name, false, 1)
        }
        (None, Some(id), None) => (id, true, RESOLVED),
        (None, None, Some(label)) => {
            filter.label = Some(label.to_string());
            (label, false, 2)
        }
        _ => return Err(Refusal::invalid("one of key, sessionId and label is required")),
    };
    let optional = call.values.flag("allowMissing") == Some(true);
    let browse = Browse::Resolve { name: name.into(), id, optional };
    if let Some(to) = call.to.take() {
        let work = StoreWork::List { filter, texts: false, limit, offset: 0 };
        gateway.start_store(cx, work, Job::Browse { to, browse });
    }
    Ok(())
}

pub(super) fn patch(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let session = gateway.openclaw_key(call, "key")?;
    // Back to the default is where they are.
    let set = |name: &&&str| {
        call.values.raw(name).is_some_and(|raw| !matches!(raw.get(), "null" | "false"))
    };
    if let Some(name) = SETTINGS.iter().find(set) {
        let text = format!("sessions.patch can change label and nothing else, not {name}");
        return Err(Refusal::invalid(text));
    }
    let label = call.values.text("label").map(String::from);
    if let Some(label) = &label {
        check_label(label)?;
    }
    if call.values.raw("label").is_none() {
        let op = Op::Preview { session: session.clone(), limit: 1 };
        return gateway.change_session(cx, call, session, Changed::Patched, op);
    }
    let op = Op::Change { session: session.clone(), change: Change::Patch { label } };
    gateway.change_session(cx, call, session, Changed::Patched, op)
}

pub(super) fn create(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let is_there = |name| call.values.raw(name).is_some_and(|raw| raw.get() != "null");
    if call.values.raw("attachments").is_some_and(|raw| !matches!(raw.get(), "null" | "[]")) {
        return Err(Refusal::invalid(
            "attachments go with chat.send, to the session once it is there",
        ));
    }
    if call.values.flag("fork") == Some(true) || is_there("forkFrom") {
        return Err(Refusal::invalid("sessions cannot be forked here"));
    }
    let named = call.values.text("agentId");
    let session = match call.values.text("key") {
        Some(_) => gateway.openclaw_key(call, "key")?,
        None => {
            let agent = named.as_deref().unwrap_or(MAIN);
            let agent = gateway.agent_shown(gateway.agent_called(agent)).to_owned();
            gateway.fresh_key(&agent)
        }
    };
    let name = named.as_deref().or(agent_of(&session)).unwrap_or(MAIN);
    let agent: Arc<str> = gateway.agent_called(name).into();
    if gateway.config.agent(&agent).is_none() {
        return Err(unknown_agent(name));
    }
    let label = call.values.text("label").map(String::from);
    if let Some(label) = &label {
        check_label(label)?;
    }
    let text = call.values.text("message").filter(|text| !text.trim().is_empty());
    if let Some(text) = &text {
        gateway.check_length(text)?;
    }
    let op = Op::Create { session: session.clone(), agent, label };
    let what = Changed::Created(text.map(|text| Arc::from(&*text)));
    gateway.change_session(cx, call, session, what, op)
}

pub(super) fn reset(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let session = gateway.openclaw_key(call, "key")?;
    let op = Op::Change { session: session.clone(), change: Change::Reset };
    gateway.change_session(cx, call, session, Changed::Reset, op)
}

pub(super) fn delete(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if call.values.flag("deleteTranscript") == Some(false) {
        let text = "what was said goes with its session here: deleteTranscript cannot be false";
        return Err(Refusal::invalid(text));
    }
    let session = gateway.openclaw_key(call, "key")?;
    if call.values.flag("archivedOnly") == Some(true) {
        if let Some(to) = call.to.take() {
            gateway.reply_deleted(cx, to, &session, false);
        }
        return Ok(());
    }
    let op = Op::Change { session: session.clone(), change: Change::Delete };
    gateway.change_session(cx, call, session, Changed::Deleted, op)
}

pub(super) fn compact(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let session = gateway.openclaw_key(call, "key")?;
    let keep = call.values.integer("maxLines").map_or(KEEP, i64::unsigned_abs);
    let op = Op::Change { session: session.clone(), change: Change::Compact { keep } };
    gateway.change_session(cx, call, session, Changed::Compacted, op)
}

/// Changes of all sessions are told from now on; with parameters of a list, that list, too.
pub(super) fn subscribe(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let peer = gateway.conns.get_mut(&call.conn).and_then(|conn| conn.openclaw.as_mut());
    if let Some(peer) = peer {
        peer.all_sessions = true;
    }
    let of_list = ["limit", "offset", "agentId", "search", "includeDerivedTitles"];
    if of_list.iter().any(|name| call.values.raw(name).is_some()) {
        page(gateway, cx, call, true);
    } else if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| out.push_str(r#"{"subscribed":true}"#));
    }
    Ok(())
}

pub(super) fn unsubscribe(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let peer = gateway.conns.get_mut(&call.conn).and_then(|conn| conn.openclaw.as_mut());
    if let Some(peer) = peer {
        peer.all_sessions = false;
    }
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| out.push_str(r#"{"subscribed":false}"#));
    }
    Ok(())
}

/// What is said in one session is told from now on.
pub(super) fn listen(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    listening(gateway, cx, call, true)
}

pub(super) fn unlisten(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    listening(gateway, cx, call, false)
}

fn listening(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>, on: bool) -> Done {
    let session = gateway.openclaw_key(call, "key")?;
    let peer = gateway.conns.get_mut(&call.conn).and_then(|conn| conn.openclaw.as_mut());
    if let Some(peer) = peer {
        if !on {
            peer.sessions.remove(&session);
        } else if peer.sessions.len() < MAX_SUBSCRIBED || peer.sessions.contains(&session) {
            peer.sessions.insert(session.clone());
        } else {
            let text = format!("a connection can listen to {MAX_SUBSCRIBED} sessions at once");
            return Err(Refusal::invalid(text));
        }
    }
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            Object::new(out).bool("subscribed", on).str("key", &session).end();
        });
    }
    Ok(())
}

impl Gateway {
    fn change_session(
        &mut self,
        cx: &mut Cx<'_>,
        call: &mut Call<'_>,
        session: Arc<str>,
        what: Changed,
        op: Op,
    ) -> Done {
        if !matches!(what, Changed::Created(_)) {
            let expected = call.values.text("expectedSessionId");
            if expected.is_some_and(|expected| expected != session_id(&session)) {
                return Err(Refusal::invalid("expectedSessionId is that of another session"));
            }
        }
        if let Some(to) = call.take(Then::Changed { session, what: what.into() }) {
            self.openclaw_route(cx, call.conn, op, to);
        }
        Ok(())
    }

    /// The gateway's own answer has come: goes on, or gives the client its own.
    pub(super) fn session_changed(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        session: Arc<str>,
        what: Changed,
        body: &Body,
    ) {
        let ReplyTo::Local { conn, .. } = &to else { return };
        let conn = *conn;
        let Some(payload) = body.payload() else {
            match (what, body.error) {
                (Changed::Deleted, Some(Code::NotFound)) => {
                    self.reply_deleted(cx, to, &session, false);
                }
                (Changed::Reset, Some(Code::NotFound)) => {
                    // Nothing was said in it: that is what was asked for.
                    let name = agent_of(&session).unwrap_or(MAIN);
                    let agent = self.agent_called(name).into();
                    let op = Op::Create { session: session.clone(), agent, label: None };
                    let what = Changed::Created(None).into();
                    let to = to.then(Then::Changed { session, what });
                    self.openclaw_route(cx, conn, op, to);
                }
                _ => self.reply_body(cx, to, body),
            }
            return;
        };
        match what {
            Changed::Patched | Changed::Reset | Changed::Created(None) => {
                self.look_up(cx, to, session, None);
            }
            Changed::Sent(run) => self.look_up(cx, to, session, Some(run)),
            Changed::Created(Some(text)) => {
                let run: Arc<str> = self.uuid().into();
                let op = self.say(session.clone(), text, Some(run.clone()));
                let what = Changed::Sent(run).into();
                self.openclaw_route(cx, conn, op, to.then(Then::Changed { session, what }));
            }
            Changed::Deleted => self.reply_deleted(cx, to, &session, true),
            Changed::Compacted => {
                let trimmed: Result<Trimmed, _> = serde_json::from_str(payload);
                let Ok(Trimmed { removed, left }) = trimmed else {
                    return self.reply_body(cx, to, body);
                };
                self.reply_ok(cx, to, |_, out| {
                    Object::new(out)
                        .bool("ok", true)
                        .str("key", &session)
                        .bool("compacted", removed > 0)
                        .num("kept", left)
                        .end();
                });
            }
        }
    }

    fn reply_deleted(&mut self, cx: &mut Cx<'_>, to: ReplyTo, session: &str, deleted: bool) {
        self.reply_ok(cx, to, |_, out| {
            Object::new(out)
                .bool("ok", true)
                .str("key", cut(session, 512))
                .bool("deleted", deleted)
                .raw("archived", "[]")
                .end();
        });
    }
}
