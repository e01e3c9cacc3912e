//! What an idle connection costs the real process, as the system counts it.

mod support;

use rustix::process::{Resource, getrlimit, setrlimit};
use support::{Peer, Process};

/// Resident bytes per idle connection.
const CEILING: u64 = 512;

#[test]
fn ten_thousand_idle_connections_cost_under_512_bytes_each() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let connections = limit.current.unwrap_or(u64::MAX).saturating_sub(500).min(10_000);
    assert!(connections >= 3_000, "this machine allows too few open files to tell");

    let server = Process::echo();
    // The first connections pay for what all share: buffers, code pages, tables.
    let _warm: Vec<_> = (0..100).map(|_| Peer::connect(server.address)).collect();
    let before = server.memory("VmRSS:");
    let _idle: Vec<_> = (0..connections).map(|_| Peer::connect(server.address)).collect();
    let after = server.memory("VmRSS:");

    let each = (after - before) / connections;
    println!("{each} resident bytes per idle connection, of {connections}");
    assert!(each < CEILING, "{each} bytes each");
}
