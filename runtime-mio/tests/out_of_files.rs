//! A process without file descriptors: who is there is served, nobody spins, and it goes on later.
#![cfg(target_os = "linux")]

mod support;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::Peer;

/// More than the process may open.
const DIALS: usize = 200;

/// How long it is without any.
const SHORTAGE: Duration = Duration::from_millis(500);

#[test]
fn a_server_without_file_descriptors_serves_who_is_there_and_recovers() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_moorline"))
        .args(["echo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = ready.trim().rsplit_once("ws://").unwrap().1.trim_end_matches('/');
    let address = address.parse().unwrap();
    let few = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(Some(Pid::from_child(&server)), Resource::Nofile, few).unwrap();

    let mut served = Peer::connect(address);
    // The kernel completes these whether or not the process can accept them.
    let dials: Vec<_> = (0..DIALS).map(|_| TcpStream::connect(address).unwrap()).collect();
    served.send(1, b"still here");
    assert_eq!(served.read_message(), b"still here");

    let before = cpu_time(server.id());
    std::thread::sleep(SHORTAGE);
    let used = cpu_time(server.id()) - before;
    println!("{used:?} of processor time in {SHORTAGE:?} without a file descriptor");
    assert!(used < SHORTAGE / 20, "{used:?} of processor time");
    served.send(1, b"and here");
    assert_eq!(served.read_message(), b"and here");

    drop(dials);
    let mut late = Peer::connect(address);
    late.send(1, b"room again");
    assert_eq!(late.read_message(), b"room again");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Processor time of a process of one thread.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}
