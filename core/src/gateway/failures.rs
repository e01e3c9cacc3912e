//! How often an address may be wrong: the lock-out of who guesses credentials.

use super::bounded::Forgetful;
use super::config::Bounds;
use super::fact::Credential;
use crate::Address;
use std::time::{Duration, Instant};

/// Wrong credentials per address and kind.
///
/// Nodes tell each other of each, so the limit is one of all nodes together. Guesses that are under way at
/// several nodes at the same moment may pass it, one per node for each that is.
///
/// A right credential gives nothing back: who guesses may own one. Nor does one that was right here before
/// pass a lock-out: whether it does would be an answer to a guess.
#[derive(Debug)]
pub(super) struct Failures {
    limit: u32,
    lock: Duration,
    seen: Forgetful<Guess, Seen>,
}

/// What wrong credentials are counted together.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guess {
    pub(super) who: Guesser,
    pub(super) kind: Credential,
}

/// Whose wrong credentials are counted together.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guesser {
    pub(super) address: Address,
    /// A page in a browser on this host. It is counted apart from the other programs here: a script
    /// that goes round in circles does not lock it out.
    pub(super) page_here: bool,
}

#[derive(Debug, Copy, Clone)]
struct Seen {
    count: u32,
    since: Instant,
    locked_until: Option<Instant>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Failures {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            limit: bounds.auth_failures,
            lock: bounds.auth_lock,
            seen: Forgetful::new(bounds.remembered),
        }
    }

    /// Takes other bounds. Who is locked out stays so for as long as was said.
    pub(super) fn set_bounds(&mut self, bounds: &Bounds) {
        self.limit = bounds.auth_failures;
        self.lock = bounds.auth_lock;
        self.seen.set_limit(bounds.remembered);
    }

    /// How long the address is locked out for.
    pub(super) fn locked(&self, now: Instant, guess: Guess) -> Option<Duration> {
        let until = self.seen.get(&guess)?.locked_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Counts a wrong credential; says for how long the address is locked out now.
    pub(super) fn count(&mut self, now: Instant, guess: Guess) -> Option<Duration> {
        let fresh = Seen { count: 0, since: now, locked_until: None };
        let seen = self.seen.entry(&guess, || fresh);
        let over = seen.locked_until.is_some_and(|until| until <= now);
        if over || seen.locked_until.is_none() && now >= seen.since + MINUTE {
            *seen = fresh;
        }
        seen.count = seen.count.saturating_add(1);
        if seen.count > self.limit && seen.locked_until.is_none() {
            seen.locked_until = Some(now + self.lock);
        }
        self.locked(now, guess)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch::epoch;
    use super::*;

    #[test]
    fn the_eleventh_wrong_credential_locks_for_five_minutes() {
        let now = epoch();
        let mut failures = Failures::new(&Bounds::default());
        let from =
            |address| Guess { who: Guesser { address, page_here: false }, kind: Credential::Token };
        let guess = from(Address::V4(1));
        for _ in 0..10 {
            assert_eq!(failures.count(now, guess), None);
        }
        let lock = Some(Duration::from_secs(300));
        assert_eq!(failures.count(now, guess), lock);
        assert_eq!(failures.locked(now, guess), lock);
        let page = Guesser { page_here: true, ..guess.who };
        for other in [
            from(Address::V4(2)),
            Guess { kind: Credential::ApiKey, ..guess },
            Guess { who: page, ..guess },
        ] {
            assert_eq!(failures.locked(now, other), None);
        }
        assert_eq!(failures.locked(now + Duration::from_secs(300), guess), None);
        assert_eq!(failures.count(now + Duration::from_secs(301), guess), None);
        for n in 0..50_000 {
            failures.count(now, from(Address::V6(n)));
        }
        assert!(failures.len() <= 10_000);
    }
}
