//! Which proxy a connection goes through, by the variables that most programs read: `HTTP_PROXY`,
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case. Those in lower case win, as with curl.

use super::endpoint::{Endpoint, bracketed, host_and_port};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::net::IpAddr;

/// A proxy over plain HTTP. It may hold a password, so nothing can print it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
}

/// What the variables say. Passwords are among it, so nothing can print it.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    no: Vec<String>,
}

impl Proxies {
    /// Reads the variables with `get`; also gives what is wrong with them, without their values.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let either = |name: &str| {
            let upper = name.to_ascii_uppercase();
            let found = get(name).map(|value| (name.to_string(), value));
            found.or_else(|| get(&upper).map(|value| (upper, value)))
        };
        let all = either("all_proxy");
        let mut proxy = |name: &str| {
            let (name, value) = either(name).or_else(|| all.clone())?;
            if value.trim().is_empty() {
                return None;
            }
            let proxy = Proxy::parse(value.trim());
            if proxy.is_none() {
                wrong.push(format!("{name} is ignored: expected a URL such as http://proxy:3128"));
            }
            proxy
        };
        let (http, https) = (proxy("http_proxy"), proxy("https_proxy"));
        let no = either("no_proxy").map(|(_, value)| value).unwrap_or_default();
        let no = no.split([',', ' ']).map(|entry| entry.trim().to_ascii_lowercase());
        let no = no.filter(|entry| !entry.is_empty()).collect();
        (Self { http, https, no }, wrong)
    }

    /// The proxy for this endpoint.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let proxy = if endpoint.is_tls { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.no.iter().any(|entry| is_meant(entry, endpoint)))
    }
}

/// `*`, a name and all below it, with or without a dot before it, an address or a range of them; with a
/// port, only that one.
fn is_meant(entry: &str, endpoint: &Endpoint) -> bool {
    if entry == "*" {
        return true;
    }
    let ip = endpoint.host.parse::<IpAddr>().ok();
    if let (Some((address, bits)), Some(ip)) = (entry.split_once('/'), ip) {
        return address
            .parse()
            .is_ok_and(|net| bits.parse().is_ok_and(|bits| is_in(ip, net, bits)));
    }
    if let (Ok(address), Some(ip)) = (entry.parse::<IpAddr>(), ip) {
        return address == ip;
    }
    let Some((name, port)) = host_and_port(entry.trim_start_matches("*.").trim_start_matches('.'))
    else {
        return false;
    };
    let is_below = || endpoint.host.strip_suffix(name).is_some_and(|above| above.ends_with('.'));
    port.is_none_or(|port| port == endpoint.port) && (endpoint.host == name || is_below())
}

fn is_in(ip: IpAddr, net: IpAddr, bits: u32) -> bool {
    let shifted = |all: u128, width: u32| all.checked_shr(width.saturating_sub(bits)).unwrap_or(0);
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) if bits <= 32 => {
            shifted(ip.to_bits().into(), 32) == shifted(net.to_bits().into(), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) if bits <= 128 => {
            shifted(ip.to_bits(), 128) == shifted(net.to_bits(), 128)
        }
        _ => false,
    }
}

impl Proxy {
    fn parse(text: &str) -> Option<Self> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) => scheme.eq_ignore_ascii_case("http").then_some(rest)?,
            None => text,
        };
        let authority = rest.split('/').next()?;
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority)?;
        let authorization = user.map(|user| {
            let user = user.split_once(':').unwrap_or((user, ""));
            let user = format!("{}:{}", unescaped(user.0), unescaped(user.1));
            format!("Basic {}", BASE64_STANDARD.encode(user))
        });
        Some(Self { host: host.into(), port: port.unwrap_or(80), authorization })
    }

    /// What asks it for a way to the endpoint (RFC 9110 section 9.3.6).
    pub(super) fn connect_head(&self, endpoint: &Endpoint) -> String {
        let target = format!("{}:{}", bracketed(&endpoint.host), endpoint.port);
        let authorization = match &self.authorization {
            Some(value) => format!("Proxy-Authorization: {value}\r\n"),
            None => String::new(),
        };
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n")
    }
}

/// Bytes of a URL that stand as `%41` (RFC 3986 section 2.1).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Proxies, Vec<String>) {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        Proxies::read(get)
    }

    fn host_for(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let endpoint = Endpoint::parse(url).expect(url);
        read(variables).0.of(&endpoint).map(|proxy| format!("{}:{}", proxy.host, proxy.port))
    }

    #[test]
    fn each_scheme_has_its_proxy_and_lower_case_wins() {
        let variables = [
            ("HTTP_PROXY", "http://upper:1"),
            ("http_proxy", "http://lower:1/"),
            ("HTTPS_PROXY", "secure"),
        ];
        assert_eq!(host_for(&variables, "http://a").as_deref(), Some("lower:1"));
        assert_eq!(host_for(&variables, "https://a").as_deref(), Some("secure:80"));
        assert_eq!(
            host_for(&[("ALL_PROXY", "http://all:2")], "https://a").as_deref(),
            Some("all:2")
        );
        assert_eq!(host_for(&[("HTTP_PROXY", "")], "http://a"), None);
        assert_eq!(host_for(&[], "https://a"), None);
    }

    #[test]
    fn no_proxy_names_hosts_names_below_addresses_ranges_and_ports() {
        for (no, url, expected) in [
            ("example.com", "http://example.com", false),
            ("example.com", "http://api.example.com", false),
            (".example.com", "http://api.example.com", false),
            ("*.example.com", "http://api.example.com", false),
            ("example.com", "http://notexample.com", true),
            ("a, b c", "http://c", false),
            ("*", "http://anything", false),
            ("example.com:81", "http://example.com:80", true),
            ("example.com:81", "http://example.com:81", false),
            ("127.0.0.1", "http://127.0.0.1:5", false),
            ("10.0.0.0/8", "http://10.200.3.4", false),
            ("10.0.0.0/8", "http://11.0.0.1", true),
            ("0.0.0.0/0", "http://11.0.0.1", false),
            ("::1", "http://[::1]:5", false),
            ("fd00::/8", "http://[fd12::1]", false),
            ("fd00::/8", "http://[fe80::1]", true),
        ] {
            let variables = [("HTTP_PROXY", "http://p:1"), ("NO_PROXY", no)];
            assert_eq!(host_for(&variables, url).is_some(), expected, "{no} {url}");
        }
    }

    #[test]
    fn a_password_is_sent_and_never_told_and_what_is_wrong_is_told_without_it() {
        let endpoint = Endpoint::parse("https://api.example.com").expect("good");
        let (proxies, wrong) = read(&[("https_proxy", "http://ann:p%40ss@proxy:3128")]);
        assert!(wrong.is_empty());
        let head = proxies.of(&endpoint).expect("a proxy").connect_head(&endpoint);
        let expected = "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\
                        Proxy-Authorization: Basic YW5uOnBAc3M=\r\n\r\n";
        assert_eq!(head, expected);
        let (proxies, wrong) = read(&[("HTTPS_PROXY", "socks5://ann:hunter2@proxy")]);
        assert!(proxies.of(&endpoint).is_none());
        assert!(wrong[0].starts_with("HTTPS_PROXY is ignored") && !wrong[0].contains("hunter2"));
    }
}
