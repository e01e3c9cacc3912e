//! The loop: one thread, one poll, many connections.

use crate::handler::{ConnId, Handler};
use crate::handshakes::Handshakes;
use crate::listener::Listener;
use crate::opening::{Opening, STEPS};
use crate::slot::{Driven, Shared, Slot};
use crate::stream::{Stream, Streams, Traffic};
use crate::tls::{TlsOptions, TlsStream};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use moorline_core::{
    ClientRequest, CloseCode, Connection, Entropy, Limits, MessageSpare, Outbox, Wheel,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
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
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    frames_received: AtomicU64,
    frames_sent: AtomicU64,
    /// When the loop was made.
    start: Instant,
    /// Microseconds from then to the beginning of the present turn; 0 while it waits.
    busy_since: AtomicU64,
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
    /// Bytes that were read from sockets; with TLS as they were encrypted, handshakes included.
    pub bytes_read: u64,
    /// Bytes that were written to sockets; with TLS as above.
    pub bytes_written: u64,
    /// WebSocket frames that came, control frames included.
    pub frames_received: u64,
    /// WebSocket frames that were written, control frames included. What was queued and then dropped is
    /// not among them.
    pub frames_sent: u64,
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

    /// The loop's counters, as of its latest [`Handler::turn`] at least.
    pub fn counters(&self) -> Counters {
        Counters {
            reads: self.shared.reads.load(Ordering::Relaxed),
            writes: self.shared.writes.load(Ordering::Relaxed),
            connections: self.shared.connections.load(Ordering::Relaxed),
            bytes_read: self.shared.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.shared.bytes_written.load(Ordering::Relaxed),
            frames_received: self.shared.frames_received.load(Ordering::Relaxed),
            frames_sent: self.shared.frames_sent.load(Ordering::Relaxed),
            turns: self.shared.turns.load(Ordering::Relaxed),
        }
    }

    /// For how long the loop has been in its present turn; `None` while it waits for something to do.
    pub fn busy_for(&self) -> Option<Duration> {
        let since = self.shared.busy_since.load(Ordering::Relaxed);
        let since = (since > 0).then(|| Duration::from_micros(since))?;
        Some(self.shared.start.elapsed().saturating_sub(since))
    }
}

impl HandleShared {
    /// A turn begins.
    fn began(&self, now: Instant) {
        let since = now.saturating_duration_since(self.start).as_micros() as u64;
        self.busy_since.store(since.max(1), Ordering::Relaxed);
    }

    /// It is over.
    fn ended(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
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
    tls: Option<TlsOptions>,
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
    /// Those of them that were accepted and whose handshake is under way.
    handshakes: Handshakes,
}

/// The connections of a loop, for a handler that wants to reach others than the one it is called for.
#[derive(Debug)]
pub struct Connections<'a> {
    table: &'a mut Table,
    poll: &'a Poll,
    limits: &'a mut Arc<Limits>,
    tls: &'a mut Option<TlsOptions>,
    now: Instant,
}

/// What waits to be taken by the peers of a loop.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub struct Queued {
    /// Bytes.
    pub bytes: u64,
    /// The longest time for which one of the peers has taken nothing of what is queued for it.
    pub stalled: Duration,
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
            slot.close(now, code, reason);
        }
    }

    /// Gives these limits to connections that are accepted from now on. Those that are there keep
    /// theirs: clients were told them.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        *self.limits = limits;
    }

    /// TLS handshakes of accepted connections that are under way. [`Handler::opened`] was not called for them.
    pub fn handshakes(&self) -> usize {
        self.table.handshakes.len()
    }

    /// What is queued for all of them. Work in proportion to their number.
    pub fn queued(&mut self) -> Queued {
        let mut queued = Queued::default();
        for slot in self.table.slots.iter_mut().flatten() {
            let outbox = slot.connection.outbox(self.now);
            queued.bytes += outbox.queued() as u64;
            queued.stalled = queued.stalled.max(outbox.stalled().unwrap_or_default());
        }
        queued
    }

    /// Speaks TLS by these options with whoever is accepted from now on. A loop that was made without TLS
    /// stays without.
    pub fn set_tls(&mut self, options: TlsOptions) {
        if let Some(tls) = self.tls {
            *tls = options;
        }
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
        let stream = Stream::Tcp(dial(address)?);
        let connection = Connection::client(request, entropy, limits, self.now);
        self.begin(stream, connection)
    }

    /// As [`Connections::connect`], by TLS with the server `name`. All of it together has the time of the
    /// opening handshake; [`Handler::handshake_failed`] says what goes wrong with TLS.
    ///
    /// # Errors
    /// As there, and what rustls says of the configuration.
    pub fn connect_tls(
        &mut self,
        address: SocketAddr,
        name: ServerName<'static>,
        tls: Arc<ClientConfig>,
        request: ClientRequest,
        entropy: Box<dyn Entropy>,
        limits: Arc<Limits>,
    ) -> io::Result<ConnId> {
        let stream = TlsStream::client(dial(address)?, tls, name).map_err(io::Error::other)?;
        let connection = Connection::client(request, entropy, limits, self.now);
        self.begin(Stream::Tls(Box::new(stream)), connection)
    }

    fn begin(&mut self, stream: Stream, connection: Connection) -> io::Result<ConnId> {
        let opening = stream.is_opening().then(|| Opening::own(self.now, &connection));
        let id = self.table.insert(stream, connection, opening, self.poll, false)?;
        self.table.list(id);
        Ok(id)
    }
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    // Refused by systems where the socket is not connected yet; it is an optimisation only.
    let _ = stream.set_nodelay(true);
    Ok(stream)
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
        opening: Option<Box<Opening>>,
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
            opening,
            readable: false,
            writable,
            read_closed: false,
            shut: false,
            listed: false,
        };
        if let Some(address) = slot.handshake() {
            self.handshakes.begin(address, id);
        }
        match self.free.pop() {
            Some(_) => self.slots[index] = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        Ok(id)
    }

    fn remove(&mut self, index: usize) {
        // Dropping the socket takes it out of the poll.
        if let Some(slot) = self.slots[index].take() {
            self.free.push(index as u32);
            self.open -= 1;
            if let Some(address) = slot.handshake() {
                self.handshakes.end(address, slot.id);
            }
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
        tls: Option<TlsOptions>,
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
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            frames_received: AtomicU64::new(0),
            frames_sent: AtomicU64::new(0),
            start: Instant::now(),
            busy_since: AtomicU64::new(0),
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
                streams: Streams::default(),
                handshakes: STEPS,
                frames_sent: 0,
            },
            limits,
            tls,
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
        listener.fill_reserve();
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
            self.handle.shared.began(now);
            self.shared.handshakes = STEPS;
            for event in &events {
                self.take_event(now, event, handler);
            }
            self.accept(now, handler);
            self.expire(now, handler);
            self.drive_listed(now, handler);
            // The handler may answer a scrape in its turn: the counters must be fresh.
            self.publish();
            let mut connections = Connections {
                table: &mut self.table,
                poll: &self.poll,
                limits: &mut self.limits,
                tls: &mut self.tls,
                now,
            };
            // Read before the turn: what somebody has said before they stopped the loop is heard.
            let stop = self.handle.shared.stop.load(Ordering::Acquire);
            handler.turn(now, &mut connections);
            if !stopping && stop {
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
            self.handle.shared.ended();
            handler.turned(now.elapsed());
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
                if slot.opening.is_some() {
                    // Behind those for which there was no step left: whoever keeps the loop busy with new
                    // handshakes does not delay them for ever.
                    self.table.list_index(index);
                } else {
                    self.drive(now, index, handler);
                }
            }
        }
    }

    fn accept(&mut self, now: Instant, handler: &mut impl Handler) {
        if let Some(listener) = &mut self.local_listener {
            // Before others take what is free again.
            listener.fill_reserve();
        }
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
            let tls = self.tls.as_ref();
            let mut opened = |stream: Stream, peer| {
                let stream = tls.into_iter().fold(stream, Stream::secured);
                let opening = tls
                    .filter(|_| stream.is_opening())
                    .map(|tls| Opening::accepted(now, peer, limits, tls));
                let is_open = opening.is_none();
                let connection = Connection::server(limits.clone(), now);
                if let Ok(id) = table.insert(stream, connection, opening, poll, true) {
                    // Its handshake deadline must be armed.
                    table.list(id);
                    if is_open {
                        handler.opened(now, id, peer);
                    }
                }
            };
            listener.accept(now, &mut opened, |error| failure = Some(error));
            if let Some(error) = failure {
                handler.accept_failed(&error);
            }
        }
        self.crowd_out(now, handler);
    }

    /// Ends handshakes, where there are more than there may be.
    fn crowd_out(&mut self, now: Instant, handler: &mut impl Handler) {
        let Some(most) = self.tls.as_ref().map(|tls| tls.handshakes) else { return };
        while self.table.handshakes.len() > most
            && let Some(id) = self.table.handshakes.first_out(most)
        {
            if let Some(slot) = self.table.get(id) {
                slot.crowd_out(now, handler);
            }
            self.wheel.disarm(index(id));
            self.table.remove(index(id));
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
        let handshake = slot.handshake();
        let driven = slot.drive(now, &mut self.shared, handler);
        let wake_at = slot.wake_at();
        if let Some(address) = handshake.filter(|_| slot.opening.is_none()) {
            self.table.handshakes.end(address, slot.id);
        }
        if driven == Driven::Done {
            self.wheel.disarm(index);
            self.table.remove(index);
            return;
        }
        if let Some(at) = wake_at {
            self.wheel.arm(index, at);
        }
        if driven == Driven::Again {
            self.table.list_index(index);
        }
    }

    fn publish(&self) {
        let shared = &self.handle.shared;
        let Traffic { reads, writes, bytes_read, bytes_written } = &self.shared.streams.traffic;
        shared.reads.store(*reads, Ordering::Relaxed);
        shared.writes.store(*writes, Ordering::Relaxed);
        shared.connections.store(self.table.open as u64, Ordering::Relaxed);
        shared.bytes_read.store(*bytes_read, Ordering::Relaxed);
        shared.bytes_written.store(*bytes_written, Ordering::Relaxed);
        shared.frames_received.store(self.shared.message.frames(), Ordering::Relaxed);
        shared.frames_sent.store(self.shared.frames_sent, Ordering::Relaxed);
    }
}
