//! `ws://` and `wss://` URLs (RFC 6455 section 3).

use std::fmt;

/// Where to connect and what to ask for.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    is_secure: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    target: Box<str>,
}

/// Why a text is not a WebSocket URL, by whoever wrote it; `Display` says what to do. It repeats nothing of
/// the text, which may have credentials in it.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no scheme, or it is none of WebSocket.
    Scheme,
    /// The scheme is `http` or `https`: this one is meant.
    SchemeOfHttp(&'static str),
    /// There are user and password.
    Credential,
    /// There is no host.
    Host,
    /// An IPv6 address has an opening bracket and no closing one.
    Bracket,
    /// Something other than a colon and a port follows the brackets.
    Colon,
    /// The port is not a number; an IPv6 address without brackets looks so, too.
    PortDigits,
    /// The port is larger than 65,535.
    PortRange,
}

impl Url {
    /// Reads a URL. A fragment is ignored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return Err(UrlError::SchemeOfHttp("ws")),
            "https" => return Err(UrlError::SchemeOfHttp("wss")),
            _ => return Err(UrlError::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credential);
        }
        let (host, port) = split_authority(authority)?;
        let port = port.unwrap_or(if is_secure { 443 } else { 80 });
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_secure,
            host: host.into(),
            port,
            authority: authority.into(),
            target: format!("{slash}{target}").into(),
        })
    }

    /// Whether the scheme is `wss`: WebSocket over TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port: the one that is written, or 80, or 443 for `wss`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in the Host header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }
}

/// Takes `host:port` apart: the host without the brackets of an IPv6 address, and the port if there is one.
///
/// # Errors
/// What is wrong with it.
pub fn split_authority(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, ""),
            Some((host, port)) => (host, port.strip_prefix(':').ok_or(UrlError::Colon)?),
            None => return Err(UrlError::Bracket),
        },
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    if host.is_empty() {
        return Err(UrlError::Host);
    }
    if port.is_empty() {
        return Ok((host, None));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::PortDigits);
    }
    port.parse().map(|port| (host, Some(port))).map_err(|_| UrlError::PortRange)
}

impl fmt::Debug for Url {
    /// Without the query, which carries credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("not a WebSocket URL, such as wss://example.com/ws"),
            Self::SchemeOfHttp(meant) => write!(f, "write {meant}:// instead of http"),
            Self::Credential => f.write_str("put credentials in a header, not into the URL"),
            Self::Host => f.write_str("the host is missing"),
            Self::Bracket => f.write_str("the bracket after the IPv6 address is missing"),
            Self::Colon => f.write_str("a colon must stand between host and port"),
            Self::PortDigits => {
                f.write_str("the port is not a number (an IPv6 address needs brackets)")
            }
            Self::PortRange => f.write_str("the port is larger than 65535"),
        }
    }
}

impl std::error::Error for UrlError {}

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
            assert_eq!((url.host(), url.port(), url.target()), (host, port, target));
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_advice() {
        for (text, error) in [
            ("http://a", UrlError::SchemeOfHttp("ws")),
            ("https://a", UrlError::SchemeOfHttp("wss")),
            ("a", UrlError::Scheme),
            ("ftp://a", UrlError::Scheme),
            ("ws://", UrlError::Host),
            ("ws:///x", UrlError::Host),
            ("ws://u:p@a", UrlError::Credential),
            ("ws://a:99999", UrlError::PortRange),
            ("ws://a:b", UrlError::PortDigits),
            ("ws://a:+1", UrlError::PortDigits),
            ("ws://::1/", UrlError::Host),
            ("ws://1::1/", UrlError::PortDigits),
            ("ws://[::1", UrlError::Bracket),
            ("ws://[::1]9", UrlError::Colon),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn debug_output_keeps_the_query_to_itself() {
        let url = Url::parse("wss://example.com/ws?token=secret").unwrap();
        assert_eq!(format!("{url:?}"), "wss://example.com/ws");
    }
}
