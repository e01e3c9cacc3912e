//! A client that stays connected: it comes back when a connection is lost, and sends what waited.

use crate::backoff::{Backoff, Pace};
use crate::client::Client;
use crate::entropy::OsEntropy;
use crate::error::ConnectError;
use crate::hints::{hint_of_message, hint_of_reason};
use crate::message::{Closed, Message};
use crate::retry::{Ending, Verdict, judge};
use crate::sender::Unsent;
use crate::websocket::WebSocket;
use event_listener::Event;
use moorline_core::{Cause, CloseCode, Entropy as _};
use smol::{Task, Timer, future};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Finds in a message how long the server asks to wait.
pub type HintOf = Arc<dyn Fn(&Message) -> Option<Duration> + Send + Sync>;

/// How a [`Reconnecting`] behaves.
#[derive(Clone)]
pub struct ReconnectOptions {
    /// How the pauses grow.
    pub pace: Pace,
    /// Bytes of messages that may wait to be sent. Default 1 MiB. Higher: that much memory while the
    /// server is away, and that much at once when it is back.
    pub queue: usize,
    /// Bytes of messages that may wait to be taken by [`Reconnecting::next`]; above it the server
    /// feels it. Default 1 MiB.
    pub inbox: usize,
    /// Decides about each ending. Default [`judge`].
    pub judge: Arc<dyn Fn(&Ending) -> Verdict + Send + Sync>,
    /// Finds in a message how long the server asks to wait. Default [`hint_of_message`].
    pub hint: HintOf,
    /// What is sent first on every new connection, before what waited: a login. Default nothing.
    pub hello: Arc<dyn Fn() -> Vec<Message> + Send + Sync>,
}

impl Default for ReconnectOptions {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            queue: 1024 * 1024,
            inbox: 1024 * 1024,
            judge: Arc::new(judge),
            hint: Arc::new(hint_of_message),
            hello: Arc::new(Vec::new),
        }
    }
}

impl fmt::Debug for ReconnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectOptions")
            .field("pace", &self.pace)
            .field("queue", &self.queue)
            .field("inbox", &self.inbox)
            .finish_non_exhaustive()
    }
}

/// Where a [`Reconnecting`] stands.
#[derive(Debug, Clone)]
pub enum State {
    /// An attempt is under way.
    Connecting,
    /// Messages are exchanged.
    Open {
        /// The subprotocol that the server chose.
        subprotocol: Option<String>,
    },
    /// The next attempt comes at this time.
    Waiting {
        /// When.
        until: Instant,
        /// How long that was when the pause began.
        pause: Duration,
        /// What happened.
        why: Ending,
    },
    /// For good: there will be no other attempt.
    Closed {
        /// What happened.
        why: Ending,
    },
}

/// What [`Reconnecting::next`] gives.
#[derive(Debug, Clone)]
pub enum Update {
    /// The state changed. States that nobody took in time are replaced by the latest.
    State(State),
    /// A message came.
    Message(Message),
}

/// A connection that comes back. A task of smol's global executor keeps it; dropping this ends both.
///
/// Messages wait in a queue that is bounded in bytes and is sent when there is a connection, in order.
/// What a connection had taken over when it was lost may have arrived or not: an application to whom
/// that matters gives its requests idempotency keys and sends them again.
#[derive(Debug)]
pub struct Reconnecting {
    shared: Arc<Shared>,
    /// Dropping it ends the task.
    _task: Task<()>,
}

impl Reconnecting {
    /// Begins to connect.
    pub fn new(client: Client, options: ReconnectOptions) -> Self {
        let shared = Arc::new(Shared::new(&options));
        let task = smol::spawn(run(client, options, shared.clone()));
        Self { shared, _task: task }
    }

    /// The next message or state, in order; `None` after [`State::Closed`]. Dropping the future loses
    /// nothing.
    pub async fn next(&self) -> Option<Update> {
        loop {
            let listener = self.shared.changed.listen();
            {
                let mut inner = self.shared.lock();
                if let Some(update) = inner.updates.pop_front() {
                    if let Update::Message(message) = &update {
                        inner.inbox -= message.len();
                        drop(inner);
                        self.shared.changed.notify(usize::MAX);
                    }
                    return Some(update);
                }
                if let State::Closed { .. } = inner.state {
                    return None;
                }
            }
            listener.await;
        }
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// Queues a message, connected or not.
    ///
    /// # Errors
    /// [`Unsent::Full`] when too much waits, [`Unsent::Closed`] when it is closed for good.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        let message = message.into();
        let mut inner = self.shared.lock();
        if inner.close.is_some() || matches!(inner.state, State::Closed { .. }) {
            return Err(Unsent::Closed(message));
        }
        if !inner.queue.is_empty() && inner.queued + message.len() > inner.queue_limit {
            return Err(Unsent::Full(message));
        }
        inner.queued += message.len();
        inner.queue.push_back(message);
        drop(inner);
        self.shared.changed.notify(usize::MAX);
        Ok(())
    }

    /// Queues a message after waiting for room. Dropping the future drops the message unless it was
    /// queued.
    ///
    /// # Errors
    /// [`Unsent::Closed`] when it is closed for good.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        let mut message = message.into();
        loop {
            let listener = self.shared.changed.listen();
            message = match self.try_send(message) {
                Err(Unsent::Full(message)) => message,
                done => return done,
            };
            listener.await;
        }
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.shared.lock().queued
    }

    /// The server said, in a way of its own, not to be called before this time has passed. It counts
    /// for the next pause only.
    pub fn hint(&self, wait: Duration) {
        self.shared.lock().hint = Some((Instant::now(), wait));
    }

    /// Closes for good: an open connection behind what waits to be sent, else at once.
    /// [`State::Closed`] follows.
    pub fn close(&self, code: CloseCode, reason: &str) {
        let mut inner = self.shared.lock();
        inner.close.get_or_insert((code, reason.into()));
        drop(inner);
        self.shared.changed.notify(usize::MAX);
    }
}

/// What the application and the task share.
#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Anything of `inner` changed.
    changed: Event,
}

#[derive(Debug)]
struct Inner {
    state: State,
    updates: VecDeque<Update>,
    /// Bytes of the messages in `updates`.
    inbox: usize,
    inbox_limit: usize,
    queue: VecDeque<Message>,
    /// Bytes of `queue`.
    queued: usize,
    queue_limit: usize,
    hint: Option<(Instant, Duration)>,
    close: Option<(CloseCode, String)>,
}

impl Shared {
    fn new(options: &ReconnectOptions) -> Self {
        let inner = Inner {
            state: State::Connecting,
            updates: VecDeque::new(),
            inbox: 0,
            inbox_limit: options.inbox,
            queue: VecDeque::new(),
            queued: 0,
            queue_limit: options.queue,
            hint: None,
            close: None,
        };
        Self { inner: Mutex::new(inner), changed: Event::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: State) {
        let mut inner = self.lock();
        // An application that does not look must not make a list of them grow.
        if let Some(Update::State(_)) = inner.updates.back() {
            inner.updates.pop_back();
        }
        inner.updates.push_back(Update::State(state.clone()));
        inner.state = state;
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    fn push(&self, message: Message) {
        let mut inner = self.lock();
        inner.inbox += message.len();
        inner.updates.push_back(Update::Message(message));
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    async fn wait<T>(&self, mut found: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            let listener = self.changed.listen();
            if let Some(found) = found(&mut self.lock()) {
                return found;
            }
            listener.await;
        }
    }

    /// Gives up when the application closes.
    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, Ending> {
        let closed = async {
            let code = self.wait(|inner| inner.close.as_ref().map(|(code, _)| *code)).await;
            Err(Ending::Closed(Cause::Local(code).into()))
        };
        future::or(async { Ok(work.await) }, closed).await
    }
}

async fn run(client: Client, options: ReconnectOptions, shared: Arc<Shared>) {
    let mut backoff = Backoff::new(options.pace);
    let why = loop {
        shared.tell(State::Connecting);
        let ending = match shared.unless_closed(client.connect()).await {
            Ok(Ok(socket)) => {
                backoff.opened(Instant::now());
                let subprotocol = socket.subprotocol().map(Into::into);
                shared.tell(State::Open { subprotocol });
                let closed = exchange(socket, &options, &shared, &mut backoff).await;
                if let Some(wait) = hint_of_reason(closed.reason()) {
                    backoff.hint(Instant::now(), wait);
                }
                Ending::Closed(closed)
            }
            Ok(Err(error)) => {
                // An attempt that fails as the application closes is no reason of its own.
                let closed = shared.lock().close.as_ref().map(|(code, _)| *code);
                if let Some(code) = closed {
                    break Ending::Closed(Cause::Local(code).into());
                }
                if let Some(wait) = retry_after(&error) {
                    backoff.hint(Instant::now(), wait);
                }
                Ending::NotConnected(Arc::new(error))
            }
            Err(ending) => break ending,
        };
        let verdict = (options.judge)(&ending);
        if verdict == Verdict::Stop || shared.lock().close.is_some() {
            break ending;
        }
        let now = Instant::now();
        if let Some((at, wait)) = shared.lock().hint.take() {
            backoff.hint(at, wait);
        }
        let until = backoff.lost(now, verdict == Verdict::Later, random());
        let pause = until.saturating_duration_since(now);
        shared.tell(State::Waiting { until, pause, why: ending });
        if let Err(ending) = shared.unless_closed(Timer::at(until)).await {
            break ending;
        }
    };
    shared.tell(State::Closed { why });
}

/// Exchanges messages until the connection ends.
async fn exchange(
    mut socket: WebSocket,
    options: &ReconnectOptions,
    shared: &Shared,
    backoff: &mut Backoff,
) -> Closed {
    let sender = socket.sender();
    let sending = async {
        for message in (options.hello)() {
            if sender.send(message).await.is_err() {
                future::pending::<()>().await;
            }
        }
        loop {
            sender.ready().await;
            let close = shared
                .wait(|inner| match inner.queue.pop_front() {
                    Some(message) => {
                        inner.queued -= message.len();
                        Some(match sender.try_send(message) {
                            Ok(()) => None,
                            Err(unsent) => {
                                // It waits for the next connection, or for room.
                                let message = unsent.into_message();
                                inner.queued += message.len();
                                inner.queue.push_front(message);
                                None
                            }
                        })
                    }
                    None => inner.close.clone().map(Some),
                })
                .await;
            shared.changed.notify(usize::MAX);
            if let Some((code, reason)) = close {
                sender.close(code, &reason);
            }
            if sender.is_closed() {
                // The receiving side tells the ending.
                future::pending::<()>().await;
            }
        }
    };
    let receiving = async {
        loop {
            let has_room = |inner: &mut Inner| {
                (inner.inbox <= inner.inbox_limit || inner.close.is_some()).then_some(())
            };
            shared.wait(has_room).await;
            match socket.next().await {
                Some(Ok(message)) => {
                    if let Some(wait) = (options.hint)(&message) {
                        backoff.hint(Instant::now(), wait);
                    }
                    shared.push(message);
                }
                Some(Err(closed)) => return closed,
                None => return socket.closed().await,
            }
        }
    };
    future::or(receiving, sending).await
}

fn retry_after(error: &ConnectError) -> Option<Duration> {
    error.refusal()?.retry_after(SystemTime::now())
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    OsEntropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
