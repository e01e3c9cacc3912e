//! One direction of a transport: bytes that take their time, in pieces that nobody chose, and a bound
//! on how many may be on the way.

use super::rng::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How a direction ends.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Behind all bytes.
    Fin,
    /// At once: what is on the way is lost.
    Reset,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(Vec<u8>),
    Eof,
    Nothing,
}

#[derive(Debug)]
pub struct Pipe {
    /// Both socket buffers and what is between them.
    capacity: usize,
    held: usize,
    delay: (u64, u64),
    flight: VecDeque<(Instant, VecDeque<u8>)>,
    end: Option<(Instant, Ending)>,
    /// Nothing arrives any more, and nobody is told.
    hole: bool,
}

impl Pipe {
    pub fn new(capacity: usize, delay: (u64, u64)) -> Self {
        Self { capacity, held: 0, delay, flight: VecDeque::new(), end: None, hole: false }
    }

    /// Takes what there is room for.
    pub fn write(&mut self, now: Instant, bytes: &[u8], rng: &mut Rng) -> usize {
        let count = bytes.len().min(self.capacity - self.held);
        self.held += count;
        if self.hole {
            return count;
        }
        let mut bytes = &bytes[..count];
        while !bytes.is_empty() {
            let size = if rng.percent(70) { bytes.len() } else { rng.index(bytes.len()) + 1 };
            let (piece, rest) = bytes.split_at(size);
            let at = self.after(now, rng);
            self.flight.push_back((at, piece.iter().copied().collect()));
            bytes = rest;
        }
        count
    }

    /// When something that leaves now arrives: not before what left earlier.
    fn after(&self, now: Instant, rng: &mut Rng) -> Instant {
        let (low, high) = self.delay;
        let at = now + rng.millis(low, high);
        self.flight.back().map_or(at, |(last, _)| at.max(*last))
    }

    pub fn end(&mut self, now: Instant, ending: Ending, rng: &mut Rng) {
        let at = match ending {
            Ending::Fin => self.after(now, rng),
            Ending::Reset => now + Duration::from_millis(self.delay.0),
        };
        if self.end.is_none_or(|(_, was)| was == Ending::Fin && ending == Ending::Reset) {
            self.end = Some((at, ending));
        }
    }

    /// From now on nothing arrives, not even an end.
    pub fn swallow(&mut self) {
        self.hole = true;
        self.flight.clear();
        self.end = None;
    }

    /// What is written now arrives.
    pub fn carries(&self) -> bool {
        !self.hole && self.end.is_none()
    }

    pub fn is_reset(&self, now: Instant) -> bool {
        !self.hole && matches!(self.end, Some((at, Ending::Reset)) if at <= now)
    }

    pub fn has_room(&self) -> bool {
        self.held < self.capacity
    }

    pub fn read(&mut self, now: Instant, most: usize) -> Read {
        if self.hole {
            return Read::Nothing;
        }
        if self.is_reset(now) {
            return Read::Eof;
        }
        let Some((at, bytes)) = self.flight.front_mut() else {
            return match self.end {
                Some((at, _)) if at <= now => Read::Eof,
                _ => Read::Nothing,
            };
        };
        if *at > now {
            return Read::Nothing;
        }
        let taken: Vec<u8> = bytes.drain(..most.min(bytes.len())).collect();
        if bytes.is_empty() {
            self.flight.pop_front();
        }
        self.held -= taken.len();
        Read::Bytes(taken)
    }

    /// When there is something to read next; it may be in the past.
    pub fn next(&self) -> Option<Instant> {
        if self.hole {
            return None;
        }
        let end = self.end.map(|(at, _)| at);
        let reset = end.filter(|_| matches!(self.end, Some((_, Ending::Reset))));
        let first = self.flight.front().map(|(at, _)| *at).or(end);
        first.into_iter().chain(reset).min()
    }
}
