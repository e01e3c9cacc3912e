//! A client that speaks TLS itself, on a blocking socket.
#![allow(dead_code)]

use super::support::{PATIENCE, masked, request};
use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub struct TlsPeer {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsPeer {
    /// A client whose upgrade was accepted.
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut peer = Self::shake(address, config).unwrap();
        peer.upgrade();
        peer
    }

    /// A client whose handshake of TLS is done.
    pub fn shake(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(config.clone(), name).unwrap();
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self { stream: StreamOwned::new(session, socket) })
    }

    pub fn upgrade(&mut self) {
        self.stream.write_all(&request("")).unwrap();
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
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

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.stream.write_all(&masked(opcode, payload)).unwrap();
    }

    /// The next frame: its first byte and its payload.
    pub fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let [first, len] = self.read_array();
        let len = match len {
            126 => usize::from(u16::from_be_bytes(self.read_array())),
            127 => usize::try_from(u64::from_be_bytes(self.read_array())).unwrap(),
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        (first, payload)
    }

    /// The next message, of however many frames.
    pub fn read_message(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        loop {
            let (first, payload) = self.read_frame();
            if first & 0x08 == 0 {
                message.extend_from_slice(&payload);
                if first & 0x80 != 0 {
                    return message;
                }
            }
        }
    }

    fn read_array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}
