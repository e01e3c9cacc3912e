//! Who is behind a proxy: the address that forwarding headers tell, believed from configured proxies
//! only.
//!
//! A chain is read from its right end. What the nearest proxy wrote is true if that proxy is trusted;
//! what it says about the hop before it is true if that hop is trusted, too. So the right-most address
//! that is not a trusted proxy's is the client, and whatever stands left of it is the client's own
//! invention.

use crate::upgrade::RequestHead;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The header in which trusted proxies tell whom they forward for. One of them only: a proxy replaces
/// or extends the one it knows and passes the other on as the client wrote it.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, what nginx, HAProxy and Caddy write. The default.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Cidr {
    ip: IpAddr,
    /// Bits of `ip` that count, at least 1.
    prefix: u8,
}

/// Hops that are looked at. Real chains have two or three.
const MAX_HOPS: usize = 32;

/// Every header that says a request was forwarded.
const TRACES: [&str; 3] = ["X-Forwarded-For", "Forwarded", "X-Real-IP"];

impl ForwardedHeader {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }
}

impl Cidr {
    /// Parses `address/bits`; an address alone is that address only. `/0` is none: it would trust
    /// everybody.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        if !(1..=most).contains(&prefix) {
            return None;
        }
        match ip {
            // A mapped range is one of IPv4; a wider one would hold IPv6 addresses, too.
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && prefix > 96 => {
                Some(Self { ip: ip.to_canonical(), prefix: prefix - 96 })
            }
            _ => Some(Self { ip, prefix }),
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                (net.to_bits() ^ ip.to_bits()) >> (32 - self.prefix) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                (net.to_bits() ^ ip.to_bits()) >> (128 - self.prefix) == 0
            }
            _ => false,
        }
    }
}

/// The client of a request: `peer` itself, unless that is a trusted proxy that says for whom it
/// forwards. A port that nobody tells is 0.
pub(super) fn client(
    peer: SocketAddr,
    head: &RequestHead<'_>,
    proxies: &[Cidr],
    header: ForwardedHeader,
) -> SocketAddr {
    if !is_trusted(peer.ip(), proxies) {
        return peer;
    }
    let lines: Vec<_> = head
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case(header.name()))
        .map(|(_, value)| value)
        .collect();
    walk(peer, &lines, proxies, header)
}

/// Whether anybody says that this request was forwarded.
pub(super) fn is_forwarded(head: &RequestHead<'_>) -> bool {
    TRACES.iter().any(|name| head.header(name).is_some())
}

/// Whether somebody at this address is believed who their client is.
pub(super) fn is_trusted(ip: IpAddr, proxies: &[Cidr]) -> bool {
    proxies.iter().any(|proxy| proxy.contains(ip))
}

/// Follows the chain from the right, as long as whoever wrote an entry is trusted.
fn walk(
    peer: SocketAddr,
    lines: &[&[u8]],
    proxies: &[Cidr],
    header: ForwardedHeader,
) -> SocketAddr {
    let mut client = peer;
    let mut seen = 0;
    for line in lines.iter().rev() {
        let hops = match (std::str::from_utf8(line), header) {
            (Ok(line), ForwardedHeader::XForwardedFor) => plain_hops(line),
            (Ok(line), ForwardedHeader::Forwarded) => forwarded_hops(line),
            (Err(_), _) => vec![None],
        };
        for hop in hops.into_iter().rev() {
            seen += 1;
            // What a trusted proxy does not know or hides, nobody else can tell: it is the last one
            // that is known.
            let Some(hop) = hop.filter(|_| seen <= MAX_HOPS) else { return client };
            client = hop;
            if !is_trusted(hop.ip(), proxies) {
                return client;
            }
        }
    }
    client
}

/// The entries of `X-Forwarded-For`. Empty ones are none (RFC 9110 section 5.6.1.2).
fn plain_hops(line: &str) -> Vec<Option<SocketAddr>> {
    line.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(node).collect()
}

/// The `for` of each element of `Forwarded` (RFC 7239 section 4). A line that does not follow the
/// grammar tells nothing: where its quotes are open, a client could swallow what proxies added.
fn forwarded_hops(line: &str) -> Vec<Option<SocketAddr>> {
    let Some(elements) = split_quoted(line, ',') else { return vec![None] };
    let mut hops = Vec::new();
    for element in elements.into_iter().map(str::trim).filter(|element| !element.is_empty()) {
        let pairs = split_quoted(element, ';').unwrap_or_default();
        let mut values = pairs.into_iter().filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("for").then_some(value)
        });
        hops.push(match (values.next(), values.next()) {
            (Some(value), None) => unquote(value).as_deref().and_then(node),
            _ => None,
        });
    }
    hops
}

/// Splits outside of quoted strings (RFC 9110 section 5.6.4); `None` when a quote stays open.
fn split_quoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// A token as it is, or what a quoted string means.
fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_string());
    };
    let inner = inner.strip_suffix('"')?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            '"' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

/// An address, with or without a port; IPv6 with or without brackets. `unknown` and the hidden names
/// of RFC 7239 section 6.3 are none.
fn node(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), 0));
    }
    let (ip, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, rest) = rest.split_once(']')?;
            (
                IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?),
                rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("0"))?,
            )
        }
        None => {
            let (ip, port) = text.split_once(':')?;
            (IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    let port = match port {
        // A hidden port (RFC 7239 section 6).
        port if port.starts_with('_') => 0,
        port if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok()?
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ForwardedHeader::{Forwarded, XForwardedFor};

    const PROXIES: [&str; 4] = ["10.0.0.0/8", "127.0.0.1", "2001:db8:ffff::/48", "fd00::1"];

    fn told(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let proxies = PROXIES.map(|text| Cidr::parse(text).expect("a range"));
        let head: String =
            lines.iter().map(|line| format!("{}: {line}\r\n", header.name())).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n");
        let limits = crate::Limits { head: 1 << 20, ..crate::Limits::default() };
        let head = RequestHead::parse(head.as_bytes(), &limits).expect("a head");
        client(peer.parse().expect("an address"), &head, &proxies, header).to_string()
    }

    #[test]
    fn table_of_x_forwarded_for() {
        let proxy = "10.0.0.1:1000";
        let table: &[(&str, &[&str], &str)] = &[
            // Nobody is believed but the configured.
            ("192.0.2.9:7", &["198.51.100.1"], "192.0.2.9:7"),
            ("192.0.2.9:7", &["127.0.0.1"], "192.0.2.9:7"),
            ("11.0.0.1:7", &["198.51.100.1"], "11.0.0.1:7"),
            ("[2001:db8:fffe::1]:7", &["198.51.100.1"], "[2001:db8:fffe::1]:7"),
            ("127.0.0.2:7", &["198.51.100.1"], "127.0.0.2:7"),
            // One hop.
            (proxy, &["198.51.100.1"], "198.51.100.1:0"),
            (proxy, &["  198.51.100.1  "], "198.51.100.1:0"),
            (proxy, &["198.51.100.1:4711"], "198.51.100.1:4711"),
            (proxy, &["2001:db8::5"], "[2001:db8::5]:0"),
            (proxy, &["[2001:db8::5]"], "[2001:db8::5]:0"),
            (proxy, &["[2001:db8::5]:443"], "[2001:db8::5]:443"),
            (proxy, &["::ffff:198.51.100.1"], "198.51.100.1:0"),
            ("[::ffff:10.0.0.1]:7", &["198.51.100.1"], "198.51.100.1:0"),
            ("[2001:db8:ffff:1::9]:7", &["198.51.100.1"], "198.51.100.1:0"),
            ("127.0.0.1:7", &["198.51.100.1"], "198.51.100.1:0"),
            // The right-most that is no proxy wins, whatever stands left of it.
            (proxy, &["127.0.0.1, 198.51.100.1"], "198.51.100.1:0"),
            (proxy, &["10.9.9.9, 198.51.100.1"], "198.51.100.1:0"),
            (proxy, &["203.0.113.5, 198.51.100.1, 10.0.0.2"], "198.51.100.1:0"),
            (proxy, &["203.0.113.5, 198.51.100.1, 10.0.0.2, fd00::1"], "198.51.100.1:0"),
            (proxy, &["203.0.113.5", "198.51.100.1"], "198.51.100.1:0"),
            (proxy, &["203.0.113.5,198.51.100.1", "10.0.0.2"], "198.51.100.1:0"),
            (proxy, &["<script>, 198.51.100.1"], "198.51.100.1:0"),
            (proxy, &["\u{fffd}, 198.51.100.1"], "198.51.100.1:0"),
            // Proxies all the way: the one that is farthest away.
            (proxy, &["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            // Nothing is told.
            (proxy, &[], "10.0.0.1:1000"),
            (proxy, &[""], "10.0.0.1:1000"),
            (proxy, &[", ,"], "10.0.0.1:1000"),
            (proxy, &["", ""], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1,,"], "198.51.100.1:0"),
            // What a proxy cannot tell ends the chain there.
            (proxy, &["unknown"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, unknown"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (proxy, &["198.51.100.1, garbage"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, 198.51.100.256"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, 198.51.100"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, 0198.51.100.1"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, 198.51.100.1:"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, 198.51.100.1:99999"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, 198.51.100.1:+1"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, [2001:db8::5"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, [2001:db8::5]443"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, fe80::1%eth0"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1, localhost"], "10.0.0.1:1000"),
            (proxy, &["198.51.100.1 203.0.113.5"], "10.0.0.1:1000"),
            (proxy, &["\"198.51.100.1\""], "10.0.0.1:1000"),
        ];
        for (peer, lines, expected) in table {
            assert_eq!(told(XForwardedFor, peer, lines), *expected, "{lines:?} from {peer}");
        }
    }

    #[test]
    fn table_of_forwarded() {
        let proxy = "10.0.0.1:1000";
        let table: &[(&[&str], &str)] = &[
            (&["for=198.51.100.1"], "198.51.100.1:0"),
            (&["For=\"198.51.100.1:4711\""], "198.51.100.1:4711"),
            (&["for=\"[2001:db8::5]\""], "[2001:db8::5]:0"),
            (&["for=\"[2001:db8::5]:443\";proto=https;by=10.0.0.1"], "[2001:db8::5]:443"),
            (&["proto=https; FOR=198.51.100.1 ;host=\"a, b;c\""], "198.51.100.1:0"),
            (&["for=\"198.51.100.1:_hidden\""], "198.51.100.1:0"),
            (&["for=\"\\1\\98.51.100.1\""], "198.51.100.1:0"),
            (&["for=127.0.0.1, for=198.51.100.1"], "198.51.100.1:0"),
            (&["for=203.0.113.5, for=198.51.100.1, for=10.0.0.2"], "198.51.100.1:0"),
            (&["for=203.0.113.5", "for=198.51.100.1"], "198.51.100.1:0"),
            (&["host=\",for=203.0.113.5\", for=198.51.100.1"], "198.51.100.1:0"),
            (&["for=198.51.100.1, for=unknown"], "10.0.0.1:1000"),
            (&["for=198.51.100.1, for=_gazonk"], "10.0.0.1:1000"),
            (&["for=198.51.100.1, proto=https"], "10.0.0.1:1000"),
            (&["for=198.51.100.1;for=203.0.113.5"], "10.0.0.1:1000"),
            // A quote that a client left open.
            (&["for=\"203.0.113.5, for=198.51.100.1"], "10.0.0.1:1000"),
            (&["for=\"203.0.113.5", "for=198.51.100.1"], "198.51.100.1:0"),
            (&["for=\"198.51.100.1\\\""], "10.0.0.1:1000"),
            (&["for=\"198.51.100.1\"x"], "10.0.0.1:1000"),
            (&["for=19\"8.51.100.1\""], "10.0.0.1:1000"),
            (&["198.51.100.1"], "10.0.0.1:1000"),
            (&["", ",;,"], "10.0.0.1:1000"),
        ];
        for (lines, expected) in table {
            assert_eq!(told(Forwarded, proxy, lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn the_other_header_is_what_the_client_wrote() {
        let proxies = [Cidr::parse("10.0.0.1").expect("a range")];
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=127.0.0.1\r\n\r\n";
        let head = RequestHead::parse(head, &crate::Limits::default()).expect("a head");
        let peer = "10.0.0.1:1".parse().expect("an address");
        assert_eq!(client(peer, &head, &proxies, XForwardedFor), peer);
        assert!(is_forwarded(&head));
    }

    #[test]
    fn a_chain_is_followed_for_thirty_two_hops() {
        let hops = |proxies: usize| {
            let chain = vec!["10.0.0.2"; proxies].join(", ");
            told(XForwardedFor, "10.0.0.1:1000", &[&format!("198.51.100.1, {chain}")])
        };
        assert_eq!(hops(MAX_HOPS - 1), "198.51.100.1:0");
        assert_eq!(hops(MAX_HOPS), "10.0.0.2:0");
        assert_eq!(hops(1000), "10.0.0.2:0");
    }

    #[test]
    fn ranges() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("128.0.0.0/1", "255.1.1.1", "127.0.0.1"),
            ("2001:db8::/32", "2001:db8:1::", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("8000::/1", "ffff::", "7fff::"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ] {
            let range = Cidr::parse(range).expect("a range");
            let contains = |ip: &str| range.contains(ip.parse().expect("an address"));
            assert!(contains(inside) && !contains(outside), "{range:?}");
        }
        for text in ["", "/8", "10.0.0.0/", "10.0.0.0/0", "::/0", "10.0.0.0/33", "::/129", "10/8"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
        for text in ["10.0.0.0/+8", "10.0.0.0/8 ", "localhost", "[::1]", "10.0.0.0/8/8", "*"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn whatever_a_client_writes_the_hop_that_the_proxy_adds_is_the_client() {
        #[expect(clippy::needless_pass_by_value, reason = "so quickcheck calls it")]
        fn property(junk: String, quoted: bool) -> bool {
            let proxies = PROXIES.map(|text| Cidr::parse(text).expect("a range"));
            let peer: SocketAddr = "10.0.0.1:1".parse().expect("an address");
            let (header, own) = match quoted {
                true => (Forwarded, "for=198.51.100.1"),
                false => (XForwardedFor, "198.51.100.1"),
            };
            // The client's own line, and one that the proxy added.
            let lines = [junk.as_bytes(), own.as_bytes()];
            walk(peer, &lines[..1], &proxies, header);
            walk(peer, &lines, &proxies, header).to_string() == "198.51.100.1:0"
        }
        quickcheck::QuickCheck::new().tests(5000).quickcheck(property as fn(String, bool) -> bool);
    }
}
