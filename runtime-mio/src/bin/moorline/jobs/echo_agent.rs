//! The built-in agent's thread: it says what it was told, a word at a time, to any number of users.

use super::{Incoming, Job, Mailbox};
use moorline_core::gateway::{Outcome, Run, Usage, echo_chunks};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two words: slow enough to see that it streams.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// When each run says its next word.
    due: BTreeSet<(Instant, Job)>,
}

struct Speech {
    run: Run,
    said: usize,
    due: Instant,
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
                    self.runs.insert(job, Speech { run, said: 0, due });
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
            let word = echo_chunks(&speech.run.message[speech.said..]).next().map(str::to_string);
            match word {
                Some(word) => {
                    speech.said += word.len();
                    speech.due = now + PAUSE;
                    self.due.insert((speech.due, job));
                    let chunk = Outcome::Chunk(word);
                    self.mailboxes[job.node].put(Incoming::Outcome(job.id, chunk));
                }
                None => {
                    let content = speech.run.message.to_string();
                    self.runs.remove(&job);
                    // It has no model, so it takes no tokens.
                    let done = Outcome::Done { content, usage: Usage::default() };
                    self.mailboxes[job.node].put(Incoming::Outcome(job.id, done));
                }
            }
        }
    }
}
