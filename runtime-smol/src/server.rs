//! A server: accepts, and runs a task per connection.

use crate::drive::Driver;
use crate::handler::Handler;
use crate::sender::Sender;
use crate::stop::{Seat, Stop};
use crate::tcp::Tcp;
use event_listener::Event;
use moorline_core::{CloseCode, Connection, Limits};
use smol::{Async, Executor, Timer, future};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Accepts in a row: then established connections have their turn.
const ACCEPTS: usize = 64;

/// The pause after a failed accept. Shorter would spin, longer would be felt.
const PAUSE: Duration = Duration::from_millis(100);

/// Is told of a failed accept.
pub type AcceptFailed = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// How [`serve`] works.
#[derive(Clone)]
pub struct ServeOptions {
    /// What a peer may cost.
    pub limits: Limits,
    /// Connections at a time; more wait in the kernel's queue. Default 100,000.
    pub max_connections: usize,
    /// Stops the server.
    pub stop: Stop,
    /// Told when a connection could not be accepted; the server tries again after a pause.
    pub accept_failed: Option<AcceptFailed>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_connections: 100_000,
            stop: Stop::default(),
            accept_failed: None,
        }
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("limits", &self.limits)
            .field("max_connections", &self.max_connections)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// A connection that was accepted and has not begun.
#[derive(Debug)]
pub struct Incoming<'a> {
    peer: SocketAddr,
    driver: &'a mut Driver<Tcp>,
}

impl Incoming<'_> {
    /// The other end's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A handle for other tasks to send through. The first one costs the connection a small
    /// allocation.
    pub fn sender(&mut self) -> Sender {
        self.driver.sender()
    }
}

/// Serves `listener` (an `Async<TcpListener>` or a `smol::net::TcpListener`) until it is stopped and
/// the last connection has ended. `open` makes the handler of each connection.
///
/// The connections' tasks run where this future is polled. Dropping it drops them, without a Close;
/// [`Stop::stop`] says goodbye. For several cores, run several of these on listeners that share a
/// port.
pub async fn serve<H>(
    listener: impl Into<Arc<Async<TcpListener>>>,
    options: ServeOptions,
    open: impl FnMut(&mut Incoming<'_>) -> H,
) where
    H: Handler + Send + Unpin + 'static,
{
    let executor = Executor::new();
    let open_count = Arc::new(OpenCount::default());
    let serving = async {
        let accepting = accept(listener.into(), &options, open, &executor, &open_count);
        future::or(accepting, options.stop.asked()).await;
        // The listener is gone; its connections are not.
        open_count.wait_below(1).await;
    };
    executor.run(serving).await;
}

async fn accept<H>(
    listener: Arc<Async<TcpListener>>,
    options: &ServeOptions,
    mut open: impl FnMut(&mut Incoming<'_>) -> H,
    executor: &Executor<'_>,
    open_count: &Arc<OpenCount>,
) where
    H: Handler + Send + Unpin + 'static,
{
    let limits = Arc::new(options.limits.clone());
    loop {
        for _ in 0..ACCEPTS {
            open_count.wait_below(options.max_connections).await;
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_the_peer(&error) => continue,
                Err(error) => {
                    if let Some(told) = &options.accept_failed {
                        told(&error);
                    }
                    Timer::after(PAUSE).await;
                    continue;
                }
            };
            let connection = Connection::server(limits.clone(), Instant::now());
            let mut driver = Driver::new(Tcp::from(stream), connection);
            let handler = open(&mut Incoming { peer, driver: &mut driver });
            let place = Place::new(open_count);
            executor.spawn(Served { driver, handler, seat: options.stop.seat(), place }).detach();
        }
        future::yield_now().await;
    }
}

/// Failures of one peer's connection and not of the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// The task of one connection.
struct Served<H> {
    driver: Driver<Tcp>,
    handler: H,
    seat: Seat,
    #[expect(dead_code, reason = "counts by being dropped")]
    place: Place,
}

impl<H: Handler + Unpin> Future for Served<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { driver, handler, seat, .. } = self.get_mut();
        if seat.poll(cx) {
            driver.connection.close(Instant::now(), CloseCode::GOING_AWAY, "going away");
        }
        driver.poll(cx, handler)
    }
}

/// How many connections are open.
#[derive(Debug, Default)]
struct OpenCount {
    open: AtomicUsize,
    ended: Event,
}

impl OpenCount {
    async fn wait_below(&self, most: usize) {
        while self.open.load(Ordering::Acquire) >= most {
            let listener = self.ended.listen();
            if self.open.load(Ordering::Acquire) >= most {
                listener.await;
            }
        }
    }
}

#[derive(Debug)]
struct Place(Arc<OpenCount>);

impl Place {
    fn new(open_count: &Arc<OpenCount>) -> Self {
        open_count.open.fetch_add(1, Ordering::AcqRel);
        Self(open_count.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify(usize::MAX);
    }
}
