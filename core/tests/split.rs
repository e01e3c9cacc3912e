//! Any split of any input gives the same events and the same output.

// quickcheck hands a property its arguments by value.
#![allow(clippy::needless_pass_by_value)]

mod support;
use moorline_core::*;
use quickcheck::{Arbitrary, Gen, QuickCheck};
use support::*;

/// What a peer may send, one piece after another.
#[derive(Debug, Clone)]
enum Piece {
    Frame {
        first: u8,
        payload: Vec<u8>,
        good_mask: bool,
    },
    /// A header that claims more than follows.
    Header {
        first: u8,
        len: u64,
    },
    Close(u16, Vec<u8>),
    Junk(Vec<u8>),
}

/// A stream, with a chance of damage, and a seed for the way it is split.
#[derive(Debug, Clone)]
struct Stream {
    pieces: Vec<Piece>,
    /// Flips a bit at this place, modulo the length.
    damage: Option<usize>,
    seed: u64,
}

impl Arbitrary for Piece {
    fn arbitrary(g: &mut Gen) -> Self {
        let size = *g.choose(&[0, 1, 5, 60, 124, 125, 126, 127, 300, 5000]).unwrap();
        let mut rng = Rng(u64::arbitrary(g));
        let text = *g.choose(&["plain ascii ", "κόσμε ", "\u{10FFFF}ü", "日本"]).unwrap();
        let payload = match u8::arbitrary(g) % 4 {
            0 => rng.bytes(size),
            1 => text.repeat(size / 8 + 1).into_bytes(),
            2 => {
                let mut bytes = text.repeat(size / 8 + 1).into_bytes();
                bytes.truncate(size);
                bytes
            }
            _ => b"x".repeat(size),
        };
        match u8::arbitrary(g) % 24 {
            0 => Self::Junk(payload),
            1 => Self::Close(*g.choose(&[1000, 1001, 1005, 3000, 999]).unwrap(), payload),
            2 => Self::Header {
                first: *g.choose(&[0x81, 0x02, 0x89]).unwrap(),
                len: *g.choose(&[3, 200, 1 << 17, 1 << 40, 1 << 62, 1 << 63]).unwrap(),
            },
            3 => Self::Frame { first: u8::arbitrary(g), payload, good_mask: true },
            4 => Self::Frame { first: 0x82, payload, good_mask: false },
            5..=8 => Self::Frame {
                first: *g.choose(&[0x89, 0x8A]).unwrap(),
                payload: payload.into_iter().take(125).collect(),
                good_mask: true,
            },
            9..=13 => Self::Frame {
                first: *g.choose(&[0x00, 0x80, 0x01, 0x02]).unwrap(),
                payload,
                good_mask: true,
            },
            14..=17 => {
                Self::Frame { first: 0x81, payload: text.repeat(size / 8).into(), good_mask: true }
            }
            _ => Self::Frame { first: 0x82, payload, good_mask: true },
        }
    }
}

impl Arbitrary for Stream {
    fn arbitrary(g: &mut Gen) -> Self {
        let count = usize::arbitrary(g) % 12;
        Self {
            pieces: (0..count).map(|_| Piece::arbitrary(g)).collect(),
            damage: (u8::arbitrary(g) % 4 == 0).then(|| usize::arbitrary(g)),
            seed: u64::arbitrary(g),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let this = self.clone();
        Box::new((0..self.pieces.len()).map(move |at| {
            let mut less = this.clone();
            less.pieces.remove(at);
            less
        }))
    }
}

impl Stream {
    fn bytes(&self, role: Role) -> Vec<u8> {
        let key = peer_key(role);
        let wrong = if key.is_some() { None } else { Some([1, 2, 3, 4]) };
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Frame { first, payload, good_mask } => {
                    let key = if *good_mask { key } else { wrong };
                    bytes.extend(frame(*first, key, payload));
                }
                Piece::Header { first, len } => bytes.extend(header(*first, key, *len)),
                Piece::Close(code, reason) => {
                    let payload = [&code.to_be_bytes()[..], &reason[..reason.len().min(123)]];
                    bytes.extend(frame(0x88, key, &payload.concat()));
                }
                Piece::Junk(junk) => bytes.extend_from_slice(junk),
            }
        }
        if let Some(at) = self.damage
            && !bytes.is_empty()
        {
            let at = at % bytes.len();
            bytes[at] ^= 1 << (self.seed % 8);
        }
        bytes
    }
}

/// When output leaves, as long as the transport takes everything.
#[derive(Debug, Copy, Clone, PartialEq)]
enum Writes {
    AfterEachRead,
    AtTheEnd,
}

/// Runs a stream and gives all that can be seen of it.
fn outcome(
    subject: &mut Subject,
    bytes: &[u8],
    split: Split,
    writes: Writes,
) -> (Vec<Recorded>, Vec<u8>, End) {
    // A client's request has left before anything can be answered.
    subject.flush();
    for piece in split.cut(bytes) {
        subject.feed(piece);
        if writes == Writes::AfterEachRead {
            subject.flush();
        }
    }
    subject.flush();
    subject.eof();
    subject.flush();
    subject.eof();
    subject.check();
    assert!(subject.closed().is_some(), "no Closed after the end of file: {:?}", subject.events);
    assert_eq!(subject.end(), End::Drop);
    (subject.events.clone(), subject.output.clone(), subject.end())
}

fn agree(make: impl Fn() -> Subject, bytes: &[u8], seed: u64) -> bool {
    let whole = outcome(&mut make(), bytes, Split::Whole, Writes::AtTheEnd);
    // What one run leaves in the message buffer must not show in the next.
    let mut spare = Some(MessageSpare::default());
    for split in [Split::Chops(1), Split::Random(seed), Split::Random(!seed), Split::Chops(4096)] {
        for writes in [Writes::AtTheEnd, Writes::AfterEachRead] {
            let mut subject = make();
            if writes == Writes::AfterEachRead {
                subject.spare = spare.take();
            }
            let parts = outcome(&mut subject, bytes, split, writes);
            spare = subject.spare.or(spare);
            assert_eq!(parts.0, whole.0, "events, {split:?}, {writes:?}");
            assert!(
                parts.1 == whole.1,
                "output, {split:?}, {writes:?}:\n{}\n{}",
                parts.1.escape_ascii(),
                whole.1.escape_ascii()
            );
        }
    }
    true
}

/// Small limits, so that streams cross them.
fn limits() -> Limits {
    Limits { message: 20_000, fragments: 6, ..Limits::default() }
}

#[test]
fn frames_in_any_split_give_the_same_events_and_output() {
    fn property(stream: Stream) -> bool {
        ROLES
            .iter()
            .all(|role| agree(|| Subject::open(*role, limits()), &stream.bytes(*role), stream.seed))
    }
    QuickCheck::new().tests(3200).quickcheck(property as fn(Stream) -> bool);
}

#[test]
fn random_bytes_in_any_split_give_the_same_events_and_output() {
    fn property(seed: u64) -> bool {
        let mut rng = Rng(seed);
        let len = rng.below(400);
        let bytes = rng.bytes(len);
        ROLES.iter().all(|role| agree(|| Subject::open(*role, limits()), &bytes, seed))
            && agree(|| Subject::server(limits(), echo), &bytes, seed)
            && agree(|| Subject::client(limits(), echo), &bytes, seed)
    }
    QuickCheck::new().tests(2400).quickcheck(property as fn(u64) -> bool);
}

#[test]
fn a_request_with_frames_behind_it_may_be_cut_anywhere() {
    fn property(stream: Stream) -> bool {
        let bytes = [REQUEST, &stream.bytes(Role::Server)].concat();
        agree(|| Subject::server(limits(), echo), &bytes, stream.seed)
    }
    QuickCheck::new().tests(1600).quickcheck(property as fn(Stream) -> bool);
}

#[test]
fn an_answer_with_frames_behind_it_may_be_cut_anywhere() {
    fn property(stream: Stream) -> bool {
        let answer = answer_to(&Subject::client(limits(), echo).take_output());
        let bytes = [answer, stream.bytes(Role::Client)].concat();
        agree(|| Subject::client(limits(), echo), &bytes, stream.seed)
    }
    QuickCheck::new().tests(1600).quickcheck(property as fn(Stream) -> bool);
}

#[test]
fn damaged_heads_in_any_split_give_the_same_refusal() {
    fn property(seed: u64) -> bool {
        let mut rng = Rng(seed);
        let answer = answer_to(&Subject::client(limits(), echo).take_output());
        let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbiddenmore";
        let plain = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (role, head) in [
            (Role::Server, REQUEST),
            (Role::Server, &plain[..]),
            (Role::Client, &answer),
            (Role::Client, refusal),
        ] {
            let mut head = head.to_vec();
            for _ in 0..rng.below(4) {
                let at = rng.below(head.len());
                match rng.below(3) {
                    0 => head[at] = rng.next() as u8,
                    1 => head.insert(at, *b"\r\n :,\0\t\xff".get(rng.below(8)).unwrap()),
                    _ => drop(head.remove(at)),
                }
            }
            let small = Limits { head: 180, target: 40, ..limits() };
            for limits in [limits(), small] {
                let make = || match role {
                    Role::Server => Subject::server(limits.clone(), echo),
                    Role::Client => Subject::client(limits.clone(), echo),
                };
                agree(make, &head, seed);
            }
        }
        true
    }
    QuickCheck::new().tests(2400).quickcheck(property as fn(u64) -> bool);
}

#[test]
fn a_close_by_the_application_is_the_same_in_any_split() {
    fn closing(event: &Event<'_>, outbox: &mut Outbox) {
        echo(event, outbox);
        if let Event::Binary(data) = event
            && data.len() > 100
        {
            outbox.close(CloseCode::GOING_AWAY, "enough");
        }
    }
    // The echo's expectation of room does not hold behind a Close; nothing may come then.
    fn property(stream: Stream) -> bool {
        ROLES.iter().all(|role| {
            let make = || Subject::open_with(*role, limits(), closing);
            agree(make, &stream.bytes(*role), stream.seed)
        })
    }
    QuickCheck::new().tests(1600).quickcheck(property as fn(Stream) -> bool);
}

#[test]
fn time_and_end_of_file_at_any_moment_never_panic_and_close_once() {
    fn property(stream: Stream) -> bool {
        for role in ROLES {
            let mut rng = Rng(stream.seed);
            let mut subject = if rng.chance(2) {
                Subject::open(role, limits())
            } else if role == Role::Server {
                Subject::server(limits(), [echo, silent][rng.below(2)])
            } else {
                Subject::client(limits(), quiet)
            };
            let mut bytes = stream.bytes(role);
            if rng.chance(2) {
                bytes = [REQUEST, &bytes].concat();
            }
            for piece in Split::Random(stream.seed).cut(&bytes) {
                match rng.below(12) {
                    0 => subject.wake(),
                    1 => subject.advance(SECOND * rng.below(40) as u32),
                    2 if rng.chance(4) => subject.eof(),
                    3 => subject.connection.close(subject.now, CloseCode::NORMAL, "bye"),
                    4 => drop(subject.connection.accept(subject.now, &Accept::default())),
                    5 => _ = subject.write(rng.below(100)),
                    6 => drop(subject.outbox().send(&Frame::binary(&[7; 5000]))),
                    _ => {}
                }
                subject.check();
                subject.feed(piece);
            }
            for _ in 0..20 {
                match subject.connection.deadline() {
                    Some((at, _)) => subject.now = subject.now.max(at),
                    None => break,
                }
                subject.wake();
                subject.write(rng.below(3));
            }
            subject.eof();
            subject.eof();
            assert!(subject.closed().is_some(), "{:?}", subject.events);
        }
        true
    }
    QuickCheck::new().tests(4000).quickcheck(property as fn(Stream) -> bool);
}
