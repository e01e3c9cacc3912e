//! What an idle connection costs the real process, as the system counts it.

mod support;

use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use support::Peer;

/// Resident bytes per idle connection.
const CEILING: u64 = 512;

#[test]
fn ten_thousand_idle_connections_cost_under_512_bytes_each() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let connections = limit.current.unwrap_or(u64::MAX).saturating_sub(500).min(10_000);
    assert!(connections >= 3_000, "this machine allows too few open files to tell");

    let mut server = Command::new(env!("CARGO_BIN_EXE_moorline"))
        .args(["echo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = ready.trim().rsplit_once("ws://").unwrap().1.trim_end_matches('/');
    let address = address.parse().unwrap();

    // The first connections pay for what all share: buffers, code pages, tables.
    let _warm: Vec<_> = (0..100).map(|_| Peer::connect(address)).collect();
    let before = resident(server.id());
    let _idle: Vec<_> = (0..connections).map(|_| Peer::connect(address)).collect();
    let after = resident(server.id());
    server.kill().unwrap();
    server.wait().unwrap();

    let each = (after - before) / connections;
    println!("{each} resident bytes per idle connection, of {connections}");
    assert!(each < CEILING, "{each} bytes each");
}

/// VmRSS of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
