//! A running server, a peer that speaks in bytes, and this runtime as the list of all adapters wants
//! it.
#![allow(dead_code, unused_imports)]

#[path = "../../../runtime-mio/tests/adapters/peer.rs"]
mod peer;
#[path = "../../../runtime-mio/tests/adapters/runtime.rs"]
mod runtime;

use moorline_core::Limits;
use moorline_smol::{Client, Handler, Incoming, ServeOptions, Stop, Timeouts, drive, serve};
pub use peer::*;
pub use runtime::*;
use smol::{Async, block_on};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

/// A server on a free port, with its own thread, stopped when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn echo(limits: Limits) -> Self {
        Self::start(ServeOptions { limits, ..ServeOptions::default() }, |_| echo)
    }

    pub fn start<H: Handler + Send + Unpin + 'static>(
        options: ServeOptions,
        open: impl FnMut(&mut Incoming<'_>) -> H + Send + 'static,
    ) -> Self {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let stop = options.stop.clone();
        let thread = std::thread::spawn(move || block_on(serve(listener, options, open)));
        Self { address, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    pub fn stop(&mut self) {
        self.stop.stop();
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

/// An address that refuses connections, as long as the socket is kept: nobody else can get the port.
pub fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// The adapter of smol.
pub struct Subject;

impl Runtime for Subject {
    type Server = Running;

    fn serve(setup: Setup, open: impl Fn() -> App + Send + Sync + 'static) -> Running {
        let Setup { limits, max_connections } = setup;
        let options = ServeOptions { limits, max_connections, ..ServeOptions::default() };
        Running::start(options, move |_| open())
    }

    fn run_client(address: SocketAddr, limits: Limits, app: App) {
        let client = Client::new(&format!("ws://{address}/")).unwrap().no_proxy();
        let timeouts = Timeouts { upgrade: limits.handshake_within, ..Timeouts::default() };
        block_on(async {
            let client = client.limits(limits).timeouts(timeouts);
            let (stream, connection) = client.dial().await.unwrap();
            drive(stream, connection, app).await;
        });
    }
}

impl Server for Running {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn stop(&mut self) {
        Self::stop(self);
    }
}
