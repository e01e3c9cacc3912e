//! Counts allocations: none per message in the steady state, none held while idle, and work that is
//! linear in what arrives where a count can show it.

#[path = "support/counting.rs"]
mod counting;
mod support;
use counting::*;
use moorline_core::*;
use std::io::IoSlice;
use std::sync::Arc;
use support::*;

/// What an adapter owns once for all its connections.
struct Loop {
    read: Vec<u8>,
    spare: Vec<u8>,
    message: MessageSpare,
    events: usize,
    written: usize,
}

impl Loop {
    fn new() -> Self {
        Self {
            read: vec![0; 64 << 10],
            spare: Vec::with_capacity(64 << 10),
            message: MessageSpare::default(),
            events: 0,
            written: 0,
        }
    }

    /// One read, its events counted.
    fn turn_without_echo(
        &mut self,
        connection: &mut Connection,
        now: std::time::Instant,
        bytes: &[u8],
    ) {
        let read = &mut self.read[..bytes.len()];
        read.copy_from_slice(bytes);
        let mut turn = connection.receive_with(now, read, &mut self.message);
        while turn.next_event().is_some() {
            self.events += 1;
        }
    }

    /// One read, its events echoed, one write.
    fn turn(&mut self, connection: &mut Connection, now: std::time::Instant, bytes: &[u8]) {
        let read = &mut self.read[..bytes.len()];
        read.copy_from_slice(bytes);
        connection.outbox(now).lend(&mut self.spare);
        let mut turn = connection.receive_with(now, read, &mut self.message);
        while let Some((event, outbox)) = turn.next_event() {
            self.events += 1;
            echo(&event, outbox);
        }
        let outbox = connection.outbox(now);
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = outbox.slices(&mut slices);
            let count = slices[..filled].iter().map(|slice| slice.len()).sum();
            outbox.written(now, count);
            self.written += count;
        }
        outbox.reclaim(&mut self.spare);
    }
}

/// Feeds `stream` again and again in reads of `read` bytes; what the second half allocates.
fn steady(role: Role, stream: &[u8], read: usize) -> (Loop, Counts) {
    let mut subject = Subject::open(role, Limits::default());
    let now = subject.now;
    let mut adapter = Loop::new();
    let repeated = stream.repeat(40);
    let half = repeated.len() / 2 / read * read;
    for piece in repeated[..half].chunks(read) {
        adapter.turn(&mut subject.connection, now, piece);
    }
    adapter.events = 0;
    let ((), counts) = count(|| {
        for piece in repeated[half..].chunks(read) {
            adapter.turn(&mut subject.connection, now, piece);
        }
    });
    (adapter, counts)
}

#[test]
fn whole_frames_and_their_echoes_allocate_nothing() {
    for role in ROLES {
        for first in [0x81, 0x82] {
            for size in [0, 1, 125, 126, 1000, 5000, 20_000] {
                let frame = peer_frame(role, first, &vec![b'x'; size]);
                let (adapter, counts) = steady(role, &frame, frame.len());
                assert_eq!(adapter.events, 20);
                assert_eq!((counts.calls, counts.held), (0, 0), "{role:?} {size}");
            }
        }
    }
}

#[test]
fn many_frames_in_one_read_allocate_nothing() {
    for role in ROLES {
        let frames = peer_frame(role, 0x81, b"a small message").repeat(300);
        let (adapter, counts) = steady(role, &frames, frames.len());
        assert_eq!(adapter.events, 20 * 300);
        assert_eq!((counts.calls, counts.held), (0, 0));
    }
}

#[test]
fn a_stream_whose_reads_end_inside_frames_allocates_nothing() {
    for role in ROLES {
        for first in [0x81, 0x82] {
            // Each read ends inside a payload, so that one buffer serves from then on.
            let frame = peer_frame(role, first, &[b'x'; 1000]);
            let stream = frame.repeat(8);
            let mut subject = Subject::open(role, Limits::default());
            let now = subject.now;
            let mut adapter = Loop::new();
            adapter.turn(&mut subject.connection, now, &frame[..500]);
            let rotated = [&stream[500..], &stream[..500]].concat();
            let serve = |adapter: &mut Loop, subject: &mut Subject| {
                for _ in 0..20 {
                    for piece in rotated.chunks(frame.len() * 2) {
                        adapter.turn(&mut subject.connection, now, piece);
                    }
                }
            };
            serve(&mut adapter, &mut subject);
            let ((), counts) = count(|| serve(&mut adapter, &mut subject));
            assert_eq!((counts.calls, counts.held), (0, 0), "{role:?}");
            assert_eq!(adapter.events, 2 * 20 * 8);
        }
    }
}

#[test]
fn messages_of_many_reads_allocate_nothing() {
    for role in ROLES {
        for size in [20_000, 200_000] {
            let text = peer_frame(role, 0x81, "κόσμε".repeat(size / 10).as_bytes());
            let data = peer_frame(role, 0x82, &vec![0xA5; size]);
            let stream = [&text[..], &text, &data, &data].concat();
            for read in [4096, Connection::READ_BUFFER, 64 << 10] {
                let mut subject = Subject::open_with(role, Limits::default(), quiet);
                let now = subject.now;
                let mut adapter = Loop::new();
                let serve = |adapter: &mut Loop, subject: &mut Subject| {
                    for piece in stream.chunks(read) {
                        adapter.turn_without_echo(&mut subject.connection, now, piece);
                    }
                };
                serve(&mut adapter, &mut subject);
                let ((), counts) = count(|| serve(&mut adapter, &mut subject));
                assert_eq!(adapter.events, 2 * 4);
                assert_eq!((counts.calls, counts.held), (0, 0), "{role:?} {size} by {read}");
                assert_eq!(subject.connection.retained(), 0);
            }
        }
    }
}

#[test]
fn pings_and_pongs_allocate_nothing() {
    for role in ROLES {
        let stream = [
            peer_frame(role, 0x89, b"a ping"),
            peer_frame(role, 0x8A, b"a pong"),
            peer_frame(role, 0x89, &[1; 125]),
        ]
        .concat();
        let (adapter, counts) = steady(role, &stream, stream.len());
        assert_eq!(adapter.events, 60);
        assert_eq!((counts.calls, counts.held), (0, 0));
    }
}

#[test]
fn sends_from_outside_a_turn_allocate_nothing() {
    for role in ROLES {
        let mut subject = Subject::open(role, Limits::default());
        let now = subject.now;
        let mut adapter = Loop::new();
        let small = Frame::text("shared by many");
        let mut send = |adapter: &mut Loop| {
            for _ in 0..100 {
                let outbox = subject.connection.outbox(now);
                outbox.lend(&mut adapter.spare);
                outbox.text("hello").unwrap();
                outbox.binary(&[7; 3000]).unwrap();
                outbox.send(&small).unwrap();
                adapter.turn(&mut subject.connection, now, b"");
            }
        };
        send(&mut adapter);
        let ((), counts) = count(|| send(&mut adapter));
        assert_eq!((counts.calls, counts.held), (0, 0), "{role:?}");
    }
}

#[test]
fn a_broadcast_is_encoded_once_and_copied_for_nobody() {
    let mut subjects: Vec<_> =
        (0..50).map(|_| Subject::open_with(Role::Server, Limits::default(), quiet)).collect();
    let payload = vec![7; 100_000];
    let (frame, counts) = count(|| Frame::binary(&payload));
    assert!(counts.held < 101_000);
    let ((), counts) = count(|| {
        for subject in &mut subjects {
            subject.outbox().send(&frame).unwrap();
        }
    });
    assert!(counts.held < 50 * 1000, "{counts:?}");
}

#[test]
fn an_idle_connection_holds_no_heap() {
    for role in ROLES {
        let base = HELD.get();
        let mut subject = Subject::open(role, Limits::default());
        // The shared limits, and a client's source of masking keys.
        subject.events = Vec::new();
        subject.output = Vec::new();
        let open = HELD.get() - base;
        assert!(open <= size_of::<Limits>() as isize + 48, "{open} bytes after the handshake");
        let mut adapter = Loop::new();
        let now = subject.now;
        let with_loop = HELD.get();
        for (first, size) in [(0x81, 10), (0x82, 30_000), (0x89, 100)] {
            for chop in [1, 7, 1000, 65_536] {
                let frame = subject.peer(first, &vec![b'x'; size]);
                for piece in frame.chunks(chop) {
                    adapter.turn(&mut subject.connection, now, piece);
                }
            }
        }
        assert_eq!(subject.connection.retained(), 0);
        let spare = 64 << 10;
        // What the loop has for all its connections.
        let grown = adapter.spare.capacity() as isize - spare + adapter.message.retained() as isize;
        assert_eq!(HELD.get() - with_loop, grown, "{role:?}");
    }
}

#[test]
fn what_retained_says_is_what_the_heap_holds() {
    for role in ROLES {
        let mut rng = Rng(5);
        let mut subject = Subject::open_with(role, Limits::default(), quiet);
        subject.events = Vec::with_capacity(10_000);
        subject.output = Vec::with_capacity(1 << 20);
        let base = HELD.get();
        for _ in 0..500 {
            let size = rng.below(3000);
            let first = [0x01, 0x02, 0x89][rng.below(3)];
            let size = if first == 0x89 { size % 126 } else { size };
            let frame = subject.peer(first, &vec![b'x'; size]);
            let cut = rng.below(frame.len());
            let mut bytes = frame;
            bytes.truncate(cut);
            let mut turn = subject.connection.receive(subject.now, &mut bytes);
            while turn.next_event().is_some() {}
            drop(bytes);
            let held = HELD.get() - base;
            let retained = subject.connection.retained() as isize;
            assert!((held - retained).abs() <= 64, "{held} held, {retained} told");
            // Junk follows a frame that was cut: start anew once it has failed.
            if !subject.outbox().is_open() {
                break;
            }
        }
    }
}

#[test]
fn a_message_in_tiny_fragments_is_copied_a_few_times_at_most() {
    for role in ROLES {
        for opcode in [0x01, 0x02] {
            let limits = Limits { fragments: u32::MAX, ..Limits::default() };
            let mut copied = Vec::new();
            for size in [32 << 10, 128 << 10, 512 << 10] {
                let mut subject = Subject::open_with(role, limits.clone(), quiet);
                subject.hears(opcode, b"a");
                let piece = subject.peer(0x00, b"b");
                let mut buffer = piece.clone();
                let ((), counts) = count(|| {
                    for _ in 0..size - 2 {
                        buffer.copy_from_slice(&piece);
                        let mut turn = subject.connection.receive(subject.now, &mut buffer);
                        assert!(turn.next_event().is_none());
                    }
                });
                assert!(counts.calls < 40, "{} allocations", counts.calls);
                assert!(counts.copied <= 2 * size, "{} bytes copied of {size}", counts.copied);
                copied.push(counts.copied);
            }
        }
    }
}

#[test]
fn a_head_byte_by_byte_is_copied_a_few_times_at_most() {
    for size in [1000, 4000, 16_000] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "a".repeat(size));
        let mut subject = Subject::server(Limits::default(), silent);
        let ((), counts) = count(|| {
            for byte in head.as_bytes() {
                let mut byte = [*byte];
                let mut turn = subject.connection.receive(subject.now, &mut byte);
                assert!(turn.next_event().is_none());
            }
        });
        assert!(counts.calls < 20, "{} allocations", counts.calls);
        assert!(counts.copied <= 2 * head.len(), "{} bytes copied of {size}", counts.copied);
    }
}

#[test]
fn a_body_costs_nothing_per_piece() {
    let mut shared = Loop::new();
    let mut connection = Connection::server(Arc::new(Limits::default()), epoch());
    let mut head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut turn = connection.receive(epoch(), &mut head);
    while let Some((_, outbox)) = turn.next_event() {
        outbox.take_body(u64::MAX).expect("a request");
    }
    let held = connection.retained();
    assert!(held < 512, "{held} bytes for a body under way");
    let chunk = [&b"4000\r\n"[..], &[7; 0x4000], b"\r\n"].concat();
    let ((), counts) = count(|| {
        for _ in 0..1000 {
            shared.turn_without_echo(&mut connection, epoch(), &chunk);
        }
    });
    assert_eq!(counts, Counts { calls: 0, copied: 0, held: 0 });
    assert_eq!((shared.events, connection.retained()), (1000, held));
}
