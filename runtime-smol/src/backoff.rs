//! When to connect again. Pure: time and randomness are arguments.

use std::time::{Duration, Instant};

/// How the pauses between attempts grow.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Pace {
    /// The ceiling of the first pause; it doubles with every attempt. Default 1 s.
    pub first: Duration,
    /// The highest ceiling. Default 30 s.
    pub longest: Duration,
    /// The least pause after an ending that says [`Verdict::Later`](crate::Verdict::Later), when the
    /// server did not say how long. Default 5 s.
    pub later: Duration,
    /// A connection that was open for so long was a good one: after it the pauses begin anew. Default
    /// 10 s. Lower: a server that accepts and drops at once is asked every second.
    pub held: Duration,
    /// The longest time to wait that a server may ask for. Default 5 min: a wrong number must not
    /// silence a client for good.
    pub longest_hint: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            later: Duration::from_secs(5),
            held: Duration::from_secs(10),
            longest_hint: Duration::from_secs(300),
        }
    }
}

/// Exponential backoff with full jitter: many clients that lost one server come back spread out.
#[derive(Debug, Clone)]
pub struct Backoff {
    pace: Pace,
    /// Attempts since the last connection that held.
    attempts: u32,
    opened: Option<Instant>,
    /// The server asked not to be called earlier.
    not_before: Option<Instant>,
}

impl Backoff {
    /// Before the first attempt.
    pub fn new(pace: Pace) -> Self {
        Self { pace, attempts: 0, opened: None, not_before: None }
    }

    /// The connection is open.
    pub fn opened(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    /// The server said how long to wait, from now. The latest word counts; it is worth nothing once
    /// that time has passed.
    pub fn hint(&mut self, now: Instant, wait: Duration) {
        self.not_before = now.checked_add(wait.min(self.pace.longest_hint));
    }

    /// The connection, or the attempt, is over: when to try again. `random` is uniform. With `later`,
    /// or a hint, the random pause comes on top of that time.
    pub fn lost(&mut self, now: Instant, later: bool, random: u64) -> Instant {
        if self.opened.take().is_some_and(|opened| opened + self.pace.held <= now) {
            self.attempts = 0;
        }
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        let hinted = self.not_before.take().filter(|at| *at > now);
        let earliest = hinted.unwrap_or(if later { now + self.pace.later } else { now });
        earliest + ceiling.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// The most that [`Backoff::lost`] adds next time.
    pub fn ceiling(&self) -> Duration {
        let doubled = 1u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.pace.first.saturating_mul(doubled).min(self.pace.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ceilings_double_to_thirty_seconds_and_stay() {
        let now = Instant::now();
        let mut backoff = Backoff::new(Pace::default());
        let mut ceilings = Vec::new();
        for attempt in 0..40 {
            ceilings.push(backoff.ceiling().as_secs());
            assert_eq!(backoff.clone().lost(now, false, 0), now, "attempt {attempt}");
            let latest = now + backoff.ceiling();
            assert_eq!(backoff.lost(now, false, u64::MAX), latest, "attempt {attempt}");
        }
        assert_eq!(ceilings[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(ceilings[39], 30);
    }

    #[test]
    fn the_jitter_is_full() {
        let now = Instant::now();
        let mut backoff = Backoff::new(Pace::default());
        backoff.attempts = 3;
        for eighth in 0..8_u64 {
            let at = backoff.clone().lost(now, false, eighth << 61);
            assert_eq!(at, now + SECOND * eighth as u32);
        }
    }

    #[test]
    fn only_a_connection_that_held_resets_the_pauses() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(Pace::default());
        for (open_for, ceiling) in [(0, 1), (9, 2), (9, 4), (10, 1), (9, 2), (100, 1)] {
            backoff.opened(now);
            now += SECOND * open_for;
            let before = backoff.clone().lost(now, false, u64::MAX);
            assert_eq!(before, now + SECOND * ceiling, "open for {open_for} s");
            backoff.lost(now, false, 0);
        }
    }

    #[test]
    fn hints_come_before_the_random_pause_and_expire() {
        let now = Instant::now();
        let mut backoff = Backoff::new(Pace::default());
        backoff.hint(now, SECOND * 20);
        assert_eq!(backoff.clone().lost(now, false, 0), now + SECOND * 20);
        assert_eq!(backoff.clone().lost(now, true, u64::MAX), now + SECOND * 21);
        let after = now + SECOND * 60;
        assert_eq!(
            backoff.clone().lost(after, false, 0),
            after,
            "an hour-old hint is worth nothing"
        );
        backoff.hint(now, SECOND * 1_000_000);
        assert_eq!(backoff.clone().lost(now, false, 0), now + Pace::default().longest_hint);
        backoff.hint(now, Duration::MAX);
        backoff.hint(now, SECOND * 2);
        assert_eq!(backoff.lost(now, true, 0), now + SECOND * 2, "also shorter than the default");
        assert_eq!(backoff.lost(now, true, 0), now + Pace::default().later, "a hint counts once");
    }
}
