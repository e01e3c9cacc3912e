//! The handshakes under way of accepted sockets, and which of them has to go where there are too many.
//!
//! Addresses share the places: the one that has most of them loses its oldest. So who floods crowds out
//! nobody else, and where all come from one address, such as that of a proxy, it has all places.

use crate::handler::ConnId;
use moorline_core::Address;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Whose handshakes are under way.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// None of them is empty.
    places: BTreeMap<Address, BTreeSet<ConnId>>,
    /// One for each of the places.
    ranks: BTreeSet<Rank>,
    len: usize,
}

/// How many an address has, and its oldest: names of connections count up. The greatest has to give one; of
/// several that have as many it is the one whose oldest is the oldest of all.
type Rank = (usize, Reverse<ConnId>, Address);

impl Handshakes {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn begin(&mut self, address: Address, id: ConnId) {
        self.change(address, |ids| ids.insert(id), 1);
    }

    pub(crate) fn end(&mut self, address: Address, id: ConnId) {
        self.change(address, |ids| ids.remove(&id), -1);
    }

    /// The one that has to go first.
    pub(crate) fn first_out(&self) -> Option<ConnId> {
        self.ranks.last().map(|(_, Reverse(oldest), _)| *oldest)
    }

    fn change(
        &mut self,
        address: Address,
        change: impl FnOnce(&mut BTreeSet<ConnId>) -> bool,
        by: isize,
    ) {
        let ids = self.places.entry(address).or_default();
        let before = rank(address, ids);
        if change(ids) {
            self.len = self.len.saturating_add_signed(by);
        }
        let after = rank(address, ids);
        if after.is_none() {
            self.places.remove(&address);
        }
        if before != after {
            before.map(|before| self.ranks.remove(&before));
            after.map(|after| self.ranks.insert(after));
        }
    }
}

fn rank(address: Address, ids: &BTreeSet<ConnId>) -> Option<Rank> {
    ids.first().map(|oldest| (ids.len(), Reverse(*oldest), address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn address(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    /// All of them, in the order in which they have to go.
    fn all_out(mut handshakes: Handshakes, of: impl Fn(ConnId) -> Address) -> Vec<u64> {
        let mut out = Vec::new();
        while let Some(id) = handshakes.first_out() {
            handshakes.end(of(id), id);
            out.push(id.0);
        }
        assert_eq!((handshakes.len, handshakes.places.len(), handshakes.ranks.len()), (0, 0, 0));
        out
    }

    #[test]
    fn the_address_that_has_most_loses_its_oldest_until_all_have_as_many() {
        let of = |id: ConnId| match id.0 {
            1 | 7 => address("192.0.2.1"),
            2 => address("192.0.2.2"),
            _ => address("192.0.2.3"),
        };
        let mut handshakes = Handshakes::default();
        for id in (1..=7).map(ConnId) {
            handshakes.begin(of(id), id);
        }
        assert_eq!(all_out(handshakes, of), [3, 4, 1, 5, 2, 6, 7]);
    }

    #[test]
    fn the_addresses_of_one_ipv6_customer_are_one() {
        let of = |id: ConnId| match id.0 {
            1 => address("2001:db8:0:1::1"),
            id => address(&format!("2001:db8::{id}")),
        };
        let mut handshakes = Handshakes::default();
        for id in (1..=3).map(ConnId) {
            handshakes.begin(of(id), id);
        }
        assert_eq!(handshakes.first_out(), Some(ConnId(2)));
    }

    #[test]
    fn who_ends_in_between_is_forgotten_and_ending_twice_is_nothing() {
        let one = address("192.0.2.1");
        let mut handshakes = Handshakes::default();
        for id in (1..=3).map(ConnId) {
            handshakes.begin(one, id);
        }
        handshakes.end(one, ConnId(1));
        handshakes.end(one, ConnId(1));
        assert_eq!((handshakes.len(), handshakes.first_out()), (2, Some(ConnId(2))));
        assert_eq!(all_out(handshakes, |_| one), [2, 3]);
    }

    quickcheck! {
        /// What is written down of the ranks is what counting everything anew says.
        fn ranks_are_those_of_counting_anew(acts: Vec<(u8, bool)>) -> bool {
            let mut handshakes = Handshakes::default();
            let mut all: Vec<(Address, ConnId)> = Vec::new();
            for (number, (act, ends)) in acts.into_iter().enumerate() {
                if ends && !all.is_empty() {
                    let (address, id) = all.remove(usize::from(act) % all.len());
                    handshakes.end(address, id);
                } else {
                    let (address, id) = (Address::V4(u32::from(act % 4)), ConnId(number as u64));
                    handshakes.begin(address, id);
                    all.push((address, id));
                }
                let count = |of| all.iter().filter(|(address, _)| *address == of).count();
                // Of those that have as many, `all` has the oldest first.
                let most = all.iter().map(|(address, _)| count(*address)).max();
                let first = all.iter().find(|(address, _)| Some(count(*address)) == most);
                if handshakes.first_out() != first.map(|(_, id)| *id)
                    || handshakes.len() != all.len()
                {
                    return false;
                }
            }
            true
        }
    }
}
