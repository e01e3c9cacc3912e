//! What metrics are counted in: cells that threads write without a lock, one set for each loop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper ends of buckets, in microseconds.
pub(crate) type Bounds = &'static [u64];

/// Times of what a program does: 100 µs to 10 s.
pub(crate) const SHORT: Bounds = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// Times of what people and agents do: 100 ms to a day.
pub(crate) const LONG: Bounds = &[
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    7_200_000_000,
    28_800_000_000,
    86_400_000_000,
];

/// How many times were how long.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: Bounds,
    /// One for each bound, and one for what is beyond all.
    counts: Box<[AtomicU64]>,
    /// Microseconds.
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| *bound < micros);
        self.counts[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
    }
}

/// What histograms hold, together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Times {
    /// Seconds.
    pub(crate) sum: f64,
    pub(crate) count: u64,
    /// The upper end in seconds and how many are in the bucket.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Times {
    pub(crate) fn add(&mut self, other: &Histogram) {
        if self.buckets.is_empty() {
            let bounds = other.bounds.iter().map(|bound| *bound as f64 / 1e6);
            self.buckets = bounds.chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        }
        for ((_, sum), count) in self.buckets.iter_mut().zip(&other.counts) {
            let count = count.load(Relaxed);
            *sum += count;
            self.count += count;
        }
        self.sum += other.sum.load(Relaxed) as f64 / 1e6;
    }
}

/// Cells by the values of their labels. Those are texts of this program, by their type, or names from its
/// configuration: a client cannot make one.
#[derive(Debug)]
pub(crate) struct Family<L, C>(Mutex<BTreeMap<L, Arc<C>>>);

impl<L: Ord + Clone, C> Family<L, C> {
    /// The cells there are.
    pub(crate) fn cells(&self) -> BTreeMap<L, Arc<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cell(&self, labels: &L, make: impl FnOnce() -> C) -> Arc<C> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.entry(labels.clone()).or_insert_with(|| Arc::new(make())).clone()
    }
}

impl<L, C> Default for Family<L, C> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

/// The one thread's way to the cells of a family: the lock is taken, and something allocated, only for
/// labels that it has not used before.
#[derive(Debug)]
pub(crate) struct Writer<L, C> {
    known: BTreeMap<L, Arc<C>>,
}

impl<L: Ord + Clone, C> Writer<L, C> {
    pub(crate) fn to(&mut self, family: &Family<L, C>, labels: L, make: impl FnOnce() -> C) -> &C {
        self.known.entry(labels).or_insert_with_key(|labels| family.cell(labels, make))
    }
}

impl<L: Ord + Clone> Writer<L, Counter> {
    pub(crate) fn count(&mut self, family: &Family<L, Counter>, labels: L) {
        self.to(family, labels, Counter::default).add(1);
    }
}

impl<L, C> Default for Writer<L, C> {
    fn default() -> Self {
        Self { known: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_bucket_whose_end_it_does_not_exceed() {
        let (first, second) = (Histogram::new(SHORT), Histogram::new(SHORT));
        for (histogram, micros) in
            [(&first, 100), (&first, 101), (&second, 250), (&second, 20_000_000)]
        {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut times = Times::default();
        times.add(&first);
        times.add(&second);
        assert_eq!(times.count, 4);
        assert!((times.sum - 20.000_451).abs() < 1e-9, "{}", times.sum);
        assert_eq!(times.buckets[..3], [(0.0001, 1), (0.00025, 2), (0.0005, 0)]);
        assert_eq!(times.buckets.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!(times.buckets.iter().map(|(_, count)| count).sum::<u64>(), 4);
    }

    #[test]
    fn writers_of_one_family_count_in_the_same_cells() {
        let family = Family::default();
        let (mut one, mut other) = (Writer::default(), Writer::default());
        for writer in [&mut one, &mut other] {
            writer.count(&family, ["a", "b"]);
            writer.count(&family, ["a", "b"]);
        }
        other.count(&family, ["a", "c"]);
        let values: Vec<_> =
            family.cells().into_iter().map(|(labels, cell)| (labels, cell.value())).collect();
        assert_eq!(values, [(["a", "b"], 4), (["a", "c"], 1)]);
    }
}
