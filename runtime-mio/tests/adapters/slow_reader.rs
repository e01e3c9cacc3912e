//! A slow reader of a large answer: every byte, no spinning, and the connection stays.
//!
//! The only test of its process, whose processor time it looks at.

use crate::support::{App, PATIENCE, Peer, Runtime, Server as _, Subject};
use moorline_core::{Accept, Event, Limits};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Bytes of the answer.
const ANSWER: usize = 40 << 20;

/// What the reader takes at a time.
const STEP: usize = 64 * 1024;

/// How long nothing is read, once the server has nothing left to do. It is what spinning would use up.
const STILL: Duration = Duration::from_millis(100);

/// Processor time per byte, many times what it takes without optimisation: 1 s for the answer.
const PER_MEGABYTE: Duration = Duration::from_millis(25);

#[test]
fn a_slow_reader_of_40_megabytes_gets_every_byte_without_spinning() {
    // Whoever does not take answers may not ask: the Ping waits, and is answered in the end.
    read_slowly(&Limits::default());
    // Whoever may go on asking is answered meanwhile.
    let pong_after = read_slowly(&Limits { outbox_pause: u32::MAX, ..Limits::default() });
    assert!(pong_after < ANSWER, "the Pong came after {pong_after} bytes");
}

/// Reads the answer in steps, with pauses in which the server must be asleep. Gives how many bytes of
/// it had come before the Pong.
fn read_slowly(limits: &Limits) -> usize {
    let (told, server_thread) = mpsc::channel();
    let server = Subject::serve(limits.clone().into(), move || -> App {
        let told = told.clone();
        Box::new(move |event, outbox| match event {
            Event::Request(_) => {
                told.send(Thread::this()).unwrap();
                outbox.accept(&Accept::default()).unwrap();
            }
            Event::Text("all of it") => outbox.binary(&answer()).unwrap(),
            Event::Text(text) => outbox.text(text).unwrap(),
            _ => {}
        })
    });
    let mut peer = Peer::connect(server.address());
    let thread = server_thread.recv().unwrap();
    let before = thread.cpu_time();
    peer.send(1, b"all of it");
    peer.send(9, b"now");

    let expected = answer();
    let (mut received, mut pong_after, mut stills) = (0, None, 0);
    let mut piece = vec![0; STEP];
    while received < ANSWER {
        if received >= stills * ANSWER / 5 {
            stills += 1;
            thread.sleeps_through(STILL);
        }
        let (first, mut len, _) = peer.read_frame_header();
        if first == 0x8A {
            assert_eq!(len, 3);
            pong_after = Some(received);
        }
        while len > 0 {
            let step = len.min(STEP);
            peer.stream.read_exact(&mut piece[..step]).unwrap();
            len -= step;
            if first == 0x8A {
                assert_eq!(&piece[..step], b"now");
            } else {
                assert!(piece[..step] == expected[received..received + step], "at {received}");
                received += step;
            }
        }
    }
    let used = thread.cpu_time() - before;
    println!("{used:?} of processor time for {ANSWER} bytes, {stills} pauses");
    assert!(used < PER_MEGABYTE * (ANSWER >> 20) as u32, "{used:?} of processor time");
    assert_eq!(received, ANSWER);
    let pong_after = pong_after.unwrap_or_else(|| {
        assert_eq!(peer.read_frame(), (0x8A, b"now".to_vec()));
        ANSWER
    });
    peer.send(1, b"once more");
    assert_eq!(peer.read_frame(), (0x81, b"once more".to_vec()));
    pong_after
}

fn answer() -> Vec<u8> {
    (0..ANSWER).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// A thread of this process, as the system accounts for it.
struct Thread(PathBuf);

impl Thread {
    fn this() -> Self {
        Self(Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap()))
    }

    /// Processor time so far, as the scheduler counts it.
    fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.0.join("schedstat")).unwrap();
        Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// That of all threads of this process that are alive: a runtime may have some of its own.
    fn cpu_time_of_all() -> Duration {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        threads.map(|thread| Self(thread.unwrap().path()).cpu_time()).sum()
    }

    /// Whether it waits for something: not running, and not about to.
    fn is_asleep(&self) -> bool {
        let stat = std::fs::read_to_string(self.0.join("stat")).unwrap();
        let (_, behind_name) = stat.rsplit_once(") ").unwrap();
        behind_name.starts_with('S')
    }

    /// Waits until it has nothing to do, and shows that it then does next to nothing. What else the
    /// machine does can delay the first, so it is tried again; one that spins never succeeds.
    fn sleeps_through(&self, time: Duration) {
        let began = Instant::now();
        loop {
            let before = Self::cpu_time_of_all();
            std::thread::sleep(time);
            let used = Self::cpu_time_of_all() - before;
            if used < time / 10 && self.is_asleep() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "it never sleeps: {used:?} of {time:?}");
        }
    }
}
