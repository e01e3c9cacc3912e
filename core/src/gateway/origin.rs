//! Origins and hosts: parsed, normalised and then compared whole. Nothing is compared by prefix.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host as it stands in a URL, without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Ip(IpAddr),
    /// Lower case.
    Domain(String),
}

/// A host and its port, as in a Host header (RFC 9110 section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: Name,
    pub(super) port: Option<u16>,
}

/// A web origin (RFC 6454 section 6.2) that is not opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    name: Name,
    /// The scheme's default port is none.
    port: Option<u16>,
}

/// An entry of `allowed_origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OriginRule {
    Exact(Origin),
    /// Every subdomain of the origin's host, not the host itself.
    Subdomains(Origin),
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(ip)));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(IpAddr::V4(ip)));
        }
        // Browsers send names in lower case and punycode: other characters are somebody's trick.
        let fine = !text.is_empty()
            && text.len() <= 253
            && text
                .split('.')
                .all(|label| !label.is_empty() && label.len() <= 63 && label.bytes().all(is_label));
        fine.then(|| Self::Domain(text.to_ascii_lowercase()))
    }

    /// Whether it is an address, which nobody can make mean another one.
    pub(super) fn is_ip(&self) -> bool {
        matches!(self, Self::Ip(_))
    }

    /// Whether it can only mean this host. `localhost` is by definition (RFC 6761 section 6.3).
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.to_canonical().is_loopback(),
            Self::Domain(name) => name == "localhost",
        }
    }
}

impl Host {
    /// Parses `name`, `name:port` and `[ip]:port`. One dot at the end of a name means the same name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, port) = split_port(text)?;
        let name = match name.strip_suffix('.') {
            Some(name) if !name.ends_with(|c: char| c == '.' || c.is_ascii_digit()) => name,
            Some(_) => return None,
            None => name,
        };
        Some(Self { name: Name::parse(name)?, port })
    }

    /// Whether a configured host, which may leave the port open, covers this one.
    pub(super) fn is_covered_by(&self, configured: &Self) -> bool {
        self.name == configured.name
            && configured.port.is_none_or(|port| self.port.is_none_or(|own| own == port))
    }
}

impl Origin {
    /// Parses a serialised origin, exactly: `null`, a path, a user or a query make it none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = parse_scheme(scheme)?;
        let (name, port) = split_port(rest)?;
        let port = port.filter(|port| Some(*port) != default_port(&scheme));
        Some(Self { name: Name::parse(name)?, scheme, port })
    }

    /// Whether a page of this origin was served from `host`; by TLS, where that is `secure`.
    pub(super) fn is_served_from(&self, host: &Host, secure: bool) -> bool {
        let default = default_port(&self.scheme);
        default.is_some()
            && (!secure || self.scheme == "https")
            && self.name == host.name
            && self.port.or(default) == host.port.or(default)
    }
}

impl OriginRule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((scheme, rest)) = text.split_once("://*.") {
            let origin = Origin::parse(&format!("{scheme}://{rest}"))?;
            // One label alone would allow a whole top-level domain.
            return match &origin.name {
                Name::Domain(name) if name.contains('.') => Some(Self::Subdomains(origin)),
                _ => None,
            };
        }
        Origin::parse(text).map(Self::Exact)
    }

    pub(super) fn allows(&self, origin: &Origin) -> bool {
        match self {
            Self::Exact(rule) => rule == origin,
            Self::Subdomains(rule) => {
                rule.scheme == origin.scheme
                    && rule.port == origin.port
                    && match (&rule.name, &origin.name) {
                        (Name::Domain(parent), Name::Domain(name)) => name
                            .strip_suffix(parent.as_str())
                            .is_some_and(|labels| labels.len() > 1 && labels.ends_with('.')),
                        _ => false,
                    }
            }
        }
    }
}

/// Why an Origin header was refused.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum OriginRefusal {
    /// `null`: a page from a file or a sandbox, which could be anybody's.
    Opaque,
    /// Not what a browser sends.
    Malformed,
    /// Well-formed, but nobody allowed it.
    NotAllowed,
}

/// Judges an Origin header.
pub(super) fn judge(
    origin: &str,
    host: Option<&Host>,
    secure: bool,
    rules: &[OriginRule],
    hosts: &[Host],
) -> Result<(), OriginRefusal> {
    if origin == "null" {
        return Err(OriginRefusal::Opaque);
    }
    let origin = Origin::parse(origin).ok_or(OriginRefusal::Malformed)?;
    // The same origin proves something only when the name cannot be an attacker's that was made to
    // resolve to this host. An address is not resolved.
    let same = host.is_some_and(|host| {
        origin.is_served_from(host, secure)
            && (host.name.is_loopback()
                || host.name.is_ip()
                || hosts.iter().any(|known| host.is_covered_by(known)))
    });
    if same || rules.iter().any(|rule| rule.allows(&origin)) {
        Ok(())
    } else {
        Err(OriginRefusal::NotAllowed)
    }
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn parse_scheme(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let fine = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    fine.then(|| text.to_ascii_lowercase())
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Splits an authority into host and port. A port is one to five digits, not 0.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_ip = if text.starts_with('[') { text.find(']')? + 1 } else { 0 };
    match text[after_ip..].find(':') {
        None => Some((text, None)),
        Some(at) => {
            let (host, port) = (&text[..after_ip + at], &text[after_ip + at + 1..]);
            let fine = !port.is_empty()
                && !port.starts_with('0')
                && port.bytes().all(|byte| byte.is_ascii_digit());
            Some((host, Some(port.parse().ok().filter(|_| fine)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OriginRefusal::{Malformed, NotAllowed, Opaque};

    /// What `origin` gets on a gateway asked as `host`.
    fn verdict(origin: &str, host: &str) -> Result<(), OriginRefusal> {
        let rules: Vec<_> = [
            "https://chat.example.com",
            "https://*.example.org",
            "http://intern.example:8080",
            "https://[2001:db8::1]",
            "http://192.0.2.7",
            "https://xn--bcher-kva.example",
            "https://*.ports.example:8443",
            "tauri://localhost",
            "https://default.example:443",
        ]
        .iter()
        .map(|rule| OriginRule::parse(rule).expect("a rule"))
        .collect();
        let hosts = [Host::parse("gateway.example.net").expect("a host")];
        judge(origin, Host::parse(host).as_ref(), false, &rules, &hosts)
    }

    #[test]
    fn table_of_origins() {
        let here = "127.0.0.1:18790";
        let table: &[(&str, &str, Result<(), OriginRefusal>)] = &[
            // Exact rules, normalised.
            ("https://chat.example.com", here, Ok(())),
            ("https://chat.example.com:443", here, Ok(())),
            ("HTTPS://CHAT.Example.COM", here, Ok(())),
            ("https://default.example", here, Ok(())),
            ("http://intern.example:8080", here, Ok(())),
            ("https://[2001:db8::1]", here, Ok(())),
            ("https://[2001:DB8:0:0:0:0:0:1]:443", here, Ok(())),
            ("http://192.0.2.7", here, Ok(())),
            ("http://192.0.2.7:80", here, Ok(())),
            ("https://xn--bcher-kva.example", here, Ok(())),
            ("tauri://localhost", here, Ok(())),
            // Scheme and port must be the same.
            ("http://chat.example.com", here, Err(NotAllowed)),
            ("https://chat.example.com:8443", here, Err(NotAllowed)),
            ("https://chat.example.com:80", here, Err(NotAllowed)),
            ("http://intern.example", here, Err(NotAllowed)),
            ("https://intern.example:8080", here, Err(NotAllowed)),
            ("wss://chat.example.com", here, Err(NotAllowed)),
            ("https://192.0.2.7", here, Err(NotAllowed)),
            ("tauri://localhost:1", here, Err(NotAllowed)),
            ("http://[2001:db8::1]", here, Err(NotAllowed)),
            // Prefixes and suffixes are not the host.
            ("https://chat.example.com.evil.example", here, Err(NotAllowed)),
            ("https://evilchat.example.com", here, Err(NotAllowed)),
            ("https://chat-example.com", here, Err(NotAllowed)),
            ("https://example.com", here, Err(NotAllowed)),
            ("https://xchat.example.com", here, Err(NotAllowed)),
            ("https://chat.example.co", here, Err(NotAllowed)),
            ("https://192.0.2.7.evil.example", here, Err(NotAllowed)),
            ("http://192.0.2.77", here, Err(NotAllowed)),
            // Subdomains.
            ("https://a.example.org", here, Ok(())),
            ("https://a.b.example.org", here, Ok(())),
            ("https://A.EXAMPLE.org:443", here, Ok(())),
            ("https://example.org", here, Err(NotAllowed)),
            ("https://.example.org", here, Err(Malformed)),
            ("https://a..example.org", here, Err(Malformed)),
            ("https://evilexample.org", here, Err(NotAllowed)),
            ("https://a.example.org.evil.example", here, Err(NotAllowed)),
            ("http://a.example.org", here, Err(NotAllowed)),
            ("https://a.example.org:8443", here, Err(NotAllowed)),
            ("https://a.ports.example:8443", here, Ok(())),
            ("https://a.ports.example", here, Err(NotAllowed)),
            ("https://*.example.org", here, Err(Malformed)),
            // What browsers never send.
            ("null", here, Err(Opaque)),
            ("NULL", here, Err(Malformed)),
            ("", here, Err(Malformed)),
            ("chat.example.com", here, Err(Malformed)),
            ("//chat.example.com", here, Err(Malformed)),
            ("https:chat.example.com", here, Err(Malformed)),
            ("https:///chat.example.com", here, Err(Malformed)),
            ("https://chat.example.com/", here, Err(Malformed)),
            ("https://chat.example.com/path", here, Err(Malformed)),
            ("https://chat.example.com?x", here, Err(Malformed)),
            ("https://evil.example?https://chat.example.com", here, Err(Malformed)),
            ("https://evil.example#.example.org", here, Err(Malformed)),
            ("https://chat.example.com@evil.example", here, Err(Malformed)),
            ("https://user:pass@chat.example.com", here, Err(Malformed)),
            ("https://evil.example\\.example.org", here, Err(Malformed)),
            ("https://chat.example.com https://evil.example", here, Err(Malformed)),
            ("https://chat.example.com,https://evil.example", here, Err(Malformed)),
            ("https://chat.example.com.", here, Err(Malformed)),
            ("https://chat.example.com:", here, Err(Malformed)),
            ("https://chat.example.com:0", here, Err(Malformed)),
            ("https://chat.example.com:0443", here, Err(Malformed)),
            ("https://chat.example.com:+443", here, Err(Malformed)),
            ("https://chat.example.com:65536", here, Err(Malformed)),
            ("https://chat.example.com:443:443", here, Err(Malformed)),
            ("https://chat.example.com:44a", here, Err(Malformed)),
            ("https://bücher.example", here, Err(Malformed)),
            ("https://chat%2eexample.com", here, Err(Malformed)),
            ("https://[2001:db8::1", here, Err(Malformed)),
            ("https://2001:db8::1", here, Err(Malformed)),
            ("https://[192.0.2.7]", here, Err(Malformed)),
            (" https://chat.example.com", here, Err(Malformed)),
            ("1https://chat.example.com", here, Err(Malformed)),
            // The same origin, where the name cannot be an attacker's.
            ("http://127.0.0.1:18790", here, Ok(())),
            ("http://127.0.0.1:18791", here, Err(NotAllowed)),
            ("http://localhost:18790", here, Err(NotAllowed)),
            ("http://localhost:18790", "localhost:18790", Ok(())),
            ("http://LOCALHOST:18790", "LocalHost:18790", Ok(())),
            ("http://localhost", "localhost:80", Ok(())),
            ("https://localhost", "localhost:443", Ok(())),
            ("https://localhost", "localhost", Ok(())),
            ("http://localhost", "localhost:443", Err(NotAllowed)),
            ("http://[::1]:18790", "[::1]:18790", Ok(())),
            ("http://[0:0:0:0:0:0:0:1]:18790", "[::1]:18790", Ok(())),
            ("http://127.9.9.9:18790", "127.9.9.9:18790", Ok(())),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", Err(NotAllowed)),
            ("http://localhost.evil.example", "localhost.evil.example", Err(NotAllowed)),
            ("http://127.1", "127.1", Err(NotAllowed)),
            ("http://2130706433", "2130706433", Err(NotAllowed)),
            ("http://evil.example:18790", "evil.example:18790", Err(NotAllowed)),
            ("http://192.168.1.5:18790", "192.168.1.5:18790", Ok(())),
            ("http://192.168.1.5:18791", "192.168.1.5:18790", Err(NotAllowed)),
            ("http://192.168.1.6:18790", "192.168.1.5:18790", Err(NotAllowed)),
            ("https://192.168.1.5:18790", "192.168.1.5", Err(NotAllowed)),
            ("http://192.168.1.5.evil.example", "192.168.1.5.evil.example", Err(NotAllowed)),
            ("https://gateway.example.net", "gateway.example.net", Ok(())),
            ("https://gateway.example.net", "GATEWAY.example.net:443", Ok(())),
            ("https://gateway.example.net:8443", "gateway.example.net", Err(NotAllowed)),
            ("tauri://gateway.example.net", "gateway.example.net", Err(NotAllowed)),
        ];
        assert!(table.len() >= 60);
        for (origin, host, expected) in table {
            assert_eq!(verdict(origin, host), *expected, "{origin:?} on {host:?}");
        }
    }

    #[test]
    fn rules_that_say_too_much_are_refused() {
        for rule in ["*", "https://*", "https://*.com", "https://*.", "*.example.com", "null", ""] {
            assert_eq!(OriginRule::parse(rule), None, "{rule:?}");
        }
    }

    #[test]
    fn hosts() {
        let loopback = ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.8.0.1:80"];
        for host in loopback.into_iter().chain(["[::1]", "[::1]:18790", "[::ffff:127.0.0.1]"]) {
            assert!(Host::parse(host).is_some_and(|host| host.name.is_loopback()), "{host}");
        }
        for host in ["127.0.0.1.evil.example", "localhost.evil.example", "128.0.0.1", "127.1", "0"]
        {
            assert!(Host::parse(host).is_some_and(|host| !host.name.is_loopback()), "{host}");
        }
        for host in ["", ":80", "localhost..", "::1", "[::1", "localhost:", "a b", "127.0.0.1."] {
            assert_eq!(Host::parse(host), None, "{host}");
        }
    }
}
