//! The loop: one thread, one poll, many connections.

use crate::handler::{ConnId, Handler};
use crate::listener::Listener;
use crate::slot::{Driven, Shared, Slot};
use crate::stream::Stream;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use moorline_core::{
    ClientRequest, CloseCode, Connection, Entropy, Limits, MessageSpare, Outbox, Wheel,
};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const LOCAL_LISTENER: Token = Token(usize::MAX - 2);

/// Connections over the local socket that a full loop still takes: whoever may use that must be able to
/// say what to do about it.
const LOCAL_RESERVE: usize = 16;

/// Low bits of a [`ConnId`]: the slot. The rest counts connections.
const SLOT_BITS: u32 = 24;

/// Reaches a running loop from other threads.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<HandleShared>,
}

#[derive(Debug)]
struct HandleShared {
    waker: Waker,
    stop: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    connections: AtomicU64,
    turns: AtomicU64,
}

/// What a loop has done so far.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of `read` on sockets.
    pub reads: u64,
    /// Calls of `write` or `writev` on sockets.
    pub writes: u64,
    /// Connections there are now.
    pub connections: u64,
    /// Turns. A loop that was woken and has no more of them some time later is stuck.
    pub turns: u64,
}

impl Handle {
    /// Makes the loop call [`Handler::turn`] soon.
    pub fn wake(&self) {
        // It fails only when the loop is gone.
        let _ = self.shared.waker.wake();
    }

    /// Closes the listener and every connection (1001 `going away`), then ends the loop.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// The loop's counters, as of its latest turn.
    pub fn counters(&self) -> Counters {
        Counters {
            reads: self.shared.reads.load(Ordering::Relaxed),
            writes: self.shared.writes.load(Ordering::Relaxed),
            connections: self.shared.connections.load(Ordering::Relaxed),
            turns: self.shared.turns.load(Ordering::Relaxed),
        }
    }
}

/// A loop before and while it runs.
#[derive(Debug)]
pub(crate) struct EventLoop {
    poll: Poll,
    handle: Handle,
    listener: Option<Listener>,
    local_listener: Option<Listener>,
    table: Table,
    /// The slots being worked on; kept for its storage.
    batch: Vec<usize>,
    wheel: Wheel,
    shared: Shared,
    limits: Arc<Limits>,
    max_connections: usize,
}

/// All connections of a loop, and those that must be driven again.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots to drive in this or the next turn.
    listed: Vec<usize>,
    opened: u64,
    open: usize,
}

/// The connections of a loop, for a handler that wants to reach others than the one it is called for.
#[derive(Debug)]
pub struct Connections<'a> {
    table: &'a mut Table,
    poll: &'a Poll,
    limits: &'a mut Arc<Limits>,
    now: Instant,
}

impl Connections<'_> {
    /// The outbox of a connection; `None` when it is gone. What is put there leaves in this turn.
    pub fn outbox(&mut self, id: ConnId) -> Option<&mut Outbox> {
        let now = self.now;
        self.table.list(id).map(|slot| slot.connection.outbox(now))
    }

    /// Closes a connection, whatever its state.
    pub fn close(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        let now = self.now;
        if let Some(slot) = self.table.list(id) {
            slot.connection.close(now, code, reason);
        }
    }

    /// Gives these limits to connections that are accepted from now on. Those that are there keep
    /// theirs: clients were told them.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        *self.limits = limits;
    }

    /// The names of all connections, oldest slot first.
    pub fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.table.slots.iter().flatten().map(|slot| slot.id)
    }

    /// Connects to `address` as a client. [`Handler::opened`] is not called; events come under the
    /// name that this gives, [`Event::Closed`](moorline_core::Event::Closed) with
    /// [`Cause::Eof`](moorline_core::Cause::Eof) when nobody answers.
    ///
    /// # Errors
    /// What the system says of the attempt before it is under way.
    pub fn connect(
        &mut self,
        address: SocketAddr,
        request: ClientRequest,
        entropy: Box<dyn Entropy>,
        limits: Arc<Limits>,
    ) -> io::Result<ConnId> {
        let stream = TcpStream::connect(address)?;
        // Refused by systems where the socket is not connected yet; it is an optimisation only.
        let _ = stream.set_nodelay(true);
        let connection = Connection::client(request, entropy, limits, self.now);
        let id = self.table.insert(Stream::Tcp(stream), connection, self.poll, false)?;
        self.table.list(id);
        Ok(id)
    }
}

impl Table {
    fn get(&mut self, id: ConnId) -> Option<&mut Slot> {
        let index = (id.0 & ((1 << SLOT_BITS) - 1)) as usize;
        self.slots.get_mut(index)?.as_mut().filter(|slot| slot.id == id)
    }

    /// Gives the slot and sees to it that it is driven.
    fn list(&mut self, id: ConnId) -> Option<&mut Slot> {
        let index = self.get(id).map(|slot| index(slot.id))?;
        self.list_index(index);
        self.slots[index].as_mut()
    }

    fn list_index(&mut self, index: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(index)
            && !std::mem::replace(&mut slot.listed, true)
        {
            self.listed.push(index);
        }
    }

    /// `writable`: the socket is connected, so the first bytes may go out without waiting.
    fn insert(
        &mut self,
        mut stream: Stream,
        connection: Connection,
        poll: &Poll,
        writable: bool,
    ) -> io::Result<ConnId> {
        let index = self.free.last().map_or(self.slots.len(), |index| *index as usize);
        if index >= 1 << SLOT_BITS {
            return Err(io::Error::other("too many connections for one loop"));
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        let id = ConnId(self.opened << SLOT_BITS | index as u64);
        self.opened += 1;
        self.open += 1;
        let slot = Slot {
            id,
            stream,
            connection,
            readable: false,
            writable,
            read_closed: false,
            shut: false,
            listed: false,
        };
        match self.free.pop() {
            Some(_) => self.slots[index] = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        Ok(id)
    }

    fn remove(&mut self, index: usize) {
        // Dropping the socket takes it out of the poll.
        if self.slots[index].take().is_some() {
            self.free.push(index as u32);
            self.open -= 1;
        }
    }
}

fn index(id: ConnId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}

impl EventLoop {
    pub(crate) fn new(
        listener: Option<std::net::TcpListener>,
        limits: Arc<Limits>,
        max_connections: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = listener.map(Listener::tcp);
        if let Some(listener) = &mut listener {
            listener.register(poll.registry(), LISTENER)?;
        }
        let shared = HandleShared {
            waker: Waker::new(poll.registry(), WAKER)?,
            stop: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        };
        Ok(Self {
            poll,
            handle: Handle { shared: Arc::new(shared) },
            listener,
            local_listener: None,
            table: Table::default(),
            batch: Vec::new(),
            wheel: Wheel::new(Instant::now()),
            shared: Shared {
                read: vec![0; Connection::READ_BUFFER].into(),
                spare: Vec::new(),
                message: MessageSpare::default(),
                reads: 0,
                writes: 0,
            },
            limits,
            max_connections,
        })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Accepts from this Unix domain socket, too, until the loop closes its last connections.
    pub(crate) fn listen_locally(
        &mut self,
        socket: std::os::unix::net::UnixListener,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let mut listener = Listener::unix(socket);
        listener.register(self.poll.registry(), LOCAL_LISTENER)?;
        self.local_listener = Some(listener);
        Ok(())
    }

    /// Runs until it is stopped and its last connection has ended.
    pub(crate) fn run(mut self, handler: &mut impl Handler) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let (mut stopping, mut closed) = (false, false);
        loop {
            let timeout = self.timeout(handler, Instant::now());
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            // One clock read per turn.
            let now = Instant::now();
            for event in &events {
                self.take_event(now, event, handler);
            }
            self.accept(now, handler);
            self.expire(now, handler);
            self.drive_listed(now, handler);
            let mut connections = Connections {
                table: &mut self.table,
                poll: &self.poll,
                limits: &mut self.limits,
                now,
            };
            handler.turn(now, &mut connections);
            if !stopping && self.handle.shared.stop.load(Ordering::Acquire) {
                stopping = true;
                self.listener = None;
                handler.stopping(now, &mut connections);
            }
            if stopping && !closed && handler.may_stop() {
                closed = true;
                self.local_listener = None;
                let ids: Vec<_> = connections.ids().collect();
                for id in ids {
                    connections.close(id, CloseCode::GOING_AWAY, "going away");
                }
            }
            self.drive_listed(now, handler);
            self.publish();
            if closed && self.table.open == 0 {
                return Ok(());
            }
        }
    }

    fn timeout(&self, handler: &impl Handler, now: Instant) -> Option<Duration> {
        let listeners = || self.listener.iter().chain(&self.local_listener);
        if !self.table.listed.is_empty() || listeners().any(|listener| listener.is_due(now)) {
            return Some(Duration::ZERO);
        }
        [self.wheel.next(), handler.deadline()]
            .into_iter()
            .chain(listeners().map(Listener::deadline))
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(now))
    }

    fn take_event(&mut self, now: Instant, event: &mio::event::Event, handler: &mut impl Handler) {
        match event.token() {
            WAKER => {}
            LISTENER => {
                if let Some(listener) = &mut self.listener {
                    listener.set_ready();
                }
            }
            LOCAL_LISTENER => {
                if let Some(listener) = &mut self.local_listener {
                    listener.set_ready();
                }
            }
            Token(index) => {
                let Some(Some(slot)) = self.table.slots.get_mut(index) else { return };
                slot.readable |= event.is_readable() || event.is_read_closed();
                slot.read_closed |= event.is_read_closed() || event.is_error();
                if event.is_writable() {
                    slot.writable = true;
                }
                self.drive(now, index, handler);
            }
        }
    }

    fn accept(&mut self, now: Instant, handler: &mut impl Handler) {
        let local_max = self.max_connections.saturating_add(LOCAL_RESERVE);
        let listeners =
            [(&mut self.listener, self.max_connections), (&mut self.local_listener, local_max)];
        for (listener, max) in listeners {
            let Some(listener) = listener.as_mut().filter(|listener| listener.is_due(now)) else {
                continue;
            };
            if self.table.open >= max {
                listener.pause(now);
                continue;
            }
            let mut failure = None;
            let (table, poll, limits) = (&mut self.table, &self.poll, &self.limits);
            let mut opened = |stream: Stream, peer| {
                let connection = Connection::server(limits.clone(), now);
                if let Ok(id) = table.insert(stream, connection, poll, true) {
                    // Its handshake deadline must be armed.
                    table.list(id);
                    handler.opened(now, id, peer);
                }
            };
            listener.accept(now, &mut opened, |error| failure = Some(error));
            if let Some(error) = failure {
                handler.accept_failed(&error);
            }
        }
    }

    fn expire(&mut self, now: Instant, handler: &mut impl Handler) {
        let mut due = std::mem::take(&mut self.batch);
        self.wheel.expired(now, &mut due);
        for index in due.drain(..) {
            self.drive(now, index, handler);
        }
        self.batch = due;
    }

    fn drive_listed(&mut self, now: Instant, handler: &mut impl Handler) {
        // Slots that list themselves again wait for the next turn.
        let mut batch = std::mem::take(&mut self.batch);
        std::mem::swap(&mut batch, &mut self.table.listed);
        for index in batch.drain(..) {
            if let Some(Some(slot)) = self.table.slots.get_mut(index) {
                slot.listed = false;
                self.drive(now, index, handler);
            }
        }
        self.batch = batch;
    }

    fn drive(&mut self, now: Instant, index: usize, handler: &mut impl Handler) {
        let Some(Some(slot)) = self.table.slots.get_mut(index) else { return };
        let driven = slot.drive(now, &mut self.shared, handler);
        if driven == Driven::Done {
            self.wheel.disarm(index);
            self.table.remove(index);
            return;
        }
        if let Some(at) = slot.connection.wants().wake_at {
            self.wheel.arm(index, at);
        }
        if driven == Driven::Again {
            self.table.list_index(index);
        }
    }

    fn publish(&self) {
        let shared = &self.handle.shared;
        shared.reads.store(self.shared.reads, Ordering::Relaxed);
        shared.writes.store(self.shared.writes, Ordering::Relaxed);
        shared.connections.store(self.table.open as u64, Ordering::Relaxed);
        shared.turns.fetch_add(1, Ordering::Relaxed);
    }
}
