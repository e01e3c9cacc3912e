//! What is typed goes out, what comes back is shown, and a lost connection is explained and replaced.

use super::retry::Retry;
use super::url::Url;
use crate::cli::ChatArgs;
use crate::peer_text::PeerText;
use moorline_core::{
    Cause, ClientRequest, CloseCode, Entropy as _, Event, Limits, Outbox, UpgradeError,
};
use moorline_mio::{ConnId, Connections, Handle, Handler, OsEntropy};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// A gateway's answers are not attacks: a long history must fit.
const MAX_MESSAGE: u32 = 32 << 20;

/// A connection that held this long was a good one.
const HELD: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Ended,
    Failed(String),
}

#[derive(Debug)]
enum Link {
    /// Connect at this time.
    Waiting(Instant),
    /// A socket, not logged in yet.
    Opening,
    /// Logged in, since this time.
    Open(ConnId, Instant),
    /// Saying goodbye.
    Closing,
}

/// One line of the user's, until it is answered.
#[derive(Debug)]
struct Message {
    /// The key makes the gateway run it once, however often it must be sent.
    key: String,
    text: String,
    /// Characters of the answer shown so far.
    shown: usize,
}

pub(super) struct Conversation {
    args: ChatArgs,
    url: Url,
    addresses: Vec<SocketAddr>,
    address: usize,
    token: Option<String>,
    typed: Receiver<String>,
    handle: Handle,
    limits: Arc<Limits>,
    link: Link,
    retry: Retry,
    /// The time to wait that the gateway asked for.
    hint: Option<Duration>,
    session: Option<String>,
    queue: VecDeque<Message>,
    /// The first of the queue is on its way.
    sent: bool,
    typing_ended: bool,
    outcome: Outcome,
}

impl Conversation {
    pub(super) fn new(
        args: ChatArgs,
        url: Url,
        addresses: Vec<SocketAddr>,
        token: Option<String>,
        typed: Receiver<String>,
        handle: Handle,
    ) -> Self {
        Self {
            session: args.session.clone(),
            args,
            url,
            addresses,
            address: 0,
            token,
            typed,
            handle,
            limits: Arc::new(Limits { message: MAX_MESSAGE, ..Limits::default() }),
            link: Link::Waiting(Instant::now()),
            retry: Retry::default(),
            hint: None,
            queue: VecDeque::new(),
            sent: false,
            typing_ended: false,
            outcome: Outcome::Ended,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    fn connect(&mut self, now: Instant, connections: &mut Connections<'_>) {
        let address = self.addresses[self.address % self.addresses.len()];
        self.address += 1;
        let request = ClientRequest::new(&self.url.authority, &self.url.target);
        let connected = request.map_err(|error| error.to_string()).and_then(|request| {
            connections
                .connect(address, request, Box::new(OsEntropy), self.limits.clone())
                .map_err(|error| error.to_string())
        });
        match connected {
            Ok(_) => self.link = Link::Opening,
            Err(why) => self.lost(now, &format!("cannot connect to {address}: {why}")),
        }
    }

    fn lost(&mut self, now: Instant, why: &str) {
        if let Link::Open(_, since) = self.link
            && now.duration_since(since) >= HELD
        {
            self.retry.reset();
        }
        self.sent = false;
        let pause = self.retry.pause(self.hint.take());
        self.link = Link::Waiting(now + pause);
        say(&format!("{why}; next attempt in {:.1} s", pause.as_secs_f32()));
    }

    /// Nothing more can come of trying.
    fn give_up(&mut self, why: String) {
        self.outcome = Outcome::Failed(why);
        self.handle.stop();
    }

    fn closed(&mut self, now: Instant, cause: Cause<'_>) {
        let why = match cause {
            Cause::Peer(code, "") => format!("the gateway closed the connection with {code}"),
            Cause::Peer(code, reason) => {
                format!("the gateway closed the connection: {code} {}", PeerText(reason))
            }
            Cause::Eof => match self.link {
                Link::Opening => format!("nobody answers at {}", self.url.authority),
                _ => "the connection was cut without a Close (1006)".to_string(),
            },
            other => format!("the connection ended: {other}"),
        };
        let for_good = match cause {
            Cause::Peer(code, reason) => {
                code == CloseCode::POLICY && reason == "revoked" || code == CloseCode::PROTOCOL
            }
            Cause::Upgrade(UpgradeError::Status(status)) => !matches!(status, 408 | 429 | 500..),
            Cause::Upgrade(_) => true,
            _ => false,
        };
        match self.link {
            Link::Closing => self.handle.stop(),
            _ if for_good => self.give_up(why),
            _ => self.lost(now, &why),
        }
    }

    fn received(&mut self, now: Instant, id: ConnId, text: &str, outbox: &mut Outbox) {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return say("the gateway sent something that is not JSON");
        };
        match frame["type"].as_str() {
            Some("res") if frame["id"] == "connect" => self.logged_in(now, id, &frame),
            Some("res") => self.answered(&frame),
            Some("event") => self.happened(&frame),
            _ => {}
        }
        self.send_next(outbox);
    }

    fn logged_in(&mut self, now: Instant, id: ConnId, frame: &Value) {
        if frame["ok"] != true {
            return self.give_up(format!("the gateway refused the login: {}", error_of(frame)));
        }
        let payload = &frame["payload"];
        self.link = Link::Open(id, now);
        say(&format!(
            "connected to {} {} as {} ({}). /abort stops an answer, /quit leaves.",
            shown(&payload["server"]["name"]),
            shown(&payload["server"]["version"]),
            shown(&payload["user_id"]),
            shown(&payload["role"]),
        ));
    }

    fn answered(&mut self, frame: &Value) {
        let Some(message) = self.queue.front_mut().filter(|message| frame["id"] == message.key)
        else {
            return;
        };
        let payload = &frame["payload"];
        if payload["queued"] == true {
            return;
        }
        if frame["ok"] == true {
            // What streamed is there already; without streaming this is the whole answer.
            let content = payload["content"].as_str().unwrap_or_default();
            let rest: String = content.chars().skip(message.shown).collect();
            print(&format!("{}\n", terminal_text(&rest)));
            if let Some(session) = payload["sessionKey"].as_str() {
                self.session = Some(session.to_string());
            }
        } else {
            let error = &frame["error"];
            self.hint = error["retryAfterMs"].as_u64().map(Duration::from_millis);
            say(&format!("not answered: {}", error_of(frame)));
        }
        self.queue.pop_front();
        self.sent = false;
    }

    fn happened(&mut self, frame: &Value) {
        let payload = &frame["payload"];
        match (frame["event"].as_str(), payload["type"].as_str()) {
            (Some("agent"), Some("chunk")) if self.is_ours(payload) => {
                let content = payload["payload"]["content"].as_str().unwrap_or_default();
                print(&terminal_text(content));
                if let Some(message) = self.queue.front_mut() {
                    message.shown += content.chars().count();
                }
            }
            (Some("agent"), Some("run.started")) if self.session.is_none() && self.sent => {
                self.session = payload["sessionKey"].as_str().map(str::to_string);
            }
            (Some("shutdown"), _) => {
                self.hint = payload["restartExpectedMs"].as_u64().map(Duration::from_millis);
                say(&format!("the gateway stops: {}", shown(&payload["reason"])));
            }
            _ => {}
        }
    }

    fn is_ours(&self, payload: &Value) -> bool {
        self.sent && payload["sessionKey"].as_str() == self.session.as_deref()
    }

    fn send_next(&mut self, outbox: &mut Outbox) {
        if !matches!(self.link, Link::Open(..)) || self.sent {
            return;
        }
        let Some(message) = self.queue.front_mut() else {
            if self.typing_ended {
                outbox.close(CloseCode::NORMAL, "");
                self.leaving();
            }
            return;
        };
        let request = request(
            &message.key,
            "chat.send",
            json!({
                "message": message.text,
                "idempotencyKey": message.key,
                "agentId": self.args.agent,
                "sessionKey": self.session,
            }),
        );
        // A full outbox empties when the gateway reads; the next event tries again.
        self.sent = outbox.text(&request).is_ok();
    }

    fn leaving(&mut self) {
        self.link = Link::Closing;
    }

    /// Takes what was typed since the last turn.
    fn take_typed(&mut self, connections: &mut Connections<'_>) {
        loop {
            match self.typed.try_recv() {
                Ok(line) => match line.trim() {
                    "" => {}
                    "/quit" => {
                        self.queue.clear();
                        self.typing_ended = true;
                    }
                    "/abort" => self.abort(connections),
                    text => self.queue.push_back(Message {
                        key: random_key(),
                        text: text.to_string(),
                        shown: 0,
                    }),
                },
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.typing_ended = true;
                    return;
                }
            }
        }
    }

    fn abort(&mut self, connections: &mut Connections<'_>) {
        let (Link::Open(id, _), Some(session)) = (&self.link, &self.session) else { return };
        let abort = request("abort", "chat.abort", json!({ "sessionKey": session }));
        if let Some(outbox) = connections.outbox(*id) {
            // It goes out with the next write; when it cannot be queued the run goes on.
            let _ = outbox.text(&abort);
        }
    }
}

impl Handler for Conversation {
    fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        match event {
            Event::Open => {
                let login = json!({ "token": self.token, "user_id": self.args.user });
                // The first message always has room.
                let _ = outbox.text(&request("connect", "connect", login));
            }
            Event::Response(response) => {
                let body = String::from_utf8_lossy(response.body());
                say(&format!("HTTP {}: {}", response.status(), PeerText(body.trim())));
            }
            Event::Text(text) => self.received(now, id, text, outbox),
            Event::Closed(cause) => self.closed(now, cause),
            _ => {}
        }
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<'_>) {
        self.take_typed(connections);
        match self.link {
            Link::Waiting(_) if self.typing_ended && self.queue.is_empty() => self.handle.stop(),
            Link::Waiting(at) if at <= now => self.connect(now, connections),
            Link::Open(id, _) => {
                if let Some(outbox) = connections.outbox(id) {
                    self.send_next(outbox);
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.link {
            Link::Waiting(at) => Some(at),
            _ => None,
        }
    }
}

fn request(id: &str, method: &str, mut params: Value) -> String {
    if let Value::Object(params) = &mut params {
        params.retain(|_, value| !value.is_null());
    }
    json!({ "type": "req", "id": id, "method": method, "params": params }).to_string()
}

fn random_key() -> String {
    let mut bytes = [0; 16];
    OsEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn error_of(frame: &Value) -> String {
    let error = &frame["error"];
    format!("{}: {}", shown(&error["code"]), shown(&error["message"]))
}

fn shown(value: &Value) -> String {
    PeerText(value.as_str().unwrap_or("?")).to_string()
}

/// An answer as it may go to a terminal: line breaks and tabs stay, what drives a terminal does not.
fn terminal_text(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

fn print(text: &str) {
    let mut out = std::io::stdout();
    // Nobody reads any more: the next line typed will not come either.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// For the user, beside the conversation.
fn say(text: &str) {
    eprintln!("* {text}");
}
