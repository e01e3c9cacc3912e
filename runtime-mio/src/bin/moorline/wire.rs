//! A blocking WebSocket to a gateway, for commands that ask a few things and end: the core over a
//! [`Dialed`] stream, with a deadline for each step.

mod certificate;

pub(crate) use certificate::Certificate;

use crate::dial::Dialed;
use crate::http_answer::Answer;
use crate::peer_text::PeerText;
use moorline_core::{
    Cause, ClientRequest, CloseCode, Connection, Entropy as _, Event, Limits, UpgradeError,
};
use moorline_mio::OsEntropy;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A gateway's answers are not attacks: a page of its log must fit.
const MAX_MESSAGE: u32 = 32 << 20;

/// What is kept of an answer that was no upgrade: enough to tell whose page it is.
const MAX_ANSWER: usize = 16 * 1024;

/// A WebSocket, or the attempt at one.
pub(crate) struct Wire {
    stream: Dialed,
    connection: Connection,
    /// What was said and not listened to, before the end.
    said: VecDeque<Said>,
    /// Nothing more comes.
    ended: Option<Ended>,
    /// The beginning of what came, up to the upgrade.
    raw: Vec<u8>,
    open: bool,
    /// When the last bytes came.
    heard: Instant,
    /// Requests so far.
    asked: u64,
}

/// What the other end said.
#[derive(Debug)]
enum Said {
    Open,
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Ended(Ended),
}

/// How a wait in silence came to its end.
#[derive(Debug)]
pub(crate) enum Stayed {
    Silent,
    Pinged,
    /// After so much silence.
    Ended(Duration, Ended),
    /// There was always something to hear.
    Disturbed,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) code: u16,
    /// Escaped; the peer's reason, or what went wrong.
    pub(crate) text: String,
    /// The peer has sent a Close, or has answered one.
    pub(crate) closed: bool,
    /// What is wrong with a 101 answer.
    pub(crate) answer: Option<&'static str>,
}

/// Why a step did not come to its end.
#[derive(Debug)]
pub(crate) enum WireFailure {
    Timeout,
    Ended(Ended),
    /// An error answer: its `error`.
    Refused(Value),
}

/// Why there is no WebSocket.
#[derive(Debug)]
pub(crate) struct NotUpgraded {
    /// What came instead, if it was HTTP.
    pub(crate) answer: Option<Answer>,
    pub(crate) why: NotUpgradedWhy,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotUpgradedWhy {
    /// Nothing, or not all of an answer, came in time.
    Timeout,
    /// The connection ended without an answer.
    Silent,
    /// Another status than 101.
    Status,
    /// A 101 that is none: what is off.
    Wrong(&'static str),
    /// The answer is not HTTP.
    NotHttp,
}

impl Wire {
    /// Sends the upgrade and waits for its answer; gives the head of the answer, too.
    pub(crate) fn upgrade(
        stream: Dialed,
        request: ClientRequest,
        until: Instant,
    ) -> Result<(Self, Answer), NotUpgraded> {
        let now = Instant::now();
        let limits = Limits {
            message: MAX_MESSAGE,
            // The callers have deadlines of their own, and some want to hear how silence ends.
            handshake_within: until.saturating_duration_since(now) + Duration::from_secs(1),
            ping_every: Duration::MAX,
            ..Limits::default()
        };
        let connection = Connection::client(request, Box::new(OsEntropy), Arc::new(limits), now);
        let mut wire = Self {
            stream,
            connection,
            said: VecDeque::new(),
            ended: None,
            raw: Vec::new(),
            open: false,
            heard: now,
            asked: 0,
        };
        let outcome = wire.step(until);
        let answer = Answer::begun(&wire.raw);
        let why = match outcome {
            Ok(Said::Open) => match answer {
                Some(answer) => {
                    wire.open = true;
                    return Ok((wire, answer));
                }
                None => NotUpgradedWhy::NotHttp,
            },
            Ok(Said::Ended(Ended { answer: Some(what), .. })) if answer.is_some() => {
                NotUpgradedWhy::Wrong(what)
            }
            Ok(_) if answer.is_some() => NotUpgradedWhy::Status,
            Ok(_) if wire.raw.is_empty() => NotUpgradedWhy::Silent,
            Ok(_) => NotUpgradedWhy::NotHttp,
            // A page whose end does not come says enough.
            Err(_) if answer.as_ref().is_some_and(|answer| answer.status != 101) => {
                NotUpgradedWhy::Status
            }
            Err(_) => NotUpgradedWhy::Timeout,
        };
        Err(NotUpgraded { answer, why })
    }

    /// The next event of this name, within the time; whatever else comes meanwhile is dropped.
    pub(crate) fn event(&mut self, name: &str, until: Instant) -> Result<Value, WireFailure> {
        self.message(until, |message| message["type"] == "event" && message["event"] == name)
            .map(|mut message| message["payload"].take())
    }

    /// Asks and gives the answer's payload.
    pub(crate) fn call(
        &mut self,
        method: &str,
        params: Value,
        until: Instant,
    ) -> Result<Value, WireFailure> {
        self.asked += 1;
        let id = self.asked.to_string();
        let mut request = json!({"type": "req", "id": id, "method": method});
        request["params"] = params;
        // The queue is empty, as a call waits for its answer; of an end the wait is told.
        let _ = self.connection.outbox(Instant::now()).text(&request.to_string());
        let mut message =
            self.message(until, |message| message["type"] == "res" && message["id"] == *id)?;
        match message["ok"] == true {
            true => Ok(message["payload"].take()),
            false => Err(WireFailure::Refused(message["error"].take())),
        }
    }

    fn message(
        &mut self,
        until: Instant,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, WireFailure> {
        loop {
            match self.step(until)? {
                Said::Text(text) => match serde_json::from_str::<Value>(&text) {
                    Ok(message) if is_it(&message) => return Ok(message),
                    _ => {}
                },
                Said::Ended(ended) => return Err(WireFailure::Ended(ended)),
                Said::Open | Said::Ping | Said::Pong(_) => {}
            }
        }
    }

    /// Sends a Ping and waits for its Pong; gives the time between them.
    pub(crate) fn ping(&mut self, until: Instant) -> Result<Duration, WireFailure> {
        let mut payload = [0; 8];
        OsEntropy.fill(&mut payload);
        let mut key = [0; 4];
        OsEntropy.fill(&mut key);
        // The core pings by its clock only. Between two of its frames one more may go out.
        self.flush().map_err(|error| broken(&error))?;
        let mut frame = vec![0x89, 0x80 | payload.len() as u8];
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        let sent = Instant::now();
        self.stream.write_all(&frame).map_err(|error| broken(&error))?;
        self.stream.flush().map_err(|error| broken(&error))?;
        loop {
            match self.step(until)? {
                Said::Pong(came) if came == payload => return Ok(sent.elapsed()),
                Said::Ended(ended) => return Err(WireFailure::Ended(ended)),
                _ => {}
            }
        }
    }

    /// Says nothing and listens, until nothing was heard for so long, a Ping came, or `until` has come.
    pub(crate) fn stay(&mut self, silence: Duration, until: Instant) -> Stayed {
        loop {
            let heard = self.heard;
            match self.step(until.min(heard + silence)) {
                Ok(Said::Ended(ended)) => return Stayed::Ended(heard.elapsed(), ended),
                Ok(Said::Ping) => return Stayed::Pinged,
                Ok(_) => {}
                Err(_) if heard.elapsed() >= silence => return Stayed::Silent,
                Err(_) if Instant::now() >= until => return Stayed::Disturbed,
                Err(_) => {}
            }
        }
    }

    /// This end's address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr()
    }

    /// The socket, where it is one within this machine.
    pub(crate) fn unix(&self) -> Option<&UnixStream> {
        self.stream.unix()
    }

    /// Nothing more comes, and nothing more can be asked.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Closes with 1000 and waits for the answer.
    pub(crate) fn close(mut self, until: Instant) -> Result<Ended, WireFailure> {
        self.connection.close(Instant::now(), CloseCode::NORMAL, "");
        loop {
            if let Said::Ended(ended) = self.step(until)? {
                return Ok(ended);
            }
        }
    }

    /// Says goodbye, and waits for nothing.
    pub(crate) fn leave(&mut self) {
        if self.ended.is_none() {
            self.connection.close(Instant::now(), CloseCode::NORMAL, "");
            // Who does not take it will see that this end is gone.
            let _ = self.flush();
        }
    }

    /// Everything up to the next thing that was said.
    fn step(&mut self, until: Instant) -> Result<Said, WireFailure> {
        let mut buffer = vec![0; Connection::READ_BUFFER];
        loop {
            if let Some(said) = self.said.pop_front() {
                // A Close is answered.
                let _ = self.flush();
                return Ok(said);
            }
            if let Some(ended) = &self.ended {
                let ended = ended.clone();
                let _ = self.flush();
                return Ok(Said::Ended(ended));
            }
            if let Err(error) = self.flush()
                && error.kind() != ErrorKind::WouldBlock
            {
                // What it said before it went is worth reading.
                tracing::debug!(%error, "cannot write");
            }
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return Err(WireFailure::Timeout);
            }
            let wake = self.connection.wants().wake_at;
            let wait = wake.map_or(left, |at| left.min(at.saturating_duration_since(now)));
            let wait = wait.max(Duration::from_millis(1));
            let read = self.stream.set_read_timeout(wait);
            let read = read.and_then(|()| self.stream.read(&mut buffer));
            let now = Instant::now();
            let (mut turn, heard) = match read {
                Ok(0) => (self.connection.handle_eof(now), false),
                Ok(count) => {
                    self.heard = now;
                    let came = &mut buffer[..count];
                    if !self.open && self.raw.len() < MAX_ANSWER {
                        self.raw.extend_from_slice(came);
                    }
                    (self.connection.receive(now, came), true)
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    (self.connection.handle_deadline(now), false)
                }
                Err(_) => (self.connection.handle_eof(now), false),
            };
            while let Some((event, _)) = turn.next_event() {
                self.said.extend(match event {
                    Event::Open => Some(Said::Open),
                    Event::Text(text) => Some(Said::Text(text.into())),
                    Event::Ping(_) => Some(Said::Ping),
                    Event::Pong(payload) => Some(Said::Pong(payload.into())),
                    Event::Closed(cause) => {
                        self.ended = Some(Ended::of(cause, heard));
                        None
                    }
                    _ => None,
                });
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.connection.outbox(Instant::now()).slices(&mut slices);
            if filled == 0 {
                return self.stream.flush();
            }
            let written = self.stream.write_vectored(&slices[..filled])?;
            self.connection.outbox(Instant::now()).written(Instant::now(), written);
        }
    }
}

impl Ended {
    fn of(cause: Cause<'_>, heard: bool) -> Self {
        let text = match cause {
            Cause::Peer(code, reason) => format!("{code} {}", PeerText(reason)),
            other => PeerText(&other.to_string()).to_string(),
        };
        let answer = match cause {
            Cause::Upgrade(UpgradeError::Answer(what)) => Some(what),
            _ => None,
        };
        let closed = matches!(cause, Cause::Peer(..)) || heard && matches!(cause, Cause::Local(_));
        Self { code: cause.close_code().0, text: text.trim_end().into(), closed, answer }
    }
}

fn broken(error: &io::Error) -> WireFailure {
    let text = error.to_string();
    WireFailure::Ended(Ended { code: 1006, text, closed: false, answer: None })
}

impl fmt::Display for NotUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = self.answer.as_ref();
        match self.why {
            NotUpgradedWhy::Timeout => f.write_str("no answer in time"),
            NotUpgradedWhy::Silent => f.write_str("the connection was cut without an answer"),
            NotUpgradedWhy::Status => {
                write!(f, "HTTP {}", answer.map(|answer| answer.status).unwrap_or_default())
            }
            NotUpgradedWhy::Wrong(what) => write!(f, "a 101 that is none: {what}"),
            NotUpgradedWhy::NotHttp => f.write_str("the answer is not HTTP"),
        }?;
        let Some(answer) = answer else { return Ok(()) };
        if let Some(server) = answer.header("Server") {
            write!(f, " from {}", PeerText(server))?;
        }
        match answer.said() {
            said if said.is_empty() => Ok(()),
            said => write!(f, ": {said}"),
        }
    }
}

impl fmt::Display for WireFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Ended(ended) if ended.closed => write!(f, "closed with {}", ended.text),
            Self::Ended(ended) => write!(f, "the connection was cut: {}", ended.text),
            Self::Refused(error) => {
                let word = |value: &Value| PeerText(value.as_str().unwrap_or("?")).to_string();
                write!(f, "{}: {}", word(&error["code"]), word(&error["message"]))
            }
        }
    }
}
