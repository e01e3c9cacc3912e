//! Sending from other tasks: a bounded hand-over between them and the connection's task.

use crate::message::Message;
use event_listener::Event;
use moorline_core::{CloseCode, Connection, Frame, Outbox, SendError};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// What a waiting call counts for in the bound.
const CALL_BYTES: usize = 256;

/// Reaches one connection from other tasks and threads. Cheap to clone.
///
/// What waits here and in the connection's outbox together is bounded by
/// [`Limits::outbox_pause`](moorline_core::Limits::outbox_pause) and one message: when the peer does
/// not read, [`Sender::send`] waits and [`Sender::try_send`] says so. Messages of one sender leave in
/// order. Those sent during the handshake leave when the connection opens.
#[derive(Debug, Clone)]
pub struct Sender {
    link: Arc<Link>,
}

/// A message that was not sent, given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// Too much waits for the peer already.
    Full(Message),
    /// The connection takes no more messages.
    Closed(Message),
}

impl Unsent {
    /// The message.
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the peer reads too slowly, too much waits already",
            Self::Closed(_) => "the connection takes no more messages",
        })
    }
}

impl std::error::Error for Unsent {}

impl Sender {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// Hands a message over, after waiting for room.
    ///
    /// Dropping the future drops the message unless it was handed over, whole. To keep it in any case,
    /// wait with [`Sender::ready`] and use [`Sender::try_send`].
    ///
    /// # Errors
    /// [`Unsent::Closed`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        let mut message = message.into();
        loop {
            message = match self.try_send(message) {
                Err(Unsent::Full(message)) => message,
                done => return done,
            };
            self.ready().await;
        }
    }

    /// Hands a message over if there is room.
    ///
    /// # Errors
    /// [`Unsent`] with the message.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        let message = message.into();
        let mut state = self.link.lock();
        if state.is_closed {
            return Err(Unsent::Closed(message));
        }
        if state.is_over() {
            return Err(Unsent::Full(message));
        }
        state.push(Order::Message(message));
        state.wake();
        Ok(())
    }

    /// Hands over a message that was encoded once for many connections.
    ///
    /// # Errors
    /// As of the core: the caller still has the frame.
    pub fn try_send_frame(&self, frame: &Frame) -> Result<(), SendError> {
        let mut state = self.link.lock();
        if state.is_closed {
            return Err(SendError::NotOpen);
        }
        if state.is_over() {
            let (queued, limit) = (state.bytes + state.outbox, state.mark as u32);
            return Err(SendError::Full { queued, limit });
        }
        state.push(Order::Frame(frame.clone()));
        state.wake();
        Ok(())
    }

    /// Waits until there is room, or nothing can be sent any more.
    pub async fn ready(&self) {
        self.link.wait(|state| state.is_closed || !state.is_over()).await;
    }

    /// Starts the closing handshake behind what was sent before. Only the first call counts.
    pub fn close(&self, code: CloseCode, reason: &str) {
        let mut state = self.link.lock();
        if !state.is_closed && state.close.is_none() {
            state.close = Some((code, reason.into()));
            state.is_closed = true;
            state.wake();
            self.link.room.notify(usize::MAX);
        }
    }

    /// Whether the connection takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.link.lock().is_closed
    }

    /// Waits until the connection takes no more messages.
    pub async fn closed(&self) {
        self.link.wait(|state| state.is_closed).await;
    }

    /// Runs `call` on the connection's task, ahead of waiting messages: the way to
    /// [accept](Outbox::accept) a request after asking elsewhere. It must not block.
    ///
    /// # Errors
    /// [`SendError`] when too much waits already, or the connection has ended.
    pub fn call(&self, call: impl FnOnce(&mut Outbox) + Send + 'static) -> Result<(), SendError> {
        let mut state = self.link.lock();
        if state.is_closed {
            return Err(SendError::NotOpen);
        }
        let queued = state.bytes + state.calls.len() * CALL_BYTES;
        if queued > state.mark {
            return Err(SendError::Full { queued, limit: state.mark as u32 });
        }
        state.calls.push(Call(Box::new(call)));
        state.wake();
        Ok(())
    }

    /// Wakes the connection's task, so that it asks [`Handler::is_full`](crate::Handler::is_full)
    /// again.
    pub fn wake(&self) {
        self.link.lock().wake();
    }
}

/// What senders and the connection's task share.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// There is room, or nothing will be sent any more.
    room: Event,
}

#[derive(Debug)]
struct State {
    calls: Vec<Call>,
    orders: VecDeque<Order>,
    /// Bytes of `orders`.
    bytes: usize,
    /// Bytes in the outbox when the connection's task last looked.
    outbox: usize,
    /// Above this many bytes there is no room.
    mark: usize,
    is_open: bool,
    /// Nothing more is taken; `close` says with what to close once `orders` are gone.
    is_closed: bool,
    close: Option<(CloseCode, Box<str>)>,
    task: Option<Waker>,
}

#[derive(Debug)]
enum Order {
    Message(Message),
    Frame(Frame),
}

struct Call(Box<dyn FnOnce(&mut Outbox) + Send>);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

impl Order {
    fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.len(),
            Self::Frame(frame) => frame.bytes().len(),
        }
    }

    fn put(&self, outbox: &mut Outbox) -> Result<(), SendError> {
        match self {
            Self::Message(Message::Text(text)) => outbox.text(text),
            Self::Message(Message::Binary(data)) => outbox.binary(data),
            Self::Frame(frame) => outbox.send(frame),
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.bytes + self.outbox > self.mark
    }

    fn push(&mut self, order: Order) {
        self.bytes += order.len();
        self.orders.push_back(order);
    }

    fn wake(&mut self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    fn end(&mut self) {
        self.is_closed = true;
        self.close = None;
        self.calls = Vec::new();
        self.orders = VecDeque::new();
        self.bytes = 0;
    }
}

impl Link {
    pub(crate) fn new(mark: usize) -> Self {
        let state = State {
            calls: Vec::new(),
            orders: VecDeque::new(),
            bytes: 0,
            outbox: 0,
            mark,
            is_open: false,
            is_closed: false,
            close: None,
            task: None,
        };
        Self { state: Mutex::new(state), room: Event::new() }
    }

    /// Moves what was sent into the connection. Says whether a turn must follow.
    pub(crate) fn take(&self, now: Instant, task: &Waker, connection: &mut Connection) -> bool {
        let mut state = self.lock();
        // A waker may own the task, and with it this link: it is not dropped under the lock.
        let mut _former = None;
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            _former = state.task.replace(task.clone());
        }
        let calls = std::mem::take(&mut state.calls);
        let called = !calls.is_empty();
        if called {
            // They may use their sender.
            drop(state);
            for Call(call) in calls {
                call(connection.outbox(now));
            }
            state = self.lock();
        }
        state.is_open |= connection.outbox(now).is_open();
        while state.is_open
            && let Some(order) = state.orders.front()
        {
            match order.put(connection.outbox(now)) {
                Ok(()) => {
                    state.bytes -= order.len();
                    state.orders.pop_front();
                }
                // It leaves when the outbox has.
                Err(SendError::Full { .. }) => break,
                Err(_) => state.end(),
            }
        }
        if (state.orders.is_empty() || !state.is_open)
            && let Some((code, reason)) = state.close.take()
        {
            connection.close(now, code, &reason);
            state.end();
        }
        state.outbox = connection.outbox(now).queued();
        called
    }

    /// The connection's task is about to wait.
    pub(crate) fn publish(&self, outbox: &Outbox) {
        let mut state = self.lock();
        state.outbox = outbox.queued();
        if state.is_open && !outbox.is_open() && !state.is_closed {
            state.end();
        }
        let has_room = outbox.is_empty() || !state.is_open;
        if outbox.is_open() && has_room && !state.orders.is_empty() {
            // The connection opened, or everything has left, since they were looked at.
            state.wake();
        }
        if state.is_closed || !state.is_over() {
            self.room.notify(usize::MAX);
        }
    }

    /// The connection has ended.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.end();
        let task = state.task.take();
        drop(state);
        drop(task);
        self.room.notify(usize::MAX);
    }

    async fn wait(&self, is_done: impl Fn(&State) -> bool) {
        while !is_done(&self.lock()) {
            let listener = self.room.listen();
            if is_done(&self.lock()) {
                return;
            }
            listener.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
