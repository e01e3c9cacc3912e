//! A running server, a peer that speaks in bytes, and this runtime as the list of all adapters wants
//! it.
#![allow(dead_code, unused_imports)]

mod http;
#[path = "../adapters/peer.rs"]
mod peer;
mod process;
#[path = "../adapters/runtime.rs"]
mod runtime;

pub use http::{exchange, get};
use moorline_core::{ClientRequest, Event, Limits, Outbox};
use moorline_mio::{
    Client, ConnId, Connections, Handle, Handler, OsEntropy, Server as MioServer, ServerOptions,
};
pub use peer::*;
pub use process::Process;
pub use runtime::*;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// A server on a free port, stopped when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub handles: Vec<Handle>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn echo(loops: usize, limits: Limits) -> Self {
        Self::start(ServerOptions { loops, limits, ..ServerOptions::default() }, || Echo)
    }

    pub fn start<H: Handler>(
        options: ServerOptions,
        handler: impl Fn() -> H + Sync + Send + 'static,
    ) -> Self {
        let server = MioServer::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let (address, handles) = (server.local_addr(), server.handles());
        let thread = std::thread::spawn(move || server.run(|_, _| handler()).unwrap());
        Self { address, handles, thread: Some(thread) }
    }

    pub fn stop(&mut self) {
        for handle in &self.handles {
            handle.stop();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers what it gets.
pub struct Echo;

impl Handler for Echo {
    fn event(&mut self, _now: Instant, _id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        echo(event, outbox);
    }
}

/// The adapter of mio.
pub struct Subject;

impl Runtime for Subject {
    type Server = Running;

    fn serve(setup: Setup, open: impl Fn() -> App + Send + Sync + 'static) -> Running {
        let Setup { limits, max_connections } = setup;
        serve_apps(ServerOptions { limits, max_connections, ..ServerOptions::default() }, open)
    }

    fn run_client(address: SocketAddr, limits: Limits, app: App) {
        let client = Client::new().unwrap();
        let target = Some((address, Arc::new(limits)));
        let mut handler = One { app, target, handle: client.handle() };
        client.run(&mut handler).unwrap();
    }
}

/// Serves with an application for each connection.
pub fn serve_apps(
    options: ServerOptions,
    open: impl Fn() -> App + Send + Sync + 'static,
) -> Running {
    let open: Arc<dyn Fn() -> App + Send + Sync> = Arc::new(open);
    Running::start(options, move || Apps { open: open.clone(), apps: HashMap::new() })
}

impl Server for Running {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn stop(&mut self) {
        Self::stop(self);
    }
}

/// A loop's handler that has an application for each connection.
struct Apps {
    open: Arc<dyn Fn() -> App + Send + Sync>,
    apps: HashMap<ConnId, App>,
}

impl Handler for Apps {
    fn opened(&mut self, _now: Instant, id: ConnId, _peer: moorline_mio::Peer) {
        assert!(self.apps.insert(id, (self.open)()).is_none(), "an id names one connection");
    }

    fn event(&mut self, _now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        let app = self.apps.get_mut(&id).expect("it was opened and has not ended");
        app(event, outbox);
        if let Event::Closed(_) = event {
            self.apps.remove(&id);
        }
    }
}

/// A handler of one client connection, whose end is the loop's.
struct One {
    app: App,
    target: Option<(SocketAddr, Arc<Limits>)>,
    handle: Handle,
}

impl Handler for One {
    fn event(&mut self, _now: Instant, _id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        (self.app)(event, outbox);
        if let Event::Closed(_) = event {
            self.handle.stop();
        }
    }

    fn turn(&mut self, _now: Instant, connections: &mut Connections<'_>) {
        if let Some((address, limits)) = self.target.take() {
            let request = ClientRequest::new(&address.to_string(), "/").unwrap();
            connections.connect(address, request, Box::new(OsEntropy), limits).unwrap();
        }
    }
}
