//! TLS for clients: rustls with the ring provider.

use crate::tcp::Tcp;
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{ClientConfig, Error, RootCertStore};
use std::io;
use std::sync::{Arc, OnceLock};

/// The configuration that [`Client`](crate::Client) uses unless it is given another: TLS 1.2 and 1.3,
/// the roots of `webpki-roots`, no client certificate.
pub fn default_tls() -> Arc<ClientConfig> {
    static DEFAULT: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let roots = || webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    DEFAULT.get_or_init(|| tls_with_roots(roots())).clone()
}

/// As [`default_tls`], trusting these roots instead.
pub fn tls_with_roots(roots: RootCertStore) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

pub(crate) async fn handshake(
    config: Arc<ClientConfig>,
    host: &str,
    stream: Tcp,
) -> io::Result<TlsStream<Tcp>> {
    let name = ServerName::try_from(host.to_string())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, stream).await
}

/// Whether the TLS library refused the server's certificate: time alone will not cure that.
pub(crate) fn is_certificate_error(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    matches!(cause, Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented))
}
