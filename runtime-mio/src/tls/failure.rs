//! Why a TLS handshake came to nothing.

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};
use std::fmt;

/// Why a TLS handshake came to nothing, or a session ended before its time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TlsFailure {
    /// What came first is not TLS: plain HTTP is answered with 400.
    NotTls,
    /// The peer did not come to an end in time.
    Timeout,
    /// The peer left.
    Left,
    /// Too many others began a handshake after it.
    Crowded,
    /// A handshake message is larger than a record.
    Oversized,
    /// What rustls says of it.
    Session(Error),
}

impl TlsFailure {
    /// A few words for logs and metrics; a fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotTls => "not-tls",
            Self::Timeout => "timeout",
            Self::Left => "left",
            Self::Crowded => "crowded",
            Self::Oversized => "oversized",
            Self::Session(error) => reason(error),
        }
    }
}

fn reason(error: &Error) -> &'static str {
    use AlertDescription as Alert;
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "not-tls",
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            // What came before TLS 1.2 does not have it.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | Error::AlertReceived(Alert::ProtocolVersion) => "version",
        Error::PeerIncompatible(_) | Error::AlertReceived(Alert::HandshakeFailure) => {
            "nothing-in-common"
        }
        Error::NoApplicationProtocol => "application-protocol",
        // What clients say of a certificate of ours that they do not believe.
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA,
        ) => "certificate-refused",
        Error::AlertReceived(Alert::UnrecognisedName) => "no-certificate-for-name",
        Error::AlertReceived(_) => "alert",
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => "certificate",
        _ => "protocol",
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("what came is not TLS"),
            Self::Timeout => f.write_str("the handshake took too long"),
            Self::Left => f.write_str("the peer left within the handshake"),
            Self::Crowded => f.write_str("too many handshakes at once"),
            Self::Oversized => f.write_str("a handshake message is too large"),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsFailure {}
