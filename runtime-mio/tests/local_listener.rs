//! A Unix domain socket beside the port: the same protocol, for processes of this machine.

use moorline_core::{Accept, Event, Outbox};
use moorline_mio::{ConnId, Connections, Handler, Peer, Server, ServerOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const PATIENCE: Duration = Duration::from_secs(10);

/// What the handler was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened(Peer),
    Stopping,
}

struct Telling {
    told: Sender<Told>,
    may_stop: Arc<AtomicBool>,
}

impl Handler for Telling {
    fn opened(&mut self, _: Instant, _: ConnId, peer: Peer) {
        self.told.send(Told::Opened(peer)).unwrap();
    }

    fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        match event {
            Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
            Event::Text(text) => outbox.text(text).unwrap(),
            _ => {}
        }
    }

    fn stopping(&mut self, _: Instant, _: &mut Connections<'_>) {
        self.told.send(Told::Stopping).unwrap();
    }

    fn may_stop(&self) -> bool {
        self.may_stop.load(Ordering::Acquire)
    }
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("the loop runs")
}

/// Upgrades, and has one text come back.
fn converse(mut stream: impl Read + Write) {
    stream.write_all(UPGRADE).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
}

fn connect_locally(path: &PathBuf) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn the_local_socket_is_told_apart_and_still_there_when_the_port_is_full_or_closed() {
    let name = format!("moorline-local-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let options = ServerOptions { max_connections: 1, ..ServerOptions::default() };
    let mut server = Server::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    server.listen_locally(UnixListener::bind(&path).unwrap()).unwrap();
    let (address, handle) = (server.local_addr(), server.handles().remove(0));
    let (tell, told) = mpsc::channel();
    let may_stop = Arc::new(AtomicBool::new(false));
    let running = {
        let may_stop = may_stop.clone();
        std::thread::spawn(move || {
            server.run(|_, _| Telling { told: tell.clone(), may_stop: may_stop.clone() })
        })
    };

    let over_tcp = TcpStream::connect(address).unwrap();
    over_tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    converse(&over_tcp);
    assert_eq!(next(&told), Told::Opened(Peer::Network(over_tcp.local_addr().unwrap())));

    // The loop is full: the kernel keeps a second one, the local socket does not wait.
    let waiting = TcpStream::connect(address).unwrap();
    let local = connect_locally(&path);
    converse(&local);
    assert_eq!(next(&told), Told::Opened(Peer::Local));

    handle.stop();
    assert_eq!(next(&told), Told::Stopping);
    TcpStream::connect(address).expect_err("the port is closed");
    let late = connect_locally(&path);
    converse(&late);
    assert_eq!(next(&told), Told::Opened(Peer::Local));

    may_stop.store(true, Ordering::Release);
    handle.wake();
    let mut rest = Vec::new();
    for mut stream in [&local, &late] {
        stream.read_exact(&mut [0; 4]).unwrap();
        // They do not answer the close frame: it ends without them.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut rest).unwrap();
    }
    drop((over_tcp, waiting));
    running.join().unwrap().unwrap();
    UnixStream::connect(&path).expect_err("nobody listens");
    std::fs::remove_file(&path).unwrap();
}
