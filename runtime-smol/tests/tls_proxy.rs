//! TLS and proxies, over real sockets.

mod support;

use futures_rustls::TlsAcceptor;
use futures_rustls::pki_types::PrivateKeyDer;
use moorline_core::{CloseCode, Connection, Limits};
use moorline_smol::rustls::crypto::ring;
use moorline_smol::rustls::{RootCertStore, ServerConfig};
use moorline_smol::{
    Client, ConnectCause, Ending, Message, Phase, Proxy, Tcp, Timeouts, Verdict, drive, judge,
    tls_with_roots,
};
use smol::{Async, block_on};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{Peer, Running, echo};

/// An echo server with a certificate of its own for `localhost`, and who trusts it.
fn tls_server() -> (SocketAddr, RootCertStore) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let accepting = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            smol::spawn(async move {
                let Ok(stream) = acceptor.accept(Tcp::from(stream)).await else { return };
                let limits = Limits { message: 8 << 20, outbox: 32 << 20, ..Limits::default() };
                let connection = Connection::server(Arc::new(limits), Instant::now());
                drive(stream, connection, echo).await;
            })
            .detach();
        }
    };
    smol::spawn(accepting).detach();
    (address, roots)
}

fn secure_client(address: SocketAddr, roots: RootCertStore) -> Client {
    let url = format!("wss://localhost:{}/", address.port());
    Client::new(&url).unwrap().tls(tls_with_roots(roots))
}

#[test]
fn messages_small_and_large_pass_through_tls_and_the_close_is_clean() {
    let (address, roots) = tls_server();
    block_on(async {
        let mut socket = secure_client(address, roots).connect().await.unwrap();
        let large: Vec<u8> = (0..4 << 20).map(|at: u32| (at ^ at >> 8) as u8).collect();
        socket.send("small").await.unwrap();
        socket.send(large.clone()).await.unwrap();
        assert_eq!(socket.next().await, Some(Ok("small".into())));
        assert!(socket.next().await == Some(Ok(Message::from(large))), "every byte");
        let began = Instant::now();
        let closed = socket.close(CloseCode::NORMAL, "").await;
        assert!(closed.is_clean());
        assert!(began.elapsed() < Limits::default().close_within);
    });
}

#[test]
fn an_unknown_certificate_is_an_error_of_the_tls_phase_and_for_good() {
    let (address, _) = tls_server();
    let url = format!("wss://localhost:{}/", address.port());
    let error = block_on(Client::new(&url).unwrap().connect()).unwrap_err();
    assert_eq!(error.phase, Phase::Tls, "{error}");
    assert_eq!(judge(&Ending::NotConnected(Arc::new(error))), Verdict::Stop);
}

#[test]
fn a_server_without_tls_is_an_error_of_the_tls_phase() {
    let server = Running::echo(Limits::default());
    let url = format!("wss://localhost:{}/", server.address.port());
    let error = block_on(Client::new(&url).unwrap().connect()).unwrap_err();
    assert_eq!(error.phase, Phase::Tls, "{error}");
}

/// A proxy of a few lines: tells the requests it gets, and gives each this answer. A tunnel leads to
/// `target`, whatever was asked for.
fn proxy(answer: &'static str, target: SocketAddr) -> (Proxy, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut client = Peer::server(stream.unwrap());
            if told.send(client.read_head()).is_err() {
                return;
            }
            client.send_raw(answer.as_bytes());
            if !answer.starts_with("HTTP/1.1 200") {
                continue;
            }
            let upstream = TcpStream::connect(target).unwrap();
            let back = (upstream.try_clone().unwrap(), client.stream.try_clone().unwrap());
            std::thread::spawn(move || copy(back.0, back.1));
            std::thread::spawn(move || copy(client.stream, upstream));
        }
    });
    (Proxy::parse(&format!("http://user:pass@{address}")).unwrap(), requests)
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_tunnel_is_asked_for_by_name_and_carries_plain_and_tls_connections() {
    let server = Running::echo(Limits::default());
    let (tls_address, roots) = tls_server();
    for (url, target) in
        [("ws://far.example:81/", server.address), ("wss://localhost/", tls_address)]
    {
        let (proxy, requests) = proxy("HTTP/1.1 200 Connection established\r\n\r\n", target);
        let client = Client::new(url).unwrap().proxy(proxy).tls(tls_with_roots(roots.clone()));
        block_on(async {
            let mut socket = client.connect().await.unwrap();
            socket.send("through").await.unwrap();
            assert_eq!(socket.next().await, Some(Ok("through".into())));
            assert!(socket.close(CloseCode::NORMAL, "").await.is_clean());
        });
        let request = requests.recv().unwrap();
        let authority = if url.starts_with("wss") { "localhost:443" } else { "far.example:81" };
        assert!(request.starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains(&format!("\r\nHost: {authority}\r\n")), "{request}");
        assert!(request.contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{request}");
    }
}

#[test]
fn a_proxy_that_refuses_is_told_with_its_status() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let (proxy, _requests) = proxy("HTTP/1.1 407 Authenticate\r\nVia: me\r\n\r\n", nowhere);
    let error = block_on(Client::new("ws://a/").unwrap().proxy(proxy).connect()).unwrap_err();
    assert_eq!(error.phase, Phase::Proxy);
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.status, refusal.header("via")), (407, Some("me")));
    assert_eq!(judge(&Ending::NotConnected(Arc::new(error))), Verdict::Stop);
}

#[test]
fn a_proxy_that_speaks_something_else_or_nothing_is_told_as_such() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let (other, _requests) = proxy("220 mail.example ESMTP\r\n\r\n", nowhere);
    let error = block_on(Client::new("ws://a/").unwrap().proxy(other).connect()).unwrap_err();
    assert!(matches!((error.phase, &error.cause), (Phase::Proxy, ConnectCause::Io(_))), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent =
        Proxy::parse(&silent.local_addr().unwrap().to_string()).map(|proxy| (proxy, silent));
    let (proxy, _listener) = silent.unwrap();
    let timeouts = Timeouts { proxy: Duration::from_millis(40), ..Timeouts::default() };
    let client = Client::new("ws://a/").unwrap().proxy(proxy).timeouts(timeouts);
    let error = block_on(client.connect()).unwrap_err();
    assert_eq!((error.phase, error.is_timeout()), (Phase::Proxy, true), "{error}");
}
