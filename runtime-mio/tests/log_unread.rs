//! A log that cannot be written, or that nobody reads, must not stop the gateway.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use support::Peer;

/// A gateway whose stderr is a pipe.
fn gateway(name: &str) -> (Child, SocketAddr) {
    // Below the build's own folder, which is not kept.
    let state = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut child = Command::new(env!("CARGO_BIN_EXE_moorline"))
        .args(["serve", "--listen", "127.0.0.1:0", "--token", "t", "--state-dir"])
        .arg(state)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = ready.trim().rsplit_once("ws://").unwrap().1.trim_end_matches("/ws");
    let address = address.parse().unwrap();
    (child, address)
}

/// Each of these is a log line: more than a pipe holds.
fn make_noise(address: SocketAddr) {
    for _ in 0..1500 {
        let mut client = Peer::tcp(address);
        client.send_raw(b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(client.read_head().starts_with("HTTP/1.1 404 "));
    }
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_gateway() {
    let (mut child, address) = gateway("unread");
    make_noise(address);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_gateway() {
    let (mut child, address) = gateway("unwritable");
    drop(child.stderr.take());
    make_noise(address);
    child.kill().unwrap();
    child.wait().unwrap();
}
