//! A blocking client of the gateway's protocol, for one request after the other.

use super::args::Common;
use super::process::Process;
use super::target::Target;
use crate::failure::Failure;
use crate::peer_text::PeerText;
use moorline_core::{Cause, ClientRequest, CloseCode, Connection, End, Event, Limits};
use moorline_mio::OsEntropy;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A gateway's answers are not attacks: a long history must fit.
const MAX_MESSAGE: u32 = 32 << 20;

/// How long an answer may take. The gateway itself gives up before.
const PATIENCE: Duration = Duration::from_secs(45);

/// Why no request can be made any more.
const ENDED: &str = "the gateway ended the connection";

/// A logged-in connection to the running gateway.
pub(super) struct Client {
    stream: UnixStream,
    connection: Connection,
    buffer: Box<[u8]>,
    messages: VecDeque<Value>,
    is_open: bool,
    ended: Option<String>,
    requests: u64,
}

/// What a gateway refused, in its words.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) details: Value,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let Refused { code, message, .. } = refused;
        Self::Runtime(format!("{} ({})", PeerText(&message), PeerText(&code)))
    }
}

impl Client {
    /// Logs in to the gateway that the command line means.
    pub(super) fn connect(common: &Common) -> Result<Self, Failure> {
        let mut client = Self::open(&Target::of(common)?)?;
        let hello = client.call("connect", json!({}))?;
        let (there, here) = (hello["server"]["version"].as_str(), env!("CARGO_PKG_VERSION"));
        if there.is_some_and(|there| there != here) {
            eprintln!(
                "moorline: the gateway that runs is version {}, this command {here}: what one of them \
                 does not know fails",
                PeerText(there.unwrap_or_default())
            );
        }
        Ok(client)
    }

    /// The same in the dialect of OpenClaw, which has devices of its own.
    pub(super) fn connect_openclaw(common: &Common) -> Result<Self, Failure> {
        let mut client = Self::open(&Target::of(common)?)?;
        let params = json!({
            "minProtocol": 3,
            "maxProtocol": 4,
            "role": "operator",
            "scopes": ["operator.admin"],
            "client": {
                "id": "cli",
                "mode": "cli",
                "version": env!("CARGO_PKG_VERSION"),
                "platform": std::env::consts::OS,
            },
        });
        client.call("connect", params)?;
        Ok(client)
    }

    fn open(target: &Target) -> Result<Self, Failure> {
        let stream = target.connect()?;
        let limits = Limits { message: MAX_MESSAGE, ..Limits::default() };
        let request = ClientRequest::new("localhost", "/ws")
            .map_err(|error| Failure::Runtime(error.to_string()))?;
        let connection =
            Connection::client(request, Box::new(OsEntropy), Arc::new(limits), Instant::now());
        let mut client = Self {
            stream,
            connection,
            buffer: vec![0; Connection::READ_BUFFER].into(),
            messages: VecDeque::new(),
            is_open: false,
            ended: None,
            requests: 0,
        };
        let until = Instant::now() + PATIENCE;
        while !client.is_open {
            if let Some(why) = client.ended.take() {
                return Err(Failure::Runtime(why));
            }
            if until <= Instant::now() {
                return Err(Failure::Runtime("the gateway does not answer".into()));
            }
            client.turn(Some(until))?;
        }
        Ok(client)
    }

    /// The process at the other end.
    pub(super) fn gateway(&self) -> Option<Process> {
        Process::of_peer(&self.stream)
    }

    /// Asks, and gives the payload of the answer.
    pub(super) fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        self.ask(method, params)?.map_err(Failure::from)
    }

    /// Asks, and gives the payload of the answer, or what the gateway has against it.
    pub(super) fn ask(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<Result<Value, Refused>, Failure> {
        self.requests += 1;
        let id = self.requests.to_string();
        let mut text = json!({"type": "req", "id": id, "method": method});
        text["params"] = params;
        if self.ended.is_none() {
            // It fails when the connection has ended, which the wait finds out.
            let _ = self.connection.outbox(Instant::now()).text(&text.to_string());
        }
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(mut message) = self.messages.pop_front() {
                if message["type"] != "res" || message["id"] != id {
                    continue;
                }
                if message["ok"] == true {
                    return Ok(Ok(message["payload"].take()));
                }
                let mut error = message["error"].take();
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_string();
                let (code, message) = (text("code"), text("message"));
                return Ok(Err(Refused { code, message, details: error["details"].take() }));
            }
            if let Some(why) = &self.ended {
                return Err(Failure::Runtime(why.clone()));
            }
            if until <= Instant::now() {
                let text = format!("the gateway does not answer {method}");
                return Err(Failure::Runtime(text));
            }
            self.turn(Some(until))?;
        }
    }

    /// Lets time pass, unless the gateway begins to end, or the connection does.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while !self.has_ended() && Instant::now() < until {
            self.turn(Some(until))?;
            if self.messages.drain(..).any(|message| message["event"] == "shutdown") {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Writes what there is, and reads once or waits until something is due.
    fn turn(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        self.flush();
        let wants = self.connection.wants();
        match wants.end {
            End::Stay => {}
            End::ShutdownWrite => {
                let _ = self.stream.shutdown(std::net::Shutdown::Write);
            }
            End::Drop => {
                self.ended.get_or_insert_with(|| ENDED.into());
                return Ok(());
            }
        }
        let now = Instant::now();
        let wake = wants.wake_at.into_iter().chain(until).min();
        let wait = wake.map(|wake| wake.saturating_duration_since(now));
        // No time at all would mean to wait for ever.
        let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
        self.stream.set_read_timeout(wait)?;
        let read = self.stream.read(&mut self.buffer);
        let now = Instant::now();
        let mut turn = match read {
            Ok(0) => self.connection.handle_eof(now),
            Ok(count) => self.connection.receive(now, &mut self.buffer[..count]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    self.connection.handle_deadline(now)
                }
                io::ErrorKind::Interrupted => return Ok(()),
                _ => self.connection.handle_eof(now),
            },
        };
        while let Some((event, _)) = turn.next_event() {
            match event {
                Event::Open => self.is_open = true,
                Event::Text(text) => self.messages.extend(serde_json::from_str::<Value>(text).ok()),
                Event::Closed(cause) => {
                    self.ended.get_or_insert_with(|| words(cause));
                }
                _ => {}
            }
        }
        // Now, as this may be the last turn: the gateway waits for the answer to its Close.
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        while !self.connection.outbox(Instant::now()).is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let outbox = self.connection.outbox(Instant::now());
            let filled = outbox.slices(&mut slices);
            match self.stream.write_vectored(&slices[..filled]) {
                Ok(count) => self.connection.outbox(Instant::now()).written(Instant::now(), count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was said before that may still be read.
                Err(_) => return,
            }
        }
    }
}

impl Drop for Client {
    /// Says goodbye, so that nobody thinks of a client that was cut off.
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.connection.close(Instant::now(), CloseCode::NORMAL, "");
            self.flush();
        }
    }
}

/// Why the connection has ended.
fn words(cause: Cause<'_>) -> String {
    match cause {
        Cause::Peer(CloseCode::GOING_AWAY | CloseCode::RESTART, _) => {
            "the gateway has ended".into()
        }
        Cause::Peer(code, reason) => format!("{ENDED}: {code} {}", PeerText(reason)),
        Cause::Eof => ENDED.into(),
        other => format!("{ENDED}: {other}"),
    }
}
