//! `ws://` URLs, as far as a client needs them.

use crate::failure::Failure;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// Where to connect and what to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it stands in the Host header.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Url {
    /// Looks up the host; there is at least one address.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found: Vec<_> =
            found.map_err(|error| Failure::Runtime(format!("{}: {error}", self.host)))?.collect();
        if found.is_empty() {
            return Err(Failure::Runtime(format!("{}: has no address", self.host)));
        }
        Ok(found)
    }
}

/// Reads a URL; the error says what to do.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let rest = match text.split_once("://") {
        Some(("ws", rest)) => rest,
        Some(("wss", _)) => {
            return Err(format!("{text}: this client speaks ws:// only, not yet TLS"));
        }
        _ => return Err(format!("{text}: not a WebSocket URL, such as ws://127.0.0.1:18790/ws")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = match rest.find(['/', '?']) {
        Some(at) if rest.as_bytes()[at] == b'/' => (&rest[..at], rest[at..].to_string()),
        Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
        None => (rest, "/".to_string()),
    };
    if authority.contains('@') {
        return Err(format!("{text}: leave the credential out of the URL, others can read it"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("")),
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = match port {
        "" => 80,
        port => port.parse().map_err(|_| format!("{text}: {port} is not a port"))?,
    };
    if host.is_empty() {
        return Err(format!("{text}: the host is missing"));
    }
    Ok(Url { host: host.into(), port, authority: authority.into(), target })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_targets_are_told_apart() {
        for (text, host, port, target) in [
            ("ws://localhost:18790/ws", "localhost", 18790, "/ws"),
            ("ws://example.com", "example.com", 80, "/"),
            ("ws://example.com?a=b", "example.com", 80, "/?a=b"),
            ("ws://[::1]:9/x?y#z", "::1", 9, "/x?y"),
        ] {
            let url = parse(text).expect(text);
            assert_eq!((url.host.as_str(), url.port, url.target.as_str()), (host, port, target));
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_advice() {
        for text in [
            "http://a",
            "a",
            "wss://a",
            "ws://",
            "ws://u:p@a",
            "ws://a:99999",
            "ws://a:b",
            "ws:///x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
