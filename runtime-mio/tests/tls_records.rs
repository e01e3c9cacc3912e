//! Records however they come: in any pieces, many at once, with new keys between them, damaged.

#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/support.rs"]
mod support;

use moorline_core::{Event, Limits};
use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::rustls::{self, ClientConfig, ClientConnection};
use moorline_mio::{ServerOptions, TlsOptions};
use peer::TlsPeer;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use support::certificates::Authority;
use support::{PATIENCE, Running, echo, masked, request, serve_apps};

/// An echo that tells how its connections ended.
fn server(limits: Limits) -> (Running, Authority, mpsc::Receiver<&'static str>) {
    let authority = Authority::new();
    let tls = TlsOptions::new(Arc::new(authority.issue().server()));
    let options = ServerOptions { tls: Some(tls), limits, ..ServerOptions::default() };
    let (told, endings) = mpsc::channel();
    let server = serve_apps(options, move || {
        let told = told.clone();
        Box::new(move |event, outbox| {
            if let Event::Closed(cause) = event {
                let _ = told.send(cause.name());
            }
            echo(event, outbox);
        })
    });
    (server, authority, endings)
}

fn roomy() -> Limits {
    Limits { message: 32 << 20, outbox: 64 << 20, ..Limits::default() }
}

/// A session whose records are written by hand.
struct ByHand {
    session: ClientConnection,
    socket: TcpStream,
}

impl ByHand {
    fn new(server: &Running, config: ClientConfig) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(server.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { session, socket }
    }

    /// What the session has to send, in pieces of this size.
    fn write(&mut self, size: usize) {
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut records).unwrap();
        }
        for piece in records.chunks(size) {
            self.socket.write_all(piece).unwrap();
        }
    }

    /// Exactly so many bytes, answering what must be answered in pieces of `size`.
    fn read(&mut self, count: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.session.reader().read(&mut bytes[filled..]) {
                Ok(more) => filled += more,
                Err(_) => {
                    assert_ne!(self.session.read_tls(&mut self.socket).unwrap(), 0, "an end");
                    self.session.process_new_packets().unwrap();
                    self.write(size);
                }
            }
        }
        bytes
    }

    fn shake(&mut self, size: usize) {
        self.write(size);
        while self.session.is_handshaking() {
            assert_ne!(self.session.read_tls(&mut self.socket).unwrap(), 0, "an end");
            self.session.process_new_packets().unwrap();
            self.write(size);
        }
    }
}

#[test]
fn records_may_come_in_pieces_of_any_size() {
    let (server, authority, _) = server(roomy());
    let text: String = (0..9000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for size in [1, 2, 3, 5, 6, 7, 100, 1000, usize::MAX] {
            let mut client = ByHand::new(&server, authority.client_of(&[version]));
            client.shake(size);
            client.session.writer().write_all(&request("")).unwrap();
            client.write(size);
            let head = client.read(129, size);
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
            // Cut in other places, too: records that hold a part of a frame.
            let frame = masked(1, text.as_bytes());
            for part in frame.chunks(777) {
                client.session.writer().write_all(part).unwrap();
            }
            client.write(size);
            let echoed = client.read(4 + text.len(), size);
            assert!(&echoed[4..] == text.as_bytes(), "in pieces of {size}");
        }
    }
}

#[test]
fn many_messages_in_one_write_are_answered_in_order() {
    let (server, authority, _) = server(roomy());
    let mut peer = TlsPeer::connect(server.address, &Arc::new(authority.client()));
    // Each in a record of its own: hundreds of them come by one read.
    let texts: Vec<_> = (0..1000).map(|n| format!("message {n}")).collect();
    let session = &mut peer.stream.conn;
    session.set_buffer_limit(None);
    for text in &texts {
        session.writer().write_all(&masked(1, text.as_bytes())).unwrap();
    }
    peer.stream.flush().unwrap();
    for text in &texts {
        assert_eq!(peer.read_message(), text.as_bytes());
    }
}

#[test]
fn a_frame_of_the_largest_size_is_answered_with_one_write() {
    let (mut server, authority, _) = server(roomy());
    let mut peer = TlsPeer::connect(server.address, &Arc::new(authority.client()));
    let large = vec![7; 64 * 1024];
    let rounds = 20;
    for _ in 0..rounds {
        peer.send(2, &large);
        assert!(peer.read_message() == large);
    }
    drop(peer);
    server.stop();
    let writes = server.handles[0].counters().writes;
    // Some more for the handshake, the upgrade and the end.
    assert!((rounds..rounds + 10).contains(&writes), "{writes} for {rounds} frames");
}

#[test]
fn keys_may_change_on_the_way() {
    let (server, authority, _) = server(roomy());
    let mut peer = TlsPeer::connect(server.address, &Arc::new(authority.client()));
    let large = vec![b'y'; 200_000];
    for round in 0..5 {
        // It asks for new keys of the other side, too (RFC 8446 section 4.6.3).
        peer.stream.conn.refresh_traffic_keys().unwrap();
        let text = format!("round {round}");
        peer.send(1, text.as_bytes());
        assert_eq!(peer.read_message(), text.as_bytes());
        peer.stream.conn.refresh_traffic_keys().unwrap();
        peer.send(2, &large);
        assert!(peer.read_message() == large);
    }
    // With nothing to answer it goes out alone.
    peer.stream.conn.refresh_traffic_keys().unwrap();
    peer.stream.flush().unwrap();
    peer.send(9, b"there?");
    assert_eq!(peer.read_frame(), (0x8A, b"there?".to_vec()));
}

#[test]
fn a_changed_record_ends_the_connection_with_an_alert() {
    let (server, authority, endings) = server(roomy());
    let mut peer = TlsPeer::connect(server.address, &Arc::new(authority.client()));
    peer.send(1, b"before");
    assert_eq!(peer.read_message(), b"before");
    // Application data that nobody encrypted, behind one that is good.
    let session = &mut peer.stream.conn;
    session.writer().write_all(&masked(1, b"good")).unwrap();
    let mut records = Vec::new();
    session.write_tls(&mut records).unwrap();
    records.extend_from_slice(&[23, 3, 3, 0, 20]);
    records.extend_from_slice(&[7; 20]);
    peer.stream.sock.write_all(&records).unwrap();
    assert_eq!(endings.recv_timeout(PATIENCE), Ok("truncated"));
    // The alert `bad_record_mac` is told.
    let error = peer.stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn a_request_in_the_flight_of_the_handshake_is_answered() {
    let (server, authority, _) = server(roomy());
    let mut client = ByHand::new(&server, authority.client());
    client.session.writer().write_all(&request("")).unwrap();
    client.shake(usize::MAX);
    let head = client.read(129, usize::MAX);
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
}
