//! A process without file descriptors: who is there is served, nobody spins, the host's own commands work,
//! and it goes on later.
#![cfg(target_os = "linux")]

#[path = "support/admin.rs"]
mod admin;
mod support;
#[path = "support/gateway.rs"]
mod world;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::net::TcpStream;
use std::time::Duration;
use support::{Peer, Process};
use world::{Gateway, folder};

/// More than the process may open.
const DIALS: usize = 200;

/// How long it is without any.
const SHORTAGE: Duration = Duration::from_millis(500);

#[test]
fn a_server_without_file_descriptors_serves_who_is_there_and_recovers() {
    let server = Process::echo();
    let address = server.address;
    let few = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(Some(Pid::from_child(&server.child)), Resource::Nofile, few).unwrap();

    let mut served = Peer::connect(address);
    // The kernel completes these whether or not the process can accept them.
    let dials: Vec<_> = (0..DIALS).map(|_| TcpStream::connect(address).unwrap()).collect();
    served.send(1, b"still here");
    assert_eq!(served.read_message(), b"still here");

    let before = cpu_time(server.child.id());
    std::thread::sleep(SHORTAGE);
    let used = cpu_time(server.child.id()) - before;
    println!("{used:?} of processor time in {SHORTAGE:?} without a file descriptor");
    assert!(used < SHORTAGE / 20, "{used:?} of processor time");
    served.send(1, b"and here");
    assert_eq!(served.read_message(), b"and here");

    drop(dials);
    let mut late = Peer::connect(address);
    late.send(1, b"room again");
    assert_eq!(late.read_message(), b"room again");
}

#[test]
fn the_hosts_commands_reach_a_gateway_without_file_descriptors() {
    let state = folder("admin-out-of-files");
    let gateway = Gateway::start(&state);
    let few = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(Some(Pid::from_child(&gateway.child)), Resource::Nofile, few).unwrap();
    let _dials: Vec<_> = (0..DIALS).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    // Each takes two of the few that are kept, which are there again for the next.
    for _ in 0..5 {
        assert!(admin::text_of(&state, &["devices"]).contains("Nobody asks"));
    }
}

/// Processor time of a process of one thread.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}
