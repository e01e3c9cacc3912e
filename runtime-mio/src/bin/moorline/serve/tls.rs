//! TLS of the listener: what the configuration says of it becomes what the loops work by.

use crate::config::{Identity, Settings};
use moorline_mio::TlsOptions;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use std::net::SocketAddr;
use std::sync::Arc;

/// Says whose certificate is shown, or that everybody on the way can read what is said.
pub(super) fn announce(settings: &Settings, address: SocketAddr, identity: Option<&Identity>) {
    let Some(Identity { names, fingerprint, not_after, warnings, .. }) = identity else {
        // A proxy that is trusted to name clients is there, and may speak TLS for the gateway.
        let proxied = !settings.gateway.trusted_proxies.is_empty();
        if !address.ip().to_canonical().is_loopback() && !proxied {
            tracing::warn!(
                %address,
                "tokens and messages cross the network unencrypted: give tls.cert and tls.key, or \
                 listen on loopback behind a proxy that speaks TLS"
            );
        }
        return;
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        names = names.join(", "),
        sha256 = fingerprint,
        notAfter = not_after,
        "certificate"
    );
}

/// Makes the options of each configuration, with what outlives them.
pub(super) struct Tls {
    /// Encrypts what clients keep to resume a session with; its keys are changed every six hours.
    /// Nothing is kept here, and sessions survive a reload.
    tickets: Arc<dyn ProducesTickets>,
}

impl Tls {
    /// # Errors
    /// The system has no randomness.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        Ok(Self { tickets: rustls::crypto::ring::Ticketer::new()? })
    }

    pub(super) fn options(&self, settings: &Settings, identity: &Identity) -> TlsOptions {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the ring provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())));
        // WebSockets are opened by HTTP/1.1 (RFC 6455 section 4.1): who offers only others is told so.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = self.tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        TlsOptions {
            handshake_within: settings.tls_handshake_within,
            handshakes: settings.tls_handshakes,
            ..TlsOptions::new(Arc::new(config))
        }
    }
}
