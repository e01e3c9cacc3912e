//! What happened, in order: a hash of all of it, and the last steps for people.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// One step: who, what, and two numbers.
#[derive(Debug, Copy, Clone)]
struct Step {
    at: Duration,
    who: Who,
    what: &'static str,
    numbers: (u64, u64),
}

#[derive(Debug, Copy, Clone)]
pub enum Who {
    World,
    Node(usize),
    Conn(u64),
    Device(usize),
    Guest(usize),
    Worker(usize),
    Caller(usize),
    Store,
}

/// Prints itself when the thread panics.
#[derive(Debug)]
pub struct Story {
    seed: u64,
    hash: u64,
    steps: u64,
    last: VecDeque<Step>,
    kept: usize,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let kept = std::env::var("MOORLINE_SIM_STEPS").ok().and_then(|text| text.parse().ok());
        let (hash, kept) = (0xcbf2_9ce4_8422_2325, kept.unwrap_or(120));
        Self { seed, hash, steps: 0, last: VecDeque::new(), kept }
    }

    pub fn tell(&mut self, at: Duration, who: Who, what: &'static str, numbers: (u64, u64)) {
        let (kind, id) = match who {
            Who::World => (0, 0),
            Who::Node(id) => (1, id as u64),
            Who::Conn(id) => (2, id),
            Who::Device(id) => (3, id as u64),
            Who::Store => (4, 0),
            Who::Guest(id) => (5, id as u64),
            Who::Worker(id) => (6, id as u64),
            Who::Caller(id) => (7, id as u64),
        };
        let micros = at.as_micros() as u64;
        for number in [micros, kind << 56 | id, numbers.0, numbers.1] {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.steps += 1;
        if self.last.len() >= self.kept {
            self.last.pop_front();
        }
        self.last.push_back(Step { at, who, what, numbers });
    }

    /// Two runs that took the same steps have the same.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            eprintln!("\nthe last {} of {} steps:\n{self}", self.last.len(), self.steps);
            eprintln!("MOORLINE_SIM_SEED={seed} replays this, MOORLINE_SIM_STEPS=<n> shows more\n");
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { at, who, what, numbers: (one, two) } in &self.last {
            writeln!(
                f,
                "{:>16.6} {:<12} {what} {one} {two}",
                at.as_secs_f64(),
                format!("{who:?}")
            )?;
        }
        Ok(())
    }
}
