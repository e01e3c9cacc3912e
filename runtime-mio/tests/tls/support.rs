//! The adapter of mio with TLS, as the list of all adapters wants it: its peers speak through a tunnel.
#![allow(dead_code, unused_imports)]

#[path = "certificates.rs"]
pub mod certificates;
#[path = "../support/mod.rs"]
mod plain;
#[path = "tunnel.rs"]
pub mod tunnel;

use certificates::Authority;
use moorline_core::{ClientRequest, Event, Limits, Outbox};
use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::{
    Client, ConnId, Connections, Handle, Handler, OsEntropy, ServerOptions, TlsFailure, TlsOptions,
};
pub use plain::*;
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use tunnel::Tunnel;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// Nothing more comes: neither does anything else, nor has the other side only said nothing so far.
pub fn assert_ended(stream: &mut TcpStream) {
    match stream.read(&mut [0; 8]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("it goes on: {other:?}"),
    }
}

/// The adapter of mio, by TLS.
pub struct Subject;

/// A server behind a tunnel, which ends after it.
pub struct Behind {
    server: Running,
    tunnel: Option<Tunnel>,
    address: SocketAddr,
}

impl Runtime for Subject {
    type Server = Behind;

    const CUT: &str = "truncated";

    fn serve(setup: Setup, open: impl Fn() -> App + Send + Sync + 'static) -> Behind {
        let tls = TlsOptions::new(Arc::new(AUTHORITY.issue().server()));
        let Setup { limits, max_connections } = setup;
        let options =
            ServerOptions { limits, max_connections, tls: Some(tls), ..ServerOptions::default() };
        let server = plain::serve_apps(options, open);
        let tunnel = Tunnel::to_server(server.address, Arc::new(AUTHORITY.client()));
        Behind { server, address: tunnel.address, tunnel: Some(tunnel) }
    }

    fn run_client(address: SocketAddr, limits: Limits, app: App) {
        let tunnel = Tunnel::to_plain(address, Arc::new(AUTHORITY.issue().server()));
        let client = Client::new().unwrap();
        let target = Some((tunnel.address, Arc::new(limits)));
        let mut handler = One { app, target, handle: client.handle() };
        client.run(&mut handler).unwrap();
    }
}

impl Server for Behind {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn stop(&mut self) {
        self.server.stop();
        self.tunnel = None;
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

    fn handshake_failed(
        &mut self,
        _now: Instant,
        _id: ConnId,
        _peer: Option<moorline_mio::Peer>,
        failure: &TlsFailure,
    ) {
        // It is what a failed assertion is printed with.
        println!("TLS: {failure}");
    }

    fn turn(&mut self, _now: Instant, connections: &mut Connections<'_>) {
        if let Some((address, limits)) = self.target.take() {
            let request = ClientRequest::new(&address.to_string(), "/").unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let tls = Arc::new(AUTHORITY.client());
            connections
                .connect_tls(address, name, tls, request, Box::new(OsEntropy), limits)
                .unwrap();
        }
    }
}
