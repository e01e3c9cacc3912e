//! A client's connection as a value: a background task that drives it, and what it collected.

use crate::drive::Driver;
use crate::error::{ConnectCause, ConnectError, Phase, Refusal};
use crate::handler::Handler;
use crate::message::{Closed, Message};
use crate::sender::{Sender, Unsent};
use crate::stream::Stream;
use bytes::Bytes;
use moorline_core::{Cause, CloseCode, Connection, Event, Outbox, UpgradeError, Why};
use smol::stream::Stream as MessageStream;
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a queued message counts for besides its bytes, so that empty ones are bounded too.
const MESSAGE_BYTES: usize = 64;

/// An open connection to a server. A task of smol's global executor answers Pings and writes what is
/// queued, however long the application is busy elsewhere.
///
/// Every future of it may be dropped at any time: a message is either taken or stays.
/// Dropping the value itself closes the connection with 1001, behind what was sent.
#[derive(Debug)]
pub struct WebSocket {
    sender: Sender,
    inbox: Arc<Inbox>,
    subprotocol: Option<String>,
}

impl WebSocket {
    /// Starts the connection's task and waits for the server's answer.
    pub(crate) async fn open(
        stream: Stream,
        connection: Connection,
        room: usize,
        subprotocols: &[String],
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let mut driver = Driver::new(stream, connection);
        let inbox = Arc::new(Inbox::new(room));
        let sender = driver.sender();
        // From here on dropping it, with this future, ends the task.
        let mut socket = Self { sender, inbox: inbox.clone(), subprotocol: None };
        smol::spawn(async move {
            let mut collect = Collect { inbox, has_opened: false, closed: None };
            poll_fn(|cx| {
                let polled = driver.poll(cx, &mut collect);
                collect.publish(driver.connection.subprotocol());
                polled
            })
            .await;
        })
        .detach();
        let chosen = poll_fn(|cx| socket.inbox.poll_open(cx)).await;
        let chosen = chosen.map_err(|failed| ConnectError {
            phase: Phase::Upgrade,
            cause: failed.into_cause(within),
        })?;
        socket.subprotocol = chosen.and_then(|index| subprotocols.get(index)).cloned();
        Ok(socket)
    }

    /// The next message; after the last one `None`. An ending other than by a Close comes before that
    /// as an error, once.
    pub async fn next(&mut self) -> Option<Result<Message, Closed>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Sends a message, after waiting for room.
    ///
    /// # Errors
    /// [`Unsent::Closed`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        self.sender.send(message).await
    }

    /// Sends a message if there is room.
    ///
    /// # Errors
    /// [`Unsent`] with the message.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        self.sender.try_send(message)
    }

    /// A handle for other tasks to send through. It does not keep the connection.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Closes behind what was sent, and waits for the end. Messages that still arrive are thrown away.
    /// Dropping the future does not take the Close back.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Closed {
        self.sender.close(code, reason);
        self.closed().await
    }

    /// Waits for the end, throwing messages away.
    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Some(closed) = self.ending() {
                return closed;
            }
            // An ending is told after the last message.
            let _ = self.next().await;
        }
    }

    /// How it ended, if it has. Messages may still wait to be taken.
    pub fn ending(&self) -> Option<Closed> {
        self.inbox.lock().closed.clone()
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Closed>>> {
        let (polled, drained) = self.inbox.poll_message(cx);
        if drained {
            // It may have paused.
            self.sender.wake();
        }
        polled
    }
}

impl MessageStream for WebSocket {
    type Item = Result<Message, Closed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut next = pin!(self.next());
        next.as_mut().poll(cx)
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        // Nobody takes what comes: it must not pause the closing.
        self.inbox.lock().is_abandoned = true;
        self.sender.close(CloseCode::GOING_AWAY, "");
        self.sender.wake();
    }
}

/// The connection ended before it opened.
struct Failed {
    closed: Closed,
    refusal: Option<Refusal>,
}

impl Failed {
    fn into_cause(self, within: Duration) -> ConnectCause {
        match (self.closed.cause(), self.refusal) {
            (_, Some(refusal)) => ConnectCause::Refused(refusal),
            (Cause::Timeout(Why::Handshake), _) => ConnectCause::Timeout(within),
            (Cause::Upgrade(error @ UpgradeError::Answer(_)), _) => ConnectCause::Answer(error),
            _ => ConnectCause::Ended(self.closed),
        }
    }
}

/// What the connection's task collects for the application.
#[derive(Debug)]
struct Inbox {
    state: Mutex<State>,
    room: usize,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    is_open: bool,
    /// The index of the subprotocol that was chosen.
    subprotocol: Option<usize>,
    refusal: Option<Refusal>,
    closed: Option<Closed>,
    /// The ending was told.
    is_told: bool,
    is_abandoned: bool,
    reader: Option<Waker>,
}

impl Inbox {
    fn new(room: usize) -> Self {
        Self { state: Mutex::default(), room }
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>, Failed>> {
        let mut state = self.lock();
        if state.is_open {
            return Poll::Ready(Ok(state.subprotocol));
        }
        if let Some(closed) = &state.closed {
            let refusal = state.refusal.clone();
            return Poll::Ready(Err(Failed { closed: closed.clone(), refusal }));
        }
        state.wait(cx)
    }

    /// The next message, and whether there is room again since it was taken.
    fn poll_message(&self, cx: &mut Context<'_>) -> (Poll<Option<Result<Message, Closed>>>, bool) {
        let mut state = self.lock();
        if let Some(message) = state.messages.pop_front() {
            let was_full = state.bytes > self.room;
            state.bytes -= message.len() + MESSAGE_BYTES;
            if state.messages.is_empty() {
                state.messages = VecDeque::new();
            }
            return (Poll::Ready(Some(Ok(message))), was_full && state.bytes <= self.room);
        }
        let polled = match &state.closed {
            Some(closed) if !state.is_told && !closed.is_clean() => {
                let closed = closed.clone();
                state.is_told = true;
                Poll::Ready(Some(Err(closed)))
            }
            Some(_) => Poll::Ready(None),
            None => state.wait(cx),
        };
        (polled, false)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, message: Message) {
        if !self.is_abandoned {
            self.bytes += message.len() + MESSAGE_BYTES;
            self.messages.push_back(message);
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Copies what the connection's events borrow.
struct Collect {
    inbox: Arc<Inbox>,
    has_opened: bool,
    closed: Option<Closed>,
}

impl Collect {
    /// Opening and ending are told together, after the poll that brought them: who waits for the
    /// connection must not see the end of one that never opened.
    fn publish(&mut self, subprotocol: Option<usize>) {
        if !self.has_opened && self.closed.is_none() {
            return;
        }
        let mut state = self.inbox.lock();
        if std::mem::take(&mut self.has_opened) {
            state.is_open = true;
            state.subprotocol = subprotocol;
        }
        if let Some(closed) = self.closed.take() {
            state.closed = Some(closed);
        }
        state.wake();
    }
}

impl Handler for Collect {
    fn event(&mut self, _now: Instant, event: Event<'_>, _outbox: &mut Outbox) {
        let mut state = self.inbox.lock();
        match event {
            Event::Open => self.has_opened = true,
            Event::Text(text) => state.push(Message::Text(text.into())),
            Event::Binary(data) => state.push(Message::Binary(Bytes::copy_from_slice(data))),
            Event::Response(head) => state.refusal = Some(head.into()),
            Event::Closed(cause) => self.closed = Some(cause.into()),
            _ => {}
        }
    }

    fn is_full(&self) -> bool {
        let state = self.inbox.lock();
        state.bytes > self.inbox.room && !state.is_abandoned
    }
}
