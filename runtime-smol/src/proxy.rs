//! HTTP proxies: which one the environment names, and the tunnel through it (RFC 9110 section 9.3.6).

use crate::error::Refusal;
use moorline_core::upgrade::{Proxy, Url, is_without_proxy};
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::io;
use std::net::IpAddr;

/// The longest answer of a proxy.
const MAX_HEAD: usize = 16 * 1024;

/// The proxy for `url` according to the environment: `HTTPS_PROXY` for wss, `http_proxy` for ws,
/// `ALL_PROXY` for both, each in lower case too; not for hosts that `NO_PROXY` lists, and never
/// for loopback.
pub(crate) fn from_environment(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, String> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            variable(name).filter(|value| !value.is_empty()).map(|value| (*name, value))
        })
    };
    // HTTP_PROXY in upper case is left alone: a web server sets it from a request's header.
    let own: &[_] = if url.is_secure() { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    let Some((name, value)) = first(own).or_else(|| first(&["all_proxy", "ALL_PROXY"])) else {
        return Ok(None);
    };
    let excluded = first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list).unwrap_or_default();
    if is_loopback(url.host()) || is_without_proxy(url.host(), url.port(), &excluded) {
        return Ok(None);
    }
    Proxy::parse(&value).map(Some).map_err(|what| format!("{name}: {what}"))
}

/// Asks for a tunnel to `url`'s host. After it the stream is the server's.
pub(crate) async fn open_tunnel(
    proxy: &Proxy,
    url: &Url,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), TunnelError> {
    let request = proxy.connect_head(url.host(), url.port());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let url = Url::parse(url).unwrap();
        let find = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_string())
        };
        from_environment(&url, find)
            .unwrap()
            .map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
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
}
