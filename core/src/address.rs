//! Which addresses count as one.

use core::net::IpAddr;

/// What counts as one place: an IPv4 address, or an IPv6 /64, which is what one customer has.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// All of its bits.
    V4(u32),
    /// The first half of its bits.
    V6(u64),
}

impl Address {
    /// The place of an address. One of IPv4 that is mapped into IPv6 (RFC 4291 section 2.5.5.2) is that of IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
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
}
