//! What a runtime says of itself to be run through the list of cases.

use moorline_core::{Accept, Event, Limits, Outbox, Response};
use std::net::SocketAddr;

/// The application of one connection.
pub type App = Box<dyn FnMut(Event<'_>, &mut Outbox) + Send>;

/// A runtime whose adapter is to be tested.
pub trait Runtime {
    type Server: Server;

    /// The cause of a connection that was reset: TLS tells it from an end of file.
    const CUT: &str = "eof";

    /// Serves on a free port of 127.0.0.1, with a thread of its own. `open` makes the application of
    /// each connection.
    fn serve(setup: Setup, open: impl Fn() -> App + Send + Sync + 'static) -> Self::Server;

    /// Connects to `ws://{address}/` and runs that connection on this thread until it has ended.
    fn run_client(address: SocketAddr, limits: Limits, app: App);
}

/// A running server, stopped when dropped.
pub trait Server: Send + 'static {
    fn address(&self) -> SocketAddr;

    /// Says goodbye to every connection and waits until the last one has ended.
    fn stop(&mut self);
}

/// What a server is made with.
pub struct Setup {
    pub limits: Limits,
    pub max_connections: usize,
}

impl From<Limits> for Setup {
    fn from(limits: Limits) -> Self {
        Self { limits, max_connections: 100_000 }
    }
}

/// Accepts upgrades, answers other requests with 200, sends every message back; one that does not fit
/// is dropped.
pub fn echo(event: Event<'_>, outbox: &mut Outbox) {
    let _ = match event {
        Event::Request(head) if head.is_upgrade() => {
            return outbox.accept(&Accept::default()).unwrap();
        }
        Event::Request(_) => return outbox.respond(&Response::text(200, "hello\n")).unwrap(),
        Event::Text(text) => outbox.text(text),
        Event::Binary(data) => outbox.binary(data),
        _ => Ok(()),
    };
}
