//! A running server, and a client that speaks in bytes.
#![allow(dead_code)]

use moorline_core::{Accept, Event, Limits, Outbox};
use moorline_mio::{ConnId, Handle, Handler, Server, ServerOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A read that takes longer than this is a failure, not a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a free port, stopped when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub handles: Vec<Handle>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn echo(loops: usize, limits: Limits) -> Self {
        Self::start(ServerOptions { loops, limits, ..ServerOptions::default() }, || Echo)
    }

    pub fn start<H: Handler>(
        options: ServerOptions,
        handler: impl Fn() -> H + Sync + Send + 'static,
    ) -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let (address, handles) = (server.local_addr(), server.handles());
        let thread = std::thread::spawn(move || server.run(|_, _| handler()).unwrap());
        Self { address, handles, thread: Some(thread) }
    }

    pub fn stop(&mut self) {
        for handle in &self.handles {
            handle.stop();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers what it gets.
pub struct Echo;

impl Handler for Echo {
    fn event(&mut self, _now: Instant, _id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        let _ = match event {
            Event::Request(_) => return outbox.accept(&Accept::default()).unwrap(),
            Event::Text(text) => outbox.text(text),
            Event::Binary(data) => outbox.binary(data),
            _ => Ok(()),
        };
    }
}

/// A WebSocket client of a few lines: masked frames out, unmasked frames in.
pub struct RawClient {
    pub stream: TcpStream,
}

impl RawClient {
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::tcp(address);
        client.send_raw(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    pub fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        let frame = masked(opcode, payload);
        self.send_raw(&frame);
    }

    pub fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// The next frame: its first byte and its payload.
    pub fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).unwrap();
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len).unwrap();
                usize::try_from(u64::from_be_bytes(len)).unwrap()
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0], payload)
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

    /// What comes until the end of file.
    pub fn read_rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// A final masked frame.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0xFF);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    frame
}
