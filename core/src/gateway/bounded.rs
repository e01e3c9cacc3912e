//! A map that forgets: bounded memory for keys that peers choose.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Keeps at least the `limit / 2` keys used last and never more than `limit`.
///
/// Two generations: what is used moves into the young one; when that holds half the limit, it becomes
/// the old one and the former old one is dropped. No timers, no order to keep, constant extra work.
/// Who wants a key forgotten must use half the limit of other keys, which is what the limit buys.
#[derive(Debug)]
pub(super) struct Forgetful<K, V> {
    half: usize,
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
}

impl<K: Ord, V> Forgetful<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { half: (limit / 2).max(1), young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// The value of a key, made when there is none.
    pub(super) fn entry<Q: Ord + ?Sized + ToOwned<Owned = O>, O: Into<K>>(
        &mut self,
        key: &Q,
        make: impl FnOnce() -> V,
    ) -> &mut V
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key).unwrap_or_else(make);
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key.to_owned().into(), value);
        }
        self.young.get_mut(key).expect("it was inserted if it was not there")
    }

    /// Takes another limit. Beyond a lower one, the keys that were used last may be forgotten, too.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.half = (limit / 2).max(1);
        for generation in [&mut self.young, &mut self.old] {
            while generation.len() > self.half {
                generation.pop_last();
            }
        }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_limit_and_keeps_what_is_used() {
        let mut map: Forgetful<String, u32> = Forgetful::new(10);
        for n in 0..1000 {
            *map.entry("used", || 0) += 1;
            map.entry(n.to_string().as_str(), || n);
            assert!(map.len() <= 10);
        }
        assert_eq!(map.get("used"), Some(&1000));
        assert_eq!(map.get("3"), None);
    }

    #[test]
    fn a_lower_limit_holds_at_once() {
        let mut map: Forgetful<String, u32> = Forgetful::new(100);
        for n in 0..100 {
            map.entry(n.to_string().as_str(), || n);
        }
        for limit in [10, 1, 0, 10] {
            map.set_limit(limit);
            assert!(map.len() <= limit.max(2));
            for n in 0..100 {
                map.entry(n.to_string().as_str(), || n);
                assert!(map.len() <= limit.max(2));
            }
        }
    }
}
