//! A link's events: numbered, merged while they wait, kept for a while after they were sent.
//!
//! ```text
//! | sent, kept for a resume ... | not sent yet: chunks of a run merge here |
//!                               ^ the next to send                         ^ `seq`, the last number
//! ```
//!
//! Every number is given once and stands for one event, or for nothing any more: then it is in a
//! hole, which the client is told of with a `lagged` event.

use super::json::Object;
use super::methods::EVENTS;
use super::saved_link::SavedEvent;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An event, before it has a number.
#[derive(Debug, Clone)]
pub struct Event(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Never merged and never left out.
    Plain {
        name: &'static str,
        payload: Arc<str>,
        /// The run that it is about.
        run: Option<Arc<RunName>>,
        /// It is the run's end, and tells the whole text.
        ends: bool,
    },
    /// A piece of a run's text: pieces that wait become one.
    Chunk(Arc<Chunk>),
}

#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) run: Arc<RunName>,
    /// The run's own count of its events.
    pub(super) seq: u64,
    /// Bytes of the run's text before this piece.
    pub(super) offset: u64,
    pub(super) text: String,
    /// Which of the events of a dialect that has several for it.
    pub(super) stream: Stream,
}

/// The events that a piece of a run's text is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// What the conversation shows.
    Chat,
    /// What the run does, step by step.
    Agent,
    /// What it thinks; never merged past what it says between, nor that past it.
    Thinking,
}

/// What every event of a run says about it.
#[derive(Debug)]
pub(super) struct RunName {
    pub(super) run: Arc<str>,
    pub(super) agent: Arc<str>,
    pub(super) session: Arc<str>,
    /// The session's owner.
    pub(super) owner: Arc<str>,
    /// The idempotency key of the request that it answers.
    pub(super) key: Option<Arc<str>>,
}

impl RunName {
    /// The payload of an `agent` event.
    pub(super) fn write(&self, out: &mut String, kind: &str, seq: u64, inner: Option<&str>) {
        let object = self.head(out, kind, seq);
        match inner {
            Some(inner) => object.raw("payload", inner).end(),
            None => object.end(),
        }
    }

    fn head<'a>(&self, out: &'a mut String, kind: &str, seq: u64) -> Object<'a> {
        Object::new(out)
            .str("type", kind)
            .str("agentId", &self.agent)
            .str("runId", &self.run)
            .str("sessionKey", &self.session)
            .str("userId", &self.owner)
            .num("seq", seq)
    }
}

impl Event {
    pub(super) fn plain(name: &'static str, payload: &str) -> Self {
        Self(Kind::Plain { name, payload: payload.into(), run: None, ends: false })
    }

    /// An `agent` event.
    pub(super) fn of_run(run: &Arc<RunName>, payload: &str, ends: bool) -> Self {
        Self::named_of_run("agent", run, payload, ends)
    }

    /// An event about a run.
    pub(super) fn named_of_run(
        name: &'static str,
        run: &Arc<RunName>,
        payload: &str,
        ends: bool,
    ) -> Self {
        Self(Kind::Plain { name, payload: payload.into(), run: Some(run.clone()), ends })
    }

    pub(super) fn chunk(run: Arc<RunName>, seq: u64, offset: u64, text: &str) -> Self {
        Self::piece(Stream::Chat, run, seq, offset, text)
    }

    pub(super) fn thinking(run: Arc<RunName>, seq: u64, offset: u64, text: &str) -> Self {
        Self::piece(Stream::Thinking, run, seq, offset, text)
    }

    pub(super) fn piece(
        stream: Stream,
        run: Arc<RunName>,
        seq: u64,
        offset: u64,
        text: &str,
    ) -> Self {
        Self(Kind::Chunk(Arc::new(Chunk { run, seq, offset, text: text.into(), stream })))
    }

    fn cost(&self) -> usize {
        ENTRY
            + match &self.0 {
                Kind::Plain { payload, .. } => payload.len(),
                Kind::Chunk(chunk) => chunk.text.len(),
            }
    }

    /// About how much its message takes: of a piece of text, what is to be escaped may be as much again.
    pub(super) fn message_cost(&self) -> usize {
        match &self.0 {
            Kind::Plain { .. } => self.cost(),
            Kind::Chunk(chunk) => self.cost() + chunk.text.len(),
        }
    }

    /// The whole message, in the base dialect.
    pub(super) fn write(&self, out: &mut String, seq: u64) {
        self.write_into(Object::new(out).str("type", "event")).num("seq", seq).end();
    }

    /// Name and payload.
    fn write_into<'a>(&self, mut object: Object<'a>) -> Object<'a> {
        match &self.0 {
            Kind::Plain { name, payload, .. } => object.str("event", name).raw("payload", payload),
            Kind::Chunk(chunk) => {
                object = object.str("event", "agent");
                let kind = match chunk.stream {
                    Stream::Thinking => "thinking",
                    Stream::Chat | Stream::Agent => "chunk",
                };
                let head = chunk.run.head(object.key("payload"), kind, chunk.seq);
                head.object("payload", |o| {
                    o.str("content", &chunk.text).num("offset", chunk.offset)
                })
                .end();
                object
            }
        }
    }
}

/// What an event costs besides its text.
const ENTRY: usize = size_of::<Entry>() + 32;

/// How far back a piece looks for the one before it.
const MERGE_WITHIN: usize = 16;

#[derive(Debug)]
pub(super) struct Entry {
    /// The first number; more than one only in a hole.
    from: u64,
    to: u64,
    /// When it was sent last; when it came, if it was not sent.
    at: Instant,
    /// None: a hole.
    event: Option<Event>,
}

impl Entry {
    fn is_end(&self) -> bool {
        matches!(&self.event, Some(Event(Kind::Plain { ends: true, .. })))
    }

    /// As [`SavedEvent`] reads it.
    pub(super) fn write_saved(&self, out: &mut String) {
        let object = Object::new(out).num("from", self.from).num("to", self.to);
        match &self.event {
            None => object.end(),
            Some(event) => event.write_into(object).end(),
        }
    }

    fn cost(&self) -> usize {
        self.event.as_ref().map_or(ENTRY, Event::cost)
    }
}

/// Events that had not been sent and gave way to others.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Nothing tells what they said.
    pub(super) lost: u64,
    /// Pieces of a text that a later event tells whole.
    pub(super) told_again: u64,
}

/// What is to be sent next.
#[derive(Debug, Copy, Clone)]
pub(super) struct Next<'r> {
    from: u64,
    /// Its number.
    pub(super) to: u64,
    /// None: a hole.
    pub(super) event: Option<&'r Event>,
}

impl Next<'_> {
    /// The whole message, in the base dialect.
    pub(super) fn write(&self, out: &mut String) {
        match self.event {
            Some(event) => event.write(out, self.to),
            None => Object::new(out)
                .str("type", "event")
                .str("event", "lagged")
                .object("payload", |o| {
                    o.num("count", self.to - self.from + 1)
                        .num("from", self.from)
                        .num("to", self.to)
                })
                .num("seq", self.to)
                .end(),
        }
    }
}

/// The events of one link.
#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// Entries at the back that were not sent.
    unsent: usize,
    /// What the entries cost.
    bytes: usize,
    unsent_bytes: usize,
    /// The number given last.
    seq: u64,
}

impl Ring {
    /// The number given last.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// What is kept, the oldest first.
    pub(super) fn saved(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// A ring of what was saved; none if the numbers do not fit together or an event is not known.
    pub(super) fn restore(now: Instant, seq: u64, saved: &[SavedEvent<'_>]) -> Option<Self> {
        let mut ring = Self { seq, ..Self::default() };
        for (at, saved_event) in saved.iter().enumerate() {
            let SavedEvent { from, to, event, payload } = saved_event;
            let next = saved.get(at + 1).map_or(seq.checked_add(1)?, |next| next.from);
            if from > to || to.checked_add(1)? != next {
                return None;
            }
            let event = match (event, payload) {
                (None, _) => None,
                (Some(name), Some(payload)) => {
                    let name = EVENTS.into_iter().find(|known| known == name)?;
                    Some(Event::plain(name, payload.get()))
                }
                (Some(_), None) => return None,
            };
            ring.keep(Entry { from: *from, to: *to, at: now, event });
        }
        Some(ring)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.unsent == 0
    }

    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Takes an event in: it gets the next number, unless it is the continuation of a piece that
    /// still waits; says whether it is.
    pub(super) fn push(&mut self, now: Instant, event: Event) -> bool {
        if let Kind::Chunk(chunk) = &event.0
            && self.merge(chunk)
        {
            return true;
        }
        self.seq += 1;
        self.keep(Entry { from: self.seq, to: self.seq, at: now, event: Some(event) });
        false
    }

    fn keep(&mut self, entry: Entry) {
        let cost = entry.cost();
        self.bytes += cost;
        self.unsent += 1;
        self.unsent_bytes += cost;
        self.entries.push_back(entry);
    }

    fn merge(&mut self, piece: &Chunk) -> bool {
        let waiting = self.entries.iter_mut().rev().take(self.unsent.min(MERGE_WITHIN));
        for entry in waiting {
            match &mut entry.event {
                Some(Event(Kind::Chunk(waiting)))
                    if waiting.run.run == piece.run.run && waiting.stream == piece.stream =>
                {
                    if waiting.offset + waiting.text.len() as u64 != piece.offset {
                        return false;
                    }
                    let waiting = Arc::make_mut(waiting);
                    waiting.text.push_str(&piece.text);
                    waiting.seq = piece.seq;
                    self.bytes += piece.text.len();
                    self.unsent_bytes += piece.text.len();
                    return true;
                }
                Some(Event(Kind::Chunk(waiting)))
                    if waiting.run.run == piece.run.run
                        && [waiting.stream, piece.stream].contains(&Stream::Thinking) =>
                {
                    return false;
                }
                Some(Event(Kind::Chunk(_))) => {}
                // What is not a piece may be of the same run, and stays where it is.
                _ => return false,
            }
        }
        false
    }

    /// What is to be sent next, unless that is a hole.
    pub(super) fn next_event(&self) -> Option<&Event> {
        let next = self.entries.len().checked_sub(self.unsent).and_then(|at| self.entries.get(at));
        next?.event.as_ref()
    }

    /// Pieces of a run that wait become all that it has said up to their ends: where a reader wants to have that
    /// repeated, it could not be looked up any more when they are sent.
    pub(super) fn make_whole(&mut self, run: &str, text: &str) {
        let unsent = self.entries.len() - self.unsent;
        for entry in self.entries.iter_mut().skip(unsent) {
            let Some(Event(Kind::Chunk(chunk))) = &mut entry.event else { continue };
            let is_meant = *chunk.run.run == *run && chunk.stream == Stream::Chat;
            let end = chunk.offset as usize + chunk.text.len();
            if let Some(whole) = text.get(..end).filter(|_| is_meant && chunk.offset > 0) {
                let chunk = Arc::make_mut(chunk);
                let more = whole.len() - chunk.text.len();
                (chunk.text, chunk.offset) = (whole.to_owned(), 0);
                self.bytes += more;
                self.unsent_bytes += more;
            }
        }
    }

    /// The next number, for an event that is sent at once and not kept: a later one says more.
    pub(super) fn pass(&mut self, now: Instant) -> u64 {
        debug_assert!(self.is_caught_up(), "what waits comes first");
        self.seq += 1;
        match self.entries.back_mut() {
            Some(Entry { to, at, event: None, .. }) if *to + 1 == self.seq => {
                (*to, *at) = (self.seq, now);
            }
            _ => {
                self.keep(Entry { from: self.seq, to: self.seq, at: now, event: None });
                self.sent();
            }
        }
        self.seq
    }

    /// Writes the next message that was not sent, and counts it as sent. False: there is none.
    pub(super) fn next_unsent(&mut self, now: Instant, write: impl FnOnce(Next<'_>)) -> bool {
        if self.unsent == 0 {
            return false;
        }
        let at = self.entries.len() - self.unsent;
        let entry = &mut self.entries[at];
        // It may have waited for long, and get lost on its way.
        entry.at = now;
        write(Next { from: entry.from, to: entry.to, event: entry.event.as_ref() });
        self.sent();
        true
    }

    fn sent(&mut self) {
        let cost = self.entries[self.entries.len() - self.unsent].cost();
        self.unsent -= 1;
        self.unsent_bytes -= cost;
    }

    /// The client has everything up to this number: all after it is to be sent again. Gives how many
    /// entries that are, or nothing when some of it is not there any more.
    pub(super) fn rewind(&mut self, last: u64) -> Option<usize> {
        let first = self.entries.front().map_or(self.seq + 1, |entry| entry.from);
        if last > self.seq || last + 1 < first {
            return None;
        }
        let mut known = self.entries.partition_point(|entry| entry.to <= last);
        if let Some(entry) = self.entries.get_mut(known).filter(|entry| entry.from <= last) {
            // The client has seen the beginning of a hole: that becomes one of its own.
            let seen = Entry { from: entry.from, to: last, at: entry.at, event: None };
            entry.from = last + 1;
            self.bytes += seen.cost();
            self.entries.insert(known, seen);
            known += 1;
        }
        self.unsent = self.entries.len() - known;
        self.unsent_bytes = self.entries.range(known..).map(Entry::cost).sum();
        Some(self.unsent)
    }

    /// Forgets what was sent longer ago than this. Gives when the next will be forgotten.
    pub(super) fn expire(&mut self, now: Instant, within: Duration) -> Option<Instant> {
        while self.entries.len() > self.unsent {
            let due = self.entries.front()?.at + within;
            if due > now {
                return Some(due);
            }
            self.drop_first();
        }
        None
    }

    /// Forgets what was sent.
    pub(super) fn forget_sent(&mut self) {
        while self.entries.len() > self.unsent {
            self.drop_first();
        }
    }

    /// Forgets until no more is held than this. Of what waits, the pieces of runs go first whose end
    /// waits, too, and tells their whole text. Says what had to go of that which waited; the newest
    /// entry always stays.
    pub(super) fn make_room(&mut self, bytes: usize, entries: usize) -> Gone {
        let full = |ring: &Self| ring.bytes > bytes || ring.entries.len() > entries;
        while full(self) && self.entries.len() > self.unsent {
            self.drop_first();
        }
        let mut gone = Gone::default();
        if !full(self) {
            return gone;
        }
        gone.told_again = self.hollow();
        // The end of a run may be larger than all that may wait: one of them may.
        let end = self.entries.iter().filter(|entry| entry.is_end()).map(Entry::cost).max();
        let bytes = bytes + end.unwrap_or_default();
        let full = |ring: &Self| ring.bytes > bytes || ring.entries.len() > entries;
        while full(self) && self.entries.len() > 1 {
            self.drop_first();
            gone.lost += 1;
        }
        gone
    }

    /// Makes holes of the pieces of runs whose end waits, too; says of how many.
    fn hollow(&mut self) -> u64 {
        let mut hollowed = 0;
        let ended: BTreeSet<Arc<str>> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.event {
                Some(Event(Kind::Plain { ends: true, run: Some(run), .. })) => {
                    Some(run.run.clone())
                }
                _ => None,
            })
            .collect();
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(self.entries.len());
        for mut entry in self.entries.drain(..) {
            if let Some(Event(Kind::Chunk(chunk))) = &entry.event
                && ended.contains(&chunk.run.run)
            {
                entry.event = None;
                hollowed += 1;
            }
            match kept.back_mut() {
                Some(hole) if hole.event.is_none() && entry.event.is_none() => hole.to = entry.to,
                _ => kept.push_back(entry),
            }
        }
        self.entries = kept;
        self.unsent = self.entries.len();
        self.bytes = self.entries.iter().map(Entry::cost).sum();
        self.unsent_bytes = self.bytes;
        hollowed
    }

    fn drop_first(&mut self) {
        let waits = self.entries.len() == self.unsent;
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= entry.cost();
        if waits {
            self.unsent -= 1;
            self.unsent_bytes -= entry.cost();
        }
        if self.entries.is_empty() {
            // No heap while idle.
            self.entries = VecDeque::new();
        }
    }
}
