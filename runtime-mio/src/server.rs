//! A server of one or several loops on one address.

use crate::event_loop::{EventLoop, Handle};
use crate::handler::Handler;
use crate::listener::bind;
use crate::tls::TlsOptions;
use moorline_core::Limits;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;

/// How a [`Server`] is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Loops, each with its own thread and listener. Default 1, which serves tens of thousands of
    /// chat connections; more than there are cores only costs.
    pub loops: usize,
    /// Connections per loop; more wait in the kernel's queue. Default 100,000.
    pub max_connections: usize,
    /// What a peer may cost.
    pub limits: Limits,
    /// TLS for whoever comes over the network. Default none.
    pub tls: Option<TlsOptions>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { loops: 1, max_connections: 100_000, limits: Limits::default(), tls: None }
    }
}

/// A bound server, ready to run.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    loops: Vec<EventLoop>,
}

impl Server {
    /// Binds the address: nothing heavy has happened when this fails because somebody else has it.
    ///
    /// # Errors
    /// What the system says; `AddrInUse` when somebody listens there.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let listeners = bind(address, options.loops.max(1))?;
        Self::of(listeners, options)
    }

    /// Serves on a socket that listens already, as a service manager hands one over: it outlives this
    /// process, so clients that come during a restart wait in its queue instead of being refused. All
    /// loops accept from the one socket, whoever is first.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_listener(listener: TcpListener, options: ServerOptions) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listeners = Vec::new();
        for _ in 1..options.loops {
            listeners.push(listener.try_clone()?);
        }
        listeners.push(listener);
        Self::of(listeners, options)
    }

    fn of(listeners: Vec<TcpListener>, options: ServerOptions) -> io::Result<Self> {
        let address = listeners[0].local_addr()?;
        let limits = Arc::new(options.limits);
        let loops = listeners
            .into_iter()
            .map(|listener| {
                EventLoop::new(
                    Some(listener),
                    limits.clone(),
                    options.tls.clone(),
                    options.max_connections,
                )
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { address, loops })
    }

    /// The address it listens on, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections from `socket`, too, in the first loop; the handler is told that they are
    /// [`Peer::Local`](crate::Peer::Local). A few of them are accepted beyond
    /// [`ServerOptions::max_connections`], and they still are while the loop waits for
    /// [`Handler::may_stop`].
    ///
    /// # Errors
    /// What the system says of watching the socket.
    pub fn listen_locally(&mut self, socket: UnixListener) -> io::Result<()> {
        match self.loops.first_mut() {
            Some(first) => first.listen_locally(socket),
            None => Ok(()),
        }
    }

    /// One handle per loop.
    pub fn handles(&self) -> Vec<Handle> {
        self.loops.iter().map(EventLoop::handle).collect()
    }

    /// Runs until every loop was stopped. `handler` makes the handler of each loop, on the loop's own
    /// thread; the first loop runs on this one.
    ///
    /// # Errors
    /// What the system says of polling; of several failures the first.
    pub fn run<H: Handler>(self, handler: impl Fn(usize, Handle) -> H + Sync) -> io::Result<()> {
        let handler = &handler;
        let run = |index: usize, event_loop: EventLoop| {
            let mut handler = handler(index, event_loop.handle());
            event_loop.run(&mut handler)
        };
        thread::scope(|scope| {
            let mut loops = self.loops.into_iter().enumerate();
            let first = loops.next();
            let others: Vec<_> = loops
                .map(|(index, event_loop)| {
                    thread::Builder::new()
                        .name(format!("loop-{index}"))
                        .spawn_scoped(scope, move || run(index, event_loop))
                })
                .collect::<io::Result<_>>()?;
            let mut result = first.map_or(Ok(()), |(index, event_loop)| run(index, event_loop));
            for other in others {
                let ended =
                    other.join().unwrap_or_else(|_| Err(io::Error::other("a loop panicked")));
                result = result.and(ended);
            }
            result
        })
    }
}
