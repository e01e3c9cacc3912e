//! The wall clock, as the host has told it last.
//!
//! Deadlines are counted on the monotonic clock, which nobody sets and which may stand still while a
//! machine sleeps. The ends of credentials are times of day, so they have to follow when that is set.

use super::Gateway;
use std::time::{Duration, Instant};

/// What the clocks may differ by before anything is done: nobody notices that a credential ends a second
/// late, and a clock that is slewed differs by less than that at each look.
const TOLERANCE_MS: u64 = 1000;

/// A clock that is set back by up to ten minutes is waited for: nothing that is over becomes valid again.
/// One that is set back by more was wrong before. It is followed, or whoever has tokens for some minutes
/// could not log in for hours.
const WAIT_MS: u64 = 10 * 60 * 1000;

/// A timer is set for no longer than this; a later end is looked at again then.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Copy, Clone)]
pub(super) struct WallClock {
    told: Instant,
    /// What it shows since then, in Unix milliseconds.
    unix_ms: u64,
    /// It shows the same until here: the host's was set back.
    stands_until: Instant,
}

impl WallClock {
    pub(super) fn new(now: Instant, unix_ms: u64) -> Self {
        Self { told: now, unix_ms, stands_until: now }
    }

    pub(super) fn ms(&self, at: Instant) -> u64 {
        let ms = |time: Duration| time.as_millis() as u64;
        match self.told.checked_duration_since(at) {
            Some(before) => self.unix_ms.saturating_sub(ms(before)),
            None => self.unix_ms + ms(at.saturating_duration_since(self.stands_until)),
        }
    }

    /// When it shows this time, or some while before.
    pub(super) fn when(&self, now: Instant, unix_ms: u64) -> Instant {
        match unix_ms.saturating_sub(self.ms(now)) {
            0 => now,
            left => now.max(self.stands_until) + Duration::from_millis(left).min(FAR),
        }
    }

    /// The host's shows this. Says whether what ends by it ends earlier now.
    fn set(&mut self, now: Instant, unix_ms: u64) -> bool {
        let own = self.ms(now);
        if unix_ms.abs_diff(own) <= TOLERANCE_MS {
            return false;
        }
        let behind = own.saturating_sub(unix_ms);
        *self = if (1..=WAIT_MS).contains(&behind) {
            let stands_until = now + Duration::from_millis(behind);
            Self { told: now, unix_ms: own, stands_until }
        } else {
            Self::new(now, unix_ms)
        };
        behind == 0
    }
}

impl Gateway {
    /// The wall clock shows `unix_ms` milliseconds after 1970. Tell it every second or so, and after a
    /// sleep: the ends of credentials are times of day. What has ended by a clock that was set forward
    /// is due at once, see [`Gateway::deadline`]. Where one was set back by up to ten minutes, time
    /// stands still here until it has caught up, and so nothing that was over is valid again; further back
    /// it is followed.
    ///
    /// Constant work, unless the clock was set forward: then in proportion to the logins that have an end.
    pub fn set_wall_clock(&mut self, now: Instant, unix_ms: u64) {
        if !self.clock.set(now, unix_ms) {
            return;
        }
        for id in Vec::from_iter(self.expiring.iter().copied()) {
            let expires = self.conns.get(&id).and_then(|conn| conn.expiry);
            self.arm_expiry(now, id, expires.map(|(_, expires)| expires));
        }
        self.arm_pairing(now);
    }

    /// Whether anything here ends at a time of day: then a host that has nothing else to do should look
    /// at the clock from time to time.
    pub fn needs_wall_clock(&self) -> bool {
        !self.expiring.is_empty() || self.pairing_timer.is_some()
    }

    /// The wall clock, as far as it is known.
    pub(super) fn ms(&self, at: Instant) -> u64 {
        self.clock.ms(at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch::epoch;
    use super::*;

    const NOON: u64 = 1_700_000_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_differs_by_a_second_is_let_be_and_more_is_followed() {
        let start = epoch() + ms(10_000);
        for (differs, ahead) in [(1000, false), (1001, true), (86_400_000, true)] {
            let mut clock = WallClock::new(start, NOON);
            let now = start + ms(5000);
            assert_eq!(clock.set(now, NOON + 5000 + differs), ahead);
            let wanted = NOON + 5000 + if ahead { differs } else { 0 };
            assert_eq!([clock.ms(now), clock.ms(now + ms(7))], [wanted, wanted + 7]);
            assert_eq!(clock.ms(now - ms(7)), wanted - 7);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_is_waited_for_up_to_ten_minutes() {
        let start = epoch();
        for (back, waits) in [(1000, true), (1001, true), (WAIT_MS, true), (WAIT_MS + 1, false)] {
            let mut clock = WallClock::new(start, NOON);
            assert!(!clock.set(start, NOON - back));
            // The host goes on telling.
            for at in [1000, back / 2, back, back + 1000] {
                let now = start + ms(at);
                assert!(!clock.set(now, NOON - back + at));
                let shows = if waits { NOON.max(NOON - back + at) } else { NOON - back + at };
                assert!(clock.ms(now).abs_diff(shows) <= TOLERANCE_MS, "{back} {at}");
                assert!(!waits || clock.ms(now) >= NOON);
            }
        }
    }

    #[test]
    fn a_timer_is_not_armed_for_a_time_that_stands_still() {
        let start = epoch();
        let mut clock = WallClock::new(start, NOON);
        assert_eq!(clock.when(start, NOON + 60_000), start + ms(60_000));
        clock.set(start, NOON - 300_000);
        assert_eq!(clock.when(start, NOON), start);
        assert_eq!(clock.when(start, NOON + 1), start + ms(300_001));
        assert_eq!(clock.when(start + ms(300_000), NOON + 1), start + ms(300_001));
        assert_eq!(clock.when(start, u64::MAX), start + ms(300_000) + FAR);
    }
}
