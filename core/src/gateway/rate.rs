//! How often a user or an address may ask.

use super::bounded::Forgetful;
use super::config::Bounds;
use crate::Address;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Costs are in tenths of a request, so that reads can weigh less than sends.
pub(super) const WHOLE: u64 = 10;

/// What a request costs that is none, or that nobody knows: as much as one that has an agent work.
pub(super) const MISTAKE: u64 = WHOLE;

/// Whose budgets a request is paid from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payers {
    user: Arc<str>,
    address: Option<Address>,
}

impl Payers {
    /// A user, wherever the requests come from.
    pub(super) fn user(user: &Arc<str>) -> Self {
        Self { user: user.clone(), address: None }
    }

    /// An address besides, for those who chose who they are: another name is no other budget.
    pub(super) fn and(self, address: Address) -> Self {
        Self { address: Some(address), ..self }
    }
}

/// A budget is spent.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Spent {
    /// When there is enough in all of them.
    pub(super) wait: Duration,
    /// It is the address that has least.
    pub(super) by_address: bool,
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
    users: Forgetful<Arc<str>, Bucket>,
    addresses: Forgetful<Address, Bucket>,
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
            users: Forgetful::new(bounds.remembered),
            addresses: Forgetful::new(bounds.remembered),
        }
    }

    /// Takes another limit. What users have spent stays spent.
    pub(super) fn set_limit(&mut self, rpm: u32, bounds: &Bounds) {
        self.rpm = u64::from(rpm);
        self.capacity = capacity(bounds);
        self.users.set_limit(bounds.remembered);
        self.addresses.set_limit(bounds.remembered);
    }

    pub(super) fn is_on(&self) -> bool {
        self.rpm > 0
    }

    /// Takes `cost` from each of them, or from none and says when it will be there. Allocates for payers
    /// that are not remembered only.
    pub(super) fn spend(&mut self, now: Instant, payers: &Payers, cost: u64) -> Result<(), Spent> {
        let cost = (cost * TENTH).min(self.capacity);
        let mut most = (0, false);
        self.each(now, payers, |bucket, by_address| {
            most = most.max((cost.saturating_sub(bucket.level), by_address));
        });
        let (missing, by_address) = most;
        if missing > 0 {
            let wait = Duration::from_micros(missing.div_ceil(self.rpm * WHOLE));
            return Err(Spent { wait, by_address });
        }
        self.each(now, payers, |bucket, _| bucket.level -= cost);
        Ok(())
    }

    /// Another node let these spend.
    pub(super) fn spent_elsewhere(&mut self, now: Instant, payers: &Payers, cost: u64) {
        if self.is_on() {
            let cost = cost * TENTH;
            self.each(now, payers, |bucket, _| bucket.level = bucket.level.saturating_sub(cost));
        }
    }

    /// Does this to each bucket, as full as it is now; it is told which is an address's.
    fn each(&mut self, now: Instant, payers: &Payers, mut f: impl FnMut(&mut Bucket, bool)) {
        let (capacity, rate) = (self.capacity, self.rpm * WHOLE);
        let full = || Bucket { level: capacity, at: now };
        let bucket = self.users.entry(&payers.user, full);
        bucket.fill(now, rate, capacity);
        f(bucket, false);
        if let Some(address) = &payers.address {
            let bucket = self.addresses.entry(address, full);
            bucket.fill(now, rate, capacity);
            f(bucket, true);
        }
    }
}

impl Bucket {
    /// `rate`: units per microsecond.
    fn fill(&mut self, now: Instant, rate: u64, capacity: u64) {
        let passed = now.saturating_duration_since(self.at).as_micros().min(3_600_000_000) as u64;
        self.level = self.level.saturating_add(passed.saturating_mul(rate)).min(capacity);
        self.at = now.max(self.at);
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
        let user = &Payers::user(&Arc::from("u"));
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
        let [ann, eve] = ["ann", "eve"].map(|user| Payers::user(&Arc::from(user)));
        let there = |payers: &Payers| payers.clone().and(Address::V4(1));
        let mut rate = RateLimit::new(20, &Bounds::default());
        for _ in 0..5 {
            assert_eq!(rate.spend(now, &there(&ann), WHOLE), Ok(()));
        }
        let wait = Duration::from_secs(3);
        let spent = rate.spend(now, &there(&eve), WHOLE);
        assert_eq!(spent, Err(Spent { wait, by_address: true }));
        let left = (0..10).filter(|_| rate.spend(now, &eve, WHOLE).is_ok()).count();
        assert_eq!(left, 5);
    }

    #[test]
    fn frequent_asking_does_not_keep_the_bucket_from_filling() {
        let now = epoch();
        let user = &Payers::user(&Arc::from("u"));
        let mut rate = RateLimit::new(1, &Bounds::default());
        while rate.spend(now, user, WHOLE).is_ok() {}
        let passed = (0..60_001u32)
            .filter(|ms| rate.spend(now + Duration::from_millis(u64::from(*ms)), user, 10).is_ok())
            .count();
        assert_eq!(passed, 1);
    }
}
