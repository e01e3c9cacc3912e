//! A circuit breaker: what fails again and again is not asked for a while, so that nobody waits for it and it
//! has time to recover.
//!
//! ```text
//!            failures in a row, or too many of the calls of a window
//!   Closed ───────────────────────────────────────────────▶ Open ◀──┐
//!     ▲                                                       │      │ a probe failed:
//!     │ enough probes succeeded                  time is over │      │ longer than before
//!     └───────────────────────────────── HalfOpen ◀───────────┘      │
//!                                            └───────────────────────┘
//! ```
//!
//! A pure machine: time and entropy are arguments. Who begins a call holds a [`Permit`] and hands it back
//! with what came of it. What began in an earlier state changes nothing in a later one: a slow call from before
//! the failure neither closes a breaker nor keeps it open.

use std::time::{Duration, Instant};

/// When a [`Breaker`] opens, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it. Default 5: one bad moment of many users is not an outage. Higher: more
    /// users wait for what will fail; lower: one user's bad luck shuts out all.
    pub failures: u32,
    /// How far back the rate of failures looks. Default 30 s.
    pub window: Duration,
    /// Calls of the window from which on the rate counts. Default 20: of fewer, half is chance.
    pub calls: u32,
    /// Per cent of them that open it when they fail. Default 50; over 100: the rate never does.
    pub failure_percent: u32,
    /// How long it is open the first time. Default 2 s; each time that follows without a whole window of
    /// success between takes twice as long.
    pub open_first: Duration,
    /// How long at most. Default 60 s: what works again is used within a minute.
    pub open_most: Duration,
    /// Calls at once while it is half-open; at least one. Default 1.
    pub probes: u32,
    /// So many of them must succeed for it to close; at least one. Default 1.
    pub successes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            window: Duration::from_secs(30),
            calls: 20,
            failure_percent: 50,
            open_first: Duration::from_secs(2),
            open_most: Duration::from_secs(60),
            probes: 1,
            successes: 1,
        }
    }
}

/// What a breaker lets through.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// A few calls, to see whether it works again.
    HalfOpen,
}

impl BreakerState {
    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What came of a call.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum CallEnd {
    /// It was served.
    Succeeded,
    /// What was called is to blame.
    Failed,
    /// It says nothing about what was called: it was cancelled, or wrong itself.
    Neither,
}

/// A call that was let through; to be handed back with [`Breaker::end`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe that never ends keeps the breaker half-open"]
pub struct Permit {
    era: u64,
    is_probe: bool,
}

impl Permit {
    /// Whether the call is one of those that show whether it works again.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }
}

/// The machine.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    /// Changes with the phase: permits of another one are old.
    era: u64,
    /// How often it has opened without a window of success between.
    opened: u32,
}

#[derive(Debug)]
enum Phase {
    Closed { since: Instant, in_a_row: u32, recent: Recent },
    Open { until: Instant },
    HalfOpen { under_way: u32, succeeded: u32 },
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        let recent = Recent::new(now);
        let phase = Phase::Closed { since: now, in_a_row: 0, recent };
        Self { config, phase, era: 0, opened: 0 }
    }

    /// Whether a call may begin.
    ///
    /// # Errors
    /// How long to wait until one may. Where probes are under way that is not known; it says a second then.
    pub fn begin(&mut self, now: Instant) -> Result<Permit, Duration> {
        const PROBES_UNDER_WAY: Duration = Duration::from_secs(1);
        self.handle_deadline(now);
        match &mut self.phase {
            Phase::Closed { .. } => Ok(Permit { era: self.era, is_probe: false }),
            Phase::Open { until } => Err(until.saturating_duration_since(now)),
            Phase::HalfOpen { under_way, .. } if *under_way >= self.config.probes.max(1) => {
                Err(PROBES_UNDER_WAY)
            }
            Phase::HalfOpen { under_way, .. } => {
                *under_way += 1;
                Ok(Permit { era: self.era, is_probe: true })
            }
        }
    }

    /// A call has ended. `entropy`: any number; it spreads the times at which many breakers try again.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is used once")]
    pub fn end(&mut self, now: Instant, permit: Permit, end: CallEnd, entropy: u64) {
        self.handle_deadline(now);
        if permit.era != self.era {
            return;
        }
        match &mut self.phase {
            // A breaker that is open has given no permits.
            Phase::Open { .. } => {}
            Phase::Closed { since, in_a_row, recent } => match end {
                CallEnd::Neither => {}
                CallEnd::Succeeded => {
                    *in_a_row = 0;
                    recent.count(now, self.config.window, false);
                }
                CallEnd::Failed => {
                    *in_a_row += 1;
                    recent.count(now, self.config.window, true);
                    let lasted = now.saturating_duration_since(*since);
                    if *in_a_row >= self.config.failures.max(1) || recent.is_bad(&self.config) {
                        if lasted >= self.config.window {
                            self.opened = 0;
                        }
                        self.open(now, entropy);
                    }
                }
            },
            Phase::HalfOpen { under_way, succeeded } => {
                *under_way = under_way.saturating_sub(1);
                match end {
                    CallEnd::Neither => {}
                    CallEnd::Failed => self.open(now, entropy),
                    CallEnd::Succeeded => {
                        *succeeded += 1;
                        if *succeeded >= self.config.successes.max(1) {
                            let recent = Recent::new(now);
                            self.enter(Phase::Closed { since: now, in_a_row: 0, recent });
                        }
                    }
                }
            }
        }
    }

    /// Time has passed. Harmless when nothing is due.
    pub fn handle_deadline(&mut self, now: Instant) {
        if let Phase::Open { until } = self.phase
            && until <= now
        {
            self.enter(Phase::HalfOpen { under_way: 0, succeeded: 0 });
        }
    }

    /// When an open breaker becomes half-open.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => Some(until),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// What it lets through.
    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Between half of the time and all of it, so that not everybody comes back at once.
    fn open(&mut self, now: Instant, entropy: u64) {
        let doubled = self.config.open_first.saturating_mul(1 << self.opened.min(30));
        let most = doubled.min(self.config.open_most);
        self.opened = self.opened.saturating_add(1);
        let part = (entropy >> 32) as u32;
        let half = most / 2;
        let jitter = half.mul_f64(f64::from(part) / f64::from(u32::MAX));
        self.enter(Phase::Open { until: now + half + jitter });
    }

    fn enter(&mut self, phase: Phase) {
        self.era += 1;
        self.phase = phase;
    }
}

/// Parts of a window. The oldest one leaves as a whole, so the window is exact to a tenth.
const PARTS: usize = 10;

/// Calls of the last window.
#[derive(Debug)]
struct Recent {
    parts: [Part; PARTS],
    /// The part that is counted in, and when it began.
    at: usize,
    since: Instant,
}

#[derive(Debug, Default, Copy, Clone)]
struct Part {
    calls: u32,
    failures: u32,
}

impl Recent {
    fn new(now: Instant) -> Self {
        Self { parts: [Part::default(); PARTS], at: 0, since: now }
    }

    fn count(&mut self, now: Instant, window: Duration, is_failure: bool) {
        let step = (window / PARTS as u32).max(Duration::from_nanos(1));
        let mut passed = 0;
        while passed < PARTS && self.since + step <= now {
            passed += 1;
            self.since += step;
            self.at = (self.at + 1) % PARTS;
            self.parts[self.at] = Part::default();
        }
        if self.since + step <= now {
            // Nothing of the last window: it begins anew.
            self.since = now;
        }
        let part = &mut self.parts[self.at];
        part.calls = part.calls.saturating_add(1);
        part.failures = part.failures.saturating_add(u32::from(is_failure));
    }

    fn is_bad(&self, config: &BreakerConfig) -> bool {
        let sum = |of: fn(&Part) -> u32| self.parts.iter().map(|part| u64::from(of(part))).sum();
        let (calls, failures): (u64, u64) = (sum(|part| part.calls), sum(|part| part.failures));
        calls >= u64::from(config.calls)
            && failures * 100 >= calls * u64::from(config.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch::epoch;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(config: BreakerConfig) -> (Breaker, Instant) {
        let now = epoch();
        (Breaker::new(config, now), now)
    }

    fn call(breaker: &mut Breaker, now: Instant, end: CallEnd) {
        let permit = breaker.begin(now).expect("it lets calls through");
        breaker.end(now, permit, end, u64::MAX);
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not_count_to_them() {
        let (mut breaker, now) = breaker(BreakerConfig::default());
        for end in [CallEnd::Failed, CallEnd::Failed, CallEnd::Succeeded, CallEnd::Neither] {
            call(&mut breaker, now, end);
        }
        for _ in 0..4 {
            call(&mut breaker, now, CallEnd::Failed);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        call(&mut breaker, now, CallEnd::Failed);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.begin(now), Err(2 * SECOND));
        assert_eq!(breaker.begin(now + SECOND), Err(SECOND));
    }

    #[test]
    fn the_rate_of_a_window_opens_it_though_some_calls_succeed() {
        let (mut breaker, mut now) = breaker(BreakerConfig::default());
        for at in 0..19 {
            call(&mut breaker, now, [CallEnd::Failed, CallEnd::Succeeded][at % 2]);
            now += SECOND;
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        call(&mut breaker, now, CallEnd::Failed);
        assert_eq!(breaker.state(), BreakerState::Open, "11 of 20");
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let (mut breaker, mut now) = breaker(BreakerConfig::default());
        for _ in 0..100 {
            for end in [CallEnd::Failed, CallEnd::Succeeded] {
                call(&mut breaker, now, end);
            }
            // Never twenty calls within thirty seconds.
            now += 4 * SECOND;
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        now += 1000 * SECOND;
        for at in 0..19 {
            call(&mut breaker, now, [CallEnd::Failed, CallEnd::Succeeded][at % 2]);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn half_open_it_lets_a_bounded_number_through_and_closes_when_they_succeed() {
        let config = BreakerConfig { probes: 2, successes: 3, ..BreakerConfig::default() };
        let (mut breaker, now) = breaker(config);
        for _ in 0..5 {
            call(&mut breaker, now, CallEnd::Failed);
        }
        let now = breaker.deadline().expect("it is open");
        breaker.handle_deadline(now - Duration::from_nanos(1));
        assert_eq!(breaker.state(), BreakerState::Open);
        let [first, second] = [(); 2].map(|()| breaker.begin(now).expect("a probe"));
        assert!(first.is_probe() && second.is_probe());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.begin(now), Err(SECOND));
        // One that was cancelled makes room and proves nothing.
        breaker.end(now, first, CallEnd::Neither, 0);
        breaker.end(now, second, CallEnd::Succeeded, 0);
        for _ in 0..2 {
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            call(&mut breaker, now, CallEnd::Succeeded);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn it_stays_open_longer_each_time_up_to_a_bound_and_a_good_window_makes_it_forget() {
        let (mut breaker, mut now) = breaker(BreakerConfig::default());
        let mut times = Vec::new();
        for _ in 0..5 {
            call(&mut breaker, now, CallEnd::Failed);
        }
        for _ in 0..7 {
            let until = breaker.deadline().expect("it is open");
            times.push((until - now).as_secs());
            now = until;
            call(&mut breaker, now, CallEnd::Failed);
        }
        assert_eq!(times, [2, 4, 8, 16, 32, 60, 60]);
        now = breaker.deadline().expect("it is open");
        call(&mut breaker, now, CallEnd::Succeeded);
        // It breaks at once again, and then after it worked for long.
        for (worked, expected) in [(SECOND, 60), (30 * SECOND, 2)] {
            now += worked;
            for _ in 0..5 {
                call(&mut breaker, now, CallEnd::Failed);
            }
            let until = breaker.deadline().expect("it is open");
            assert_eq!((until - now).as_secs(), expected);
            now = until;
            call(&mut breaker, now, CallEnd::Succeeded);
        }
    }

    #[test]
    fn the_jitter_is_between_half_of_the_time_and_all_of_it() {
        for (entropy, expected) in [(0, 1000), (u64::MAX / 2, 1500), (u64::MAX, 2000)] {
            let (mut breaker, now) = breaker(BreakerConfig { failures: 1, ..Default::default() });
            let permit = breaker.begin(now).expect("closed");
            breaker.end(now, permit, CallEnd::Failed, entropy);
            let open = breaker.deadline().expect("open") - now;
            assert_eq!(open.as_millis().next_multiple_of(5), expected);
        }
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing_later() {
        let (mut breaker, now) = breaker(BreakerConfig { failures: 1, ..Default::default() });
        let [late, later] = [(); 2].map(|()| breaker.begin(now).expect("closed"));
        assert!(!late.is_probe());
        call(&mut breaker, now, CallEnd::Failed);
        breaker.end(now, late, CallEnd::Succeeded, 0);
        assert_eq!(breaker.state(), BreakerState::Open);
        let now = breaker.deadline().expect("open");
        breaker.handle_deadline(now);
        breaker.end(now, later, CallEnd::Failed, 0);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "the probe decides");
        call(&mut breaker, now, CallEnd::Succeeded);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    /// Whatever happens in whatever order: nothing passes while it is open, never more probes than
    /// there may be, it is never open for longer than the bound, and without failures it never opens.
    #[test]
    fn any_course_of_calls_keeps_the_bounds() {
        fn course(config: (u8, u8, u8, u8), acts: Vec<(u8, u8, u64)>) -> bool {
            let config = BreakerConfig {
                failures: u32::from(config.0 % 6),
                probes: u32::from(config.1 % 4),
                successes: u32::from(config.2 % 4),
                calls: u32::from(config.3 % 30),
                ..BreakerConfig::default()
            };
            let (mut breaker, mut now) = breaker(config.clone());
            let mut permits: Vec<Permit> = Vec::new();
            let mut failed = false;
            for (act, at, entropy) in acts {
                match act % 5 {
                    0 | 1 => match breaker.begin(now) {
                        Ok(permit) => {
                            assert_ne!(breaker.state(), BreakerState::Open);
                            permits.push(permit);
                        }
                        Err(wait) => {
                            assert_ne!(breaker.state(), BreakerState::Closed);
                            assert!(wait <= config.open_most);
                            assert!(wait > Duration::ZERO);
                        }
                    },
                    2 => now += Duration::from_millis(entropy % 70_000),
                    end if !permits.is_empty() => {
                        let permit = permits.swap_remove(usize::from(at) % permits.len());
                        let ends = [CallEnd::Succeeded, CallEnd::Failed, CallEnd::Neither];
                        let end = ends[usize::from(end.wrapping_add(at)) % 3];
                        failed |= end == CallEnd::Failed;
                        breaker.end(now, permit, end, entropy);
                    }
                    _ => breaker.handle_deadline(now),
                }
                if breaker.state() == BreakerState::HalfOpen {
                    let probes = permits.iter().filter(|permit| permit.era == breaker.era).count();
                    assert!(probes <= config.probes.max(1) as usize);
                }
                assert!(failed || breaker.state() == BreakerState::Closed);
                assert_eq!(breaker.deadline().is_some(), breaker.state() == BreakerState::Open);
            }
            // What is left is handed back, and it works again after at most two tries.
            for permit in permits {
                breaker.end(now, permit, CallEnd::Neither, 0);
            }
            now += config.open_most;
            for _ in 0..config.successes.max(1) {
                call(&mut breaker, now, CallEnd::Succeeded);
            }
            breaker.state() == BreakerState::Closed
        }
        quickcheck::quickcheck(course as fn(_, _) -> bool);
    }
}
