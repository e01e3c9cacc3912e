//! TLS of the gateway's listener, as the configuration has it.

use crate::config::{Identity, Settings};
use crate::server_tls::{self, ServerTls};
use moorline_mio::TlsOptions;
use std::net::SocketAddr;

/// Says whose certificate is shown, or that everybody on the way can read what is said.
pub(super) fn announce(settings: &Settings, address: SocketAddr, identity: Option<&Identity>) {
    if let Some(identity) = identity {
        return server_tls::announce(identity);
    }
    // A proxy that is trusted to name clients is there, and may speak TLS for the gateway.
    let proxied = !settings.gateway.trusted_proxies.is_empty();
    if !address.ip().to_canonical().is_loopback() && !proxied {
        tracing::warn!(
            %address,
            "tokens and messages cross the network unencrypted: give tls.cert and tls.key, or \
             listen on loopback behind a proxy that speaks TLS"
        );
    }
}

pub(super) fn options(tls: &ServerTls, settings: &Settings, identity: &Identity) -> TlsOptions {
    TlsOptions {
        handshake_within: settings.tls_handshake_within,
        handshakes: settings.tls_handshakes,
        ..tls.options(identity)
    }
}
