//! A WebSocket connection as a state machine: RFC 6455 for servers and clients, without a socket, a
//! clock or a thread of its own.
//!
//! ```text
//!  bytes from the peer, the time                       what to send, what to wait for
//!            |                                                      ^
//!            v                                                      |
//!   Connection::receive ------> Turn::next_event          Outbox::slices   Connection::wants
//!              handle_eof           |      |              Outbox::written
//!              handle_deadline      v      v
//!                                Event   Outbox  <- answer here, while the event is borrowed
//! ```
//!
//! The loop, with a `Vec` in place of a socket:
//!
//! ```
//! use moorline_core::{Accept, Connection, Event, Limits};
//! use std::{io::IoSlice, sync::Arc, time::Instant};
//!
//! # let mut from_peer = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//! #     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
//! #     \x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
//! # let mut to_peer = Vec::new();
//! # let now = Instant::now();
//! let mut connection = Connection::server(Arc::new(Limits::default()), now);
//! let mut turn = connection.receive(now, &mut from_peer);
//! while let Some((event, outbox)) = turn.next_event() {
//!     match event {
//!         Event::Request(head) if head.is_upgrade() => outbox.accept(&Accept::default())?,
//!         Event::Text(text) => outbox.text(text)?,
//!         Event::Closed(cause) => println!("ended: {cause}"),
//!         _ => {}
//!     }
//! }
//! let mut slices = [IoSlice::new(&[]); 16];
//! let filled = connection.outbox(now).slices(&mut slices);
//! let written = slices[..filled].iter().map(|s| (to_peer.extend_from_slice(s), s.len()).1).sum();
//! connection.outbox(now).written(now, written);
//! let wants = connection.wants(); // read? write? shut down, drop? when to wake up?
//! # assert!(to_peer.ends_with(b"\x81\x05Hello") && wants.read && !wants.write);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The contract of a turn
//!
//! - [`Connection::receive`] always consumes all bytes it is given. They are unmasked in place, and the
//!   events borrow from them: one read buffer serves all connections of a loop. So does one
//!   [`MessageSpare`] for messages that need several reads, by [`Connection::receive_with`].
//! - Drain every [`Turn`] to `None`. One that is dropped early ends its connection.
//! - There is exactly one [`Event::Closed`], and it is the last event.
//! - Time never goes back. Calls with the same arguments give the same results.
//!
//! # Where to look next
//!
//! | module | what it decides |
//! |---|---|
//! | [`connection`] | states, deadlines, keep-alive, backpressure, the queue of what is sent |
//! | [`frame`] | headers, masking, UTF-8, close codes, messages shared between connections |
//! | [`upgrade`] | the opening handshake, server and client |
//! | [`error`] | what can go wrong, by whose fault it is |
#![cfg_attr(
    feature = "gateway",
    doc = "| [`gateway`] | the gateway's policy, a second machine above this one |"
)]
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `deflate` | off | permessage-deflate (RFC 7692), by flate2 with zlib-rs |
//! | `gateway` | off | the module `gateway`: policy of a chat gateway, by serde |
//!
//! # What is not here
//!
//! Compression (RFC 7692) needs the feature `deflate` and [`Limits`] that ask for it; a window of 8 bits,
//! which zlib cannot write, is declined for sending. Other extensions are not known. A request target in absolute
//! form is refused although RFC 9112 section 3.2.2 asks servers to take it: it is for proxies, and two
//! ways to say the host are one too many. A GET request with a body is refused with 413, and so is any
//! transfer coding but chunked with 501.
#![forbid(unsafe_code)]

mod address;
pub mod connection;
pub mod error;
mod event;
pub mod frame;
#[cfg(feature = "gateway")]
pub mod gateway;
mod limits;
pub mod upgrade;
mod wheel;

pub use address::Address;
pub use connection::{Connection, End, Entropy, MessageSpare, Outbox, Turn, Wants};
pub use error::{AnswerError, LimitError, ProtocolError, SendError, UpgradeError};
pub use event::{Cause, Event, Initiator, Why};
pub use frame::{CloseCode, Frame, Opcode};
#[cfg(feature = "deflate")]
pub use limits::Deflate;
pub use limits::Limits;
pub use upgrade::{Accept, BodyLength, ClientRequest, RequestHead, Response, ResponseHead};
pub use wheel::Wheel;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
