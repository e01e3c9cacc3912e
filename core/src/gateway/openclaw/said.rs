//! What runs have said, as `chat` and as `agent` events.
//!
//! It comes in pieces. They are gathered for a little while, as every piece that is told may repeat the text
//! so far. Pieces that wait for a slow reader merge like those of every other link; what they repeat is
//! looked up when they are written.

use super::super::bus::NodeId;
use super::super::json::Object;
use super::super::link::LinkId;
use super::super::retained::Held;
use super::super::ring::{Chunk, Event, RunName, Stream};
use super::super::send::Cx;
use super::super::{Gateway, Timer};
use super::events::{Audience, To};
use super::peer::Protocol;
use super::run_events::write_message;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long pieces of a run's text are gathered: nobody reads faster.
const GATHER: Duration = Duration::from_millis(75);

/// Bytes of a run's text up to which events repeat it to clients that need only what is new.
const REPEATED: usize = 4096;

/// With each of so many bytes, pieces are gathered for as long again.
const SLOWER: usize = 64 * 1024;

/// What a run has said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) run: Arc<RunName>,
    pub(super) users: Vec<Arc<str>>,
    pub(super) text: String,
    /// What is kept of it.
    pub(super) held: Held,
    /// So much of it was told.
    pub(super) told: usize,
    /// When the next piece may be told.
    pub(super) next: Instant,
    pub(super) due: Option<Instant>,
    /// The numbers of its last events.
    pub(super) chat: u64,
    pub(super) agent: u64,
    /// Unix milliseconds.
    pub(super) started: u64,
}

/// A piece of a run's text. `text`: all of it, which may have more by now.
pub(super) fn write_chunk(
    out: &mut String,
    chunk: &Chunk,
    text: Option<&str>,
    protocol: Protocol,
    seq: u64,
    now_ms: u64,
) {
    let start = chunk.offset as usize;
    let whole = match text.and_then(|text| text.get(..start + chunk.text.len())) {
        Some(text) => Some(text),
        None => (start == 0).then_some(&*chunk.text),
    };
    let is_new = protocol == Protocol::V4;
    let repeats = !is_new && chunk.stream == Stream::Chat;
    let whole = whole.filter(|text| repeats || text.len() <= REPEATED);
    if repeats && whole.is_none() {
        // Such clients know nothing but the whole text; the end will tell it.
        return;
    }
    let mut object = Object::new(out).str("type", "event");
    match chunk.stream {
        Stream::Thinking => {
            object = object.str("event", "agent");
            let agent = chunk.run.write_agent(object.key("payload"), chunk.seq, "thinking", now_ms);
            // Thoughts are not kept, so only their beginning can be told as a whole.
            let whole = (start == 0).then_some(&*chunk.text);
            agent.object("data", |o| o.maybe_str("text", whole).str("delta", &chunk.text)).end();
        }
        Stream::Chat => {
            object = object.str("event", "chat");
            let mut chat = chunk.run.write_chat(object.key("payload"), chunk.seq, "delta");
            if is_new {
                chat = chat.str("deltaText", &chunk.text);
                if start == 0 {
                    chat = chat.bool("replace", true);
                }
            }
            if let Some(text) = whole {
                chat = write_message(chat, text, now_ms);
            }
            chat.end();
        }
        Stream::Agent => {
            object = object.str("event", "agent");
            let agent =
                chunk.run.write_agent(object.key("payload"), chunk.seq, "assistant", now_ms);
            agent.object("data", |o| o.maybe_str("text", whole).str("delta", &chunk.text)).end();
        }
    }
    object.num("seq", seq).end();
}

impl Gateway {
    pub(super) fn openclaw_chunk(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        chunk: &Chunk,
    ) {
        if chunk.offset == 0 && !self.openclaw.said.contains_key(&chunk.run.run) {
            if !self.is_read_by(audience.users) {
                return;
            }
            self.said(cx, &chunk.run, audience.users);
        }
        let Some(said) = self.openclaw.said.get_mut(&chunk.run.run) else { return };
        if chunk.offset != said.text.len() as u64 {
            // It began when nobody here was there to see it; whoever has come since is told all of it.
            return;
        }
        if said.users != audience.users {
            // Whoever came first may have been told of it alone.
            said.users = audience.users.to_vec();
        }
        said.text.push_str(&chunk.text);
        said.held.add(chunk.text.len());
        if said.due.is_some() {
            return;
        }
        if cx.now < said.next {
            said.due = Some(said.next);
            let due = (said.next, chunk.run.run.clone());
            return self.arm_said(due);
        }
        self.tell_said(cx, audience.from, &chunk.run.run, None);
    }

    pub(super) fn said(&mut self, cx: &Cx<'_>, run: &Arc<RunName>, users: &[Arc<str>]) {
        let started = self.ms(cx.now);
        let held = self.retained.hold(&run.owner, 0);
        self.openclaw.said.entry(run.run.clone()).or_insert_with(|| Said {
            run: run.clone(),
            users: users.to_vec(),
            text: String::new(),
            held,
            told: 0,
            next: cx.now,
            due: None,
            chat: 0,
            agent: 0,
            started,
        });
    }

    /// One timer for all: it is armed for the first of them.
    pub(super) fn arm_said(&mut self, due: (Instant, Arc<str>)) {
        let before = self.openclaw.due.first().map(|(at, _)| *at);
        let at = due.0;
        self.openclaw.due.insert(due);
        if before.is_none_or(|before| at < before) {
            if let Some(before) = before {
                self.timers.remove(&(before, Timer::Said));
            }
            self.timers.insert((at, Timer::Said));
        }
    }

    pub(in crate::gateway) fn said_due(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, run)) = self.openclaw.due.first().cloned() {
            if at > cx.now {
                self.timers.insert((at, Timer::Said));
                return;
            }
            self.openclaw.due.pop_first();
            // Which node it comes from matters only to who waits for that node, and is told later.
            let from = self.home_of_run(&run);
            self.tell_said(cx, from, &run, None);
        }
    }

    pub(super) fn home_of_run(&self, run: &str) -> NodeId {
        let home = self.openclaw.said.get(run).map(|said| self.node.home(&said.run.session));
        home.unwrap_or(self.node.id())
    }

    /// Tells what was gathered. `but`: a link that is told all of it in one piece.
    pub(super) fn tell_said(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        run: &Arc<str>,
        but: Option<LinkId>,
    ) {
        let Some(said) = self.openclaw.said.get_mut(run) else { return };
        if let Some(due) = said.due.take() {
            // It is there when a run ends before its time.
            self.openclaw.due.remove(&(due, run.clone()));
        }
        if said.told == said.text.len() {
            return;
        }
        let (name, offset) = (said.run.clone(), said.told as u64);
        let text = said.text[said.told..].to_owned();
        said.told = said.text.len();
        // What repeats a long text is told less often.
        said.next = cx.now + GATHER * (1 + (said.text.len() / SLOWER) as u32);
        said.chat += 1;
        said.agent += 1;
        let (chat, agent, users) = (said.chat, said.agent, said.users.clone());
        let audience = Audience { from, users: &users };
        let event = Event::piece(Stream::Agent, name.clone(), agent, offset, &text);
        self.tell_but(cx, audience, (To::Readers, but), &event);
        let event = Event::piece(Stream::Chat, name, chat, offset, &text);
        self.tell_but(cx, audience, (To::Readers, but), &event);
    }
}
