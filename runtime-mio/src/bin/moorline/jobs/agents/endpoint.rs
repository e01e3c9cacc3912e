//! The address of an endpoint over HTTP: `http://` or `https://`, a host, and a path before those of the API.

use std::fmt;

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) is_tls: bool,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with a slash or is empty, and does not end with one.
    pub(crate) path: String,
}

impl Endpoint {
    /// Reads an address.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a URL such as https://api.example.com/v1";
        let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(EXPECTED),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            // It would be shown with the address.
            return Err("a URL must not hold a user or a password: give an api_key or a header");
        }
        if !text.bytes().all(|byte| matches!(byte, b'!'..=b'~')) || text.contains(['?', '#']) {
            return Err(EXPECTED);
        }
        let (host, port) = host_and_port(authority).ok_or(EXPECTED)?;
        let port = port.unwrap_or(if is_tls { 443 } else { 80 });
        let path = path.trim_end_matches('/').into();
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port, path })
    }

    /// Host and port as the `Host` header has them: the port only if it is not that of the scheme.
    pub(crate) fn authority(&self) -> String {
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => bracketed(&self.host),
            (_, port) => format!("{}:{port}", bracketed(&self.host)),
        }
    }
}

/// With the path, as it is in the configuration.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// An IPv6 address has brackets around it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

/// `host`, `host:port` or `[address]:port`.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => (host, rest.is_empty().then_some(None)?),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) => {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some((host, Some(port)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, port, path, shown) in [
            (
                "https://api.openai.com/v1",
                "api.openai.com",
                443,
                "/v1",
                "https://api.openai.com/v1",
            ),
            ("HTTP://Localhost:11434/v1/", "localhost", 11434, "/v1", "http://localhost:11434/v1"),
            ("http://[::1]:80", "::1", 80, "", "http://[::1]"),
            ("https://10.0.0.1:444/", "10.0.0.1", 444, "", "https://10.0.0.1:444"),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!((&*endpoint.host, endpoint.port, &*endpoint.path), (host, port, path));
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(Endpoint::parse(shown).as_ref(), Ok(&endpoint));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "api.example.com",
            "ftp://a",
            "https://",
            "https:///v1",
            "https://a:0",
            "https://a:x",
            "https://a:99999",
            "https://a b",
            "https://a/v1?x=1",
            "https://[::1",
            "https://[x]:1",
            "https://[::1]x",
            "https://u:p@a/v1",
            "https://a/v1#x",
            "https://\u{e9}.example",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
