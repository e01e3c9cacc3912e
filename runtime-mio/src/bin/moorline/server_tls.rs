//! TLS of a listener: a certificate and its key become what the loops work by.

use crate::config::Identity;
use moorline_mio::TlsOptions;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use std::sync::Arc;

/// Makes the options of each certificate, with what outlives them.
pub(crate) struct ServerTls {
    /// Encrypts what clients keep to resume a session with; its keys are changed every six hours.
    /// Nothing is kept here, and sessions survive another certificate.
    tickets: Arc<dyn ProducesTickets>,
}

impl ServerTls {
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        Ok(Self { tickets: rustls::crypto::ring::Ticketer::new()? })
    }

    /// The certificate, with the defaults of everything that can be set.
    pub(crate) fn options(&self, identity: &Identity) -> TlsOptions {
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
        TlsOptions::new(Arc::new(config))
    }
}

/// Says in the log whose certificate is shown, and what should be seen to.
pub(crate) fn announce(identity: &Identity) {
    let Identity { names, fingerprint, not_after, warnings, .. } = identity;
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
