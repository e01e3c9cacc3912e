//! temp
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
/// temp
#[derive(Debug)]
pub struct Wheel { by_key: BTreeMap<usize, Instant>, by_time: BTreeSet<(Instant, usize)> }
impl Wheel {
    /// t
    pub fn new(_now: Instant) -> Self { Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() } }
    /// t
    pub fn arm(&mut self, key: usize, at: Instant) {
        if let Some(old) = self.by_key.get(&key) { if *old <= at { return; } self.by_time.remove(&(*old, key)); }
        self.by_key.insert(key, at); self.by_time.insert((at, key));
    }
    /// t
    pub fn disarm(&mut self, key: usize) { if let Some(at) = self.by_key.remove(&key) { self.by_time.remove(&(at, key)); } }
    /// t
    pub fn next_expired(&mut self, now: Instant) -> Option<usize> {
        let (at, key) = *self.by_time.first()?; if at > now { return None; }
        self.by_time.pop_first(); self.by_key.remove(&key); Some(key)
    }
    /// t
    pub fn next(&self) -> Option<Instant> { self.by_time.first().map(|(at, _)| *at) }
}
