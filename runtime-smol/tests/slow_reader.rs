//! A slow reader of a large answer: every byte, no spinning, and the connection stays.

mod support;

use moorline_core::{Accept, Event, Limits, Outbox};
use moorline_smol::ServeOptions;
use rustix::time::{ClockId, clock_gettime};
use std::io::Read as _;
use std::time::Duration;
use support::{RawClient, Running};

const ANSWER: usize = 40 << 20;

#[test]
fn a_slow_reader_of_40_megabytes_gets_every_byte_without_spinning() {
    let limits = Limits {
        // Pings pass the answer while it waits, and the reader that drains is alive.
        ping_every: Duration::from_millis(100),
        pong_within: Duration::from_millis(1500),
        ..Limits::default()
    };
    let options = ServeOptions { limits, ..ServeOptions::default() };
    let server = Running::start(options, |_| {
        |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
            Event::Text(_) => outbox.binary(&vec![7; ANSWER]).unwrap(),
            _ => {}
        }
    });
    let mut client = RawClient::connect(server.address);
    client.send(1, b"all of it");
    let mut pings = 0;
    let mut received = 0;
    let before = cpu_time();
    let mut piece = vec![0; 64 * 1024];
    while received < ANSWER {
        let mut head = [0; 2];
        client.stream.read_exact(&mut head).unwrap();
        if head[0] == 0x89 {
            pings += 1;
            continue;
        }
        let mut length = [0; 8];
        client.stream.read_exact(&mut length).unwrap();
        let length = usize::try_from(u64::from_be_bytes(length)).unwrap();
        client.stream.read_exact(&mut piece[..length]).unwrap();
        assert!(piece[..length].iter().all(|byte| *byte == 7));
        received += length;
        // The slowness is the point: two seconds in all.
        std::thread::sleep(Duration::from_millis(3));
    }
    let used = cpu_time() - before;
    assert_eq!(received, ANSWER);
    println!("{pings} pings passed, {used:?} of processor time");
    // Both ends are in this process. Spinning would have used the whole two seconds.
    assert!(used < Duration::from_millis(1000), "{used:?} of processor time");
    client.send(1, b"once more");
    while client.read_frame().0 == 0x89 {}
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}
