//! The same bytes to another implementation of RFC 6455.

use crate::frames::cook;
use crate::input::Input;
use crate::run::{ANSWER, REQUEST, client, drain_output, epoch, server};
use crate::wire::{missing, odd_length};
use moorline_core::{Accept, Cause, CloseCode, Connection, Event, Limits, ProtocolError};
use std::io::{self, Read, Write};
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// Bytes to our server and to tungstenite's: the same messages in the same order, the same verdict
/// on them, the same close code, the same Close in return.
///
/// The legitimate differences, and how each is kept narrow:
///
/// - A length in a longer form than needed ends the connection here (RFC 6455 section 5.2); it goes
///   unnoticed there. They see the stream up to that frame, we must refuse that frame or an earlier.
/// - We judge a frame as soon as something is wrong with it, tungstenite when all of it has come:
///   what we refuse in an unfinished frame they must refuse however that frame ends.
/// - Of two faults in one frame each names the one it looks for first: an oversized length before or
///   after the other rules of the header, a Close code before or after its reason.
/// - Close code 1014, registered after RFC 6455, is taken here and refused there.
/// - A count of fragments is limited here only: this body sets no limit.
///
/// The input: options, then the wire (or a recipe for it).
pub fn tungstenite_server(data: &[u8]) {
    check(data, Role::Server);
}

/// Bytes to our client and to tungstenite's, likewise.
pub fn tungstenite_client(data: &[u8]) {
    check(data, Role::Client);
}

fn check(data: &[u8], role: Role) {
    let mut input = Input::new(&data[..data.len().min(8 * 1024)]);
    let options = input.byte();
    let masked = role == Role::Server;
    let limit = if options & 1 == 0 { Limits::default().message } else { 300 };
    let wire = if options & 4 == 0 { input.rest().to_vec() } else { cook(input, masked) };

    let odd = odd_length(&wire);
    if odd.is_some() {
        let all = ours(role, limit, &wire);
        assert_ne!(all.end, End::Eof, "an odd length was taken: {all:?}");
    }
    let wire = &wire[..odd.unwrap_or(wire.len())];
    let ours = ours(role, limit, wire);
    let theirs = theirs(role, limit, wire);
    assert_eq!(ours.messages, theirs.messages);
    if theirs.end == End::Eof && ours.end.is_refused() {
        for filler in missing(wire, masked) {
            let whole = self::theirs(role, limit, &[wire, &filler].concat());
            assert_eq!(whole.messages, ours.messages, "refused too early: {ours:?}");
            assert!(same(&ours.end, &whole.end), "{ours:?}, and when completed {whole:?}");
        }
    } else {
        assert!(same(&ours.end, &theirs.end), "{ours:?} {theirs:?}");
        let is_1014 = ours.end == End::Peer(1014);
        assert!(is_1014 || ours.close.is_none() || ours.close == theirs.close);
    }
}

#[derive(Debug, PartialEq)]
struct Heard {
    messages: Vec<Message>,
    end: End,
    /// The Close that answers the peer's, of servers: clients' masks differ.
    close: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
enum End {
    /// The bytes ended first.
    Eof,
    /// The peer closed with this code.
    Peer(u16),
    Refused(Refused),
}

/// By what a frame was refused, as far as the two name it differently.
#[derive(Debug, PartialEq)]
enum Refused {
    /// 1002, by a rule that the header alone shows to be broken.
    Header,
    /// 1002, by the code of a Close, or by its length of one byte.
    Close,
    /// 1007.
    Text,
    /// 1009.
    Size,
}

impl End {
    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

fn same(ours: &End, theirs: &End) -> bool {
    use Refused::{Close, Header, Size, Text};
    match (ours, theirs) {
        (End::Refused(Header), End::Refused(Size)) => true,
        (End::Refused(Close), End::Refused(Text)) => true,
        (End::Peer(1014), End::Refused(Close)) => true,
        (ours, theirs) => ours == theirs,
    }
}

fn ours(role: Role, limit: u32, wire: &[u8]) -> Heard {
    let limits = Limits { message: limit, fragments: u32::MAX, ..Limits::default() };
    let (mut connection, start) = match role {
        Role::Server => (server(&limits), REQUEST),
        Role::Client => (client(&limits), ANSWER),
    };
    drain_output(&mut connection, &mut Vec::new());
    let mut messages = Vec::new();
    let mut end = None;
    feed(&mut connection, &mut start.to_vec(), &mut messages, &mut end);
    drain_output(&mut connection, &mut Vec::new());
    feed(&mut connection, &mut wire.to_vec(), &mut messages, &mut end);
    let mut output = Vec::new();
    drain_output(&mut connection, &mut output);
    let end = end.unwrap_or(End::Eof);
    let answered = role == Role::Server && matches!(end, End::Peer(_));
    Heard { messages, end, close: answered.then(|| last_frame(&output)) }
}

fn feed(
    connection: &mut Connection,
    bytes: &mut [u8],
    messages: &mut Vec<Message>,
    end: &mut Option<End>,
) {
    let mut turn = connection.receive(epoch(), bytes);
    while let Some((event, outbox)) = turn.next_event() {
        messages.push(match event {
            Event::Text(text) => Message::text(text),
            Event::Binary(data) => Message::binary(data.to_vec()),
            Event::Ping(data) => Message::Ping(data.to_vec().into()),
            Event::Pong(data) => Message::Pong(data.to_vec().into()),
            Event::Closed(cause) => {
                *end = Some(our_end(cause));
                continue;
            }
            Event::Request(_) => {
                outbox.accept(&Accept::default()).expect("an upgrade");
                continue;
            }
            _ => continue,
        });
    }
}

fn our_end(cause: Cause<'_>) -> End {
    match cause {
        Cause::Peer(code, _) => End::Peer(code.0),
        Cause::Protocol(ProtocolError::InvalidCloseCode(_) | ProtocolError::ShortClose) => {
            End::Refused(Refused::Close)
        }
        cause => End::Refused(match cause.close_code() {
            CloseCode::PROTOCOL => Refused::Header,
            CloseCode::INVALID_DATA => Refused::Text,
            CloseCode::TOO_BIG => Refused::Size,
            code => panic!("{cause:?} with {code}"),
        }),
    }
}

fn theirs(role: Role, limit: u32, wire: &[u8]) -> Heard {
    let limit = Some(limit as usize);
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(limit)
        .max_frame_size(limit);
    let transport = Transport { wire, output: Vec::new() };
    let mut socket = WebSocket::from_raw_socket(transport, role, Some(config));
    let mut messages = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(Message::Close(None)) => break End::Peer(CloseCode::NO_STATUS.0),
            Ok(Message::Close(Some(frame))) if frame.reason == "Protocol violation" => {
                break End::Refused(Refused::Close);
            }
            Ok(Message::Close(Some(frame))) => break End::Peer(frame.code.into()),
            Ok(message) => messages.push(message),
            Err(error) => break their_end(&error),
        }
    };
    // What answers the Close leaves with the next call, which then has nothing more to read.
    let answered = role == Role::Server && matches!(end, End::Peer(_));
    let _ = socket.flush();
    let output = &socket.get_ref().output;
    Heard { messages, end, close: answered.then(|| last_frame(output)) }
}

fn their_end(error: &Error) -> End {
    use tungstenite::error::ProtocolError as Theirs;
    match error {
        Error::Protocol(Theirs::ResetWithoutClosingHandshake) => End::Eof,
        Error::Protocol(Theirs::InvalidCloseSequence) => End::Refused(Refused::Close),
        Error::Protocol(_) => End::Refused(Refused::Header),
        Error::Utf8(_) => End::Refused(Refused::Text),
        Error::Capacity(CapacityError::MessageTooLong { .. }) => End::Refused(Refused::Size),
        error => panic!("{error:?}"),
    }
}

/// The last of several small unmasked frames.
fn last_frame(mut output: &[u8]) -> Vec<u8> {
    loop {
        let size = 2 + usize::from(output[1]);
        if size == output.len() {
            return output.to_vec();
        }
        output = &output[size..];
    }
}

/// What tungstenite reads from and writes to.
struct Transport<'a> {
    wire: &'a [u8],
    output: Vec<u8>,
}

impl Read for Transport<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wire.read(buffer)
    }
}

impl Write for Transport<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
