//! `ws://` and `wss://` URLs (RFC 6455 section 3).

use std::fmt;

/// Where to connect and what to ask for.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// `wss`.
    pub(crate) is_secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it stands in the Host header.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Url {
    /// Reads a URL; the error says what to do. A fragment is ignored.
    ///
    /// # Errors
    /// What is wrong with it, without repeating its query.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("not a WebSocket URL, such as wss://example.com/ws".into());
        };
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return Err("write ws:// instead of http://".into()),
            "https" => return Err("write wss:// instead of https://".into()),
            _ => return Err("not a WebSocket URL: its scheme must be ws or wss".into()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("put credentials in a header, not into the URL".into());
        }
        let (host, port) = split_authority(authority)?;
        let port = port.unwrap_or(if is_secure { 443 } else { 80 });
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_secure,
            host: host.into(),
            port,
            authority: authority.into(),
            target: format!("{slash}{target}"),
        })
    }
}

/// Host without brackets, and port if there is one.
pub(crate) fn split_authority(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, ""),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, port),
                None => return Err("a colon must stand between host and port".into()),
            },
            None => return Err("the bracket after the IPv6 address is missing".into()),
        },
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    match port {
        "" => Ok((host, None)),
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err(format!("{port} is not a port")),
        },
        _ => Err("the port is not a number (an IPv6 address needs brackets)".into()),
    }
}

impl fmt::Debug for Url {
    /// Without the query, which carries credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_targets_are_told_apart() {
        for (text, host, port, target) in [
            ("ws://localhost:18790/ws", "localhost", 18790, "/ws"),
            ("ws://example.com", "example.com", 80, "/"),
            ("WSS://example.com", "example.com", 443, "/"),
            ("wss://example.com:8443?a=b", "example.com", 8443, "/?a=b"),
            ("ws://[::1]:9/x?y#z", "::1", 9, "/x?y"),
            ("ws://[::1]/", "::1", 80, "/"),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.host.as_str(), url.port, url.target.as_str()), (host, port, target));
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_advice() {
        for text in [
            "http://a",
            "https://a",
            "a",
            "ws://",
            "ws://u:p@a",
            "ws://a:99999",
            "ws://a:b",
            "ws:///x",
            "ws://[::1",
            "ws://::1/",
            "ws://[::1]9",
            "ftp://a",
            "ws://a:+1",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_output_keeps_the_query_to_itself() {
        let url = Url::parse("wss://example.com/ws?token=secret").unwrap();
        assert_eq!(format!("{url:?}"), "wss://example.com/ws");
    }
}
