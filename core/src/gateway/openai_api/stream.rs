//! How what a run says leaves: at the pace of its reader.
//!
//! ```text
//! event of the run ─▶ pending ─▶ given to the connection, as long as little waits there ─▶ left
//!                     pieces merge here
//! ```
//!
//! A reader that falls behind by more than [`Bounds::link_bytes`](super::super::Bounds::link_bytes) is given
//! up as a slow one.

use super::super::conn::ConnId;
use super::super::http::HttpAnswer;
use super::super::refusal::Code;
use super::super::ring::{Chunk, Stream};
use super::super::send::Cx;
use super::super::work::Usage;
use super::super::{Action, Gateway};
use super::answer::{Head, KEEP_ALIVE};
use super::completion::Stage;
use super::error::ApiError;
use super::run_end::End;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Proxies end what is silent for 30 or 60 seconds, and so does the connection.
const QUIET: Duration = Duration::from_secs(15);

/// Bytes on their way to a client, from which on more wait where they can be merged.
const WINDOW: usize = 64 * 1024;

/// What a head takes, at most.
const HEAD: usize = 1024;

/// An answer under way.
#[derive(Debug)]
pub(super) struct Reply {
    head: Head,
    stream: bool,
    /// Its run is of no use to anybody else.
    pub(super) is_lost: bool,
    /// As soon as they are known.
    pub(super) run: Option<Arc<str>>,
    pub(super) session: Option<Arc<str>>,
    /// The head has left: all that follows is of the stream.
    pub(super) begun: bool,
    /// Bytes of the run's text that were written, or are pending.
    told: usize,
    /// The same of its thoughts.
    thought: u64,
    pending: Pending,
    /// Bytes given to the connection that may not have left.
    pub(super) given: usize,
    /// How the run ended; it is told behind what is pending.
    pub(super) end: Option<Ending>,
    /// When something was written last.
    wrote: Instant,
    /// When the run must have ended.
    pub(super) until: Instant,
    pub(super) timer: Option<Instant>,
}

/// What is behind the last piece of a text.
#[derive(Debug)]
pub(super) enum Ending {
    Whole(Usage, &'static str),
    Broken(String),
}

/// What waits for the reader, in its order: pieces of one kind become one.
#[derive(Debug, Default)]
struct Pending {
    pieces: VecDeque<(Kind, String)>,
    bytes: usize,
}

/// What a piece is of.
#[derive(Debug, Copy, Clone, PartialEq)]
pub(super) enum Kind {
    Text,
    Thought,
}

impl Pending {
    fn push(&mut self, kind: Kind, text: &str) {
        if text.is_empty() {
            return;
        }
        self.bytes += text.len();
        match self.pieces.back_mut() {
            Some((last, waiting)) if *last == kind => waiting.push_str(text),
            _ => self.pieces.push_back((kind, text.into())),
        }
    }

    /// The next piece, of at most so many bytes, but of one character at least.
    fn take(&mut self, most: usize) -> Option<(Kind, String)> {
        let (kind, text) = self.pieces.front_mut()?;
        let first = text.chars().next().map_or(0, char::len_utf8);
        let rest = text.split_off(text.floor_char_boundary(most).max(first));
        let piece = (*kind, std::mem::replace(text, rest));
        self.bytes -= piece.1.len();
        if text.is_empty() {
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        Some(piece)
    }
}

impl Reply {
    pub(super) fn new(now: Instant, head: Head, stream: bool, is_lost: bool) -> Self {
        Self {
            head,
            stream,
            is_lost,
            run: None,
            session: None,
            begun: false,
            told: 0,
            thought: 0,
            pending: Pending::default(),
            given: 0,
            end: None,
            wrote: now,
            until: now,
            timer: None,
        }
    }

    /// When something has to be done with it.
    pub(super) fn due(&self) -> Instant {
        if self.stream { self.until.min(self.wrote + QUIET) } else { self.until }
    }

    /// Bytes of the pending text that can be given to the connection now; `most`: what may wait there.
    fn room(&self, most: usize) -> usize {
        let room = WINDOW.min(most / 2);
        // What is given when nothing waits is taken whole, whatever its size.
        if self.given == 0 { room } else { room.saturating_sub(self.given) }
    }
}

impl Gateway {
    /// A run has begun, waits its turn, or has ended before: its answer has a name.
    pub(super) fn reply_begins(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        run: Arc<str>,
        session: Option<Arc<str>>,
    ) {
        self.completions.of_run.entry(run.clone()).or_default().insert(conn);
        // One that waits its turn waits no longer than a run may take.
        self.arm_reply(cx.now, conn, self.run_ends_by(cx.now));
        let Some(completion) = self.completions.all.get_mut(&conn) else { return };
        let Stage::Reply(reply) = &mut completion.stage else { return };
        let mut text = String::new();
        reply.head.write_role(&mut text, &run);
        (reply.run, reply.session) = (Some(run), session);
        if !reply.stream {
            return;
        }
        (reply.begun, reply.given) = (true, HEAD);
        let answer = HttpAnswer::stream(vec![
            ("Content-Type", "text/event-stream; charset=utf-8".into()),
            ("Cache-Control", "no-cache, no-transform".into()),
            // Proxies would gather the pieces otherwise.
            ("X-Accel-Buffering", "no".into()),
        ]);
        let answer = answer.readable_by(completion.origin.clone());
        self.respond(cx, conn, answer);
        self.give_text(cx, conn, text);
    }

    /// A piece of what the run says or thinks.
    pub(super) fn reply_goes_on(&mut self, cx: &mut Cx<'_>, conn: ConnId, chunk: &Chunk) {
        let most = self.config.bounds().link_bytes;
        let Some(completion) = self.completions.all.get_mut(&conn) else { return };
        let Stage::Reply(reply) = &mut completion.stage else { return };
        if !reply.stream || reply.end.is_some() {
            return;
        }
        let (offset, text) = (chunk.offset, &*chunk.text);
        let (kind, new) = match chunk.stream {
            Stream::Thinking => {
                // Thoughts are told once: who came later does without the first.
                let known = usize::try_from(reply.thought.saturating_sub(offset)).ok();
                let Some(new) = known.and_then(|known| text.get(known..)) else { return };
                reply.thought = offset + text.len() as u64;
                (Kind::Thought, new)
            }
            Stream::Chat | Stream::Agent => {
                // Who came later has missed a piece: the end tells the whole text.
                let offset = usize::try_from(offset).ok();
                let known = offset.and_then(|offset| reply.told.checked_sub(offset));
                let Some(new) = known.and_then(|known| text.get(known..)) else { return };
                reply.told += new.len();
                (Kind::Text, new)
            }
        };
        reply.pending.push(kind, new);
        completion.held.add(new.len());
        let waits = reply.pending.bytes;
        self.reply_flows(cx, conn);
        let still = self.completions.reply(conn).map_or(0, |reply| reply.pending.bytes);
        if waits.min(still) > most {
            self.give_up(cx, conn);
            self.drop_completion(cx, conn);
        }
    }

    /// The run has ended.
    pub(super) fn reply_ends(&mut self, cx: &mut Cx<'_>, conn: ConnId, end: End) {
        let (content, usage, finish) = match end.result() {
            Ok(whole) => whole,
            Err(error) => return self.fail_completion(cx, conn, &error),
        };
        let Some(completion) = self.completions.all.get_mut(&conn) else { return };
        let Stage::Reply(reply) = &mut completion.stage else { return };
        if reply.end.is_some() {
            return;
        }
        if !reply.stream {
            let mut body = String::new();
            let run = reply.run.clone().unwrap_or_default();
            reply.head.write_whole(&mut body, &run, &content, usage, finish);
            return self.answer_whole(cx, conn, body);
        }
        let rest = content.get(reply.told..).unwrap_or_default();
        reply.pending.push(Kind::Text, rest);
        reply.told += rest.len();
        completion.held.add(rest.len());
        reply.end = Some(Ending::Whole(usage, finish));
        self.finish_completion(cx, conn, None);
        self.reply_flows(cx, conn);
    }

    /// The stream has begun, and there is no more of it than this.
    pub(super) fn reply_breaks(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: &ApiError) {
        let Some(reply) = self.completions.reply(conn) else { return };
        if reply.end.is_some() {
            return;
        }
        let mut text = String::from("data: ");
        error.write(&mut text);
        text.push_str("\n\n");
        reply.end = Some(Ending::Broken(text));
        self.finish_completion(cx, conn, Some(error));
        self.reply_flows(cx, conn);
    }

    /// Gives the connection as much as it takes.
    pub(super) fn reply_flows(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let most = self.config.raw.limits.outbox as usize;
        loop {
            let Some(completion) = self.completions.all.get_mut(&conn) else { return };
            let Stage::Reply(reply) = &mut completion.stage else { return };
            if !reply.begun {
                return;
            }
            let room = reply.room(most);
            if room == 0 {
                return;
            }
            let run = reply.run.clone().unwrap_or_default();
            let mut out = String::new();
            if let Some((kind, text)) = reply.pending.take(room) {
                let end = text.len();
                match kind {
                    Kind::Text => reply.head.write_text(&mut out, &run, &text),
                    Kind::Thought => reply.head.write_thought(&mut out, &run, &text),
                }
                let held = completion.held.bytes();
                completion.held.set(held.saturating_sub(end));
                self.give_text(cx, conn, out);
                continue;
            }
            match &reply.end {
                None => return,
                Some(Ending::Whole(usage, finish)) => {
                    reply.head.write_end(&mut out, &run, *usage, finish);
                }
                Some(Ending::Broken(text)) => out.push_str(text),
            }
            self.give_text(cx, conn, out);
            match cx.outbox(conn) {
                Some(outbox) => drop(outbox.end_body()),
                None => self.actions.push_back(Action::EndBody { conn }),
            }
            return self.drop_completion(cx, conn);
        }
    }

    fn give_text(&mut self, cx: &mut Cx<'_>, conn: ConnId, text: String) {
        let Some(completion) = self.completions.all.get_mut(&conn) else { return };
        let user = completion.user().clone();
        if let Stage::Reply(reply) = &mut completion.stage {
            reply.given += text.len();
            reply.wrote = cx.now;
        }
        self.hold_queued(conn, &user, text.len());
        self.give_body(cx, conn, text.into());
    }

    /// Nothing was said for a while, or the run should have ended.
    pub(in super::super) fn completion_due(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(reply) = self.completions.reply(conn) else { return };
        reply.timer = None;
        let until = reply.until;
        if until <= cx.now {
            let text = "the agent did not finish in time".to_string();
            return self.give_up_run(cx, conn, &ApiError::of(Code::AgentTimeout, text, None));
        }
        // Who has not taken what was said last needs no sign of life, but to read.
        let is_quiet = reply.begun && reply.given == 0 && reply.wrote + QUIET <= cx.now;
        if is_quiet {
            self.give_text(cx, conn, KEEP_ALIVE.into());
        } else if reply.wrote + QUIET <= cx.now {
            reply.wrote = cx.now;
        }
        self.arm_reply(cx.now, conn, until);
    }
}
