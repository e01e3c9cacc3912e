//! Whose certificates a client command believes.

use crate::failure::Failure;
use crate::pem;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags of every command that connects.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TrustArgs {
    /// A PEM file of the only certificate authorities to believe, for wss:// with certificates of your
    /// own [default: those that this machine trusts].
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

impl TrustArgs {
    /// What TLS connections are made with.
    ///
    /// # Errors
    /// The file is no list of certificates.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let roots = match &self.ca {
            Some(path) => roots_of_file(path)?,
            None => roots_of_machine(),
        };
        Ok(client_config(roots))
    }
}

/// TLS for HTTP/1.1 to servers of these authorities, for whoever connects in this program.
pub(crate) fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, Failure> {
    let wrong = |what: String| Failure::Config(format!("--ca {}: {what}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(&text).map_err(wrong)? {
        roots.add(certificate).map_err(|_| wrong("a certificate in it is damaged".into()))?;
    }
    Ok(roots)
}

/// What the system keeps, or `SSL_CERT_FILE` names; where there is nothing, as in small containers, the
/// roots that browsers have.
pub(crate) fn roots_of_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // One damaged file among many is no reason to trust none of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
