//! The real binary by a configuration file, its log line by line, and clients that ask it.
#![allow(dead_code)]

use super::support::{self, PATIENCE, Peer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

/// A command with no settings of the machine it runs on.
pub fn moorline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MOORLINE_") {
            command.env_remove(name);
        }
    }
    command
}

/// An empty folder below the build's own, which is not kept.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

pub fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A running gateway and its log.
pub struct Gateway {
    pub child: Child,
    pub address: SocketAddr,
    pub log: Receiver<Value>,
}

impl Gateway {
    pub fn start(state: &Path) -> Self {
        Self::with(state, &[])
    }

    /// With these variables.
    pub fn with(state: &Path, variables: &[(&str, &str)]) -> Self {
        Self::of(moorline().envs(variables.iter().copied()), state)
    }

    /// By a command that takes the arguments of the gateway.
    pub fn of(command: &mut Command, state: &Path) -> Self {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--state-dir"])
            .arg(state)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address = ready.trim().rsplit_once("://").unwrap().1.trim_end_matches("/ws");
        Self { address: address.parse().unwrap(), child, log }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The next line with this message.
    pub fn line(&self, message: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {message:?}"));
            if line["message"] == message {
                return line;
            }
        }
    }

    pub fn reload(&self) -> Value {
        self.signal(Signal::HUP);
        self.line("configuration reloaded")
    }

    pub fn refuse_to_reload(&self) -> String {
        self.signal(Signal::HUP);
        let line = self.line("configuration not reloaded: nothing has changed");
        line["problem"].as_str().unwrap().to_string()
    }

    /// The status of an upgrade by a page.
    pub fn upgrade(&self, origin: &str) -> u16 {
        let mut client = Peer::tcp(self.address);
        client.send_raw(
            format!(
                "GET /ws HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Version: 13\r\n\r\n"
            )
            .as_bytes(),
        );
        client.read_head().split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn login(&self, token: &str, user: &str) -> Client {
        let mut client = Client { raw: Peer::connect(self.address), requests: 0 };
        let hello = client.call("connect", &json!({"token": token, "user_id": user}));
        assert_eq!(hello.unwrap()["ok"], true);
        client
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Client {
    pub raw: Peer,
    pub requests: u64,
}

impl Client {
    /// The answer; or code and reason, when the gateway closes instead.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, (u16, String)> {
        self.requests += 1;
        let id = self.requests.to_string();
        let request = json!({"type": "req", "id": id, "method": method, "params": params});
        // Who was closed meanwhile finds that when reading.
        let frame = support::masked(1, request.to_string().as_bytes());
        let _ = std::io::Write::write_all(&mut self.raw.stream, &frame);
        loop {
            let (first, payload) = self.raw.read_frame();
            match first {
                0x88 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return Err((code, String::from_utf8_lossy(&payload[2..]).into_owned()));
                }
                0x81 => {
                    let message: Value = serde_json::from_slice(&payload).unwrap();
                    if message["id"] == id.as_str() {
                        return Ok(message);
                    }
                }
                _ => {}
            }
        }
    }
}
