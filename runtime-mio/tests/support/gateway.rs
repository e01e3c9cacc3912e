//! The real binary as a process, and a client whose calls may fail because that process was killed.
#![allow(dead_code, clippy::needless_pass_by_value)]

use super::support::{PATIENCE, masked};
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder below the build's own, which is not kept; empty.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--token", "t", "--state-dir"])
        .arg(state)
        .env("MOORLINE_LOG_LEVEL", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts a gateway that is expected to refuse to; gives its exit code and what it said.
pub fn refused(state: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(state).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

pub use super::support::Process as Gateway;

impl Gateway {
    pub fn start(state: &Path) -> Self {
        Self::with(state, &[])
    }

    /// With more arguments.
    pub fn with(state: &Path, arguments: &[&str]) -> Self {
        Self::of(command(state).args(arguments).stderr(Stdio::inherit()))
    }
}

/// A client.
pub struct Client {
    stream: BufReader<TcpStream>,
    next: u64,
}

impl Client {
    pub fn login(address: SocketAddr, user: &str) -> io::Result<Self> {
        let mut client = Self::open(address)?;
        client.call("connect", json!({"token": "t", "user_id": user}))?;
        Ok(client)
    }

    /// A client that is not logged in yet.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { stream, next: 0 })
    }

    /// Sends a request and takes its answer, which must be the next one, as it is.
    pub fn ask(&mut self, method: &str, params: Value) -> io::Result<Value> {
        let asked = self.request(method, params)?;
        let (id, answer) = self.answer()?;
        assert_eq!(id, asked);
        Ok(answer)
    }

    /// Sends a request; gives its id.
    pub fn request(&mut self, method: &str, params: Value) -> io::Result<String> {
        self.next += 1;
        let id = self.next.to_string();
        let text = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        self.stream.get_mut().write_all(&masked(1, text.as_bytes()))?;
        Ok(id)
    }

    /// The next answer: its request's id and the whole message.
    pub fn answer(&mut self) -> io::Result<(String, Value)> {
        loop {
            let (first, payload) = self.frame()?;
            if first == 0x88 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if first != 0x81 {
                continue;
            }
            let mut message: Value = serde_json::from_slice(&payload).unwrap();
            if message["type"] == "res" {
                let Value::String(id) = message["id"].take() else { panic!("{message}") };
                return Ok((id, message));
            }
        }
    }

    /// The payload of the next event of this name; what comes before it is skipped.
    pub fn event(&mut self, name: &str) -> io::Result<Value> {
        loop {
            let (first, payload) = self.frame()?;
            if first == 0x88 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if first == 0x81 {
                let mut message: Value = serde_json::from_slice(&payload).unwrap();
                if message["event"] == name {
                    return Ok(message["payload"].take());
                }
            }
        }
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says goodbye.
    pub fn send_close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.stream.get_mut().write_all(&masked(8, &payload))
    }

    /// Code and reason of the Close that ends the connection; what comes before it is skipped.
    pub fn closed(&mut self) -> io::Result<(u16, String)> {
        loop {
            let (first, payload) = self.frame()?;
            if first == 0x88 {
                let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
                return Ok((u16::from_be_bytes([payload[0], payload[1]]), reason));
            }
        }
    }

    /// The first byte and the payload of a frame.
    pub fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len)?;
                u64::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len)?;
                u64::from_be_bytes(len)
            }
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload)?;
        assert!(head[0] & 0x80 != 0, "messages here are smaller than a fragment");
        Ok((head[0], payload))
    }

    /// Sends a request and takes its answer, which must be the next one and a good one.
    pub fn call(&mut self, method: &str, params: Value) -> io::Result<Value> {
        let mut answer = self.ask(method, params)?;
        assert_eq!(answer["ok"], true, "{answer}");
        Ok(answer["payload"].take())
    }

    /// All messages of a session.
    pub fn history(&mut self, session: &str) -> io::Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut params = json!({"sessionKey": session, "limit": 100});
            if let Some(first) = all.first() {
                params["before"] = first["id"].clone();
            }
            let mut page = self.call("chat.history", params)?;
            let more = page["more"] == true;
            let Value::Array(mut messages) = page["messages"].take() else { panic!("{page}") };
            messages.append(&mut all);
            all = messages;
            if !more {
                return Ok(all);
            }
        }
    }
}
