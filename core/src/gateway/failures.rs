//! How often an address may be wrong: the lock-out of who guesses credentials.

use super::bounded::Forgetful;
use super::budget::Address;
use super::config::Bounds;
use super::fact::Credential;
use std::time::{Duration, Instant};

/// Wrong credentials per address and kind.
#[derive(Debug)]
pub(super) struct Failures {
    limit: u32,
    lock: Duration,
    seen: Forgetful<(Guesser, Credential), Seen>,
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
    pub(super) fn locked(&self, now: Instant, who: Guesser, kind: Credential) -> Option<Duration> {
        let until = self.seen.get(&(who, kind))?.locked_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Counts a wrong credential; says for how long the address is locked out now.
    pub(super) fn count(
        &mut self,
        now: Instant,
        who: Guesser,
        kind: Credential,
    ) -> Option<Duration> {
        let fresh = Seen { count: 0, since: now, locked_until: None };
        let seen = self.seen.entry(&(who, kind), || fresh);
        let over = seen.locked_until.is_some_and(|until| until <= now);
        if over || seen.locked_until.is_none() && now >= seen.since + MINUTE {
            *seen = fresh;
        }
        seen.count += 1;
        if seen.count > self.limit && seen.locked_until.is_none() {
            seen.locked_until = Some(now + self.lock);
        }
        self.locked(now, who, kind)
    }

    /// A correct credential came.
    pub(super) fn forget(&mut self, who: Guesser, kind: Credential) {
        self.seen.remove(&(who, kind));
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
        let from = |address| Guesser { address, page_here: false };
        let (address, kind) = (from(Address::V4(1)), Credential::Token);
        for _ in 0..10 {
            assert_eq!(failures.count(now, address, kind), None);
        }
        let lock = Some(Duration::from_secs(300));
        assert_eq!(failures.count(now, address, kind), lock);
        assert_eq!(failures.locked(now, address, kind), lock);
        assert_eq!(failures.locked(now, from(Address::V4(2)), kind), None);
        assert_eq!(failures.locked(now, address, Credential::ApiKey), None);
        let page = Guesser { page_here: true, ..address };
        assert_eq!(failures.locked(now, page, kind), None);
        assert_eq!(failures.locked(now + Duration::from_secs(300), address, kind), None);
        assert_eq!(failures.count(now + Duration::from_secs(301), address, kind), None);
        for n in 0..50_000 {
            failures.count(now, from(Address::V6(n)), kind);
        }
        assert!(failures.len() <= 10_000);
    }
}
