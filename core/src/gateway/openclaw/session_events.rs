//! What is told of sessions: that they have changed, what was said in them, and what was put into them
//! without a run.

use super::super::Gateway;
use super::super::json::{self, Object};
use super::super::ring::{Event, RunName};
use super::super::send::Cx;
use super::events::{Audience, To};
use super::history::{labelled, sent_as, write_content};
use super::run_events::write_message;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

/// A `session.updated` event of the gateway's own.
#[derive(Deserialize)]
pub(super) struct Updated<'a> {
    #[serde(rename = "sessionKey", borrow)]
    session: Cow<'a, str>,
    #[serde(rename = "agentId", borrow)]
    agent: Cow<'a, str>,
    #[serde(borrow)]
    change: Cow<'a, str>,
    /// What was put in.
    #[serde(rename = "messageId", borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    label: Option<Cow<'a, str>>,
}

/// A message that was said.
pub(super) struct Spoken<'a> {
    pub(super) role: &'static str,
    pub(super) text: &'a str,
    pub(super) id: Option<&'a str>,
}

impl Gateway {
    pub(super) fn session_updated(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        event: &Updated<'_>,
    ) {
        if let (Some(id), Some(content)) = (&event.id, &event.content) {
            let run = Arc::new(RunName {
                run: format!("inject-{id}").into(),
                agent: Arc::from(&*event.agent),
                session: Arc::from(&*event.session),
                owner: audience.users.first().cloned().unwrap_or_default(),
                key: None,
            });
            let text = labelled(content, event.label.as_deref());
            let now = self.ms(cx.now);
            let mut payload = String::new();
            write_message(run.write_chat(&mut payload, 0, "final"), &text, now)
                .str("stopReason", "injected")
                .end();
            let chat = Event::plain("chat", &payload);
            self.tell(cx, audience, To::Readers, &chat);
            let spoken = Spoken { role: "assistant", text: &text, id: Some(id) };
            self.session_message(cx, audience, &run, &spoken);
        }
        self.sessions_changed(cx, audience, &event.session, &event.change);
    }

    pub(super) fn session_message(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        spoken: &Spoken<'_>,
    ) {
        let now = self.ms(cx.now);
        let Spoken { role, text, id } = *spoken;
        let number = id.and_then(|id| id.parse().ok());
        let mut payload = String::new();
        let mut object = Object::new(&mut payload)
            .str("sessionKey", &run.session)
            .str("agentId", run.agent_shown())
            .object("message", |mut o| {
                o = o.str("role", role);
                if role == "user" {
                    json::string(o.key("content"), text);
                    o = o.str("idempotencyKey", &sent_as(run.shown()));
                } else {
                    write_content(o.key("content"), text);
                }
                let answers = (role != "user").then(|| run.shown());
                o.num("timestamp", now).object("__openclaw", |mut o| {
                    o = o.maybe_str("id", id);
                    if let Some(number) = number {
                        o = o.num("seq", number);
                    }
                    o.maybe_str("runId", answers)
                })
            })
            .maybe_str("messageId", id);
        if let Some(number) = number {
            object = object.num("messageSeq", number);
        }
        object.end();
        let event = Event::named_of_run("session.message", run, &payload, false);
        self.tell(cx, audience, To::Listeners(&run.session), &event);
    }

    pub(super) fn sessions_changed(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        session: &str,
        reason: &str,
    ) {
        let now = self.ms(cx.now);
        let mut payload = String::new();
        Object::new(&mut payload)
            .str("sessionKey", session)
            .maybe_str("agentId", super::super::session::agent_of(session))
            .str("reason", reason)
            .num("ts", now)
            .end();
        let event = Event::plain("sessions.changed", &payload);
        self.tell(cx, audience, To::Watchers, &event);
    }
}
