//! What a client command of this binary is told to connect to, and the addresses of that.

use crate::failure::Failure;
use moorline_core::upgrade::Url;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// Reads the URL of a command line. These clients do not speak TLS.
pub(crate) fn url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| Failure::Config(format!("{text}: {error}")))?;
    if url.is_secure() {
        return Err(Failure::Config(format!("{text}: this client speaks ws:// only, not yet TLS")));
    }
    Ok(url)
}

/// Looks up the host; there is at least one address.
pub(crate) fn addresses(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    let host = url.host();
    let found = (host, url.port()).to_socket_addrs();
    let found: Vec<_> =
        found.map_err(|error| Failure::Runtime(format!("{host}: {error}")))?.collect();
    if found.is_empty() {
        return Err(Failure::Runtime(format!("{host}: has no address")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_refused_before_anything_is_dialled() {
        assert!(url("ws://localhost:18790/ws").is_ok());
        for text in ["wss://localhost", "http://localhost", "localhost:18790"] {
            assert!(matches!(url(text), Err(Failure::Config(_))), "{text}");
        }
    }
}
