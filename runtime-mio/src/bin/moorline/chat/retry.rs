//! When to connect again.

use moorline_core::Entropy;
use moorline_mio::OsEntropy;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: many clients that lost one gateway come back spread out.
#[derive(Debug, Default)]
pub(super) struct Retry {
    attempts: u32,
}

impl Retry {
    /// How long to wait before the next attempt, and at least `hint` when the server gave one.
    pub(super) fn pause(&mut self, hint: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts += 1;
        let mut random = [0; 4];
        OsEntropy.fill(&mut random);
        let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        hint.unwrap_or_default() + ceiling.mul_f64(share)
    }

    /// The connection held: the next loss starts from the beginning.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_under_a_ceiling_that_doubles_to_thirty_seconds() {
        let mut retry = Retry::default();
        for attempt in 0..100 {
            let ceiling = FIRST.saturating_mul(1 << attempt.min(5)).min(LONGEST);
            assert!(retry.pause(None) <= ceiling, "attempt {attempt}");
        }
        let hint = Duration::from_secs(60);
        assert!((hint..=hint + LONGEST).contains(&retry.pause(Some(hint))));
        retry.reset();
        assert!(retry.pause(None) <= FIRST);
    }
}
