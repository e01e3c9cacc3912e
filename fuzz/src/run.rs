//! Drives a connection over a stream of bytes and writes down all that comes of it.

use crate::input::Pieces;
use moorline_core::{
    Accept, Cause, CloseCode, Connection, Entropy, Event, Frame, Limits, Response, UpgradeError,
    Why,
};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request that every server accepts, with the example key of RFC 6455.
pub(crate) const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The answer to the request of a client whose entropy is [`Sample`].
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Gives the nonce of RFC 6455's example, and keys that differ.
pub(crate) struct Sample(pub(crate) u8);

impl Entropy for Sample {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Ok(nonce) = <&mut [u8; 16]>::try_from(&mut *bytes) {
            *nonce = *b"the sample nonce";
        } else {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            bytes.fill(self.0);
        }
    }
}

/// What the application does; the same events lead to the same calls.
#[derive(Copy, Clone)]
pub(crate) struct App {
    /// Sends every message back, as long as they are few.
    pub(crate) echo: bool,
    /// Closes when it has seen this many events.
    pub(crate) close_after: Option<usize>,
}

/// All that came of a stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Trace {
    /// The events in text form.
    pub(crate) events: Vec<String>,
    pub(crate) output: Vec<u8>,
    pub(crate) closed: usize,
    /// The close code at the end.
    pub(crate) code: u16,
    /// The refusal, on a server.
    pub(crate) refused: Option<UpgradeError>,
    echoed: usize,
}

impl Trace {
    /// What is sent back stays in order while it is little: with more queued, a Close passes what
    /// waits.
    fn may_echo(&mut self, len: usize) -> bool {
        self.echoed += len;
        self.echoed <= Frame::CUT / 2
    }
}

/// Limits that short inputs can reach.
pub(crate) fn small_limits() -> Limits {
    Limits { message: 300, fragments: 5, head: 1024, target: 100, ..Limits::default() }
}

/// Feeds `bytes` in `pieces`, or whole, and then the end of file.
///
/// # Panics
/// When there is not exactly one `Closed` at the end, or memory is held beyond the limits.
pub(crate) fn run(
    mut connection: Connection,
    limits: &Limits,
    app: App,
    bytes: &[u8],
    mut pieces: Option<Pieces>,
) -> Trace {
    let now = epoch();
    let mut trace = Trace::default();
    let total = bytes.len() as u32;
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    drain_output(&mut connection, &mut trace.output);
    while !rest.is_empty() {
        let len = pieces.as_mut().map_or(usize::MAX, Pieces::next).min(rest.len());
        let (piece, after) = rest.split_at_mut(len);
        rest = after;
        drain_turn(connection.receive(now, piece), app, &mut trace);
        drain_output(&mut connection, &mut trace.output);
        while matches!(connection.deadline(), Some((_, Why::Resume))) {
            assert!(!connection.wants().read, "input waits");
            drain_turn(connection.handle_deadline(now), app, &mut trace);
            drain_output(&mut connection, &mut trace.output);
        }
        // The buffers of one message and of one head, and the few structs around them.
        let mut most = limits.message + limits.head + 1024;
        if limits.deflate.is_some() {
            // Both contexts, what a message is compressed into, and input that waits for its turn.
            most += (1 << 17) + 176 * 1024 + 64 * 1024 + total;
        }
        assert!(connection.retained() <= most as usize, "{} bytes", connection.retained());
    }
    drain_turn(connection.handle_eof(now), app, &mut trace);
    drain_output(&mut connection, &mut trace.output);
    // An answer that was owed, or the peer's Close, may still be outstanding.
    drain_turn(connection.handle_deadline(now + Duration::from_secs(3600)), app, &mut trace);
    drain_output(&mut connection, &mut trace.output);
    assert_eq!(trace.closed, 1, "{:?}", trace.events);
    assert!(trace.events.last().is_some_and(|event| event.starts_with("Closed")));
    assert_eq!(connection.retained(), 0, "nothing is kept after the end");
    trace
}

fn drain_turn(mut turn: moorline_core::Turn<'_>, app: App, trace: &mut Trace) {
    while let Some((event, outbox)) = turn.next_event() {
        assert_eq!(trace.closed, 0, "{event:?} after Closed");
        match event {
            // Only what the application decided on the events so far.
            Event::Request(head) if head.is_upgrade() => {
                outbox.accept(&Accept::default()).expect("an upgrade");
            }
            Event::Request(_) => {
                outbox.respond(&Response::text(200, "plain\n")).expect("no bad header");
            }
            Event::Text(text) if app.echo && trace.may_echo(text.len()) => {
                outbox.text(text).unwrap_or_default();
            }
            Event::Binary(data) if app.echo && trace.may_echo(data.len()) => {
                outbox.binary(data).unwrap_or_default();
            }
            Event::Closed(cause) => {
                trace.closed += 1;
                trace.code = cause.close_code().0;
                if let Cause::Upgrade(error) = cause {
                    trace.refused = Some(error);
                }
            }
            _ => {}
        }
        // Its Debug form hides contents: credentials could be among them.
        trace.events.push(match event {
            Event::Request(head) => format!("{event:?} {:?}", head.headers().collect::<Vec<_>>()),
            Event::Response(head) => format!("{event:?} {:?}", head.body()),
            _ => format!("{event:?}"),
        });
        if app.close_after == Some(trace.events.len()) {
            outbox.close(CloseCode::GOING_AWAY, "enough");
        }
    }
}

/// Takes all that the outbox would write.
pub(crate) fn drain_output(connection: &mut Connection, output: &mut Vec<u8>) {
    let now = epoch();
    while !connection.outbox(now).is_empty() {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = connection.outbox(now).slices(&mut slices);
        let before = output.len();
        for slice in &slices[..filled] {
            output.extend_from_slice(slice);
        }
        assert!(output.len() > before, "there was something to write");
        connection.outbox(now).written(now, output.len() - before);
    }
}

/// A server, or one whose upgrade is done and answered.
pub(crate) fn server(limits: &Limits) -> Connection {
    Connection::server(Arc::new(limits.clone()), epoch())
}

/// A client whose request has left.
pub(crate) fn client(limits: &Limits) -> Connection {
    let request = moorline_core::ClientRequest::new("localhost", "/ws").expect("a request");
    let request = request.subprotocol("chat").expect("a token");
    Connection::client(request, Box::new(Sample(0)), Arc::new(limits.clone()), epoch())
}

/// The one moment all runs happen in.
pub(crate) fn epoch() -> Instant {
    static EPOCH: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *EPOCH
}
