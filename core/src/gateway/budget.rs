//! How many sockets may be there without being logged in.

use super::Gateway;
use super::bus::{BusMessage, NodeId, Route};
use super::config::Bounds;
use super::conn::ConnId;
use crate::Address;
use std::collections::BTreeMap;

/// How many sockets that are not logged in a node has, in all or of one address.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Crowd {
    /// None: in all.
    of: Option<Address>,
    count: usize,
}

/// Sockets that are not logged in. As large as their number. An address counts for no more than its own
/// bound in the total: one that opens thousands keeps nobody else out.
///
/// The bounds are those of all nodes together. A node tells the others of a count when it is a step away
/// from what it told last, so that who logs in at once costs no message; and of an address never more than
/// its bound, so that a flood costs none either. A step is a quarter of a node's share of the bound, at
/// least 1. So with `n` nodes up to `(n - 1) * (step - 1)` sockets may be let in beyond a bound, or refused
/// before it is reached: less than a quarter of it, and none where it is less than `8 * n`. What is on its
/// way between the nodes comes on top.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    total: usize,
    /// What the others were told of the total.
    total_told: usize,
    places: BTreeMap<Address, Place>,
    /// What the others have told.
    elsewhere: BTreeMap<(Option<Address>, NodeId), usize>,
}

/// An address that has sockets here.
#[derive(Debug, Default)]
struct Place {
    here: usize,
    /// Those of them that are in the total.
    counted: usize,
    /// What the others were told.
    told: usize,
}

impl Budget {
    /// For one of this many nodes.
    pub(super) fn new(nodes: u16) -> Self {
        Self {
            nodes: usize::from(nodes),
            total: 0,
            total_told: 0,
            places: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
        }
    }

    pub(super) fn enter(&mut self, address: Address, bounds: &Bounds) {
        let elsewhere = self.elsewhere(Some(address));
        let place = self.places.entry(address).or_default();
        place.here += 1;
        if place.here + elsewhere <= limit(address, bounds) {
            place.counted += 1;
            self.total += 1;
        }
    }

    pub(super) fn leave(&mut self, address: Address) {
        if let Some(place) = self.places.get_mut(&address) {
            place.here = place.here.saturating_sub(1);
            self.total -= place.counted - place.counted.min(place.here);
            place.counted = place.counted.min(place.here);
            if place.here == 0 && place.told == 0 {
                self.places.remove(&address);
            }
        }
    }

    /// What the other nodes should be told now, because a socket of this address has come or gone. To be
    /// asked until there is nothing more.
    pub(super) fn news(&mut self, address: Address, bounds: &Bounds) -> Option<Crowd> {
        if self.nodes == 1 {
            return None;
        }
        let limit = limit(address, bounds);
        if let Some(place) = self.places.get_mut(&address) {
            let count = place.here.min(limit);
            if is_news(count, place.told, limit, self.nodes) {
                place.told = count;
                if place.here == 0 {
                    self.places.remove(&address);
                }
                return Some(Crowd { of: Some(address), count });
            }
        }
        is_news(self.total, self.total_told, bounds.pre_auth, self.nodes).then(|| {
            self.total_told = self.total;
            Crowd { of: None, count: self.total }
        })
    }

    /// Another node has told this.
    pub(super) fn hear(&mut self, node: NodeId, crowd: Crowd) {
        let key = (crowd.of, node);
        if crowd.count == 0 {
            self.elsewhere.remove(&key);
        } else {
            self.elsewhere.insert(key, crowd.count);
        }
    }

    /// A node has begun anew: it has no sockets, and this is what it needs to be told.
    pub(super) fn restarted(&mut self, node: NodeId) -> Vec<Crowd> {
        self.elsewhere.retain(|(_, other), _| *other != node);
        let places = self.places.iter().map(|(address, place)| (Some(*address), place.told));
        places
            .chain([(None, self.total_told)])
            .filter(|(_, count)| *count > 0)
            .map(|(of, count)| Crowd { of, count })
            .collect()
    }

    /// Takes other bounds: how much of the total each address has depends on them. Gives the addresses
    /// that there may be news of.
    pub(super) fn set_bounds(&mut self, bounds: &Bounds) -> Vec<Address> {
        let addresses: Vec<_> = self.places.keys().copied().collect();
        self.total = 0;
        for address in &addresses {
            let left = limit(*address, bounds).saturating_sub(self.elsewhere(Some(*address)));
            if let Some(place) = self.places.get_mut(address) {
                place.counted = place.here.min(left);
                self.total += place.counted;
            }
        }
        addresses
    }

    /// Of all nodes.
    pub(super) fn total(&self) -> usize {
        self.total + self.elsewhere(None)
    }

    /// Which bound a socket of this address, already entered, exceeds.
    pub(super) fn exceeded(&self, address: Address, bounds: &Bounds) -> Option<&'static str> {
        let here = self.places.get(&address).map_or(0, |place| place.here);
        if here + self.elsewhere(Some(address)) > limit(address, bounds) {
            Some("too many connections from this address that are not logged in")
        } else if self.total() > bounds.pre_auth {
            Some("too many connections that are not logged in")
        } else {
            None
        }
    }

    fn elsewhere(&self, of: Option<Address>) -> usize {
        let nodes = (of, NodeId(0))..=(of, NodeId(u16::MAX));
        self.elsewhere.range(nodes).map(|(_, count)| count).sum()
    }
}

impl Gateway {
    /// From now on the connection takes one of the places before login, or none.
    pub(super) fn set_budgeted(&mut self, id: ConnId, budgeted: bool) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.local) else { return };
        if std::mem::replace(&mut conn.budgeted, budgeted) == budgeted {
            return;
        }
        let address = conn.address;
        if budgeted {
            self.budget.enter(address, &self.config.raw.bounds);
        } else {
            self.budget.leave(address);
        }
        self.tell_budget(address);
    }

    pub(super) fn tell_budget(&mut self, address: Address) {
        while let Some(crowd) = self.budget.news(address, &self.config.raw.bounds) {
            let node = self.node.id();
            self.publish(Route::Others, BusMessage::PreAuth { node, crowd });
        }
    }
}

/// Whether the others should be told of a count. That there are none is always told, or it would never be.
fn is_news(count: usize, told: usize, bound: usize, nodes: usize) -> bool {
    let step = (bound / (4 * nodes)).max(1);
    count.abs_diff(told) >= step || count == 0 && told > 0
}

fn limit(address: Address, bounds: &Bounds) -> usize {
    match address {
        Address::V4(_) => bounds.pre_auth_v4,
        Address::V6(_) => bounds.pre_auth_v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_at_its_value() {
        let bounds = Bounds { pre_auth: 3, pre_auth_v4: 2, pre_auth_v6: 3, ..Bounds::default() };
        let (a, b) = (Address::V4(1), Address::V6(2));
        let mut budget = Budget::new(1);
        budget.enter(a, &bounds);
        budget.enter(a, &bounds);
        assert_eq!(budget.exceeded(a, &bounds), None);
        budget.enter(a, &bounds);
        assert!(budget.exceeded(a, &bounds).is_some_and(|why| why.contains("this address")));
        budget.leave(a);
        budget.enter(b, &bounds);
        assert_eq!(budget.exceeded(b, &bounds), None);
        budget.enter(b, &bounds);
        assert!(budget.exceeded(b, &bounds).is_some_and(|why| !why.contains("this address")));
        for address in [a, a, b, b] {
            budget.leave(address);
        }
        assert_eq!((budget.total(), budget.places.len()), (0, 0));
    }

    #[test]
    fn other_bounds_leave_the_total_exact() {
        let narrow = Bounds { pre_auth_v4: 2, pre_auth_v6: 0, ..Bounds::default() };
        let wide = Bounds { pre_auth_v4: 9, pre_auth_v6: 9, ..Bounds::default() };
        let (a, b) = (Address::V4(1), Address::V6(2));
        for (before, after, total) in [(&narrow, &wide, 8), (&wide, &narrow, 2)] {
            let mut budget = Budget::new(1);
            for address in [a, b, a, a, b, a, b, a] {
                budget.enter(address, before);
            }
            budget.set_bounds(after);
            assert_eq!(budget.total(), total);
            for address in [a, b, a, a, b, a, b, a] {
                budget.leave(address);
            }
            assert_eq!((budget.total(), budget.places.len()), (0, 0));
        }
    }

    #[test]
    fn an_address_over_its_bound_takes_no_more_of_the_total() {
        let bounds = Bounds { pre_auth: 5, pre_auth_v4: 2, ..Bounds::default() };
        let mut budget = Budget::new(1);
        for _ in 0..1000 {
            budget.enter(Address::V4(1), &bounds);
        }
        budget.enter(Address::V4(2), &bounds);
        assert_eq!((budget.total(), budget.exceeded(Address::V4(2), &bounds)), (3, None));
        for _ in 0..1000 {
            budget.leave(Address::V4(1));
        }
        assert_eq!(budget.total(), 1);
    }

    /// Nodes that hear each other at once.
    struct Nodes(Vec<Budget>);

    impl Nodes {
        fn new(count: u16) -> Self {
            Self((0..count).map(|_| Budget::new(count)).collect())
        }

        /// Gives the number of messages.
        fn tell(&mut self, at: usize, address: Address, bounds: &Bounds) -> usize {
            let mut messages = 0;
            while let Some(crowd) = self.0[at].news(address, bounds) {
                messages += 1;
                for (_, other) in self.0.iter_mut().enumerate().filter(|(other, _)| *other != at) {
                    other.hear(NodeId(at as u16), crowd);
                }
            }
            messages
        }

        /// Whether the socket may stay; one that may not is gone again.
        fn enter(&mut self, at: usize, address: Address, bounds: &Bounds) -> bool {
            self.0[at].enter(address, bounds);
            self.tell(at, address, bounds);
            let stays = self.0[at].exceeded(address, bounds).is_none();
            if !stays {
                self.leave(at, address, bounds);
            }
            stays
        }

        fn leave(&mut self, at: usize, address: Address, bounds: &Bounds) {
            self.0[at].leave(address);
            self.tell(at, address, bounds);
        }
    }

    #[test]
    fn bounds_of_less_than_eight_per_node_are_exact_over_nodes() {
        let bounds = Bounds { pre_auth: 23, pre_auth_v4: 7, pre_auth_v6: 7, ..Bounds::default() };
        let mut nodes = Nodes::new(3);
        let stay = |nodes: &mut Nodes, address| {
            (0..30).filter(|n| nodes.enter(n % 3, address, &bounds)).count()
        };
        let stayed: Vec<_> = (1..=5).map(|n| stay(&mut nodes, Address::V4(n))).collect();
        assert_eq!(stayed, [7, 7, 7, 2, 0]);
        nodes.leave(0, Address::V4(1), &bounds);
        assert_eq!([stay(&mut nodes, Address::V6(9)), stay(&mut nodes, Address::V4(1))], [1, 0]);
    }

    #[test]
    fn larger_bounds_hold_over_nodes_to_within_a_quarter() {
        for (count, bound) in [(2, 32), (3, 32), (4, 100), (8, 500), (16, 64)] {
            let wide = 1_000_000;
            let by_address = Bounds { pre_auth: wide, pre_auth_v4: bound, ..Bounds::default() };
            let in_all = Bounds { pre_auth: bound, pre_auth_v4: wide, ..Bounds::default() };
            let slack = (bound / (4 * count) - 1) * (count - 1);
            assert!(slack < bound / 4);
            for (bounds, addresses) in [(by_address, 1), (in_all, 10_000)] {
                let mut nodes = Nodes::new(count as u16);
                let enter = |nodes: &mut Nodes, n: usize| {
                    nodes.enter(n % count, Address::V4((n % addresses) as u32), &bounds)
                };
                let stayed = (0..3 * bound).filter(|n| enter(&mut nodes, *n)).count();
                assert!(stayed.abs_diff(bound) <= slack, "{count} nodes, {bound}: {stayed}");
            }
        }
    }

    #[test]
    fn who_comes_and_goes_and_a_flood_cost_no_messages() {
        let bounds = Bounds::default();
        let mut nodes = Nodes::new(4);
        let mut messages = 0;
        for n in 0..1000 {
            nodes.0[0].enter(Address::V4(n), &bounds);
            messages += nodes.tell(0, Address::V4(n), &bounds);
            nodes.0[0].leave(Address::V4(n));
            messages += nodes.tell(0, Address::V4(n), &bounds);
        }
        assert_eq!(messages, 0);
        for _ in 0..1000 {
            nodes.0[0].enter(Address::V4(7), &bounds);
            messages += nodes.tell(0, Address::V4(7), &bounds);
        }
        // Of 32 in steps of two, and 32 of the total in one step of 31.
        assert_eq!(messages, 16 + 1);
        for _ in 0..1000 {
            nodes.leave(0, Address::V4(7), &bounds);
        }
        for node in &nodes.0 {
            assert_eq!((node.total(), node.places.len(), node.elsewhere.len()), (0, 0, 0));
        }
    }

    #[test]
    fn other_bounds_and_a_node_that_begins_anew_leave_nothing_behind() {
        let narrow = Bounds { pre_auth_v4: 2, ..Bounds::default() };
        let wide = Bounds { pre_auth_v4: 4000, ..Bounds::default() };
        let address = Address::V4(1);
        let mut nodes = Nodes::new(2);
        for _ in 0..10 {
            nodes.0[0].enter(address, &narrow);
            nodes.tell(0, address, &narrow);
        }
        assert_eq!(nodes.0[1].elsewhere(Some(address)), 2);
        assert_eq!(nodes.0[0].set_bounds(&wide), [address]);
        nodes.tell(0, address, &wide);
        // The other one begins anew, and is told.
        nodes.0[1] = Budget::new(2);
        for crowd in nodes.0[0].restarted(NodeId(1)) {
            nodes.0[1].hear(NodeId(0), crowd);
        }
        assert_eq!(nodes.0[1].elsewhere(Some(address)), 2);
        for _ in 0..10 {
            nodes.leave(0, address, &wide);
        }
        for node in &nodes.0 {
            assert_eq!((node.total(), node.places.len(), node.elsewhere.len()), (0, 0, 0));
        }
        // A node that begins anew has no sockets any more.
        nodes.enter(0, address, &narrow);
        assert!(nodes.0[1].restarted(NodeId(0)).is_empty());
        assert_eq!(nodes.0[1].elsewhere(Some(address)), 0);
    }
}
