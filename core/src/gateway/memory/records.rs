//! The records of a store that keeps nothing.

use super::super::record::{Record, RecordKind};
use super::super::work::{StoreError, StoreOutcome};
use super::OVERHEAD;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Name = (RecordKind, Arc<str>);

/// Records by kind and key, bounded in number and bytes.
#[derive(Debug, Default)]
pub(super) struct Records {
    kept: BTreeMap<Name, Record>,
    by_expiry: BTreeSet<(u64, Name)>,
    bytes: usize,
}

impl Records {
    /// Puts all of them in, or none.
    pub(super) fn put(
        &mut self,
        records: Vec<Record>,
        at: u64,
        most: (usize, usize),
    ) -> StoreOutcome {
        self.expire(at);
        // The room that is needed if nothing is replaced: refusing a little early does no harm.
        let bytes: usize = records.iter().map(cost).sum();
        if self.kept.len() + records.len() > most.0 || self.bytes + bytes > most.1 {
            return StoreOutcome::Failed(StoreError::Full);
        }
        for record in records {
            let name = (record.kind, record.key.clone());
            self.take(&name);
            self.bytes += cost(&record);
            if let Some(expires) = record.expires {
                self.by_expiry.insert((expires, name.clone()));
            }
            self.kept.insert(name, record);
        }
        StoreOutcome::Stored
    }

    pub(super) fn remove(&mut self, kind: RecordKind, key: Arc<str>, at: u64) -> StoreOutcome {
        self.expire(at);
        StoreOutcome::Removed(self.take(&(kind, key)))
    }

    pub(super) fn clear(&mut self, kind: RecordKind, at: u64) -> StoreOutcome {
        self.expire(at);
        let first = (kind, Arc::from(""));
        let names: Vec<Name> = self
            .kept
            .range(first..)
            .map(|(name, _)| name.clone())
            .take_while(|name| name.0 == kind)
            .collect();
        for name in &names {
            self.take(name);
        }
        StoreOutcome::Removed(!names.is_empty())
    }

    pub(super) fn load(&mut self, at: u64) -> StoreOutcome {
        self.expire(at);
        StoreOutcome::Loaded(self.kept.values().cloned().collect())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn expire(&mut self, at: u64) {
        while let Some((expires, name)) = self.by_expiry.first().cloned()
            && expires <= at
        {
            self.take(&name);
        }
    }

    fn take(&mut self, name: &Name) -> bool {
        let Some(record) = self.kept.remove(name) else { return false };
        self.bytes -= cost(&record);
        if let Some(expires) = record.expires {
            self.by_expiry.remove(&(expires, name.clone()));
        }
        true
    }
}

fn cost(record: &Record) -> usize {
    record.key.len() + record.value.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str, expires: Option<u64>) -> Record {
        Record { kind: RecordKind::Link, key: key.into(), value: value.into(), expires }
    }

    fn put(records: &mut Records, new: Record, at: u64) -> bool {
        records.put(vec![new], at, (3, 1000)) == StoreOutcome::Stored
    }

    #[test]
    fn records_are_replaced_expire_and_are_bounded() {
        let mut records = Records::default();
        assert!(put(&mut records, record("a", "1", Some(10)), 0));
        assert!(put(&mut records, record("a", "22", Some(20)), 9));
        assert!(put(&mut records, record("b", "1", None), 9));
        assert_eq!(
            records.load(10),
            StoreOutcome::Loaded(vec![record("a", "22", Some(20)), record("b", "1", None),])
        );
        assert!(put(&mut records, record("c", "1", None), 19));
        assert!(!put(&mut records, record("d", "1", None), 19), "a fourth");
        assert!(put(&mut records, record("d", "1", None), 20), "the first has expired");
        assert_eq!(
            records.remove(RecordKind::Device, "d".into(), 20),
            StoreOutcome::Removed(false)
        );
        assert_eq!(records.remove(RecordKind::Link, "d".into(), 20), StoreOutcome::Removed(true));
        assert!(!put(&mut records, record("d", &"x".repeat(1000), None), 20), "too many bytes");
        assert_eq!(records.clear(RecordKind::ApiKey, 20), StoreOutcome::Removed(false));
        assert_eq!(records.clear(RecordKind::Link, 20), StoreOutcome::Removed(true));
        assert_eq!((records.bytes(), records.by_expiry.len()), (0, 0));
    }
}
