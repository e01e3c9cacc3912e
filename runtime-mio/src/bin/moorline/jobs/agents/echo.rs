//! The built-in agent's thread: it says what it was told, a few words at a time, to any
//! number of users.

use super::super::{Job, Mailbox};
use moorline_core::gateway::{Outcome, Run, StopReason, Usage, echo_chunks};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two pieces: slow enough to see that it streams.
const PAUSE: Duration = Duration::from_millis(20);

/// With the pause this makes ten seconds for the longest text, far below the limit of a run. Up to
/// this many words a piece is one word.
const PIECES: usize = 500;

#[derive(Debug)]
pub(super) enum Task {
    Start(Job, Run),
    Cancel(Job),
}

pub(super) fn start(mailboxes: Vec<Mailbox>) -> io::Result<Sender<Task>> {
    let (sender, tasks) = mpsc::channel();
    let agent = EchoAgent { mailboxes, runs: BTreeMap::new(), due: BTreeSet::new() };
    thread::Builder::new().name("echo-agent".into()).spawn(move || agent.work(&tasks))?;
    Ok(sender)
}

struct EchoAgent {
    mailboxes: Vec<Mailbox>,
    runs: BTreeMap<Job, Speech>,
    /// When each run says its next piece.
    due: BTreeSet<(Instant, Job)>,
}

struct Speech {
    run: Run,
    /// Bytes said so far.
    said: usize,
    words_per_piece: usize,
    due: Instant,
}

impl Speech {
    fn new(run: Run, due: Instant) -> Self {
        let words_per_piece = words_per_piece(&run.message);
        Self { run, said: 0, words_per_piece, due }
    }
}

fn words_per_piece(text: &str) -> usize {
    echo_chunks(text).count().div_ceil(PIECES)
}

/// The first words of a text; none when it is empty.
fn piece(text: &str, words: usize) -> &str {
    &text[..echo_chunks(text).take(words).map(str::len).sum()]
}

impl EchoAgent {
    fn work(mut self, tasks: &Receiver<Task>) {
        loop {
            let task = match self.due.first() {
                None => tasks.recv().map_err(RecvTimeoutError::from),
                Some((at, _)) => tasks.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match task {
                Ok(Task::Start(job, run)) => {
                    let due = Instant::now();
                    self.due.insert((due, job));
                    self.runs.insert(job, Speech::new(run, due));
                }
                Ok(Task::Cancel(job)) => {
                    if let Some(speech) = self.runs.remove(&job) {
                        self.due.remove(&(speech.due, job));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.speak(Instant::now());
        }
    }

    fn speak(&mut self, now: Instant) {
        while let Some((at, job)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(speech) = self.runs.get_mut(&job) else { continue };
            let piece = piece(&speech.run.message[speech.said..], speech.words_per_piece);
            match piece {
                "" => {
                    let content = speech.run.message.to_string();
                    self.runs.remove(&job);
                    // It has no model, so it takes no tokens.
                    let (usage, stop) = (Usage::default(), StopReason::Stop);
                    let done = Outcome::Done { content, usage, stop };
                    self.mailboxes[job.node].hand_over(job.id, done);
                }
                piece => {
                    let chunk = Outcome::Chunk(piece.to_string());
                    speech.said += piece.len();
                    speech.due = now + PAUSE;
                    self.due.insert((speech.due, job));
                    self.mailboxes[job.node].hand_over(job.id, chunk);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_said_whole_in_pieces_that_end_at_words_and_are_not_too_many() {
        for (words, pieces) in [(0, 0), (1, 1), (500, 500), (501, 251), (90_000, 500)] {
            let text = "word ".repeat(words);
            let size = words_per_piece(&text);
            let mut rest = text.as_str();
            let mut count = 0;
            while !rest.is_empty() {
                let piece = piece(rest, size);
                assert!(!piece.is_empty());
                assert!(rest[piece.len()..].is_empty() || rest[piece.len()..].starts_with('w'));
                rest = &rest[piece.len()..];
                count += 1;
            }
            assert_eq!(count, pieces, "{words} words");
        }
    }
}
