//! Why no connection came about, in words that say what to do.

use crate::date;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Why a host could not be reached, or is not who it should be.
#[derive(Debug)]
pub(crate) enum DialFailure {
    /// None of the addresses took a connection; the last one and what the system says of it.
    Connect(SocketAddr, io::Error),
    /// A connection, but no TLS.
    Tls(TlsFailure),
}

/// Why TLS did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// What came is not TLS.
    NotTls,
    /// The certificate is of an authority that is not believed.
    UnknownIssuer,
    /// The certificate is of other names.
    WrongName { wanted: String, presented: Vec<String> },
    /// The certificate is no longer valid.
    Expired(Option<SystemTime>),
    /// The certificate is not valid yet.
    NotYet(Option<SystemTime>),
    /// A server shows the certificate of an authority as its own.
    Authority,
    /// The certificate has another fault.
    Certificate(String),
    /// No version of TLS, or no cipher, that both know.
    Incompatible(String),
    /// The other end ended the handshake with this alert.
    Alert(String),
    /// The other end ended the connection within the handshake.
    Closed,
    /// The handshake took too long.
    Timeout,
    /// Anything else.
    Other(String),
}

impl TlsFailure {
    /// Time alone does not cure it.
    pub(crate) fn is_for_good(&self) -> bool {
        !matches!(self, Self::Closed | Self::Timeout | Self::Other(_))
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
        match (cause, error.kind()) {
            (Some(cause), _) => Self::from(cause),
            (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Self::Closed,
            (None, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Self::Timeout,
            (None, _) => Self::Other(error.to_string()),
        }
    }
}

impl TlsFailure {
    /// What a loop's connection says of it; `None` where there was no connection to shake hands over.
    pub(crate) fn of_session(failure: &moorline_mio::TlsFailure) -> Option<Self> {
        match failure {
            moorline_mio::TlsFailure::Session(error) => Some(Self::from(error)),
            moorline_mio::TlsFailure::NotTls => Some(Self::NotTls),
            moorline_mio::TlsFailure::Timeout => Some(Self::Timeout),
            moorline_mio::TlsFailure::Left => None,
            other => Some(Self::Other(other.to_string())),
        }
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Error::InvalidCertificate(why) => certificate(why),
            Error::NoCertificatesPresented => Self::Certificate("there is none".into()),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
                Self::Incompatible("the server has neither TLS 1.2 nor 1.3".into())
            }
            Error::PeerIncompatible(why) => Self::Incompatible(format!("{why:?}")),
            Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }
}

fn certificate(why: &CertificateError) -> TlsFailure {
    use CertificateError as Why;
    match why {
        Why::UnknownIssuer => TlsFailure::UnknownIssuer,
        Why::NotValidForName => TlsFailure::WrongName { wanted: "".into(), presented: vec![] },
        Why::NotValidForNameContext { expected, presented } => TlsFailure::WrongName {
            wanted: expected.to_str().into_owned(),
            presented: presented.iter().map(|name| plain_name(name)).collect(),
        },
        Why::Expired => TlsFailure::Expired(None),
        Why::ExpiredContext { not_after, .. } => TlsFailure::Expired(time(*not_after)),
        Why::NotValidYet => TlsFailure::NotYet(None),
        Why::NotValidYetContext { not_before, .. } => TlsFailure::NotYet(time(*not_before)),
        Why::BadSignature => TlsFailure::Certificate(
            "it is not signed by the authority that it names, as far as that one is known".into(),
        ),
        Why::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            TlsFailure::Authority
        }
        other => TlsFailure::Certificate(other.to_string()),
    }
}

/// `DnsName("a.example")` of the library as `a.example`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').into()
}

fn time(at: UnixTime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at.as_secs()))
}

fn since(at: Option<SystemTime>) -> String {
    at.and_then(date::shown).map(|date| format!(" ({date})")).unwrap_or_default()
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Tls(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("the server does not speak TLS here: is it ws:// instead?"),
            Self::UnknownIssuer => f.write_str(
                "the certificate is of an authority that is not believed: give its certificate with \
                 --ca if it is yours",
            ),
            Self::WrongName { wanted, presented } if presented.is_empty() => {
                write!(f, "the certificate is not for {wanted}")
            }
            Self::WrongName { wanted, presented } => {
                write!(f, "the certificate is not for {wanted}, but for {}", presented.join(", "))
            }
            Self::Expired(at) => write!(f, "the certificate has expired{}", since(*at)),
            Self::NotYet(at) => {
                write!(f, "the certificate is not valid yet{}: is the clock right?", since(*at))
            }
            Self::Authority => f.write_str(
                "the server shows the certificate of an authority (CA:TRUE) as its own: it needs one \
                 that is issued for it",
            ),
            Self::Certificate(why) => write!(f, "the certificate is not good: {why}"),
            Self::Incompatible(why) => write!(f, "no TLS that both ends know: {why}"),
            Self::Alert(alert) => write!(f, "the server ended the TLS handshake: {alert}"),
            Self::Closed => f.write_str("the server closed within the TLS handshake"),
            Self::Timeout => f.write_str("the TLS handshake took too long"),
            Self::Other(why) => write!(f, "TLS: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_cannot_be_written_is_left_out() {
        let at = |secs| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(secs));
        assert_eq!(since(at(0)), " (Thu, 01 Jan 1970 00:00:00 GMT)");
        assert_eq!(since(at(1 << 40)), "");
        assert_eq!(since(None), "");
    }

    #[test]
    fn names_are_shown_without_the_words_of_the_library() {
        assert_eq!(plain_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(plain_name("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain_name("odd"), "odd");
    }
}
