//! What a client command of this binary is told to connect to, and how it gets there.

mod dialer;
mod failure;
mod stream;
mod trust;

use crate::failure::Failure;
pub(crate) use dialer::Dialer;
pub(crate) use failure::TlsFailure;
use moorline_core::upgrade::Url;
use rustls::pki_types::ServerName;
use std::net::{SocketAddr, ToSocketAddrs as _};
pub(crate) use stream::{Dialed, connect, secure};
pub(crate) use trust::{TrustArgs, client_config, roots_of_machine};

/// Reads the URL of a command line, `ws` or `wss`.
pub(crate) fn url(text: &str) -> Result<Url, Failure> {
    Url::parse(text).map_err(|error| Failure::Config(format!("{text}: {error}")))
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

/// The name that the server's certificate must be for: the host of the URL, a name or an address.
pub(crate) fn server_name(url: &Url) -> Result<ServerName<'static>, TlsFailure> {
    ServerName::try_from(url.host().to_string())
        .map_err(|_| TlsFailure::Other(format!("{} is no name of a server", url.host())))
}

#[cfg(test)]
mod tests;
