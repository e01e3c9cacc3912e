//! How many sockets may be there without being logged in.

use super::config::Bounds;
use core::net::IpAddr;
use std::collections::BTreeMap;

/// What counts as one place: an IPv4 address, or an IPv6 /64, which is what one customer has.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    V4(u32),
    V6(u64),
}

impl Address {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// Sockets that are not logged in. As large as their number. An address counts for no more than its own
/// bound in the total: one that opens thousands keeps nobody else out.
#[derive(Debug, Default)]
pub(super) struct Budget {
    total: usize,
    by_address: BTreeMap<Address, usize>,
}

impl Budget {
    pub(super) fn enter(&mut self, address: Address, bounds: &Bounds) {
        let count = self.by_address.entry(address).or_default();
        *count += 1;
        if *count <= limit(address, bounds) {
            self.total += 1;
        }
    }

    pub(super) fn leave(&mut self, address: Address, bounds: &Bounds) {
        if let Some(count) = self.by_address.get_mut(&address) {
            if *count <= limit(address, bounds) {
                self.total = self.total.saturating_sub(1);
            }
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Takes other bounds: how much of the total each address has depends on them.
    pub(super) fn set_bounds(&mut self, bounds: &Bounds) {
        let counted = |(address, count): (&Address, &usize)| (*count).min(limit(*address, bounds));
        self.total = self.by_address.iter().map(counted).sum();
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Which bound a socket of this address, already entered, exceeds.
    pub(super) fn exceeded(&self, address: Address, bounds: &Bounds) -> Option<&'static str> {
        let here = self.by_address.get(&address).copied().unwrap_or_default();
        if here > limit(address, bounds) {
            Some("too many connections from this address that are not logged in")
        } else if self.total > bounds.pre_auth {
            Some("too many connections that are not logged in")
        } else {
            None
        }
    }
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
    fn an_ipv6_customer_and_a_mapped_ipv4_address_count_once() {
        let of = |text: &str| Address::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn each_bound_holds_at_its_value() {
        let bounds = Bounds { pre_auth: 3, pre_auth_v4: 2, pre_auth_v6: 3, ..Bounds::default() };
        let (a, b) = (Address::V4(1), Address::V6(2));
        let mut budget = Budget::default();
        budget.enter(a, &bounds);
        budget.enter(a, &bounds);
        assert_eq!(budget.exceeded(a, &bounds), None);
        budget.enter(a, &bounds);
        assert!(budget.exceeded(a, &bounds).is_some_and(|why| why.contains("this address")));
        budget.leave(a, &bounds);
        budget.enter(b, &bounds);
        assert_eq!(budget.exceeded(b, &bounds), None);
        budget.enter(b, &bounds);
        assert!(budget.exceeded(b, &bounds).is_some_and(|why| !why.contains("this address")));
        for address in [a, a, b, b] {
            budget.leave(address, &bounds);
        }
        assert_eq!((budget.total(), budget.by_address.len()), (0, 0));
    }

    #[test]
    fn other_bounds_leave_the_total_exact() {
        let narrow = Bounds { pre_auth_v4: 2, pre_auth_v6: 0, ..Bounds::default() };
        let wide = Bounds { pre_auth_v4: 9, pre_auth_v6: 9, ..Bounds::default() };
        let (a, b) = (Address::V4(1), Address::V6(2));
        for (before, after, total) in [(&narrow, &wide, 8), (&wide, &narrow, 2)] {
            let mut budget = Budget::default();
            for address in [a, b, a, a, b, a, b, a] {
                budget.enter(address, before);
            }
            budget.set_bounds(after);
            assert_eq!(budget.total(), total);
            for address in [a, b, a, a, b, a, b, a] {
                budget.leave(address, after);
            }
            assert_eq!((budget.total(), budget.by_address.len()), (0, 0));
        }
    }

    #[test]
    fn an_address_over_its_bound_takes_no_more_of_the_total() {
        let bounds = Bounds { pre_auth: 5, pre_auth_v4: 2, ..Bounds::default() };
        let mut budget = Budget::default();
        for _ in 0..1000 {
            budget.enter(Address::V4(1), &bounds);
        }
        budget.enter(Address::V4(2), &bounds);
        assert_eq!((budget.total(), budget.exceeded(Address::V4(2), &bounds)), (3, None));
        for _ in 0..1000 {
            budget.leave(Address::V4(1), &bounds);
        }
        assert_eq!(budget.total(), 1);
    }
}
