//! A turn: something a user said that an agent shall answer, and what its run is called.

use super::super::idempotency::{Key, Once};
use super::super::json::Object;
use super::super::retained::{ENTRY, Held};
use super::super::send::{Body, ReplyTo};
use super::super::work::Message;
use std::sync::Arc;

/// Something a user said that an agent shall answer.
pub(in super::super) struct Turn {
    pub(in super::super) run: Arc<str>,
    pub(in super::super) id: String,
    /// Who said it: the owner, or an admin.
    pub(in super::super) user: Arc<str>,
    pub(in super::super) agent: Arc<str>,
    pub(in super::super) text: Arc<str>,
    pub(in super::super) media: Vec<Arc<str>>,
    pub(in super::super) instructions: Option<Arc<str>>,
    /// What was said before, if its client keeps the conversation: then nothing of it is stored, and
    /// nobody hears of it but who has asked.
    pub(in super::super) apart: Option<Arc<[Message]>>,
    /// The message's id once it is durable.
    pub(in super::super) message: u64,
    pub(in super::super) ack: bool,
    /// It had to wait for another run; its request was answered then.
    pub(in super::super) queued: bool,
    pub(in super::super) to: Option<ReplyTo>,
    /// What is kept of it.
    pub(in super::super) held: Option<Held>,
    /// What to answer those with who ask again, until the request has its answer.
    pub(in super::super) key: Option<Key>,
    /// What the store is told of the request, if it has a key.
    pub(in super::super) once: Option<Once>,
}

impl Turn {
    /// What it costs to keep it.
    pub(super) fn bytes(&self) -> usize {
        let media: usize = self.media.iter().map(|path| path.len()).sum();
        let instructions = self.instructions.as_ref().map_or(0, |text| text.len());
        let apart = self.apart.iter().flat_map(|history| history.iter());
        let apart: usize = apart.map(|message| message.text.len() + size_of::<Message>()).sum();
        ENTRY + self.text.len() + media + instructions + apart
    }

    /// What its run is called.
    pub(super) fn name(&self) -> Name<'_> {
        Name { run: &self.run, key: self.once.as_ref().map(|once| &*once.key.1) }
    }
}

/// A run's id, and the idempotency key of the request that it answers: the name that its client knows.
pub(super) struct Name<'t> {
    pub(super) run: &'t str,
    pub(super) key: Option<&'t str>,
}

impl Name<'_> {
    pub(super) fn write<'o>(&self, object: Object<'o>) -> Object<'o> {
        object.str("runId", self.run).maybe_str("idempotencyKey", self.key)
    }

    /// Whether a client means this run by a name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.run == name || self.key == Some(name)
    }
}

/// The inner payload of `run.started`.
pub(super) fn started(turn: &Turn) -> String {
    let mut payload = String::new();
    Object::new(&mut payload)
        .str("message", &turn.text)
        .str("messageId", &turn.message.to_string())
        .end();
    payload
}

pub(super) fn started_body(turn: &Turn, session: &str) -> Body {
    Body::ok(|o| turn.name().write(o).str("sessionKey", session).str("status", "started"))
}

pub(super) fn queued_body(turn: &Turn, session: &str) -> Body {
    Body::ok(|o| {
        turn.name().write(o.bool("queued", true)).str("turnId", &turn.id).str("sessionKey", session)
    })
}
