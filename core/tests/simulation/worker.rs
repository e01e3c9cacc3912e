//! A worker: a program that answers for an agent. What it knows, and what it was given.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// The agents that workers answer for: the runs of a lost worker fail, or are given to another one.
pub const FAILS: &str = "helper";
pub const REQUEUES: &str = "team";

/// Workers that are given one run at most.
pub const ATTEMPTS: u32 = 3;

/// What the workers of an agent log in by.
pub fn worker_secret(agent: &str) -> String {
    format!("sesame-of-{agent}")
}

#[derive(Debug)]
pub struct Worker {
    pub agent: &'static str,
    pub wire: Option<u64>,
    pub logged_in: bool,
    /// Runs that it was given and has not ended.
    pub runs: BTreeMap<String, Task>,
    /// Those that it was given before and has nothing more to say of: it may do so nevertheless.
    pub over: VecDeque<String>,
    /// Requests without an answer, by their ids.
    pub asked: BTreeMap<String, Ask>,
    /// What it wants no run beyond, as far as that was answered, and what has not been answered.
    concurrency: u64,
    wanted: VecDeque<u64>,
    /// It was told that it is given nothing more.
    pub drained: bool,
    /// It reads everything at once, since then or from then on.
    pub reads_from: Instant,
    pub requests: u64,
    pub failures: u32,
    pub stays: bool,
    pub armed: Option<Instant>,
}

/// A run in the hands of a worker.
#[derive(Debug)]
pub struct Task {
    /// Its number among all.
    pub number: usize,
    /// How many workers were given it.
    pub attempt: u64,
    /// What the worker has in mind; nothing is left: it does not end.
    pub steps: VecDeque<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Say(String),
    Think,
    Call,
    Result,
    /// `again`: says the answer once more.
    Complete {
        again: bool,
    },
    Fail(&'static str),
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Ask {
    Connect {
        wrong: bool,
    },
    Register,
    Drain,
    /// Something about a run.
    Said,
    /// Something that is not its business.
    Foreign,
}

impl Worker {
    pub fn new(agent: &'static str, now: Instant) -> Self {
        Self {
            agent,
            wire: None,
            logged_in: false,
            runs: BTreeMap::new(),
            over: VecDeque::new(),
            asked: BTreeMap::new(),
            concurrency: 0,
            wanted: VecDeque::new(),
            drained: false,
            reads_from: now,
            requests: 0,
            failures: 0,
            stays: true,
            armed: None,
        }
    }

    /// It has no connection any more, or another login: it has lost its runs.
    pub fn lose_all(&mut self) {
        self.logged_in = false;
        self.runs.clear();
        self.over.clear();
        // What it asked for before is still answered.
        self.concurrency = 0;
        self.drained = false;
    }

    pub fn offline(&mut self) {
        self.lose_all();
        self.wire = None;
        self.wanted.clear();
        self.asked.clear();
    }

    /// It asks to be given so many runs at once.
    pub fn wants(&mut self, concurrency: u64) {
        self.wanted.push_back(concurrency);
        self.drained = false;
    }

    /// That was answered.
    pub fn registered(&mut self, taken: bool) {
        let wanted = self.wanted.pop_front();
        if let Some(wanted) = wanted.filter(|_| taken) {
            self.concurrency = wanted;
        }
    }

    /// How many runs it may be given at once by now.
    pub fn most(&self) -> usize {
        let wanted = self.wanted.iter().copied().max().unwrap_or(0);
        self.concurrency.max(wanted) as usize
    }

    /// A run is none of its own any more.
    pub fn end(&mut self, run: &str) -> Option<Task> {
        self.over.push_back(run.to_owned());
        if self.over.len() > 8 {
            self.over.pop_front();
        }
        self.runs.remove(run)
    }
}
