//! What is typed goes out, what comes back is shown, and a lost connection is explained and replaced.

use super::retry::Retry;
use crate::cli::ChatArgs;
use crate::credentials::Credentials;
use crate::dial::{Dialer, TlsFailure};
use crate::hex;
use crate::peer_text::PeerText;
use moorline_core::{Cause, CloseCode, Event, Limits, Outbox, UpgradeError};
use moorline_mio::{ConnId, Connections, Handle, Handler, Peer};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
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

/// Who chats, and with which credential, which is looked up at each login: the gateway may start, or end and
/// leave its port to others, while this waits for it.
pub(super) struct Login {
    pub(super) credentials: Credentials,
    pub(super) user: String,
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
    /// The run that answers it, once the gateway has named it. Others may chat in the session, too:
    /// only this run's events are this line's answer.
    run: Option<String>,
    /// Characters of the answer shown so far.
    shown: usize,
    /// A connection was lost since it was sent: what streamed meanwhile is missing, so the rest is
    /// shown in one piece at the end, which may have passed already.
    interrupted: bool,
}

/// How long it tries to connect where nobody sees that it does: longer than a restart takes.
const UNATTENDED: Duration = Duration::from_secs(60);

/// The ids of requests that are not messages.
const CONNECT: &str = "connect";
const ABORT: &str = "abort";
const STATUS: &str = "status";
const HISTORY: &str = "history";

pub(super) struct Conversation {
    args: ChatArgs,
    dialer: Dialer,
    /// What was wrong with TLS, until the end of the connection is told.
    tls_failure: Option<TlsFailure>,
    addresses: Vec<SocketAddr>,
    address: usize,
    login: Login,
    typed: Receiver<String>,
    handle: Handle,
    limits: Arc<Limits>,
    /// Somebody sits at it.
    attended: bool,
    /// How long it tries to connect.
    give_up_after: Option<Duration>,
    link: Link,
    retry: Retry,
    /// The time to wait that the gateway asked for.
    hint: Option<Duration>,
    session: Option<String>,
    queue: VecDeque<Message>,
    /// The first of the queue is on its way.
    sent: bool,
    typing_ended: bool,
    /// Since when there is no connection that is logged in.
    lost_since: Option<Instant>,
    /// Lines that were not answered.
    unanswered: usize,
    outcome: Outcome,
}

impl Conversation {
    pub(super) fn new(
        args: ChatArgs,
        dialer: Dialer,
        addresses: Vec<SocketAddr>,
        login: Login,
        typed: Receiver<String>,
        handle: Handle,
    ) -> Self {
        let attended = std::io::stdin().is_terminal();
        let unattended = (!attended).then_some(UNATTENDED);
        let limit = args.give_up_after.map(Duration::from_secs);
        Self {
            session: args.session.clone(),
            attended,
            give_up_after: limit.or(unattended),
            args,
            dialer,
            tls_failure: None,
            addresses,
            address: 0,
            login,
            typed,
            handle,
            limits: Arc::new(Limits { message: MAX_MESSAGE, ..Limits::default() }),
            link: Link::Waiting(Instant::now()),
            retry: Retry::default(),
            hint: None,
            queue: VecDeque::new(),
            sent: false,
            typing_ended: false,
            lost_since: Some(Instant::now()),
            unanswered: 0,
            outcome: Outcome::Ended,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (&self.outcome, self.unanswered_lines()) {
            // Who sits at it has seen it.
            (Outcome::Ended, Some(lines)) if !self.attended => Outcome::Failed(lines),
            (outcome, _) => outcome.clone(),
        }
    }

    fn connect(&mut self, now: Instant, connections: &mut Connections<'_>) {
        let address = self.addresses[self.address % self.addresses.len()];
        self.address += 1;
        let target = self.dialer.url().target();
        let connected = self.dialer.connect(connections, address, target, self.limits.clone());
        match connected {
            Ok(_) => self.link = Link::Opening,
            Err(why) => self.lost(now, &why),
        }
    }

    fn lost(&mut self, now: Instant, why: &str) {
        if let Link::Open(_, since) = self.link
            && now.duration_since(since) >= HELD
        {
            self.retry.reset();
        }
        if std::mem::take(&mut self.sent)
            && let Some(message) = self.queue.front_mut()
        {
            message.interrupted = true;
        }
        let since = *self.lost_since.get_or_insert(now);
        let pause = self.retry.pause(self.hint.take());
        if let Some(limit) = self.give_up_after
            && now + pause > since + limit
        {
            self.unanswered += self.queue.len();
            let lines =
                self.unanswered_lines().map_or_else(String::new, |lines| format!(", {lines}"));
            return self.give_up(format!("{why}; given up after {} s{lines}", limit.as_secs()));
        }
        self.link = Link::Waiting(now + pause);
        say(&format!("{why}; next attempt in {:.1} s", pause.as_secs_f32()));
    }

    /// Nothing more can come of trying.
    fn give_up(&mut self, why: String) {
        self.outcome = Outcome::Failed(why);
        self.link = Link::Closing;
        self.handle.stop();
    }

    fn closed(&mut self, now: Instant, cause: Cause<'_>) {
        if let Some(failure) = self.tls_failure.take() {
            return match failure.is_for_good() {
                true => self.give_up(failure.to_string()),
                false => self.lost(now, &failure.to_string()),
            };
        }
        let why = match cause {
            Cause::Peer(code, "") => format!("the gateway closed the connection with {code}"),
            Cause::Peer(code, reason) => {
                format!("the gateway closed the connection: {code} {}", PeerText(reason))
            }
            Cause::Eof => match self.link {
                Link::Opening => format!("nobody answers at {}", self.dialer.url().authority()),
                _ => "the connection was cut without a Close (1006)".to_string(),
            },
            other => format!("the connection ended: {other}"),
        };
        if matches!(cause, Cause::Peer(CloseCode::TOO_BIG, _)) && self.sent {
            // Sent again it would be refused again.
            say("this line is too long for the gateway, it is not sent again");
            self.unanswered();
        }
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
        match (frame["type"].as_str(), frame["id"].as_str()) {
            (Some("res"), Some(CONNECT)) => self.logged_in(now, id, &frame),
            (Some("res"), Some(STATUS)) => self.looked_up(&frame, outbox),
            (Some("res"), Some(HISTORY)) => self.caught_up(&frame),
            (Some("res"), _) => self.answered(&frame, outbox),
            (Some("event"), _) => self.happened(&frame, outbox),
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
        self.lost_since = None;
        say(&format!(
            "connected to {} {} as {} ({}). /abort stops an answer, /quit leaves.",
            shown(&payload["server"]["name"]),
            shown(&payload["server"]["version"]),
            shown(&payload["user_id"]),
            shown(&payload["role"]),
        ));
    }

    /// The gateway has taken the line on, or has not. It answers at once, so that the run is known
    /// before its first event comes.
    fn answered(&mut self, frame: &Value, outbox: &mut Outbox) {
        let Some(message) = self.queue.front_mut().filter(|message| frame["id"] == message.key)
        else {
            return;
        };
        let payload = &frame["payload"];
        if let Some(session) = payload["sessionKey"].as_str() {
            self.session = Some(session.to_string());
        }
        if frame["ok"] != true {
            let error = &frame["error"];
            if error["code"] == "NOT_FOUND"
                && self.args.session.is_none()
                && self.session.take().is_some()
            {
                say("the gateway does not know this conversation any more, a new one begins");
                message.key = hex::random::<16>();
                self.sent = false;
                return;
            }
            self.hint = error["retryAfterMs"].as_u64().map(Duration::from_millis);
            say(&format!("not answered: {}", error_of(frame)));
            return self.unanswered();
        }
        message.run = payload["runId"].as_str().map(str::to_string);
        if let Some(content) = payload["content"].as_str() {
            self.completed(content);
        } else if message.interrupted {
            self.look_up(outbox);
        } else if payload["queued"] == true {
            say("another answer is under way in this session, yours follows");
        }
    }

    fn happened(&mut self, frame: &Value, outbox: &mut Outbox) {
        let payload = &frame["payload"];
        match (frame["event"].as_str(), payload["type"].as_str()) {
            (Some("agent"), Some(kind)) if self.is_ours(payload) => {
                self.run_happened(kind, &payload["payload"]);
            }
            (Some("agent"), Some("run.completed" | "run.failed" | "run.cancelled"))
                if self.queue.front().is_some_and(|message| message.interrupted)
                    && payload["sessionKey"].as_str() == self.session.as_deref() =>
            {
                self.look_up(outbox);
            }
            (Some("chat.turn"), _) if payload["state"] == "cancelled" && self.is_ours(payload) => {
                self.run_happened("run.cancelled", &Value::Null);
            }
            (Some("chat.turn"), _) if payload["state"] == "failed" && self.is_ours(payload) => {
                self.run_happened("run.failed", payload);
            }
            (Some("shutdown"), _) => {
                self.hint = payload["restartExpectedMs"].as_u64().map(Duration::from_millis);
                say(&format!("the gateway stops: {}", shown(&payload["reason"])));
            }
            _ => {}
        }
    }

    fn is_ours(&self, payload: &Value) -> bool {
        let run = self.queue.front().and_then(|message| message.run.as_deref());
        self.sent && run.is_some() && payload["runId"].as_str() == run
    }

    fn run_happened(&mut self, kind: &str, payload: &Value) {
        let Some(message) = self.queue.front_mut() else { return };
        let content = payload["content"].as_str().unwrap_or_default();
        match kind {
            "chunk" if !message.interrupted => {
                print(&terminal_text(content));
                message.shown += content.chars().count();
            }
            "run.completed" => self.completed(content),
            "run.failed" => {
                self.end_line();
                say(&format!("not answered: {}", shown(&payload["error"])));
                self.unanswered();
            }
            "run.cancelled" => {
                self.end_line();
                say("stopped");
                self.done();
            }
            _ => {}
        }
    }

    /// What streamed is there already; without streaming this is the whole answer.
    fn completed(&mut self, content: &str) {
        let shown = self.queue.front().map_or(0, |message| message.shown);
        let rest: String = content.chars().skip(shown).collect();
        print(&format!("{}\n", terminal_text(&rest)));
        self.done();
    }

    /// Ends the line of an answer that breaks off.
    fn end_line(&self) {
        if self.queue.front().is_some_and(|message| message.shown > 0) {
            print("\n");
        }
    }

    /// The first of the queue is answered, or never will be.
    fn done(&mut self) {
        self.queue.pop_front();
        self.sent = false;
    }

    /// The first of the queue will not be answered.
    fn unanswered(&mut self) {
        self.unanswered += 1;
        self.done();
    }

    /// How many lines were not answered, in words, if any.
    fn unanswered_lines(&self) -> Option<String> {
        match self.unanswered {
            0 => None,
            1 => Some("1 line was not answered".into()),
            many => Some(format!("{many} lines were not answered")),
        }
    }

    /// After a lost connection the run may have ended unheard: asks what the session does.
    fn look_up(&self, outbox: &mut Outbox) {
        // When the outbox is full, the next end of a run in this session asks again.
        let _ = outbox.text(&request(
            STATUS,
            "chat.session.status",
            json!({ "sessionKey": self.session }),
        ));
    }

    fn looked_up(&mut self, frame: &Value, outbox: &mut Outbox) {
        if !self.sent || frame["payload"]["isRunning"] == true {
            // Ours, or one before ours: its end is an event.
            return;
        }
        let _ = outbox.text(&request(
            HISTORY,
            "chat.history",
            json!({ "sessionKey": self.session, "limit": 10 }),
        ));
    }

    /// The run has ended unheard: its answer is the history's last, unless others went on.
    fn caught_up(&mut self, frame: &Value) {
        let Some(message) = self.queue.front().filter(|_| self.sent) else { return };
        let messages = frame["payload"]["messages"].as_array().map_or(&[][..], |all| all);
        let last = |role| messages.iter().rfind(|message| message["role"] == role);
        let answer = last("assistant").and_then(|answer| answer["content"].as_str());
        match (last("user"), answer) {
            (Some(asked), Some(answer)) if asked["content"] == *message.text => {
                self.completed(answer);
            }
            _ => {
                self.end_line();
                say("this was answered while the connection was lost: see the session's history");
                self.done();
            }
        }
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
                "ack": true,
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
        while !self.typing_ended {
            match self.typed.try_recv() {
                Ok(line) => match line.trim() {
                    "" => {}
                    "/quit" => {
                        // Who sits at it does not want to wait for answers.
                        if self.attended {
                            self.queue.clear();
                        }
                        self.typing_ended = true;
                    }
                    "/abort" => self.abort(connections),
                    text => self.queue.push_back(Message {
                        key: hex::random::<16>(),
                        text: text.to_string(),
                        run: None,
                        shown: 0,
                        interrupted: false,
                    }),
                },
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.typing_ended = true,
            }
        }
    }

    fn abort(&mut self, connections: &mut Connections<'_>) {
        let (Link::Open(id, _), Some(session)) = (&self.link, &self.session) else { return };
        let run = self.queue.front().and_then(|message| message.run.as_deref());
        let params = json!({ "sessionKey": session, "runId": run });
        let abort = request(ABORT, "chat.abort", params);
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
                let Login { credentials, user } = &self.login;
                let token = credentials.token(&self.addresses).unwrap_or_else(|withheld| {
                    say(&withheld.to_string());
                    None
                });
                let login = json!({ "token": token, "user_id": user });
                // The first message always has room.
                let _ = outbox.text(&request(CONNECT, "connect", login));
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

    fn handshake_failed(
        &mut self,
        _now: Instant,
        _id: ConnId,
        _peer: Option<Peer>,
        failure: &moorline_mio::TlsFailure,
    ) {
        self.tls_failure = TlsFailure::of_session(failure);
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
