//! `tls.cert` and `tls.key`: who the gateway is to its clients.

use super::secret;
use crate::wire::Certificate;
use crate::{date, hex, pem, regular_file};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Days that are left when it expires soon. Renewals that work by themselves happen a month before the end;
/// who must renew by hand wants to know in time.
pub(crate) const SOON_DAYS: u32 = 21;

const SOON: Duration = Duration::from_secs(SOON_DAYS as u64 * 24 * 60 * 60);

/// A certificate with its chain and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certified: Arc<CertifiedKey>,
    /// Whom it is for.
    pub(crate) names: Vec<String>,
    /// The first 8 hexadecimal digits of the certificate's SHA-256.
    pub(crate) fingerprint: String,
    /// The end of its time, for a log.
    pub(crate) not_after: Option<String>,
    /// What works, but should be seen to.
    pub(crate) warnings: Vec<String>,
}

impl Identity {
    /// Reads both files, which may be one.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(crate) fn read(cert: &Path, key: &Path, now: SystemTime) -> Result<Self, String> {
        let shown = cert.display();
        let chain =
            pem::certificates(&contents(cert)?).map_err(|what| format!("{shown} {what}"))?;
        let provider = rustls::crypto::ring::default_provider();
        let der =
            private_key(&contents(key)?).map_err(|what| format!("{} {what}", key.display()))?;
        let signer = provider.key_provider.load_private_key(der).map_err(|_| {
            format!("{} is of a kind that is not supported: RSA, ECDSA or Ed25519", key.display())
        })?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            // What cannot tell its public key is believed to fit.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(misfit(&certified, cert, key)),
            Err(_) => return Err(format!("{shown}: the first certificate in it is damaged")),
        }
        let mut warnings = Vec::new();
        if secret::is_open_to_others(key) {
            let key = key.display();
            warnings
                .push(format!("{key} holds a key and can be read by others: run chmod 600 on it"));
        }
        let own = certified.cert.first().and_then(|first| Certificate::parse(first));
        let not_after = own.as_ref().and_then(|own| date::shown(own.until));
        warnings.extend(own.as_ref().and_then(|own| untimely(cert, own, now)));
        let fingerprint = certified.cert.first().map(|own| hex::fingerprint(own));
        let names = own.map(|own| own.names).unwrap_or_default();
        let fingerprint = fingerprint.unwrap_or_default();
        Ok(Self { certified: Arc::new(certified), names, fingerprint, not_after, warnings })
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    regular_file::read(path, pem::MOST)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The first key of a file: PKCS#8, or in the older forms of RSA and EC keys.
fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if text.trim_ascii().is_empty() {
        return Err("is empty".into());
    }
    let has = |words: &str| text.windows(words.len()).any(|at| at == words.as_bytes());
    // In the label (PKCS#8), or in the header `Proc-Type` (RFC 1421) of older forms.
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("4,ENCRYPTED") {
        return Err("is encrypted, and nobody could type its password at a start: \
                    openssl pkey -in FILE -out NEW writes it without"
            .into());
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            Err("holds no private key (PEM, BEGIN PRIVATE KEY)".into())
        }
        key => key.map_err(|error| pem::words(&error)),
    }
}

/// The key does not fit the first certificate: says which one it does fit.
fn misfit(certified: &CertifiedKey, cert: &Path, key: &Path) -> String {
    let fits = certified.cert.iter().position(|other| {
        CertifiedKey::new(vec![other.clone()], certified.key.clone()).keys_match().is_ok()
    });
    let (cert, key) = (cert.display(), key.display());
    match fits {
        Some(at) => format!(
            "{key} fits certificate {} of {cert}, which must be the first: the others are its issuers",
            at + 1
        ),
        None => format!("{key} does not fit the certificate in {cert}"),
    }
}

/// A certificate that clients refuse is no reason to refuse them all: it may be their clocks.
fn untimely(cert: &Path, certificate: &Certificate, now: SystemTime) -> Option<String> {
    let cert = cert.display();
    let date = |at| date::shown(at).unwrap_or_default();
    let (from, until) = (certificate.from, certificate.until);
    if until < now {
        Some(format!("{cert} has expired ({}): clients will refuse it", date(until)))
    } else if now < from {
        Some(format!("{cert} is not valid yet ({}): clients will refuse it", date(from)))
    } else if until.duration_since(now).is_ok_and(|left| left < SOON) {
        Some(format!("{cert} expires soon ({})", date(until)))
    } else {
        None
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
