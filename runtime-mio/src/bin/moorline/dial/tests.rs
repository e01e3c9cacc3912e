//! Dialing servers of every kind of badness, over real sockets.

use super::failure::DialFailure;
use super::*;
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// An authority, and the file that a client is told of it by.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let file = std::env::temp_dir().join(format!("moorline-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, pem(issuer.der())).expect("a file");
        Self { issuer, file }
    }

    fn trusted(&self) -> Arc<rustls::ClientConfig> {
        TrustArgs { ca: Some(self.file.clone()) }.config().expect("an authority")
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new(["localhost".to_string()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate with its key")
    }
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A server of one connection.
fn serve(with: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || with(listener.accept().expect("a client").0));
    address
}

/// A TLS server that sends back the first bytes.
fn serve_tls(config: ServerConfig) -> SocketAddr {
    serve(|socket| {
        let tls = ServerConnection::new(Arc::new(config)).expect("a session");
        let mut stream = StreamOwned::new(tls, socket);
        let mut bytes = [0; 64];
        if let Ok(count) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..count]);
        }
    })
}

fn dial(
    address: SocketAddr,
    scheme: &str,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Dialed, DialFailure> {
    let url = url(&format!("{scheme}://localhost:{}/", address.port())).expect("a URL");
    connect(&url, &[address], tls, PATIENCE)
}

fn tls_failure(address: SocketAddr, tls: &Arc<rustls::ClientConfig>) -> TlsFailure {
    match dial(address, "wss", tls) {
        Err(DialFailure::Tls(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_go_both_ways_plain_and_by_tls() {
    let authority = Authority::new("both-ways");
    let tls = authority.trusted();
    let plain = serve(|mut socket| {
        let mut bytes = [0; 64];
        let count = socket.read(&mut bytes).expect("bytes");
        socket.write_all(&bytes[..count]).expect("a reader");
    });
    for (scheme, address) in [("ws", plain), ("wss", serve_tls(authority.issue(|_| {})))] {
        let mut stream = dial(address, scheme, &tls).expect(scheme);
        assert_eq!(stream.tls().is_some(), scheme == "wss");
        assert_eq!(stream.local_addr().expect("a network").ip(), address.ip());
        stream.write_all(b"there and back").expect("a reader");
        let mut bytes = [0; 14];
        stream.read_exact(&mut bytes).expect("an echo");
        assert_eq!(&bytes, b"there and back");
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let authority = Authority::new("table");
    let other = Authority::new("other");
    let (tls, foreign) = (authority.trusted(), other.trusted());
    let said = |config, tls| tls_failure(serve_tls(config), tls).to_string();

    let unknown = said(authority.issue(|_| {}), &foreign);
    assert!(unknown.contains("not believed") && unknown.contains("--ca"), "{unknown}");
    let machine = TrustArgs::default().config().expect("roots");
    assert_eq!(said(authority.issue(|_| {}), &machine), unknown);

    let elsewhere = CertificateParams::new(["a.example".to_string()]).expect("a name");
    let named = said(authority.issue(|params| *params = elsewhere), &tls);
    assert_eq!(named, "the certificate is not for localhost, but for a.example");

    let expired =
        said(authority.issue(|params| params.not_after = date_time_ymd(2020, 1, 2)), &tls);
    assert_eq!(expired, "the certificate has expired (Thu, 02 Jan 2020 00:00:00 GMT)");

    let early = said(authority.issue(|params| params.not_before = date_time_ymd(3000, 1, 1)), &tls);
    assert!(early.starts_with("the certificate is not valid yet (Wed, 01 Jan 3000"), "{early}");

    let ca = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let authority_itself = said(authority.issue(ca), &tls);
    assert!(authority_itself.contains("CA:TRUE"), "{authority_itself}");
}

#[test]
fn a_server_that_does_not_speak_tls_is_told_as_such() {
    let tls = TrustArgs::default().config().expect("roots");
    let plain = serve(|mut socket| {
        let _ = socket.read(&mut [0; 64]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let failure = tls_failure(plain, &tls);
    assert_eq!(failure, TlsFailure::NotTls);
    assert!(failure.is_for_good() && failure.to_string().contains("ws://"), "{failure}");

    let closing = serve(|mut socket| drop(socket.read(&mut [0; 4096])));
    let failure = tls_failure(closing, &tls);
    assert_eq!(failure, TlsFailure::Closed);
    assert!(!failure.is_for_good());
}

#[test]
fn a_server_that_says_nothing_costs_no_more_than_the_time_for_it() {
    let tls = TrustArgs::default().config().expect("roots");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = url(&format!("wss://localhost:{}/", address.port())).expect("a URL");
    let began = Instant::now();
    let failure = connect(&url, &[address], &tls, Duration::from_millis(50));
    assert!(matches!(failure, Err(DialFailure::Tls(TlsFailure::Timeout))), "{failure:?}");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn an_address_that_refuses_is_passed_over_for_the_next() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let authority = Authority::new("next");
    let good = serve_tls(authority.issue(|_| {}));
    let url = url("wss://localhost/").expect("a URL");
    let tls = authority.trusted();
    assert!(connect(&url, &[closed, good], &tls, PATIENCE).is_ok());
    let failure = connect(&url, &[closed], &tls, PATIENCE).expect_err("nobody is there");
    let said = failure.to_string();
    assert!(said.starts_with(&format!("cannot connect to {closed}: ")), "{said}");
}

#[test]
fn a_file_of_authorities_must_hold_one() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("moorline-{}-no-ca.pem", std::process::id()));
    for (text, said) in [
        ("", "is empty"),
        ("not PEM", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "END CERTIFICATE"),
    ] {
        std::fs::write(&path, text).expect("a file");
        let failure = TrustArgs { ca: Some(path.clone()) }.config().expect_err(text);
        let Failure::Config(failure) = failure else { panic!("{failure}") };
        assert!(failure.starts_with(&format!("--ca {}: ", path.display())), "{failure}");
        assert!(failure.contains(said), "{text:?}: {failure}");
    }
    std::fs::remove_file(&path).expect("it was there");
    assert!(TrustArgs { ca: Some(path) }.config().is_err());
}

#[test]
fn what_is_no_url_of_a_web_socket_is_refused_before_anything_is_dialled() {
    assert!(url("ws://localhost:18790/ws").is_ok() && url("wss://localhost").is_ok());
    for text in ["http://localhost", "localhost:18790"] {
        assert!(matches!(url(text), Err(Failure::Config(_))), "{text}");
    }
}
