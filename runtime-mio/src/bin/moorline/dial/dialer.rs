//! Connections of a client's loop to one gateway, plain or by TLS.

use super::{TrustArgs, server_name};
use crate::failure::Failure;
use moorline_core::upgrade::Url;
use moorline_core::{ClientRequest, Limits};
use moorline_mio::{ConnId, Connections, OsEntropy};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;

/// Opens connections to the host of a URL.
#[derive(Debug)]
pub(crate) struct Dialer {
    url: Url,
    /// Whom the server's certificate must be for, and what it is judged by, where the URL says `wss`.
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

impl Dialer {
    /// # Errors
    /// The URL's host can have no certificate, or the file of authorities is none.
    pub(crate) fn new(url: Url, trust: &TrustArgs) -> Result<Self, Failure> {
        let tls = match url.is_secure() {
            true => {
                let name = server_name(&url).map_err(|why| Failure::Config(why.to_string()))?;
                Some((name, trust.config()?))
            }
            false => None,
        };
        Ok(Self { url, tls })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Begins a connection to one of the host's addresses, which asks for `target`. What comes of it is
    /// told to the loop's handler.
    ///
    /// # Errors
    /// There is no socket, or the target cannot be asked for.
    pub(crate) fn connect(
        &self,
        connections: &mut Connections<'_>,
        address: SocketAddr,
        target: &str,
        limits: Arc<Limits>,
    ) -> Result<ConnId, String> {
        let request = ClientRequest::new(self.url.authority(), target);
        let request = request.map_err(|error| error.to_string())?;
        let entropy = Box::new(OsEntropy);
        let connected = match self.tls.clone() {
            None => connections.connect(address, request, entropy, limits),
            Some((name, config)) => {
                connections.connect_tls(address, name, config, request, entropy, limits)
            }
        };
        connected.map_err(|error| format!("cannot connect to {address}: {error}"))
    }
}
