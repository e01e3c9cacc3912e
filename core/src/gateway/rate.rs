//! How often a user or an address may ask.

use super::bounded::Forgetful;
use super::budget::Address;
use super::config::Bounds;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Costs are in tenths of a request, so that reads can weigh less than sends.
pub(super) const WHOLE: u64 = 10;

/// What a request costs that is none, or that nobody knows: as much as one that has an agent work.
pub(super) const MISTAKE: u64 = WHOLE;

/// Whose budget a request is paid from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Payer(Purse);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Purse {
    User(Arc<str>),
    Address(Address),
}

impl Payer {
    /// A user, wherever the requests come from.
    pub(super) fn user(user: &Arc<str>) -> Self {
        Self(Purse::User(user.clone()))
    }

    /// An address, for those who chose who they are: another name is no other budget.
    pub(super) fn address(address: Address) -> Self {
        Self(Purse::Address(address))
    }

    pub(super) fn is_address(&self) -> bool {
        matches!(self.0, Purse::Address(_))
    }
}

/// A budget is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spent {
    /// When there is enough in all of them.
    pub(super) wait: Duration,
    /// The one that has least.
    pub(super) payer: Payer,
}

/// A token bucket per user, and one of the same size per address.
///
/// Nodes tell each other what was spent, so the limit holds on all nodes together, but
/// only in the end: requests that reach several nodes at the same moment may all pass, at most a
/// burst per node.
#[derive(Debug)]
pub(super) struct RateLimit {
    rpm: u64,
    /// What a bucket holds, in units of which a tenth of a request is [`TENTH`].
    capacity: u64,
    buckets: Forgetful<Payer, Bucket>,
}

#[derive(Debug, Copy, Clone)]
struct Bucket {
    level: u64,
    at: Instant,
}

/// The microseconds of a minute: so a bucket gets a whole number of units per microsecond, and
/// nothing is lost to rounding however often it is looked at.
const TENTH: u64 = 60_000_000;

impl RateLimit {
    pub(super) fn new(rpm: u32, bounds: &Bounds) -> Self {
        Self {
            rpm: u64::from(rpm),
            capacity: capacity(bounds),
            buckets: Forgetful::new(bounds.remembered),
        }
    }

    /// Takes another limit. What users have spent stays spent.
    pub(super) fn set_limit(&mut self, rpm: u32, bounds: &Bounds) {
        self.rpm = u64::from(rpm);
        self.capacity = capacity(bounds);
        self.buckets.set_limit(bounds.remembered);
    }

    pub(super) fn is_on(&self) -> bool {
        self.rpm > 0
    }

    /// Takes `cost` from each of them, or from none and says when it will be there.
    pub(super) fn spend(&mut self, now: Instant, payers: &[Payer], cost: u64) -> Result<(), Spent> {
        let cost = (cost * TENTH).min(self.capacity);
        let missing = |payer: &Payer| cost.saturating_sub(self.bucket(now, payer).level);
        let all = payers.iter().map(missing).zip(payers);
        let most = all.max_by_key(|(missing, _)| *missing);
        if let Some((missing, payer)) = most.filter(|(missing, _)| *missing > 0) {
            let wait = Duration::from_micros(missing.div_ceil(self.rpm * WHOLE));
            return Err(Spent { wait, payer: payer.clone() });
        }
        for payer in payers {
            self.bucket(now, payer).level -= cost;
        }
        Ok(())
    }

    /// Another node let these spend.
    pub(super) fn spent_elsewhere(&mut self, now: Instant, payers: &[Payer], cost: u64) {
        if self.is_on() {
            for payer in payers {
                let bucket = self.bucket(now, payer);
                bucket.level = bucket.level.saturating_sub(cost * TENTH);
            }
        }
    }

    fn bucket(&mut self, now: Instant, payer: &Payer) -> &mut Bucket {
        let (capacity, rpm) = (self.capacity, self.rpm);
        let bucket = self.buckets.entry(payer, || Bucket { level: capacity, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_micros().min(3_600_000_000) as u64;
        bucket.level =
            bucket.level.saturating_add(passed.saturating_mul(rpm * WHOLE)).min(capacity);
        bucket.at = now.max(bucket.at);
        bucket
    }
}

fn capacity(bounds: &Bounds) -> u64 {
    u64::from(bounds.burst.max(1)) * WHOLE * TENTH
}

#[cfg(test)]
mod tests {
    use super::super::epoch::epoch;
    use super::*;

    #[test]
    fn a_burst_passes_and_the_wait_is_exact() {
        let now = epoch();
        let user = &[Payer::user(&Arc::from("u"))];
        let mut rate = RateLimit::new(20, &Bounds::default());
        for _ in 0..5 {
            assert_eq!(rate.spend(now, user, WHOLE), Ok(()));
        }
        let wait = rate.spend(now, user, WHOLE).expect_err("empty").wait;
        assert_eq!(wait, Duration::from_secs(3));
        assert!(rate.spend(now + wait - Duration::from_micros(1), user, WHOLE).is_err());
        assert_eq!(rate.spend(now + wait, user, WHOLE), Ok(()));
        rate.spent_elsewhere(now + Duration::from_secs(3600), user, 5 * WHOLE);
        assert!(rate.spend(now + Duration::from_secs(3600), user, 1).is_err());
    }

    #[test]
    fn who_pays_from_two_budgets_needs_both_and_a_refusal_takes_from_none() {
        let now = epoch();
        let [ann, eve] = ["ann", "eve"].map(|user| Payer::user(&Arc::from(user)));
        let place = Payer::address(Address::V4(1));
        let mut rate = RateLimit::new(20, &Bounds::default());
        for _ in 0..5 {
            assert_eq!(rate.spend(now, &[ann.clone(), place.clone()], WHOLE), Ok(()));
        }
        let spent = rate.spend(now, &[eve.clone(), place.clone()], WHOLE).expect_err("empty");
        assert_eq!((spent.payer, spent.wait), (place, Duration::from_secs(3)));
        let left =
            (0..10).filter(|_| rate.spend(now, std::slice::from_ref(&eve), WHOLE).is_ok()).count();
        assert_eq!(left, 5);
    }

    #[test]
    fn frequent_asking_does_not_keep_the_bucket_from_filling() {
        let now = epoch();
        let user = &[Payer::user(&Arc::from("u"))];
        let mut rate = RateLimit::new(1, &Bounds::default());
        while rate.spend(now, user, WHOLE).is_ok() {}
        let passed = (0..60_001u32)
            .filter(|ms| rate.spend(now + Duration::from_millis(u64::from(*ms)), user, 10).is_ok())
            .count();
        assert_eq!(passed, 1);
    }
}
