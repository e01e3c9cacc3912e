//! What comes into a session without a run: a message of the assistant, or the session itself.

use super::Gateway;
use super::agent_work::StopReason;
use super::jobs::Job;
use super::json::Object;
use super::principal::Principal;
use super::refusal::Refusal;
use super::ring::Event;
use super::send::{Cx, ReplyTo};
use super::session::{Session, not_yours};
use super::work::{Author, NewSession, StoreOutcome, StoreWork};
use std::sync::Arc;

/// A message that was put in by hand, on its way to the store.
pub(super) struct Injection {
    session: Session,
    text: Arc<str>,
    label: Option<String>,
    /// Who did it.
    by: Arc<str>,
}

impl Gateway {
    pub(super) fn inject(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        session: Session,
        text: Arc<str>,
        label: Option<String>,
        to: ReplyTo,
    ) {
        let work = StoreWork::Append {
            session: session.key.clone(),
            create: None,
            author: Author::Assistant,
            text: text.clone(),
            media: Vec::new(),
            label: label.clone(),
            stop: StopReason::Stop,
            at: self.ms(cx.now),
            mark: None,
        };
        let injection = Injection { session, text, label, by: who.user.clone() };
        self.start_store(cx, work, Job::Inject { injection: injection.into(), to });
    }

    /// The message is durable.
    pub(super) fn injected(
        &mut self,
        cx: &mut Cx<'_>,
        injection: &Injection,
        to: ReplyTo,
        outcome: Result<u64, Refusal>,
    ) {
        let id = match outcome {
            Ok(id) => id.to_string(),
            Err(refusal) => return self.reply_error(cx, to, &refusal),
        };
        let Injection { session, text, label, by } = injection;
        let mut payload = String::new();
        updated(&mut payload, session, "injected", by)
            .str("messageId", &id)
            .str("role", Author::Assistant.as_str())
            .str("content", text)
            .maybe_str("label", label.as_deref())
            .end();
        let users = [session.owner.clone(), by.clone()];
        self.event(cx, &users, &Event::plain("session.updated", &payload));
        self.reply_ok(cx, to, |_, out| {
            Object::new(out).bool("ok", true).str("messageId", &id).end();
        });
    }

    pub(super) fn create(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        session: Session,
        label: Option<String>,
        to: ReplyTo,
    ) {
        let new = NewSession { owner: session.owner.clone(), agent: session.agent.clone() };
        let (key, at) = (session.key.clone(), self.ms(cx.now));
        let work = StoreWork::Create { session: key, new, label, at };
        self.start_store(cx, work, Job::Create { session, by: who.user.clone(), to });
    }

    /// The session is there now.
    pub(super) fn created(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Session,
        by: &str,
        to: ReplyTo,
        outcome: Result<StoreOutcome, Refusal>,
    ) {
        match outcome {
            Ok(StoreOutcome::Opened(_)) => {}
            Ok(_) => return self.reply_error(cx, to, &not_yours()),
            Err(refusal) => return self.reply_error(cx, to, &refusal),
        }
        if session.fresh {
            let mut payload = String::new();
            updated(&mut payload, session, "created", by).end();
            let users = [session.owner.clone()];
            self.event(cx, &users, &Event::plain("session.updated", &payload));
        }
        self.reply_ok(cx, to, |_, out| {
            Object::new(out)
                .bool("ok", true)
                .str("key", &session.key)
                .bool("created", session.fresh)
                .end();
        });
    }
}

/// The start of a `session.updated`.
pub(super) fn updated<'o>(
    out: &'o mut String,
    session: &Session,
    change: &str,
    by: &str,
) -> Object<'o> {
    Object::new(out)
        .str("sessionKey", &session.key)
        .str("agentId", &session.agent)
        .str("userId", &session.owner)
        .str("change", change)
        .str("by", by)
}
