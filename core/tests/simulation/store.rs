//! A store that takes its time, and its troubles: what was executed is durable, whoever learns of it.

use super::rng::Rng;
use moorline_core::gateway::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What becomes of one piece of work.
#[derive(Debug, Copy, Clone, PartialEq)]
enum Fate {
    Works,
    /// Nothing is done, and that is told.
    Fails,
    /// It is done, and nobody learns of it.
    Mute,
}

#[derive(Debug)]
struct Piece {
    at: Instant,
    fate: Fate,
    node: usize,
    job: JobId,
    work: StoreWork,
}

#[derive(Debug)]
pub struct Store {
    memory: MemoryStore,
    /// In the order in which they came, which is the order of their execution.
    pieces: VecDeque<Piece>,
    /// It is as bad as this, in percent of the works.
    pub trouble: u64,
    /// Until when something was wrong.
    pub failed: Option<Instant>,
    rng: Rng,
}

impl Store {
    pub fn new(rng: Rng) -> Self {
        let (memory, pieces) = (MemoryStore::default(), VecDeque::new());
        Self { memory, pieces, trouble: 0, failed: None, rng }
    }

    pub fn take(&mut self, now: Instant, node: usize, job: JobId, work: StoreWork) {
        let (mut fate, mut troubled) = (Fate::Works, false);
        let mut delay = self.rng.millis(0, 4);
        if self.rng.percent(self.trouble) {
            troubled = true;
            match self.rng.index(8) {
                0 => delay = self.rng.seconds(25, 70),
                1 | 2 => delay = self.rng.seconds(1, 8),
                3 | 4 => fate = Fate::Mute,
                _ => fate = Fate::Fails,
            }
        }
        let at = self.pieces.back().map_or(now, |last| last.at.max(now)) + delay;
        if troubled {
            self.failed = self.failed.max(Some(at));
        }
        self.pieces.push_back(Piece { at, fate, node, job, work });
    }

    pub fn next(&self) -> Option<Instant> {
        self.pieces.front().map(|piece| piece.at)
    }

    /// Executes what is due next; gives what is to be told.
    pub fn execute(&mut self, now: Instant) -> Option<(usize, JobId, StoreOutcome)> {
        let Piece { fate, node, job, work, .. } =
            self.pieces.pop_front_if(|piece| piece.at <= now)?;
        match fate {
            Fate::Works => Some((node, job, self.memory.execute(work))),
            Fate::Fails => Some((node, job, StoreOutcome::Failed(StoreError::Unavailable))),
            Fate::Mute => {
                self.memory.execute(work);
                None
            }
        }
    }

    /// The process dies: some of what waits may still have been executed.
    pub fn crash(&mut self) {
        let executed = self.rng.index(self.pieces.len() + 1);
        for piece in self.pieces.drain(..).take(executed) {
            if piece.fate != Fate::Fails {
                self.memory.execute(piece.work);
            }
        }
        self.pieces.clear();
    }

    /// All messages of a user, by session.
    pub fn said(&mut self, user: &str) -> BTreeMap<Arc<str>, Vec<Message>> {
        let owner = Some(Arc::from(user));
        let filter = SessionFilter { owner, ..SessionFilter::default() };
        let work = StoreWork::List { filter, texts: false, limit: usize::MAX, offset: 0 };
        let StoreOutcome::List { sessions, .. } = self.memory.execute(work) else {
            panic!("a list");
        };
        let history = |info: SessionInfo| {
            let (session, limit) = (info.key.clone(), usize::MAX);
            let work = StoreWork::History { session, before: None, limit, bytes: limit };
            match self.memory.execute(work) {
                StoreOutcome::History { messages, .. } => (info.key, messages),
                other => panic!("a history: {other:?}"),
            }
        };
        sessions.into_iter().map(|listed| listed.info).map(history).collect()
    }

    /// Records that are left, but those of devices and nodes that were let in.
    pub fn records(&mut self, at: u64) -> usize {
        match self.memory.execute(StoreWork::Load { at }) {
            StoreOutcome::Loaded(records) => {
                let stay = [RecordKind::DeviceKey, RecordKind::Node];
                records.iter().filter(|record| !stay.contains(&record.kind)).count()
            }
            other => panic!("records: {other:?}"),
        }
    }
}

/// What an agent says and does, piece by piece with the time before each, and how it ends: none never does.
pub fn agent(run: &Run, rng: &mut Rng) -> (Vec<(Duration, Outcome)>, Option<Outcome>) {
    let answer = match &*run.agent {
        "flood" => format!("re: {} {}", run.message, "abcdefg ".repeat(rng.index(10_000))),
        _ => format!("re: {}", run.message),
    };
    let words: Vec<&str> = echo_chunks(&answer).collect();
    let size = words.len() / 60 + 1;
    let (low, high) = if rng.percent(20) { (200, 2000) } else { (1, 120) };
    let mut pieces = Vec::new();
    for words in words.chunks(size) {
        if rng.percent(10) {
            let deed = Outcome::Progress(deed(rng));
            pieces.push((rng.millis(low, high), deed));
        }
        pieces.push((rng.millis(low, high), Outcome::Chunk(words.concat())));
    }
    let end = match &*run.agent {
        "broken" => {
            pieces.truncate(rng.index(pieces.len() + 1));
            Some(Outcome::Failed("out of order".into()))
        }
        "stuck" => {
            pieces.truncate(rng.index(pieces.len() + 1));
            None
        }
        _ => {
            let usage = Usage { prompt_tokens: 1, completion_tokens: 2 };
            Some(Outcome::Done { content: answer, usage, stop: StopReason::Stop })
        }
    };
    (pieces, end)
}

/// Something that an agent does between its words. Tools may give more than anybody is told.
fn deed(rng: &mut Rng) -> Progress {
    let (id, name) = (String::from("call"), String::from("look"));
    match rng.index(4) {
        0 => Progress::Thinking("hm ".repeat(rng.index(2000))),
        1 => Progress::ToolCall(ToolCall { id, name, arguments: r#"{"at":"it"}"#.into() }),
        2 => {
            let result = "seen ".repeat(rng.index(1000));
            Progress::ToolResult(ToolResult { id, name, is_error: false, result })
        }
        _ => {
            let (after, error) = (Duration::from_millis(5), "busy".into());
            Progress::Retrying(Retrying { attempt: 2, most: 3, after, error })
        }
    }
}
