//! The real gateway with TLS as a process, and clients of it.
#![allow(dead_code)]

use super::support::certificates::Issued;
use super::support::{PATIENCE, request};
use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

/// A running gateway with certificates in its state folder.
pub struct Gateway {
    pub child: Child,
    pub address: SocketAddr,
    /// What it said on stdout.
    pub said: String,
    pub log: Receiver<Value>,
    pub folder: PathBuf,
}

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Gateway {
    pub fn start(name: &str, issued: &Issued, more: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        put(&folder, issued);
        let mut child = Command::new(env!("CARGO_BIN_EXE_moorline"))
            .args(["serve", "--listen", "127.0.0.1:0", "--token", "t", "--log-format", "json"])
            .args(["--log-level", "debug", "--state-dir"])
            .arg(&folder)
            .arg("--tls-cert")
            .arg(folder.join("cert.pem"))
            .arg("--tls-key")
            .arg(folder.join("key.pem"))
            .args(more)
            .stdin(Stdio::null())
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
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("\ntry: ") {
            assert_ne!(out.read_line(&mut said).unwrap(), 0, "{said}");
        }
        let first = said.lines().next().unwrap();
        let address = first.rsplit_once("wss://").expect(&said).1.trim_end_matches("/ws");
        Self { address: address.parse().unwrap(), child, said, log, folder }
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

    pub fn reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// The reason of the next handshake that fails.
    pub fn failed(&self) -> String {
        let line = self.line("TLS handshake failed");
        assert_eq!(line["cause"], "tls", "{line}");
        line["reason"].as_str().unwrap().to_string()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn put(folder: &Path, issued: &Issued) {
    std::fs::write(folder.join("cert.pem"), issued.certificate_pem()).unwrap();
    let key = folder.join("key.pem");
    std::fs::write(&key, issued.key_pem()).unwrap();
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn shake(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(config.clone(), name).unwrap();
    let mut socket = tcp(address);
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

pub fn head(stream: &mut impl io::Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub fn upgrade(stream: &mut Stream) {
    stream.write_all(&request("")).unwrap();
    let head = head(stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// What `/metrics` answers.
pub fn scrape(address: SocketAddr, config: &Arc<ClientConfig>) -> String {
    let mut stream = shake(address, config).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}
