//! Moorline on [mio]: flush, look at what the connection wants, wait, one call, drain the turn.
//!
//! Everything about the protocol is decided in [`moorline_core`]; this crate moves bytes. A loop is one
//! thread with its listener, its connections, one read buffer, one message buffer and one write buffer
//! that all of them share, and one timer wheel.
//!
//! ```no_run
//! use moorline_mio::{ConnId, Connections, Handler, Server, ServerOptions};
//! use moorline_core::{Accept, Event, Outbox};
//! use std::time::Instant;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn event(&mut self, _now: Instant, _id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
//!         // A full outbox means that the peer does not read: what is over the limit is dropped here.
//!         let _ = match event {
//!             Event::Request(head) if head.is_upgrade() => {
//!                 return outbox.accept(&Accept::default()).expect("it is an upgrade");
//!             }
//!             Event::Text(text) => outbox.text(text),
//!             Event::Binary(data) => outbox.binary(data),
//!             _ => Ok(()),
//!         };
//!     }
//! }
//!
//! let server = Server::bind("127.0.0.1:9001".parse().unwrap(), ServerOptions::default())?;
//! server.run(|_loop_index, _handle| Echo)?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod client;
mod entropy;
mod event_loop;
mod handler;
mod handshakes;
mod listener;
mod opening;
mod server;
mod slot;
mod stream;
mod tls;

pub use client::Client;
pub use entropy::OsEntropy;
pub use event_loop::{Connections, Counters, Handle, Queued};
pub use handler::{ConnId, Handler};
pub use listener::bind;
pub use rustls;
pub use server::{Server, ServerOptions};
pub use stream::Peer;
pub use tls::{TlsFailure, TlsOptions};
