//! The handshakes under way of accepted sockets, and which of them has to go where there are too many.
//!
//! An address that has more than a share of the places loses its own oldest: so who floods from one crowds
//! out nobody else, and where all come from one address, such as that of a proxy, it has all places. While none
//! has so many, the oldest of all goes, which has had the most time: who floods from many addresses has to
//! fill all places anew within the time of one good handshake.

use crate::handler::ConnId;
use moorline_core::Address;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// An address that has more than this part of the places loses its own oldest. A household, or an office
/// behind one translated address, has a few handshakes under way at once, and 62 of the default places are
/// plenty for it; who wants to fill the places by shares needs 16 addresses, and is then left to the clock.
const SHARE: usize = 16;

/// Whose handshakes are under way.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// None of them is empty.
    places: BTreeMap<Address, BTreeSet<ConnId>>,
    /// One for each of the places.
    ranks: BTreeSet<Rank>,
    /// All of them, the oldest first: names of connections count up.
    all: BTreeSet<ConnId>,
}

/// How many an address has, and its oldest. Above a share the greatest has to give one; of several that have
/// as many it is the one whose oldest is the oldest of theirs.
type Rank = (usize, Reverse<ConnId>, Address);

impl Handshakes {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn begin(&mut self, address: Address, id: ConnId) {
        self.all.insert(id);
        self.change(address, |ids| ids.insert(id));
    }

    pub(crate) fn end(&mut self, address: Address, id: ConnId) {
        self.all.remove(&id);
        self.change(address, |ids| ids.remove(&id));
    }

    /// The one that has to go first, where there are so many places.
    pub(crate) fn first_out(&self, places: usize) -> Option<ConnId> {
        let share = (places / SHARE).max(1);
        match self.ranks.last() {
            Some((count, Reverse(oldest), _)) if *count > share => Some(*oldest),
            _ => self.all.first().copied(),
        }
    }

    fn change(&mut self, address: Address, change: impl FnOnce(&mut BTreeSet<ConnId>) -> bool) {
        let ids = self.places.entry(address).or_default();
        let before = rank(address, ids);
        change(ids);
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

    /// So few that a share is one of them.
    const FEW: usize = 7;

    /// All of them, in the order in which they have to go where there are so many places.
    fn all_out(
        mut handshakes: Handshakes,
        places: usize,
        of: impl Fn(ConnId) -> Address,
    ) -> Vec<u64> {
        let mut out = Vec::new();
        while let Some(id) = handshakes.first_out(places) {
            handshakes.end(of(id), id);
            out.push(id.0);
        }
        assert_eq!((handshakes.len(), handshakes.places.len(), handshakes.ranks.len()), (0, 0, 0));
        out
    }

    #[test]
    fn the_address_that_has_most_loses_its_oldest_until_none_has_more_than_a_share() {
        let of = |id: ConnId| match id.0 {
            1 | 7 => address("192.0.2.1"),
            2 => address("192.0.2.2"),
            _ => address("192.0.2.3"),
        };
        let mut handshakes = Handshakes::default();
        for id in (1..=7).map(ConnId) {
            handshakes.begin(of(id), id);
        }
        assert_eq!(all_out(handshakes, FEW, of), [3, 4, 1, 5, 2, 6, 7]);
    }

    #[test]
    fn while_no_address_has_more_than_a_share_the_oldest_of_all_goes() {
        const PLACES: usize = 3 * SHARE;
        // A good address has a whole share of them under way, between silent ones of one address each.
        let good = |id: u64| (10..13).contains(&id);
        let of = |id: ConnId| match id.0 {
            id if good(id) => address("192.0.2.1"),
            id => Address::V4(id as u32),
        };
        let mut handshakes = Handshakes::default();
        let mut out = Vec::new();
        // The last that comes is the end of the last one before the good ones.
        for id in (1..=PLACES as u64 + 9).map(ConnId) {
            handshakes.begin(of(id), id);
            while handshakes.len() > PLACES {
                let first = handshakes.first_out(PLACES).unwrap();
                handshakes.end(of(first), first);
                out.push(first.0);
            }
        }
        assert_eq!(out, (1..=9).collect::<Vec<_>>());
        // One more than a share is its own to give.
        let one_more = ConnId(1000);
        handshakes.begin(address("192.0.2.1"), one_more);
        assert_eq!(handshakes.first_out(PLACES), Some(ConnId(10)));
    }

    #[test]
    fn an_address_with_more_than_a_share_gives_its_own_before_older_ones_go() {
        const PLACES: usize = 2 * SHARE;
        let of = |id: ConnId| match id.0 {
            1..=4 => Address::V4(id.0 as u32),
            _ => address("192.0.2.1"),
        };
        let mut handshakes = Handshakes::default();
        for id in (1..=8).map(ConnId) {
            handshakes.begin(of(id), id);
        }
        assert_eq!(all_out(handshakes, PLACES, of), [5, 6, 1, 2, 3, 4, 7, 8]);
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
        assert_eq!(handshakes.first_out(FEW), Some(ConnId(2)));
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
        assert_eq!((handshakes.len(), handshakes.first_out(FEW)), (2, Some(ConnId(2))));
        assert_eq!(all_out(handshakes, FEW, |_| one), [2, 3]);
    }

    quickcheck! {
        /// What is written down of the ranks is what counting everything anew says.
        fn ranks_are_those_of_counting_anew(acts: Vec<(u8, bool)>, places: u8) -> bool {
            let places = usize::from(places);
            let share = (places / SHARE).max(1);
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
                let first = all.iter().find(|(address, _)| {
                    most <= Some(share) || Some(count(*address)) == most
                });
                if handshakes.first_out(places) != first.map(|(_, id)| *id)
                    || handshakes.len() != all.len()
                {
                    return false;
                }
            }
            true
        }
    }
}
