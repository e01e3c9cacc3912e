//! What a loop counts of its traffic is what its peers see of it, to the byte and the frame.

#[path = "tls/support.rs"]
mod support;

use moorline_core::Limits;
use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::rustls::{ClientConnection, StreamOwned};
use moorline_mio::{Counters, ServerOptions, TlsOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use support::certificates::Authority;
use support::{Echo, PATIENCE, Peer, Running, masked, request};

/// A socket that counts what goes through it.
struct Tallied {
    socket: TcpStream,
    read: u64,
    written: u64,
}

impl Tallied {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, read: 0, written: 0 }
    }
}

impl Read for Tallied {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(room)?;
        self.read += count as u64;
        Ok(count)
    }
}

impl Write for Tallied {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.socket.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Upgrades, says seven frames of all kinds, and reads to the end. Gives the first bytes of the frames that
/// came.
fn converse(stream: &mut (impl Read + Write)) -> Vec<u8> {
    stream.write_all(&request("")).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read_array::<1>(stream)[0]);
    }
    let mut firsts = Vec::new();
    for (said, answers) in [
        (masked(1, b"small"), 1),
        // It comes back in two frames.
        (masked(2, &vec![7; 70_000]), 2),
        // A text in two frames, which comes back in one; and a Pong that nobody asked for.
        ([&[0x01], &masked(1, b"one ")[1..], &masked(0, b"two"), &masked(10, b"")].concat(), 1),
        (masked(9, b"there?"), 1),
        (masked(8, &1000_u16.to_be_bytes()), 1),
    ] {
        stream.write_all(&said).unwrap();
        stream.flush().unwrap();
        firsts.extend((0..answers).map(|_| read_frame(stream)));
    }
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    firsts
}

/// What comes back.
const ANSWERS: [u8; 6] = [0x81, 0x02, 0x80, 0x81, 0x8A, 0x88];

/// Reads a frame; gives its first byte.
fn read_frame(stream: &mut impl Read) -> u8 {
    let [first, len] = read_array(stream);
    let len = match len {
        126 => u64::from(u16::from_be_bytes(read_array(stream))),
        127 => u64::from_be_bytes(read_array(stream)),
        len => u64::from(len),
    };
    let read = io::copy(&mut stream.take(len), &mut io::sink()).unwrap();
    assert_eq!(read, len);
    first
}

fn read_array<const N: usize>(stream: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn roomy() -> Limits {
    let (message, outbox) = (1 << 20, 64 << 20);
    Limits { message, outbox, outbox_pause: outbox, ..Limits::default() }
}

/// What was counted, once the server has ended.
fn end(mut server: Running) -> Counters {
    server.stop();
    server.handles[0].counters()
}

#[test]
fn bytes_and_frames_are_counted_in_both_directions() {
    let server = Running::echo(1, roomy());
    let mut stream = Tallied::connect(server.address);
    assert_eq!(converse(&mut stream), ANSWERS);
    stream.socket.shutdown(Shutdown::Both).unwrap();
    let Counters { bytes_read, bytes_written, frames_received, frames_sent, .. } = end(server);
    assert_eq!((bytes_read, bytes_written), (stream.written, stream.read));
    assert_eq!((frames_received, frames_sent), (7, 6));
}

#[test]
fn with_tls_bytes_are_those_on_the_wire_and_frames_the_same() {
    let authority = Authority::new();
    let tls = Some(TlsOptions::new(Arc::new(authority.issue().server())));
    let options = ServerOptions { tls, limits: roomy(), ..ServerOptions::default() };
    let server = Running::start(options, || Echo);
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(authority.client()), name).unwrap();
    let mut stream = StreamOwned::new(session, Tallied::connect(server.address));
    assert_eq!(converse(&mut stream), ANSWERS);
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    // Nothing comes behind the server's own close_notify.
    assert_eq!(stream.sock.read(&mut [0; 8]).unwrap(), 0);
    let Counters { bytes_read, bytes_written, frames_received, frames_sent, .. } = end(server);
    assert_eq!((bytes_read, bytes_written), (stream.sock.written, stream.sock.read));
    assert_eq!((frames_received, frames_sent), (7, 6));
}

/// Messages of 1 MiB, each of which comes back in 16 frames.
const MANY: u64 = 30;

#[test]
fn frames_that_nobody_read_are_not_counted_as_sent() {
    let server = Running::echo(1, roomy());
    let mut peer = Peer::connect(server.address);
    let large = vec![7; 1 << 20];
    // More than the buffers of both sockets hold, so that a part stays where it was queued.
    for _ in 0..MANY {
        peer.send(2, &large);
    }
    let mut first = [0; 10];
    peer.stream.read_exact(&mut first).unwrap();
    assert_eq!(first[0], 0x02);
    peer.reset();
    let counters = end(server);
    assert!((1..MANY * 16).contains(&counters.frames_sent), "{counters:?}");
    // Each holds 64 KiB, and the last one may have been cut.
    let least = (counters.frames_sent - 1) * 64 * 1024;
    assert!((least..least + (1 << 20)).contains(&counters.bytes_written), "{counters:?}");
}
