//! The mio adapter over real sockets: what it promises beyond the core.

mod support;

use moorline_core::{Accept, Cause, ClientRequest, CloseCode, Event, Limits, Outbox, Response};
use moorline_mio::{Client, ConnId, Connections, Handler, OsEntropy, Server, ServerOptions};
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{RawClient, Running, masked};

#[test]
fn everything_read_at_once_is_answered_with_one_write() {
    let mut server = Running::echo(1, Limits::default());
    let mut clients: Vec<_> = (0..16).map(|_| RawClient::connect(server.address)).collect();
    let batch: Vec<u8> = (0..32).flat_map(|_| masked(1, b"twenty bytes of text")).collect();
    let rounds = 20;
    for _ in 0..rounds {
        for client in &mut clients {
            // One segment of 832 bytes: it arrives as one readiness event.
            client.send_raw(&batch);
        }
        for client in &mut clients {
            for _ in 0..32 {
                assert_eq!(client.read_message(), b"twenty bytes of text");
            }
        }
    }
    drop(clients);
    server.stop();
    let counters = server.handles[0].counters();
    // A read answers at most once; a loaded machine may deliver a batch in two reads.
    assert!(counters.writes <= counters.reads, "{counters:?}");
    let batches = 16 * (rounds + 1);
    assert!(counters.writes < batches * 2, "{counters:?} for {batches} batches of 32 messages");
}

#[test]
fn a_slow_reader_of_a_large_message_gets_every_byte_and_delays_nobody() {
    let limits = Limits { message: 8 << 20, outbox: 32 << 20, ..Limits::default() };
    let server = Running::echo(1, limits);
    let mut slow = RawClient::connect(server.address);
    let mut quick = RawClient::connect(server.address);
    let large: Vec<u8> = (0..8 << 20).map(|at: u32| (at ^ at >> 8) as u8).collect();
    let frame = masked(2, &large);
    // The writer blocks once the server stops reading, so it has its own thread.
    let mut writing = slow.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..3 {
            writing.write_all(&frame).unwrap();
        }
    });
    for round in 0..100 {
        let text = format!("round {round}");
        quick.send(1, text.as_bytes());
        assert_eq!(quick.read_message(), text.as_bytes());
    }
    for _ in 0..3 {
        assert!(slow.read_message() == large, "every byte, in order");
    }
    writer.join().unwrap();
}

#[test]
fn stopping_closes_every_connection_with_1001_and_ends_the_loops() {
    let mut server = Running::echo(2, Limits::default());
    let clients: Vec<_> = (0..8).map(|_| RawClient::connect(server.address)).collect();
    let address = server.address;
    let stopping = std::thread::spawn(move || server.stop());
    for mut client in clients {
        let (first, payload) = client.read_frame();
        assert_eq!(
            (first, &payload[..2], &payload[2..]),
            (0x88, &[3, 0xE9][..], &b"going away"[..])
        );
        client.send(8, &[3, 0xE9]);
        assert_eq!(client.read_rest(), b"");
    }
    stopping.join().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn loops_share_one_port_but_a_second_server_is_refused() {
    let server = Running::echo(3, Limits::default());
    for loops in [1, 3] {
        let options = ServerOptions { loops, ..ServerOptions::default() };
        let error = Server::bind(server.address, options).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
    // The kernel spreads connections by their ports: enough of them reach every loop.
    let _clients: Vec<_> = (0..60).map(|_| RawClient::connect(server.address)).collect();
    let counts: Vec<_> =
        server.handles.iter().map(|handle| handle.counters().connections).collect();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_half_closed_request_still_gets_its_answer() {
    struct Hello;
    impl Handler for Hello {
        fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
            if let Event::Request(_) = event {
                outbox.respond(&Response::text(200, "hello")).unwrap();
            }
        }
    }
    let server = Running::start(ServerOptions::default(), || Hello);
    let mut client = RawClient::tcp(server.address);
    client.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let answer = String::from_utf8(client.read_rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
}

#[test]
fn a_close_frame_survives_bytes_that_are_never_read_as_messages() {
    let server = Running::echo(1, Limits::default());
    let mut client = RawClient::connect(server.address);
    // A protocol error with a megabyte behind it: a plain close() would reset the connection and
    // destroy the Close frame on its way.
    let mut bytes = vec![0x83, 0x80, 0, 0, 0, 0];
    bytes.resize(1 << 20, 0);
    let mut writing = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let _ = writing.write_all(&bytes);
        let _ = writing.shutdown(Shutdown::Write);
    });
    let (first, payload) = client.read_frame();
    assert_eq!((first, &payload[..2]), (0x88, &[3, 0xEA][..]));
    assert_eq!(client.read_rest(), b"");
    writer.join().unwrap();
}

#[test]
fn a_full_table_leaves_new_connections_waiting_until_there_is_room() {
    let options = ServerOptions { max_connections: 2, ..ServerOptions::default() };
    let server = Running::start(options, || support::Echo);
    let mut first = RawClient::connect(server.address);
    let second = RawClient::connect(server.address);
    let third = std::thread::spawn({
        let address = server.address;
        move || RawClient::connect(address)
    });
    first.send(1, b"still served");
    assert_eq!(first.read_message(), b"still served");
    drop(second);
    let mut third = third.join().unwrap();
    third.send(1, b"in");
    assert_eq!(third.read_message(), b"in");
}

/// Connects, sends one message, tells what came, closes.
struct OneMessage {
    address: SocketAddr,
    connected: bool,
    handle: moorline_mio::Handle,
    told: mpsc::Sender<String>,
}

impl Handler for OneMessage {
    fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        match event {
            Event::Open => outbox.text("from the client").unwrap(),
            Event::Text(text) => {
                self.told.send(text.to_string()).unwrap();
                outbox.close(CloseCode::NORMAL, "done");
            }
            Event::Closed(cause) => {
                self.told.send(cause.to_string()).unwrap();
                self.handle.stop();
            }
            _ => {}
        }
    }

    fn turn(&mut self, _: Instant, connections: &mut Connections<'_>) {
        if !std::mem::replace(&mut self.connected, true) {
            let request = ClientRequest::new("localhost", "/").unwrap();
            let limits = Arc::new(Limits::default());
            connections.connect(self.address, request, Box::new(OsEntropy), limits).unwrap();
        }
    }
}

fn run_client(address: SocketAddr) -> Vec<String> {
    let (told, heard) = mpsc::channel();
    let client = Client::new().unwrap();
    let mut handler = OneMessage { address, connected: false, handle: client.handle(), told };
    client.run(&mut handler).unwrap();
    drop(handler);
    heard.iter().collect()
}

#[test]
fn the_client_talks_to_the_server_and_closes_cleanly() {
    let server = Running::echo(1, Limits::default());
    assert_eq!(run_client(server.address), ["from the client", "closed here with 1000"]);
}

#[test]
fn a_client_that_nobody_answers_is_told_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(run_client(address), ["the transport ended without a Close"]);
}

#[test]
fn another_thread_wakes_the_loop_and_reaches_every_connection() {
    struct Broadcast(Arc<Mutex<Option<String>>>);
    impl Handler for Broadcast {
        fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
            if let Event::Request(_) = event {
                outbox.accept(&Accept::default()).unwrap();
            }
        }
        fn turn(&mut self, _: Instant, connections: &mut Connections<'_>) {
            if let Some(text) = self.0.lock().unwrap().take() {
                let frame = moorline_core::Frame::text(&text);
                let ids: Vec<_> = connections.ids().collect();
                for id in ids {
                    connections.outbox(id).unwrap().send(&frame).unwrap();
                }
            }
        }
    }
    let news = Arc::new(Mutex::new(None));
    let handler = {
        let news = news.clone();
        move || Broadcast(news.clone())
    };
    let server = Running::start(ServerOptions::default(), handler);
    let mut clients: Vec<_> = (0..5).map(|_| RawClient::connect(server.address)).collect();
    *news.lock().unwrap() = Some("hear ye".into());
    server.handles[0].wake();
    for client in &mut clients {
        assert_eq!(client.read_message(), b"hear ye");
    }
}

#[test]
fn the_handshake_deadline_is_kept_by_the_loop() {
    struct Recorder(mpsc::Sender<&'static str>);
    impl Handler for Recorder {
        fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, _: &mut Outbox) {
            if let Event::Closed(cause) = event {
                assert!(matches!(cause, Cause::Timeout(_)));
                self.0.send(cause.name()).unwrap();
            }
        }
    }
    let (told, heard) = mpsc::channel();
    let limits = Limits { handshake_within: Duration::from_millis(50), ..Limits::default() };
    let options = ServerOptions { limits, ..ServerOptions::default() };
    let server = Running::start(options, move || Recorder(told.clone()));
    let mut silent = RawClient::tcp(server.address);
    assert!(silent.read_head().starts_with("HTTP/1.1 408 "));
    assert_eq!(heard.recv(), Ok("handshake-timeout"));
}
