//! Repeated noise in the log, folded: whoever knocks ten thousand times is told of in a few lines.

use moorline_core::gateway::Fact;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Lines of a kind that are written as they come; more of them are counted.
const LINES: u64 = 10;

/// How long lines are counted until the count is written, and the next ones are lines again.
const WINDOW: Duration = Duration::from_secs(60);

/// What is folded together: texts of ours only, so there are few.
pub(super) type Kind = (&'static str, &'static str);

/// The kind of a fact that strangers can bring about as often as they like; `None` for what is always
/// worth a line.
pub(super) fn kind(fact: &Fact) -> Option<Kind> {
    match fact {
        Fact::Refused { why, .. } => Some(("refused", super::facts::why_word(*why))),
        Fact::AuthFailed { credential, .. } => Some(("login refused", credential.as_str())),
        Fact::Closed { user: None, cause, .. } => Some(("closed", cause)),
        Fact::NotBelieved { .. } => Some(("forwarding header not believed", "")),
        Fact::Truncated { .. } => Some(("message cut", "")),
        Fact::StoreFailed { .. } => Some(("the store failed", "")),
        _ => None,
    }
}

/// Counts of what was not written.
#[derive(Debug, Default)]
pub(super) struct Folding {
    seen: BTreeMap<Kind, Seen>,
}

#[derive(Debug)]
struct Seen {
    until: Instant,
    count: u64,
}

impl Folding {
    /// Whether one more line of this kind is to be written.
    pub(super) fn admit(&mut self, now: Instant, kind: Kind) -> bool {
        let seen = self.seen.entry(kind).or_insert(Seen { until: now + WINDOW, count: 0 });
        seen.count += 1;
        seen.count <= LINES
    }

    /// Gives the counts whose time is over: how many were not written.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Kind, u64)> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        counts(self.seen.extract_if(.., |_, seen| seen.until <= now))
    }

    /// When [`Folding::take_due`] has something to give.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.seen.values().map(|seen| seen.until).min()
    }

    /// Gives everything that was not written: nothing more will be.
    pub(super) fn take_all(&mut self) -> Vec<(Kind, u64)> {
        counts(std::mem::take(&mut self.seen))
    }
}

/// How many of each kind were not written, where any were.
fn counts(seen: impl IntoIterator<Item = (Kind, Seen)>) -> Vec<(Kind, u64)> {
    let folded = seen.into_iter().map(|(kind, seen)| (kind, seen.count.saturating_sub(LINES)));
    folded.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_of_a_kind_are_ten_lines_and_a_count() {
        let now = Instant::now();
        let mut folding = Folding::default();
        let (origin, method) = (("refused", "origin"), ("refused", "method"));
        assert_eq!((0..10_000).filter(|_| folding.admit(now, origin)).count(), 10);
        assert!(folding.admit(now + WINDOW / 2, method), "another kind has lines of its own");
        assert_eq!(folding.deadline(), Some(now + WINDOW));
        assert_eq!(folding.take_due(now + WINDOW - Duration::from_millis(1)), []);
        assert_eq!(folding.take_due(now + WINDOW), [(origin, 9_990)]);
        assert!(folding.admit(now + WINDOW, origin), "a new minute has lines again");
        assert_eq!(folding.take_due(now + WINDOW * 3 / 2), [], "one line was no noise");
        for _ in 0..12 {
            folding.admit(now + WINDOW, origin);
        }
        assert_eq!(folding.take_all(), [(origin, 3)]);
        assert_eq!(folding.deadline(), None);
    }
}
