//! A log that cannot be written, or that nobody reads, must not stop the gateway.

mod support;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use support::{Peer, Process};

/// A gateway whose stderr is a pipe.
fn gateway(name: &str) -> Process {
    // Below the build's own folder, which is not kept.
    let state = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--token", "t"]);
    // Otherwise lines that are alike are folded.
    command.args(["--log-level", "debug", "--state-dir"]).arg(state).stderr(Stdio::piped());
    Process::of(&mut command)
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
    make_noise(gateway("unread").address);
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_gateway() {
    let mut gateway = gateway("unwritable");
    drop(gateway.child.stderr.take());
    make_noise(gateway.address);
}
