//! Changes to a session as a whole: its name, its messages, its end. And a look at it.

use super::Gateway;
use super::inject::updated;
use super::jobs::{Job, gone};
use super::json::{self, Object};
use super::principal::Principal;
use super::refusal::{Code, Refusal, cut};
use super::ring::Event;
use super::send::{Cx, ReplyTo};
use super::session::Session;
use super::work::{SessionInfo, StoreOutcome, StoreWork};
use std::sync::Arc;

/// What is to become of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Another name that people see, or none.
    Patch {
        /// The name.
        label: Option<String>,
    },
    /// It ends, with all that was said.
    Delete,
    /// All that was said is forgotten.
    Reset,
    /// What was said first is forgotten.
    Compact {
        /// How many messages stay.
        keep: u64,
    },
}

impl Change {
    /// The word in `session.updated`.
    const fn done(&self) -> &'static str {
        match self {
            Self::Patch { .. } => "patched",
            Self::Delete => "deleted",
            Self::Reset => "reset",
            Self::Compact { .. } => "compacted",
        }
    }

    fn work(&self, session: Arc<str>) -> StoreWork {
        match self {
            Self::Patch { label } => StoreWork::Patch { session, label: label.clone() },
            Self::Delete => StoreWork::Delete { session },
            Self::Reset => StoreWork::Reset { session },
            Self::Compact { keep } => StoreWork::Compact { session, keep: *keep },
        }
    }
}

/// Bytes of a message in a preview: a line or two.
const PREVIEW_BYTES: usize = 240;

impl Gateway {
    pub(super) fn change(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        session: Session,
        change: Change,
        to: ReplyTo,
    ) {
        match change {
            Change::Patch { .. } => {}
            // What is under way would answer what is not there any more. Its answer may be on its way
            // to the store already: then it is stored first and goes with the rest.
            Change::Delete | Change::Reset => self.dismiss(cx, &session.key),
            Change::Compact { .. } if self.live.contains_key(&session.key) => {
                let text = "a run is under way in this session: wait for its end, or stop it with \
                            chat.abort";
                return self.reply_error(cx, to, &Refusal::new(Code::FailedPrecondition, text));
            }
            Change::Compact { .. } => {}
        }
        let by = who.user.clone();
        let work = change.work(session.key.clone());
        self.start_store(cx, work, Job::Change { session, change, by, to });
    }

    /// The store has made the change.
    pub(super) fn changed(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Session,
        change: &Change,
        by: &str,
        to: ReplyTo,
        outcome: &StoreOutcome,
    ) {
        let trimmed = match (change, outcome) {
            (Change::Patch { .. }, StoreOutcome::Opened(_))
            | (Change::Delete, StoreOutcome::Removed(true)) => None,
            (
                Change::Reset | Change::Compact { .. },
                StoreOutcome::Trimmed { removed, left, .. },
            ) => Some((*removed, *left)),
            _ => return self.reply_error(cx, to, &gone()),
        };
        if *change == Change::Delete {
            // As in the store: a retry finds nothing of what was deleted.
            self.idempotency.forget_session(&session.key);
        }
        let mut payload = String::new();
        let mut event = updated(&mut payload, session, change.done(), by);
        if let Change::Patch { label } = change {
            event = write_label(event, label.as_deref());
        }
        if let Some((removed, left)) = trimmed {
            event = event.num("removed", removed).num("messageCount", left);
        }
        event.end();
        let users = [session.owner.clone()];
        self.event(cx, &users, &Event::plain("session.updated", &payload));
        self.reply_ok(cx, to, |_, out| {
            let mut object = Object::new(out).bool("ok", true).str("key", &session.key);
            if let Change::Patch { label } = change {
                object = write_label(object, label.as_deref());
            }
            if let Some((removed, left)) = trimmed {
                object = object.num("removed", removed).num("messageCount", left);
            }
            object.end();
        });
    }

    /// The session was looked up for a preview: reads its newest messages.
    pub(super) fn preview_found(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        limit: usize,
        outcome: StoreOutcome,
    ) {
        let StoreOutcome::Opened(info) = outcome else { return self.reply_error(cx, to, &gone()) };
        let bytes = self.config.bounds().page_bytes;
        let session = info.key.clone();
        let work = StoreWork::History { session, before: None, limit, bytes };
        self.start_store(cx, work, Job::PreviewMessages { to, info });
    }

    pub(super) fn preview_read(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        info: &SessionInfo,
        outcome: &StoreOutcome,
    ) {
        let StoreOutcome::History { messages, more } = outcome else {
            return self.reply_error(cx, to, &gone());
        };
        self.reply_ok(cx, to, |_, out| {
            write_session(Object::new(out), info)
                .list("messages", messages, |out, message| {
                    let text = cut(&message.text, PREVIEW_BYTES);
                    Object::new(out)
                        .str("id", &message.id.to_string())
                        .str("role", message.author.as_str())
                        .str("content", text)
                        .bool("cut", text.len() < message.text.len())
                        .num("ts", message.at)
                        .end();
                })
                .bool("more", *more)
                .end();
        });
    }
}

/// What lists and previews tell of a session.
pub(super) fn write_session<'o>(object: Object<'o>, session: &SessionInfo) -> Object<'o> {
    object
        .str("key", &session.key)
        .str("agentId", &session.agent)
        .str("userId", &session.owner)
        .maybe_str("label", session.label.as_deref())
        .num("messageCount", session.messages)
        .num("created", session.created)
        .num("updated", session.updated)
}

fn write_label<'o>(mut object: Object<'o>, label: Option<&str>) -> Object<'o> {
    match label {
        Some(label) => json::string(object.key("label"), label),
        None => object.key("label").push_str("null"),
    }
    object
}
