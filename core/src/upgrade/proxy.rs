//! HTTP proxies on the way to a server: how one is named, which hosts are reached without, and what asks it
//! for a tunnel. Where the names come from, and the tunnel itself, are the host's.

use super::{UrlError, split_authority};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use core::net::IpAddr;
use std::fmt;

/// The port of a proxy that names none: HTTP's own, as curl has it.
const PORT: u16 = 80;

/// A proxy that is spoken to without TLS. It may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: Box<str>,
    port: u16,
    authorization: Option<Box<str>>,
}

/// Why a text names no proxy; `Display` says what to do. It repeats nothing of the text, which may have a
/// password in it.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The scheme is another one than `http`.
    Scheme,
    /// Host or port are none.
    Authority(UrlError),
    /// There is something in the host that no name and no address has.
    Host,
}

impl Proxy {
    /// Reads `http://user:password@host:port`; scheme, credentials and port (80) may be left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(ProxyError::Scheme),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, authority),
        };
        let (host, port) = split_authority(authority).map_err(ProxyError::Authority)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if !host.bytes().all(is_plain) {
            return Err(ProxyError::Host);
        }
        let authorization = credentials.map(|credentials| basic(credentials).into());
        Ok(Self { host: host.into(), port: port.unwrap_or(PORT), authorization })
    }

    /// The proxy's host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Proxy-Authorization` (RFC 9110 section 11.7.2): a secret.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// The request that asks for a tunnel to a server (RFC 9110 section 9.3.6). `host` has no brackets.
    pub fn connect_head(&self, host: &str, port: u16) -> String {
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let target = format!("{open}{host}{close}:{port}");
        let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &self.authorization {
            head += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        head + "\r\n"
    }
}

/// Whether a list as `NO_PROXY` has it names this server, which is then reached without a proxy. Its
/// entries, with commas or spaces between them, are `*`, a name (also for all below it, with `.` or `*.`
/// before it or without), an address, or a network such as `10.0.0.0/8`; a name or an address may have a
/// port, and then means that one only.
pub fn is_without_proxy(host: &str, port: u16, list: &str) -> bool {
    let mut entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.any(|entry| names(entry, host, port))
}

fn names(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse()) {
        return is_in(address, network, bits);
    }
    // An IPv6 address has no port here but behind brackets.
    let split = match entry.parse::<IpAddr>() {
        Ok(_) => Ok((entry, None)),
        Err(_) => split_authority(entry),
    };
    let Ok((name, only)) = split else { return false };
    if only.is_some_and(|only| only != port) {
        return false;
    }
    if let (Ok(one), Ok(other)) = (name.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return one == other;
    }
    let name = name.trim_start_matches("*.").trim_start_matches('.');
    let Some(start) = host.len().checked_sub(name.len()) else { return false };
    let is_end = host.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(name));
    is_end && (start == 0 || host[..start].ends_with('.'))
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let same = |one: u128, other: u128, width: u32| {
        bits <= width && (one ^ other).checked_shr(width - bits).unwrap_or(0) == 0
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(one.to_bits().into(), other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

/// User and password as RFC 7617 section 2 has them: there is a colon even without a password.
fn basic(credentials: &str) -> String {
    let mut bytes = unescaped(credentials);
    if !credentials.contains(':') {
        bytes.push(b':');
    }
    format!("Basic {}", BASE64_STANDARD.encode(bytes))
}

/// Bytes of a URL that stand as `%41` (RFC 3986 section 2.1).
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

impl fmt::Debug for Proxy {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("only proxies over http are supported"),
            Self::Authority(error) => error.fmt(f),
            Self::Host => f.write_str("the host is neither a name nor an address"),
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_by_as_little_as_its_host() {
        for (text, host, port) in [
            ("proxy", "proxy", 80),
            ("proxy:3128", "proxy", 3128),
            ("HTTP://proxy.example:3128/", "proxy.example", 3128),
            ("http://u:p@[fd00::1]:8080?x", "fd00::1", 8080),
        ] {
            let proxy = Proxy::parse(text).expect(text);
            assert_eq!((proxy.host(), proxy.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn what_names_no_proxy_is_refused_and_not_repeated() {
        for (text, error) in [
            ("socks5://u:hunter2@a:1", ProxyError::Scheme),
            ("https://hunter2@a", ProxyError::Scheme),
            ("", ProxyError::Authority(UrlError::Host)),
            ("http://u:hunter2@", ProxyError::Authority(UrlError::Host)),
            ("a:hunter2", ProxyError::Authority(UrlError::PortDigits)),
            ("a hunter2", ProxyError::Host),
            ("a\r\nhunter2", ProxyError::Host),
        ] {
            assert_eq!(Proxy::parse(text), Err(error), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn credentials_are_sent_and_never_shown() {
        for (credentials, plain) in [
            ("ann:p%40ss", "ann:p@ss"),
            ("ann", "ann:"),
            ("ann:", "ann:"),
            ("ann:100%", "ann:100%"),
            ("ann:%+1%zz", "ann:%+1%zz"),
            ("a%c3%bc:b:c", "aü:b:c"),
        ] {
            let proxy = Proxy::parse(&format!("http://{credentials}@proxy:3128")).expect("one");
            let expected = format!("Basic {}", BASE64_STANDARD.encode(plain));
            assert_eq!(proxy.authorization(), Some(&*expected), "{credentials}");
            assert_eq!(format!("{proxy:?}"), "Proxy(proxy:3128)");
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_by_host_and_port() {
        let proxy = Proxy::parse("http://ann:p%40ss@proxy:3128").expect("one");
        assert_eq!(
            proxy.connect_head("api.example.com", 443),
            "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\
             Proxy-Authorization: Basic YW5uOnBAc3M=\r\n\r\n"
        );
        let head = Proxy::parse("proxy").expect("one").connect_head("fd00::1", 80);
        assert_eq!(head, "CONNECT [fd00::1]:80 HTTP/1.1\r\nHost: [fd00::1]:80\r\n\r\n");
    }

    #[test]
    fn a_list_takes_names_addresses_and_networks() {
        for (host, list, named) in [
            ("example.com", "example.com", true),
            ("a.example.com", "example.com", true),
            ("a.example.com", ".example.com", true),
            ("a.example.com", "*.example.com", true),
            ("badexample.com", "example.com", false),
            ("EXAMPLE.com", "other, example.COM", true),
            ("c", "a, b c", true),
            ("example.com", "example.com:443", true),
            ("example.com", "example.com:80", false),
            ("example.com", "*", true),
            ("example.com", "", false),
            ("example.com", ".", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.3:443", true),
            ("10.1.2.3", "10.1.2.3:80", false),
            ("fd00::1", "fd00::/8", true),
            ("fd00::1", "fd00:0::1", true),
            ("fd00::1", "[fd00::1]:443", true),
            ("fe00::1", "fd00::/8", false),
            ("10.1.2.3", "10.0.0.0/99", false),
            ("10.1.2.3", "10.0.0.0/x", false),
            ("é.com", ".com", true),
            ("é", "xé", false),
        ] {
            assert_eq!(is_without_proxy(host, 443, list), named, "{host} {list}");
        }
    }
}
