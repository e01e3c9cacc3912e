//! A peer of a few lines on a blocking socket: it speaks in bytes, and knows nothing of the code under
//! test.

use socket2::SockRef;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A read that takes longer than this is a failure, not a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An upgrade request up to its last header.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

/// What every client of these tests masks with.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// One end of a connection, in bytes.
pub struct Peer {
    pub stream: TcpStream,
    /// What its frames are masked with: a client's are, a server's are not.
    pub key: Option<[u8; 4]>,
}

impl Peer {
    /// A client whose upgrade was accepted.
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::tcp(address);
        client.upgrade();
        client
    }

    /// A client that has sent nothing.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap(), Some(KEY))
    }

    /// A server's end.
    pub fn server(stream: TcpStream) -> Self {
        Self::new(stream, None)
    }

    fn new(stream: TcpStream, key: Option<[u8; 4]>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, key }
    }

    pub fn upgrade(&mut self) {
        self.upgrade_with("");
    }

    /// Upgrades with more header lines, and gives the answer's head.
    pub fn upgrade_with(&mut self, headers: &str) -> String {
        self.send_raw(&request(headers));
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        head
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame(0x80 | opcode, payload);
        self.send_raw(&frame);
    }

    /// A frame as this end sends it.
    pub fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, self.key, payload)
    }

    pub fn read_head(&mut self) -> String {
        let mut head = vec![0; 1024];
        // Mostly all of it is there; what follows it is not ours to take.
        let there = self.stream.peek(&mut head).unwrap();
        let end = head[..there].windows(4).position(|four| four == b"\r\n\r\n");
        head.truncate(end.map_or(0, |end| end + 4));
        self.stream.read_exact(&mut head).unwrap();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// The first byte of the next frame, how long its payload is, and what it is masked with. Only a
    /// client's frames may be masked, and all of them must be (RFC 6455 section 5.1).
    pub fn read_frame_header(&mut self) -> (u8, usize, Option<[u8; 4]>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        assert_eq!(head[1] & 0x80 != 0, self.key.is_none(), "who masks");
        let len = match head[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes(self.read_array())),
            127 => u64::from_be_bytes(self.read_array()),
            len => u64::from(len),
        };
        let key = self.key.is_none().then(|| self.read_array());
        (head[0], usize::try_from(len).unwrap(), key)
    }

    fn read_array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame: its first byte and its payload.
    pub fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let (first, len, key) = self.read_frame_header();
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        if let Some(key) = key {
            mask(key, &mut payload);
        }
        (first, payload)
    }

    /// The next message, of however many frames.
    pub fn read_message(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        loop {
            let (first, payload) = self.read_frame();
            if first & 0x08 != 0 {
                continue;
            }
            message.extend_from_slice(&payload);
            if first & 0x80 != 0 {
                return message;
            }
        }
    }

    /// The code and the reason of the next frame, which must be a Close.
    pub fn read_close(&mut self) -> (u16, String) {
        let (first, payload) = self.read_frame();
        assert_eq!(first, 0x88, "{}", payload.escape_ascii());
        let (code, reason) = payload.split_at(2);
        let code = u16::from_be_bytes(code.try_into().unwrap());
        (code, String::from_utf8(reason.to_vec()).unwrap())
    }

    /// Ends the connection with a reset instead of an end of file.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// What comes until the end of file.
    pub fn read_rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    /// As [`Peer::read_rest`], when the other end may also just vanish.
    pub fn read_rest_of_any_kind(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        rest
    }
}

/// An upgrade request with more header lines.
pub fn request(headers: &str) -> Vec<u8> {
    format!("{REQUEST}{headers}\r\n").into_bytes()
}

/// A final frame of a client.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, Some(KEY), payload)
}

fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let is_masked = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(is_masked | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(is_masked | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(is_masked | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend(key.into_iter().flatten());
    let start = frame.len();
    frame.extend_from_slice(payload);
    if let Some(key) = key {
        mask(key, &mut frame[start..]);
    }
    frame
}

fn mask(key: [u8; 4], payload: &mut [u8]) {
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}
