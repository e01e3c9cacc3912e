//! Timers for a loop with many connections.
//!
//! ```text
//!            now               slot of 16 ms          4,096 of them: 65 s
//!   ... | fired |  .  |  3-7  |  .  |  12  | ............ | 5-9-1 |  (also all that is later)
//!                        ^ entries, linked by key: arming and disarming touch one or two others
//! ```

use std::fmt;
use std::time::{Duration, Instant};

/// A timer wheel that is re-armed lazily: one entry per key, moved only to an earlier time.
///
/// Receiving moves a connection's deadline later without touching the wheel. When the entry fires,
/// the loop calls [`Connection::handle_deadline`](crate::Connection::handle_deadline), which is
/// harmless when early, and arms the wheel for the deadline of then:
///
/// ```
/// # use moorline_core::{Connection, Wheel};
/// # use std::time::Instant;
/// # fn turn(wheel: &mut Wheel, due: &mut Vec<usize>, connections: &mut [Connection], now: Instant) {
/// wheel.expired(now, due);
/// for key in due.drain(..) {
///     let connection = &mut connections[key];
///     let mut turn = connection.handle_deadline(now);
///     while let Some((event, outbox)) = turn.next_event() { /* as for any turn */ }
///     if let Some(at) = connection.wants().wake_at {
///         wheel.arm(key, at);
///     }
/// }
/// let sleep_until = wheel.next();
/// # let _ = sleep_until;
/// # }
/// ```
///
/// An entry fires at most [`Wheel::TICK`] after its time and never before, with one exception: a
/// time more than [`Wheel::SPAN`] away fires when that has passed. Keys are small numbers such as
/// the slots of a connection table: the wheel holds 16 bytes for each up to the largest, and
/// allocates for nothing else.
pub struct Wheel {
    /// The time of tick 0.
    start: Instant,
    /// Every tick before this one has fired; all entries stand in the `SLOTS` ticks from it on.
    tick: u64,
    /// The first key of each slot's list.
    heads: Box<[u32]>,
    /// Which slots have a list, and which words of this have a bit.
    used: [u64; WORDS],
    used_words: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Copy, Clone)]
struct Entry {
    /// [`IDLE`] when the key is not armed.
    tick: u64,
    previous: u32,
    next: u32,
}

const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
const NONE: u32 = u32::MAX;
const IDLE: u64 = u64::MAX;

impl Wheel {
    /// How late an entry may fire: more than a loop's turn takes, less than any deadline cares for.
    pub const TICK: Duration = Duration::from_millis(16);

    /// How far ahead an entry can stand: the default deadlines of [`Limits`](crate::Limits) fit.
    pub const SPAN: Duration = Duration::from_millis(16 * (SLOTS as u64 - 1));

    /// An empty wheel.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            tick: 0,
            heads: vec![NONE; SLOTS].into(),
            used: [0; WORDS],
            used_words: 0,
            entries: Vec::new(),
        }
    }

    /// Has `key` fire at `at`, or earlier if it is armed for an earlier time: then nothing is done.
    /// A time that has passed fires with the next [`Wheel::expired`].
    ///
    /// # Panics
    /// When `key` does not fit 32 bits.
    #[inline]
    pub fn arm(&mut self, key: usize, at: Instant) {
        let tick = self.tick_after(at).clamp(self.tick, self.tick + SLOTS as u64 - 1);
        match self.entries.get(key) {
            // An idle entry's tick is later than any.
            Some(entry) if entry.tick <= tick => {}
            _ => self.move_to(key, tick),
        }
    }

    /// Forgets `key`, if it is armed.
    #[inline]
    pub fn disarm(&mut self, key: usize) {
        if self.entries.get(key).is_some_and(|entry| entry.tick != IDLE) {
            self.unlink(key);
        }
    }

    /// Appends all keys that are due to `due`, in the order of their ticks, and disarms them. Call it
    /// once per turn of the loop: it also tells the wheel the time. The work is linear in what is due.
    pub fn expired(&mut self, now: Instant, due: &mut Vec<usize>) {
        let now = self.tick.max(nanos(now, self.start) / TICK_NANOS);
        while let Some(tick) = self.first()
            && tick <= now
        {
            let slot = slot(tick);
            let mut key = std::mem::replace(&mut self.heads[slot], NONE);
            self.clear_used(slot);
            while key != NONE {
                let entry = &mut self.entries[key as usize];
                entry.tick = IDLE;
                due.push(key as usize);
                key = entry.next;
            }
        }
        self.tick = now;
    }

    /// When [`Wheel::expired`] will have something to give; `None` when nothing is armed.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        let tick = self.first()?;
        self.start.checked_add(Duration::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// The tick at or after `at`.
    #[inline]
    fn tick_after(&self, at: Instant) -> u64 {
        nanos(at, self.start).div_ceil(TICK_NANOS)
    }

    #[inline(never)]
    fn move_to(&mut self, key: usize, tick: u64) {
        let id = u32::try_from(key).ok().filter(|id| *id != NONE).expect("keys are slot numbers");
        if key >= self.entries.len() {
            self.entries.resize(key + 1, Entry { tick: IDLE, previous: NONE, next: NONE });
        }
        if self.entries[key].tick != IDLE {
            self.unlink(key);
        }
        let slot = slot(tick);
        let next = std::mem::replace(&mut self.heads[slot], id);
        if next != NONE {
            self.entries[next as usize].previous = id;
        }
        self.entries[key] = Entry { tick, previous: NONE, next };
        self.used[slot / 64] |= 1 << (slot % 64);
        self.used_words |= 1 << (slot / 64);
    }

    /// Takes an armed key out of its list.
    fn unlink(&mut self, key: usize) {
        let Entry { tick, previous, next } = self.entries[key];
        self.entries[key].tick = IDLE;
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.heads[slot(tick)] = next;
            if next == NONE {
                self.clear_used(slot(tick));
            }
        }
    }

    fn clear_used(&mut self, slot: usize) {
        self.used[slot / 64] &= !(1 << (slot % 64));
        if self.used[slot / 64] == 0 {
            self.used_words &= !(1 << (slot / 64));
        }
    }

    /// The earliest tick with an entry: the first used slot from the present one on, in a circle.
    fn first(&self) -> Option<u64> {
        let here = slot(self.tick);
        let (word, bit) = (here / 64, here % 64);
        let ahead = self.used[word] & (u64::MAX << bit);
        let found = if ahead != 0 {
            here - bit + ahead.trailing_zeros() as usize
        } else {
            // From the next word on; this word's own lower bits come last.
            let words = self.used_words.rotate_right(word as u32 + 1);
            if words == 0 {
                return None;
            }
            let word = (word + 1 + words.trailing_zeros() as usize) % WORDS;
            word * 64 + self.used[word].trailing_zeros() as usize
        };
        Some(self.tick + ((found + SLOTS - here) % SLOTS) as u64)
    }
}

impl fmt::Debug for Wheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel").field("next", &self.next()).finish_non_exhaustive()
    }
}

const TICK_NANOS: u64 = Wheel::TICK.as_nanos() as u64;

fn slot(tick: u64) -> usize {
    tick as usize % SLOTS
}

/// What does not fit is as far away as can be.
#[inline]
fn nanos(at: Instant, from: Instant) -> u64 {
    let since = at.saturating_duration_since(from);
    since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into())
}
