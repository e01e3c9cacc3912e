//! What workers were given and what they said of it: whatever anybody is told of an answer of theirs is in here,
//! and whatever the gateway tells of runs is compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A worker's loop may learn so late that a run has ended, or a run's loop that its worker has: a message between
/// loops takes 15 s at most, and a worker that reads gets it in the rest.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// A run that was given to a worker.
#[derive(Debug)]
pub struct Attempt {
    /// What the worker has said.
    said: String,
    /// The worker has said that this is all.
    done: bool,
}

/// A run, and how many workers were given it.
type Given = (String, u64);

#[derive(Debug, Default)]
pub struct Work {
    attempts: Vec<Attempt>,
    /// Runs that have begun and not ended, as far as the gateway tells.
    running: BTreeSet<String>,
    /// Those that ended, and when.
    ended: BTreeMap<String, Instant>,
    completed: BTreeSet<String>,
    /// What each connection of a worker was given, as far as its worker knows.
    given: BTreeMap<u64, BTreeSet<Given>>,
    /// Runs whose worker is gone, of which that has not been told: until when it must be.
    lost: BTreeMap<Given, Instant>,
    told_lost: BTreeMap<Given, Instant>,
}

impl Work {
    /// The number of a new attempt, which is in everything that is said in it, and its first words.
    pub fn begin(&mut self, message: &str) -> (usize, String) {
        let number = self.attempts.len();
        let words = format!("re: {message} {}", mark(number));
        self.attempts.push(Attempt { said: String::new(), done: false });
        (number, words)
    }

    pub fn say(&mut self, attempt: usize, words: &str) {
        self.attempts[attempt].said.push_str(words);
    }

    /// Its worker says that this was all.
    pub fn complete(&mut self, attempt: usize) -> &str {
        self.attempts[attempt].done = true;
        &self.attempts[attempt].said
    }

    /// Whether a text may be told as the answer of a worker, as far as it can be seen that it is one: one worker
    /// has said so, from the beginning; `whole`: it said that this is all.
    pub fn check(&self, text: &str, whole: bool) -> Result<(), String> {
        let Some(number) = text.split_once(" #").and_then(|(_, rest)| rest.split_once(';')) else {
            return Ok(());
        };
        let attempt = number.0.parse().ok().and_then(|number: usize| self.attempts.get(number));
        let Attempt { said, done } = attempt.ok_or("an answer of a worker that there is not")?;
        if whole && (!done || said != text) || !said.starts_with(text) {
            let what = if whole { "the answer" } else { "a part" };
            return Err(format!("no worker has said {what} {text:?}, but {said:?} ({done})"));
        }
        Ok(())
    }

    /// Whether a whole text is the answer to this message.
    pub fn answers(&self, text: &str, message: &str) -> Result<(), String> {
        self.check(text, true)?;
        if text.contains(" #") && !text.starts_with(&format!("re: {message} #")) {
            return Err(format!("{text:?} is no answer to {message:?}"));
        }
        Ok(())
    }

    // --- runs ------------------------------------------------------------------------------------

    pub fn given(&mut self, wire: u64, run: &str, attempt: u64) {
        let is_new = self.given.entry(wire).or_default().insert((run.to_owned(), attempt));
        assert!(is_new, "run {run} was given to one worker twice");
    }

    /// The worker has ended it, or knows that it shall not go on.
    pub fn over(&mut self, wire: u64, run: &str, attempt: u64) {
        if let Some(given) = self.given.get_mut(&wire) {
            given.remove(&(run.to_owned(), attempt));
        }
    }

    /// The gateway has given a worker's connection up: what it had must end, or be given to another.
    pub fn worker_gone(&mut self, now: Instant, wire: u64) {
        for given in self.given.remove(&wire).unwrap_or_default() {
            if self.running.contains(&given.0) && !self.told_lost.contains_key(&given) {
                self.lost.insert(given, now + KNOWN_WITHIN);
            }
        }
    }

    pub fn run_started(&mut self, run: &str) {
        assert!(self.running.insert(run.to_owned()), "run {run} began twice");
        assert!(!self.completed.contains(run), "run {run} began after it was completed");
        // One that has failed may begin anew under its name.
        self.ended.remove(run);
        self.told_lost.retain(|(lost, _), _| lost != run);
    }

    pub fn run_ended(&mut self, now: Instant, run: &str, state: &str) {
        assert!(self.running.remove(run), "run {run} ended, and was not under way");
        self.ended.insert(run.to_owned(), now);
        if state == "completed" {
            self.completed.insert(run.to_owned());
        }
        self.lost.retain(|(lost, _), _| lost != run);
    }

    pub fn run_lost(&mut self, now: Instant, run: &str, attempt: u64) {
        assert!(self.running.contains(run), "run {run} has lost its worker, and has none");
        let given = (run.to_owned(), attempt);
        self.lost.remove(&given);
        self.told_lost.insert(given, now);
    }

    /// Nothing that should have happened is late.
    pub fn check_lost(&self, now: Instant) {
        let late = self.lost.iter().find(|(_, until)| **until < now);
        assert!(late.is_none(), "{late:?} has lost its worker, and goes on");
    }

    /// Whether a worker that reads must have been told long ago that this is not its run any more.
    pub fn is_long_over(&self, now: Instant, run: &str, attempt: u64) -> bool {
        let lost = self.told_lost.get(&(run.to_owned(), attempt));
        self.ended.get(run).or(lost).is_some_and(|at| *at + KNOWN_WITHIN < now)
    }

    /// It never begins again.
    pub fn is_completed(&self, run: &str) -> bool {
        self.completed.contains(run)
    }

    pub fn running(&self) -> &BTreeSet<String> {
        &self.running
    }

    /// The gateway is gone, and all that it did.
    pub fn crash(&mut self) {
        self.running.clear();
        self.given.clear();
        self.lost.clear();
        self.told_lost.clear();
    }
}

/// What shows whose words they are.
pub fn mark(attempt: usize) -> String {
    format!("#{attempt};")
}
