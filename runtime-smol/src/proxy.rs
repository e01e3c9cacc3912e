//! HTTP proxies: which one to use, and the CONNECT request (RFC 9110 section 9.3.6).

use crate::error::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_core::upgrade::{Url, UrlError, split_authority};
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::fmt;
use std::io;
use std::net::IpAddr;

/// The longest answer of a proxy.
const MAX_HEAD: usize = 16 * 1024;

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// Reads `http://user:password@host:port`; scheme, credentials and port (80) may be left out.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(format!("proxies of kind {scheme} are not supported, only http"));
            }
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, authority),
        };
        let (host, port) = split_authority(authority).map_err(|error| error.to_string())?;
        let authorization = credentials
            .map(|credentials| format!("Basic {}", STANDARD.encode(percent_decoded(credentials))));
        Ok(Self { host: host.into(), port: port.unwrap_or(80), authorization })
    }

    /// The proxy for `url` according to the environment: `HTTPS_PROXY` for wss, `http_proxy` for ws,
    /// `ALL_PROXY` for both, each in lower case too; not for hosts that `NO_PROXY` lists, and never
    /// for loopback.
    pub(crate) fn from_environment(
        url: &Url,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                variable(name).filter(|value| !value.is_empty()).map(|value| (*name, value))
            })
        };
        // HTTP_PROXY in upper case is left alone: a web server sets it from a request's header.
        let own: &[_] =
            if url.is_secure() { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
        let Some((name, value)) = first(own).or_else(|| first(&["all_proxy", "ALL_PROXY"])) else {
            return Ok(None);
        };
        let excluded = first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list).unwrap_or_default();
        if is_loopback(url.host()) || is_excluded(url.host(), url.port(), &excluded) {
            return Ok(None);
        }
        Self::parse(&value).map(Some).map_err(|what| format!("{name}: {what}"))
    }

    /// Asks for a tunnel to `url`'s host. After it the stream is the server's.
    pub(crate) async fn open_tunnel(
        &self,
        url: &Url,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), TunnelError> {
        let brackets = if url.host().contains(':') { ("[", "]") } else { ("", "") };
        let authority = format!("{}{}{}:{}", brackets.0, url.host(), brackets.1, url.port());
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        // Byte by byte, so that nothing of the server's is taken.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if head.len() >= MAX_HEAD || stream.read(&mut byte).await? == 0 {
                return Err(invalid("the proxy's answer is not HTTP").into());
            }
            head.push(byte[0]);
        }
        match parse_head(&head) {
            Some(Refusal { status: 200..=299, .. }) => Ok(()),
            Some(refusal) => Err(TunnelError::Refused(refusal)),
            None => Err(invalid("the proxy's answer is not HTTP").into()),
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum TunnelError {
    Refused(Refusal),
    Io(io::Error),
}

impl From<io::Error> for TunnelError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parse_head(head: &[u8]) -> Option<Refusal> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.into(), value.trim().into()))
        .collect();
    Some(Refusal { status, headers, body: Vec::new() })
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a `NO_PROXY` list names the host: `*`, a name (also for what is below it), an address or
/// a network, each with a port or without.
fn is_excluded(host: &str, port: u16, list: &str) -> bool {
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse()) {
            return is_in_network(address, network, bits);
        }
        let Ok((name, only)) = split_entry(entry) else { return false };
        if only.is_some_and(|only| only != port) {
            return false;
        }
        if let (Ok(left), Ok(right)) = (name.parse::<IpAddr>(), host.parse::<IpAddr>()) {
            return left == right;
        }
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        let start = host.len().checked_sub(name.len());
        start.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(name))
            && (host.len() == name.len() || host[..host.len() - name.len()].ends_with('.'))
    })
}

fn split_entry(entry: &str) -> Result<(&str, Option<u16>), UrlError> {
    if entry.parse::<IpAddr>().is_ok() { Ok((entry, None)) } else { split_authority(entry) }
}

fn is_in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let same = |left: u128, right: u128, width: u32| {
        bits <= width && (left ^ right).checked_shr(width - bits).unwrap_or(0) == 0
    };
    match (address, network) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            same(u32::from(left).into(), u32::from(right).into(), 32)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.into(), right.into(), 128),
        _ => false,
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let url = Url::parse(url).unwrap();
        let find = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_string())
        };
        Proxy::from_environment(&url, find)
            .unwrap()
            .map(|proxy| format!("{}:{}", proxy.host, proxy.port))
    }

    #[test]
    fn the_environment_names_the_proxy() {
        let both = &[("HTTPS_PROXY", "http://secure:3128"), ("ALL_PROXY", "all:1")];
        assert_eq!(chosen("wss://example.com", both).as_deref(), Some("secure:3128"));
        assert_eq!(chosen("ws://example.com", both).as_deref(), Some("all:1"));
        let plain = &[("http_proxy", "plain"), ("HTTP_PROXY", "forged")];
        assert_eq!(chosen("ws://example.com", plain).as_deref(), Some("plain:80"));
        assert_eq!(chosen("ws://example.com", &[("HTTP_PROXY", "forged")]), None);
        assert_eq!(chosen("wss://example.com", &[]), None);
        assert_eq!(chosen("wss://127.0.0.1:9", both), None);
        assert_eq!(chosen("wss://localhost", both), None);
    }

    #[test]
    fn no_proxy_takes_names_addresses_and_networks() {
        for (host, list, excluded) in [
            ("example.com", "example.com", true),
            ("a.example.com", "example.com", true),
            ("a.example.com", ".example.com", true),
            ("a.example.com", "*.example.com", true),
            ("badexample.com", "example.com", false),
            ("EXAMPLE.com", "other, example.COM", true),
            ("example.com", "example.com:443", true),
            ("example.com", "example.com:80", false),
            ("example.com", "*", true),
            ("example.com", "", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("fd00::1", "fd00::/8", true),
            ("fd00::1", "fd00:0::1", true),
            ("fe00::1", "fd00::/8", false),
            ("10.1.2.3", "10.0.0.0/99", false),
            ("é.com", ".com", true),
            ("é", "xé", false),
        ] {
            assert_eq!(is_excluded(host, 443, list), excluded, "{host} {list}");
        }
    }

    #[test]
    fn a_proxy_url_may_have_credentials_and_they_are_not_shown() {
        let proxy = Proxy::parse("http://user:p%40ss@proxy.example:8080/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 8080));
        let expected = format!("Basic {}", STANDARD.encode("user:p@ss"));
        assert_eq!(proxy.authorization.as_deref(), Some(expected.as_str()));
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.example:8080)");
        for wrong in ["socks5://a:1", "https://a:1", "http://", "a:b"] {
            assert!(Proxy::parse(wrong).is_err(), "{wrong}");
        }
    }
}
