//! Certificates in PEM files (RFC 7468), with errors in words.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// A longer file is none of certificates or keys: the bundles of systems with all their authorities have a
/// fraction of it.
pub(crate) const MOST: u64 = 8 * 1024 * 1024;

/// The certificates of a file, in its order; anything else that is in it is passed over.
///
/// # Errors
/// There is none, or the file breaks off or is damaged.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if text.trim_ascii().is_empty() {
        return Err("is empty".into());
    }
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match found.map_err(|error| words(&error)) {
        Ok(found) if found.is_empty() => {
            Err("holds no certificate (PEM, BEGIN CERTIFICATE)".into())
        }
        found => found,
    }
}

/// What is wrong with a PEM file.
pub(crate) fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("breaks off: END {} is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line in it is damaged".into(),
        pem::Error::Base64Decode(_) => "is damaged: something in it is not base64".into(),
        other => other.to_string(),
    }
}
