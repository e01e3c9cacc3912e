//! Moorline on [smol]: flush, look at what the connection wants, wait, one call, drain the turn.
//!
//! Everything about the protocol is decided in [`moorline_core`]; this crate moves bytes.
//!
//! A server, whose handlers get events that borrow from the read buffer:
//!
//! ```no_run
//! use moorline_core::{Accept, Event, Outbox};
//! use moorline_smol::{ServeOptions, serve};
//!
//! # smol::block_on(async {
//! let listener = smol::net::TcpListener::bind("127.0.0.1:9001").await?;
//! serve(listener, ServeOptions::default(), |_incoming| {
//!     |event: Event<'_>, outbox: &mut Outbox| match event {
//!         Event::Request(head) if head.is_upgrade() => outbox.accept(&Accept::default()).unwrap(),
//!         // A full outbox means that the peer does not read: what is over the limit is dropped here.
//!         Event::Text(text) => outbox.text(text).unwrap_or_default(),
//!         _ => {}
//!     }
//! })
//! .await;
//! # Ok::<(), std::io::Error>(()) }).unwrap();
//! ```
//!
//! A client, whose messages own their bytes:
//!
//! ```no_run
//! # smol::block_on(async {
//! let mut socket = moorline_smol::connect("wss://example.com/ws").await?;
//! socket.send("hello").await?;
//! while let Some(message) = socket.next().await {
//!     println!("{:?}", message?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Where to look next
//!
//! | item | what it is for |
//! |---|---|
//! | [`serve`], [`Stop`] | a listener and its connections |
//! | [`drive()`] | one connection over any stream, for those who accept or connect themselves |
//! | [`Handler`] | what an application gives to both |
//! | [`Sender`] | sending from other tasks, with backpressure |
//! | [`connect`], [`Client`] | TLS, proxies, headers, subprotocols, a time for each phase |
//! | [`Reconnecting`] | a client that comes back |
//! | [`judge`], [`CLOSE_CODES`], [`HTTP_STATUSES`] | which endings are worth another attempt |
//!
//! # Cancelling
//!
//! Every future may be dropped at any time. Those of one connection ([`drive()`], [`Client::connect`])
//! lose that connection and nothing else; [`serve`] loses its connections; those that wait for a
//! message, for room or for a state lose nothing; [`Sender::send`] loses its own message at most.
#![forbid(unsafe_code)]

mod alarm;
mod backoff;
mod buffers;
mod client;
mod dial;
mod drive;
mod entropy;
mod error;
mod handler;
mod hints;
mod message;
mod proxy;
mod reconnecting;
mod retry;
mod sender;
mod server;
mod stop;
mod stream;
mod tcp;
mod tls;
mod websocket;

pub use backoff::{Backoff, Pace};
pub use client::{Client, connect};
pub use dial::Timeouts;
pub use drive::{Drive, drive};
pub use entropy::OsEntropy;
pub use error::{ConnectCause, ConnectError, Phase, Refusal};
pub use futures_rustls::rustls;
pub use handler::Handler;
pub use hints::{hint_of_message, hint_of_reason};
pub use message::{Closed, Message};
pub use moorline_core::upgrade::{Proxy, ProxyError};
pub use reconnecting::{HintOf, ReconnectOptions, Reconnecting, State, Update};
pub use retry::{CLOSE_CODES, Ending, HTTP_STATUSES, Row, Verdict, judge};
pub use sender::{Sender, Unsent};
pub use server::{AcceptFailed, Incoming, ServeOptions, serve};
pub use stop::Stop;
pub use stream::Stream;
pub use tcp::Tcp;
pub use tls::{default_tls, tls_with_roots};
pub use websocket::WebSocket;
