//! Servers that are not the gateway: each connection is answered with the same bytes, and ended.
#![allow(dead_code)]

use base64::Engine as _;
use moorline_core::{Accept, Connection, Event, Limits};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that reads a request and answers with these bytes, until the test's process ends.
pub fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    serving(move |mut stream| answer_to(&mut stream, &answer))
}

/// A server that does this with every connection, one after the other in threads of their own.
pub fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The same behind TLS, with a certificate of its own for these names; gives it as PEM, too.
pub fn answering_by_tls(
    names: &[&str],
    until: (i32, u8, u8),
    answer: &'static str,
) -> (SocketAddr, String) {
    let (config, pem) = certified(names, until);
    let address = serving(move |stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        answer_to(&mut StreamOwned::new(session, stream), answer.as_bytes());
    });
    (address, pem)
}

fn certified(names: &[&str], (year, month, day): (i32, u8, u8)) -> (Arc<ServerConfig>, String) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let der = base64::engine::general_purpose::STANDARD.encode(certificate.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    (Arc::new(config), pem)
}

fn answer_to(stream: &mut (impl Read + Write), answer: &[u8]) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let _ = stream.write_all(answer);
    let _ = stream.flush();
}

/// Writes a certificate for 127.0.0.1 of its own, and its key, as `cert.pem` and `key.pem`.
pub fn write_certificate(folder: &Path, until: (i32, u8, u8)) {
    write_certificate_for("127.0.0.1", folder, until);
}

/// The same for another name.
pub fn write_certificate_for(name: &str, folder: &Path, (year, month, day): (i32, u8, u8)) {
    let mut params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    };
    std::fs::write(folder.join("cert.pem"), pem("CERTIFICATE", certificate.der())).unwrap();
    let path = folder.join("key.pem");
    std::fs::write(&path, pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Takes an upgrade on, as a server does that speaks WebSocket.
pub fn accept(stream: &mut TcpStream) {
    let mut connection = Connection::server(Arc::new(Limits::default()), Instant::now());
    let mut buffer = [0; 4096];
    let mut accepted = false;
    while !accepted {
        let count = stream.read(&mut buffer).unwrap();
        let mut turn = connection.receive(Instant::now(), &mut buffer[..count]);
        while let Some((event, outbox)) = turn.next_event() {
            if let Event::Request(_) = event {
                outbox.accept(&Accept::default()).unwrap();
                accepted = true;
            }
        }
    }
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = connection.outbox(Instant::now()).slices(&mut slices);
    let _ = stream.write_vectored(&slices[..filled]).unwrap();
}

/// A listener that takes connections and says nothing.
pub fn silent() -> SocketAddr {
    serving(|stream| {
        std::thread::sleep(Duration::from_secs(120));
        drop(stream);
    })
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
