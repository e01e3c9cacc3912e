//! A running server, and a client that speaks in bytes.
#![allow(dead_code)]

use moorline_core::{Accept, Event, Limits, Outbox};
use moorline_smol::{Handler, Incoming, ServeOptions, Stop, serve};
use smol::Async;
use socket2::{Domain, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// A read that takes longer than this is a failure, not a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a free port, with its own thread, stopped when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn echo(limits: Limits) -> Self {
        Self::start(ServeOptions { limits, ..ServeOptions::default() }, |_| echo)
    }

    pub fn start<H: Handler + Send + Unpin + 'static>(
        options: ServeOptions,
        open: impl FnMut(&mut Incoming<'_>) -> H + Send + 'static,
    ) -> Self {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let stop = options.stop.clone();
        let thread = std::thread::spawn(move || smol::block_on(serve(listener, options, open)));
        Self { address, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    pub fn stop(&mut self) {
        self.stop.stop();
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

/// An address that refuses connections, as long as the socket is kept: nobody else can get the port.
pub fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Answers what it gets.
pub fn echo(event: Event<'_>, outbox: &mut Outbox) {
    let _ = match event {
        Event::Request(_) => return outbox.accept(&Accept::default()).unwrap(),
        Event::Text(text) => outbox.text(text),
        Event::Binary(data) => outbox.binary(data),
        _ => Ok(()),
    };
}

/// A WebSocket client of a few lines: masked frames out, unmasked frames in.
pub struct RawClient {
    pub stream: TcpStream,
}

impl RawClient {
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::tcp(address);
        client.upgrade();
        client
    }

    pub fn upgrade(&mut self) {
        self.send_raw(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
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

    /// As [`RawClient::read_rest`], when the other end may also just vanish.
    pub fn read_rest_of_any_kind(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
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
