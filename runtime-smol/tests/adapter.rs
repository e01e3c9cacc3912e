//! The smol adapter over real sockets: what it promises beyond the core.

mod support;

use moorline_core::{Accept, Cause, Connection, Event, Limits, Outbox, Response};
use moorline_smol::{Handler, ServeOptions, drive, serve};
use smol::io::{AsyncRead, AsyncWrite};
use smol::{Async, future};
use std::io::{self, IoSlice, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use support::{RawClient, Running, echo, masked};

/// Counts the writes that reach the system.
struct Counting {
    stream: Async<UnixStream>,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, bytes)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

type Driving = Pin<Box<dyn Future<Output = ()>>>;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn everything_read_at_once_is_answered_with_one_write() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writes = Arc::new(AtomicUsize::new(0));
    let stream = Counting { stream: Async::new(ours).unwrap(), writes: writes.clone() };
    theirs.write_all(REQUEST).unwrap();
    let connection = Connection::server(Arc::new(Limits::default()), Instant::now());
    let mut driving: Driving = Box::pin(drive(stream, connection, echo));
    let poll = |driving: &mut Driving| smol::block_on(future::poll_once(driving.as_mut()));
    assert_eq!(poll(&mut driving), None);
    assert_eq!(writes.load(Ordering::SeqCst), 1, "the 101 answer");
    for round in 2..10 {
        let batch: Vec<u8> = (0..32).flat_map(|_| masked(1, b"twenty bytes of text")).collect();
        theirs.write_all(&batch).unwrap();
        assert_eq!(poll(&mut driving), None);
        assert_eq!(writes.load(Ordering::SeqCst), round, "32 replies, one write");
    }
}

#[test]
fn a_slow_reader_of_a_large_message_gets_every_byte_and_delays_nobody() {
    let limits = Limits { message: 8 << 20, outbox: 32 << 20, ..Limits::default() };
    let server = Running::echo(limits);
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
fn stopping_closes_every_connection_with_1001_and_ends_the_server() {
    let mut server = Running::echo(Limits::default());
    let clients: Vec<_> = (0..8).map(|_| RawClient::connect(server.address)).collect();
    let mut silent = RawClient::tcp(server.address);
    let address = server.address;
    let began = Instant::now();
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
    // It was accepted or it still waited for that: neither holds the server up.
    let answer = silent.read_rest_of_any_kind();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503 "));
    drop(silent);
    stopping.join().unwrap();
    assert!(began.elapsed() < Limits::default().close_within, "nothing waited for a deadline");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_half_closed_request_still_gets_its_answer() {
    let hello = |event: Event<'_>, outbox: &mut Outbox| {
        if let Event::Request(_) = event {
            outbox.respond(&Response::text(200, "hello")).unwrap();
        }
    };
    let server = Running::start(ServeOptions::default(), move |_| hello);
    let mut client = RawClient::tcp(server.address);
    client.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let answer = String::from_utf8(client.read_rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
}

#[test]
fn a_close_frame_survives_bytes_that_are_never_read_as_messages() {
    let server = Running::echo(Limits::default());
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
fn a_full_server_leaves_new_connections_waiting_until_there_is_room() {
    let options = ServeOptions { max_connections: 2, ..ServeOptions::default() };
    let server = Running::start(options, |_| echo);
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

/// Tells the name of the cause of each ending.
fn recorder(told: mpsc::Sender<&'static str>) -> impl FnMut(Event<'_>, &mut Outbox) + Send + Unpin {
    move |event: Event<'_>, outbox: &mut Outbox| match event {
        Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
        Event::Closed(cause) => told.send(cause.name()).unwrap(),
        _ => {}
    }
}

#[test]
fn the_handshake_deadline_is_kept() {
    let (told, heard) = mpsc::channel();
    let limits = Limits { handshake_within: Duration::from_millis(50), ..Limits::default() };
    let options = ServeOptions { limits, ..ServeOptions::default() };
    let server = Running::start(options, move |_| recorder(told.clone()));
    let mut silent = RawClient::tcp(server.address);
    assert!(silent.read_head().starts_with("HTTP/1.1 408 "));
    assert_eq!(heard.recv(), Ok("handshake-timeout"));
}

#[test]
fn pings_are_sent_again_and_again_and_a_silent_peer_is_closed() {
    let (told, heard) = mpsc::channel();
    let limits = Limits {
        ping_every: Duration::from_millis(20),
        pong_within: Duration::from_secs(1),
        ..Limits::default()
    };
    let options = ServeOptions { limits, ..ServeOptions::default() };
    let server = Running::start(options, move |_| recorder(told.clone()));
    let mut client = RawClient::connect(server.address);
    for _ in 0..5 {
        assert_eq!(client.read_frame(), (0x89, Vec::new()));
        client.send(10, b"");
    }
    assert_eq!(client.read_frame(), (0x89, Vec::new()));
    let (first, payload) = client.read_frame();
    assert_eq!((first, &payload[2..]), (0x88, &b"keepalive timeout"[..]));
    assert_eq!(heard.recv(), Ok("keepalive-timeout"));
}

#[test]
fn a_cut_connection_is_told_as_such() {
    let (told, heard) = mpsc::channel();
    let server = Running::start(ServeOptions::default(), move |_| recorder(told.clone()));
    drop(RawClient::connect(server.address));
    assert_eq!(heard.recv(), Ok("eof"));
}

#[test]
fn dropping_serve_drops_its_listener_and_its_connections() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let (drop_it, dropped) = smol::channel::bounded::<()>(1);
    let thread = std::thread::spawn(move || {
        let serving = serve(listener, ServeOptions::default(), |_| echo);
        let dropped = async {
            let _ = dropped.recv().await;
        };
        smol::block_on(future::or(serving, dropped));
    });
    let mut client = RawClient::connect(address);
    client.send(1, b"here");
    assert_eq!(client.read_message(), b"here");
    drop_it.send_blocking(()).unwrap();
    assert_eq!(client.read_rest_of_any_kind(), b"");
    thread.join().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_handler_that_is_full_is_not_read_for_and_stays_alive() {
    /// Takes one message, then nothing until it is told.
    struct Picky {
        full: Arc<std::sync::atomic::AtomicBool>,
        told: mpsc::Sender<String>,
    }
    impl Handler for Picky {
        fn event(&mut self, _: Instant, event: Event<'_>, outbox: &mut Outbox) {
            match event {
                Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
                Event::Text(text) => {
                    self.full.store(true, Ordering::SeqCst);
                    self.told.send(text.into()).unwrap();
                }
                Event::Closed(cause) => self.told.send(cause.to_string()).unwrap(),
                _ => {}
            }
        }
        fn is_full(&self) -> bool {
            self.full.load(Ordering::SeqCst)
        }
    }
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (told, heard) = mpsc::channel();
    let (senders, sender) = mpsc::channel();
    let handler = full.clone();
    let limits = Limits {
        ping_every: Duration::from_millis(10),
        pong_within: Duration::from_millis(300),
        ..Limits::default()
    };
    let options = ServeOptions { limits, ..ServeOptions::default() };
    let server = Running::start(options, move |incoming| {
        senders.send(incoming.sender()).unwrap();
        Picky { full: handler.clone(), told: told.clone() }
    });
    let mut client = RawClient::connect(server.address);
    let sender = sender.recv().unwrap();
    client.send(1, b"one");
    assert_eq!(heard.recv().as_deref(), Ok("one"));
    let two = "two".repeat(30);
    client.send(1, two.as_bytes());
    // The client answers, but its Pongs stay in the kernel behind the message.
    for _ in 0..4 {
        assert_eq!(client.read_frame(), (0x89, Vec::new()));
        client.send(10, b"");
    }
    assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty));
    full.store(false, Ordering::SeqCst);
    sender.wake();
    assert_eq!(heard.recv().as_deref(), Ok(two.as_str()));
    let cause = Cause::Eof.to_string();
    full.store(false, Ordering::SeqCst);
    sender.wake();
    drop(client);
    assert_eq!(heard.recv().as_ref(), Ok(&cause));
}
