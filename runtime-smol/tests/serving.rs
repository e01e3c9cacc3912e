//! What only the adapter of smol has: `drive` over any stream, `serve` as a future, handlers that are
//! full.

mod support;

use moorline_core::{Accept, Cause, Connection, Event, Limits, Outbox};
use moorline_smol::{Handler, ServeOptions, drive, serve};
use smol::io::{AsyncRead, AsyncWrite};
use smol::{Async, future};
use std::io::{self, IoSlice, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use support::{Peer, Running, echo, masked, request};

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

#[test]
fn everything_read_at_once_is_answered_with_one_write() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writes = Arc::new(AtomicUsize::new(0));
    let stream = Counting { stream: Async::new(ours).unwrap(), writes: writes.clone() };
    theirs.write_all(&request("")).unwrap();
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
    let mut client = Peer::connect(address);
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
    let mut client = Peer::connect(server.address);
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
