//! What the tests share: a virtual clock, a peer that speaks in bytes, owned events, deterministic
//! entropy, ways to split a stream, one connection under test, and a pair of them.
#![allow(dead_code, clippy::disallowed_methods)]

#[cfg(feature = "deflate")]
pub mod deflate;
mod epoch;
pub mod pair;
pub mod suite;
pub mod wire;

pub use epoch::epoch;
use moorline_core::*;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use wire::*;

/// A request that every server accepts, with the example key of RFC 6455.
pub const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

/// An event that owns its bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    Request { method: String, target: String, upgrade: bool },
    Body(Vec<u8>),
    BodyEnd,
    Response { status: u16, body: Vec<u8> },
    Open,
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    PeerClosed(u16, String),
    Closed(Cause<'static>),
}

impl Recorded {
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::PeerClosed(..) | Self::Closed(_))
    }
}

impl From<&Event<'_>> for Recorded {
    fn from(event: &Event<'_>) -> Self {
        match *event {
            Event::Request(head) => Self::Request {
                method: head.method().into(),
                target: head.target().into(),
                upgrade: head.is_upgrade(),
            },
            Event::Body(piece) => Self::Body(piece.into()),
            Event::BodyEnd => Self::BodyEnd,
            Event::Response(head) => {
                Self::Response { status: head.status(), body: head.body().into() }
            }
            Event::Open => Self::Open,
            Event::Text(text) => Self::Text(text.into()),
            Event::Binary(data) => Self::Binary(data.into()),
            Event::Ping(data) => Self::Ping(data.into()),
            Event::Pong(data) => Self::Pong(data.into()),
            Event::Closed(cause) => match cause {
                Cause::Peer(code, reason) => Self::PeerClosed(code.0, reason.into()),
                Cause::Local(code) => Self::Closed(Cause::Local(code)),
                Cause::Eof => Self::Closed(Cause::Eof),
                Cause::Truncated => Self::Closed(Cause::Truncated),
                Cause::Timeout(why) => Self::Closed(Cause::Timeout(why)),
                Cause::Protocol(error) => Self::Closed(Cause::Protocol(error)),
                Cause::Limit(error) => Self::Closed(Cause::Limit(error)),
                Cause::Upgrade(error) => Self::Closed(Cause::Upgrade(error)),
                Cause::Answered(status) => Self::Closed(Cause::Answered(status)),
                Cause::SlowReader => Self::Closed(Cause::SlowReader),
                Cause::Overflow => Self::Closed(Cause::Overflow),
                Cause::Abandoned => Self::Closed(Cause::Abandoned),
                other => panic!("a cause the tests do not know: {other:?}"),
            },
            other => panic!("an event the tests do not know: {other:?}"),
        }
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { method, target, upgrade } => {
                write!(f, "Request {method} {target}{}", if *upgrade { " upgrade" } else { "" })
            }
            Self::Body(piece) => with_payload(f, "Body", &piece.escape_ascii().to_string()),
            Self::BodyEnd => f.write_str("BodyEnd"),
            Self::Response { status, body } => {
                write!(f, "Response {status} {}", body.escape_ascii())
            }
            Self::Open => f.write_str("Open"),
            Self::Text(text) => with_payload(f, "Text", text),
            Self::Binary(data) => with_payload(f, "Binary", &data.escape_ascii().to_string()),
            Self::Ping(data) => with_payload(f, "Ping", &data.escape_ascii().to_string()),
            Self::Pong(data) => with_payload(f, "Pong", &data.escape_ascii().to_string()),
            Self::PeerClosed(code, reason) => {
                write!(f, "Closed {}", Cause::Peer(CloseCode(*code), reason))
            }
            Self::Closed(cause) => write!(f, "Closed {cause}"),
        }
    }
}

fn with_payload(f: &mut fmt::Formatter<'_>, name: &str, payload: &str) -> fmt::Result {
    f.write_str(name)?;
    if payload.is_empty() { Ok(()) } else { write!(f, " {payload}") }
}

/// A small deterministic generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next() as u8);
    }
}

/// Masks with zeros: what a client writes stays readable.
pub struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// How a stream reaches the connection.
#[derive(Debug, Copy, Clone, PartialEq)]
pub enum Split {
    Whole,
    /// This many bytes at a time.
    Chops(usize),
    /// Pieces of random lengths, mostly short.
    Random(u64),
}

impl Split {
    /// What a table of cases goes through.
    pub const ALL: [Self; 6] = [
        Self::Whole,
        Self::Chops(1),
        Self::Chops(7),
        Self::Random(1),
        Self::Random(2),
        Self::Random(3),
    ];

    pub fn cut(self, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::Chops(size) => bytes.chunks(size).collect(),
            Self::Random(seed) => {
                let mut rng = Rng(seed);
                let mut pieces = Vec::new();
                let mut rest = bytes;
                while !rest.is_empty() {
                    let most = if rng.chance(4) { rest.len() } else { rest.len().min(20) };
                    let (piece, after) = rest.split_at(1 + rng.below(most));
                    pieces.push(piece);
                    rest = after;
                }
                pieces
            }
        }
    }
}

/// Which end the connection under test is.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

pub const ROLES: [Role; 2] = [Role::Server, Role::Client];

pub type App = fn(&Event<'_>, &mut Outbox);

/// Accepts upgrades, answers other requests with 200, sends every message back.
pub fn echo(event: &Event<'_>, outbox: &mut Outbox) {
    match event {
        Event::Request(head) if head.is_upgrade() => {
            outbox.accept(&Accept::default()).expect("an upgrade");
        }
        Event::Request(_) => {
            outbox.respond(&Response::text(200, "hello\n")).expect("a request");
        }
        Event::Text(text) => outbox.text(text).expect("room"),
        Event::Binary(data) => outbox.binary(data).expect("room"),
        _ => {}
    }
}

/// Accepts upgrades and says nothing.
pub fn quiet(event: &Event<'_>, outbox: &mut Outbox) {
    if let Event::Request(head) = event
        && head.is_upgrade()
    {
        outbox.accept(&Accept::default()).expect("an upgrade");
    }
}

/// Answers nothing.
pub fn silent(_: &Event<'_>, _: &mut Outbox) {}

/// A connection under test, its clock, and everything that came of it.
pub struct Subject {
    pub connection: Connection,
    pub role: Role,
    pub now: Instant,
    pub start: Instant,
    pub events: Vec<Recorded>,
    /// What has left and was not looked at.
    pub output: Vec<u8>,
    /// The frames among it, as the outbox has counted them.
    pub output_frames: u64,
    pub app: App,
    /// The message buffer of its loop, if it has one.
    pub spare: Option<MessageSpare>,
}

impl Subject {
    pub fn server(limits: Limits, app: App) -> Self {
        let now = epoch();
        Self::new(Connection::server(Arc::new(limits), now), Role::Server, now, app)
    }

    /// A client that wants `/ws` at localhost.
    pub fn client(limits: Limits, app: App) -> Self {
        let request = ClientRequest::new("localhost", "/ws").expect("a request");
        Self::client_for(request, limits, Box::new(Rng(7)), app)
    }

    pub fn client_for(
        request: ClientRequest,
        limits: Limits,
        entropy: Box<dyn Entropy>,
        app: App,
    ) -> Self {
        let now = epoch();
        let connection = Connection::client(request, entropy, Arc::new(limits), now);
        Self::new(connection, Role::Client, now, app)
    }

    fn new(connection: Connection, role: Role, now: Instant, app: App) -> Self {
        let (events, output) = (Vec::new(), Vec::new());
        Self {
            connection,
            role,
            now,
            start: now,
            events,
            output,
            output_frames: 0,
            app,
            spare: None,
        }
    }

    /// An echoing connection after its handshake, with nothing recorded.
    pub fn open(role: Role, limits: Limits) -> Self {
        Self::open_with(role, limits, echo)
    }

    pub fn open_with(role: Role, limits: Limits, app: App) -> Self {
        let mut subject = match role {
            Role::Server => Self::server(limits, app),
            Role::Client => Self::client(limits, app),
        };
        match role {
            Role::Server => subject.feed(REQUEST),
            Role::Client => {
                let answer = answer_to(&subject.take_output());
                subject.feed(&answer);
            }
        }
        assert_eq!(subject.events.pop(), Some(Recorded::Open));
        subject.take_output();
        subject.events.clear();
        subject
    }

    /// One read of the transport.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let turn = match &mut self.spare {
            Some(spare) => self.connection.receive_with(self.now, &mut bytes, spare),
            None => self.connection.receive(self.now, &mut bytes),
        };
        drain(turn, self.app, &mut self.events);
        self.check();
    }

    /// One read after another.
    pub fn feed_split(&mut self, bytes: &[u8], split: Split) {
        for piece in split.cut(bytes) {
            self.feed(piece);
        }
    }

    pub fn eof(&mut self) {
        drain(self.connection.handle_eof(self.now), self.app, &mut self.events);
        self.check();
    }

    pub fn truncation(&mut self) {
        drain(self.connection.handle_truncation(self.now), self.app, &mut self.events);
        self.check();
    }

    /// Wakes the connection now, whether something is due or not.
    pub fn wake(&mut self) {
        drain(self.connection.handle_deadline(self.now), self.app, &mut self.events);
        self.check();
    }

    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Goes to the next deadline, shows that a moment earlier nothing happens, and acts on it.
    pub fn pass_deadline(&mut self) -> Why {
        let (at, why) = self.connection.deadline().expect("a deadline");
        let before = (self.events.len(), self.connection.wants());
        if at > self.now {
            self.now = self.now.max(at - Duration::from_nanos(1));
            self.wake();
            assert_eq!((self.events.len(), self.connection.wants()), before, "{why:?} came early");
            self.now = at;
        }
        self.wake();
        why
    }

    /// The time of the next deadline since the start, and its reason.
    pub fn due(&self) -> Option<(Duration, Why)> {
        self.connection.deadline().map(|(at, why)| (at - self.start, why))
    }

    pub fn outbox(&mut self) -> &mut Outbox {
        self.connection.outbox(self.now)
    }

    /// The transport takes at most `most` bytes, in one write.
    pub fn write(&mut self, most: usize) -> usize {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let outbox = self.connection.outbox(self.now);
        let filled = outbox.slices(&mut slices);
        let mut left = most;
        for slice in &slices[..filled] {
            let taken = slice.len().min(left);
            self.output.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        self.output_frames += outbox.frames_in(most - left);
        outbox.written(self.now, most - left);
        self.check();
        most - left
    }

    /// The transport refuses to take anything.
    pub fn refuse_write(&mut self) {
        self.write(0);
    }

    pub fn flush(&mut self) {
        while !self.outbox().is_empty() {
            assert!(
                self.write(usize::MAX) > 0,
                "something is queued but there is nothing to write"
            );
        }
    }

    /// Everything that left since it was last asked for.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.flush();
        self.output_frames = 0;
        std::mem::take(&mut self.output)
    }

    pub fn take_events(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.events)
    }

    /// As [`Subject::take_output`], as frames, which must be whole and right for this role.
    pub fn frames(&mut self) -> Vec<Wire> {
        self.flush();
        let counted = self.output_frames;
        let output = self.take_output();
        let frames = parse_frames(self.role, &output);
        assert_eq!(counted, frames.len() as u64, "what the outbox says that it sends: {frames:?}");
        frames
    }

    /// A frame as the peer sends it: masked when the subject is a server.
    pub fn peer(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        peer_frame(self.role, first, payload)
    }

    /// Feeds one frame from the peer.
    pub fn hears(&mut self, first: u8, payload: &[u8]) {
        let bytes = self.peer(first, payload);
        self.feed(&bytes);
    }

    pub fn end(&self) -> End {
        self.connection.wants().end
    }

    pub fn closed(&self) -> Option<&Recorded> {
        self.events.last().filter(|event| event.is_closed())
    }

    /// What must hold after every call.
    pub fn check(&self) {
        let closed = self.events.iter().filter(|event| event.is_closed()).count();
        assert!(closed <= 1, "more than one Closed: {:?}", self.events);
        if closed == 1 {
            assert!(self.closed().is_some(), "Closed is not last: {:?}", self.events);
        }
        let wants = self.connection.wants();
        assert_eq!(wants.wake_at, self.connection.deadline().map(|(at, _)| at));
        let _ = self.connection.retained();
    }
}

/// Drains a turn into `events`.
pub fn drain(mut turn: Turn<'_>, app: App, events: &mut Vec<Recorded>) {
    while let Some((event, outbox)) = turn.next_event() {
        events.push(Recorded::from(&event));
        app(&event, outbox);
    }
}

/// The 101 answer of a server to a client's request.
pub fn answer_to(request: &[u8]) -> Vec<u8> {
    let mut server = Subject::server(Limits::default(), quiet);
    server.feed(request);
    server.take_output()
}
