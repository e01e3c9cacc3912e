//! What clients of the HTTP API ask, and how they leave.

use super::acts::RETRIES;
use super::caller::{Call, Request, What};
use super::guest::secret;
use super::ledger::Said;
use super::plan::LONG;
use super::story::Who;
use super::wire::Pace;
use super::worker::{FAILS, worker_secret};
use super::world::{Due, Owner, World};
use serde_json::{Value, json};
use std::time::Duration;

/// No answer takes longer for somebody who reads: a request that dribbles, two runs' time, calls between loops
/// and a store that hangs.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(500);

impl World {
    pub fn caller_soon(&mut self, caller: usize, after: Duration) {
        let at = self.now + after;
        self.callers[caller].armed = Some(at);
        self.at(at, Due::CallerAct(caller));
    }

    pub fn caller_act(&mut self, caller: usize) {
        let pause = if self.busy { self.pause() } else { Duration::from_secs(30) };
        if self.busy || self.callers[caller].call.is_some() {
            self.caller_soon(caller, pause);
        }
        let Some(call) = &mut self.callers[caller].call else {
            if self.busy && self.listening {
                self.caller_asks(caller);
            }
            return;
        };
        let id = call.wire;
        if call.is_doubtful() && self.now > call.since + ANSWERED_WITHIN {
            return self.caller_leaves(caller, 1);
        }
        if !call.rest.is_empty() {
            let rest = std::mem::take(&mut call.rest);
            return self.say_plainly(id, &rest);
        }
        if !self.busy {
            return;
        }
        match self.rng.index(100) {
            0..15 => self.caller_pace(caller, id),
            15..30 => {
                let how = self.rng.index(5);
                self.caller_leaves(caller, how);
            }
            _ => {}
        }
    }

    // --- asking ----------------------------------------------------------------------------------

    fn caller_asks(&mut self, caller: usize) {
        let again = self.callers[caller].again.take();
        let again = again.filter(|(_, since)| self.now - *since < RETRIES);
        let request = match again {
            Some((request, since)) if self.rng.percent(70) => {
                self.callers[caller].again = Some((request.clone(), since));
                request
            }
            _ => {
                let request = match self.rng.index(100) {
                    0..8 => self.asks_for_models(caller),
                    8..20 => self.asks_wrongly(caller),
                    _ => self.asks_for_answer(caller),
                };
                if matches!(request.what, What::Say { keyed: true, .. }) {
                    self.callers[caller].again = Some((request.clone(), self.now));
                }
                request
            }
        };
        let node = self.rng.index(self.hosts.len());
        let id = self.connect(node, Owner::Caller(caller));
        let mut bytes = request.bytes.clone();
        let number = match request.what {
            What::Say { number, .. } => number as u64,
            _ => 0,
        };
        self.tell(Who::Caller(caller), "asks", (id, number));
        if let What::Say { number, keyed: false, .. } = request.what
            && self.ledger.said[number].apart
        {
            self.alone.insert(number, id);
        }
        let mut call = Call::new(id, request, self.now);
        if self.rng.percent(10) {
            call.rest = bytes.split_off(self.rng.index(bytes.len()));
        }
        self.callers[caller].call = Some(call);
        self.say_plainly(id, &bytes);
    }

    fn say_plainly(&mut self, id: u64, bytes: &[u8]) {
        if let Some(out) = self.wires.get_mut(&id).and_then(|wire| wire.plain.as_mut()) {
            out.extend(bytes);
        }
        self.drive_client(id);
    }

    fn asks_for_models(&mut self, caller: usize) -> Request {
        let token = secret(self.callers[caller].user);
        let bytes = request("GET", "/v1/models", Some(&token), "", "");
        Request { what: What::Models, bytes, pipelined: false }
    }

    /// Something that is refused, whatever else holds.
    fn asks_wrongly(&mut self, caller: usize) -> Request {
        let own = secret(self.callers[caller].user);
        let (own, body) = (Some(&*own), json!({"model": "echo", "messages": []}));
        let message = json!({"role": "user", "content": "never said"});
        let worker = worker_secret(FAILS);
        let with = |name: &str, value: Value| {
            let mut body = json!({"model": "echo", "messages": [message]});
            body[name] = value;
            body.to_string()
        };
        let path = "/v1/chat/completions";
        let (status, bytes) = match self.rng.index(8) {
            0 => (401, request("GET", "/v1/models", None, "", "")),
            1 => (401, request("POST", path, Some("guessed"), "", &with("stream", true.into()))),
            2 => (401, request("POST", path, Some(&worker), "", &with("stream", true.into()))),
            3 => (405, request("GET", path, own, "", "")),
            4 => (404, request("POST", path, own, "", &with("model", "nobody".into()))),
            5 => (400, request("POST", path, own, "", &body.to_string())),
            6 => (400, request("POST", path, own, "", "{\"model\": ")),
            _ => (400, request("POST", path, own, "", &with("n", 2.into()))),
        };
        Request { what: What::Wrong(status), bytes, pipelined: false }
    }

    fn asks_for_answer(&mut self, caller: usize) -> Request {
        let user = self.callers[caller].user;
        let number = self.ledger.said.len();
        let words = if self.rng.percent(5) { LONG / 8 } else { self.rng.between(0, 8) };
        let text = format!("{user} says {number}{}", " and more".repeat(words as usize));
        let mut agent = self.some_agent();
        let stream = self.rng.percent(70);
        let message = |role: &str, text: &str| json!({"role": role, "content": text});
        let mut body = json!({"stream": stream});
        let (mut headers, mut to) = (String::new(), None);
        let mut messages = Vec::new();
        match self.rng.index(4) {
            0 => {
                if let Some(session) = self.session_of(user) {
                    agent = self.agent_of(&session);
                    headers = format!("X-Moorline-Session-Key: {session}\r\n");
                    to = Some(session);
                }
            }
            1 => {
                let name = format!("u{}", self.rng.index(2));
                to = Some(format!("agent:{agent}:openai-user:{user}:{name}"));
                body["user"] = name.into();
            }
            _ => {
                if self.rng.percent(50) {
                    messages.push(message("system", "be brief"));
                    messages.push(message("user", &format!("{user} says before")));
                    messages.push(message("assistant", &format!("re: {user} says before")));
                }
            }
        }
        messages.push(message("user", &text));
        (body["model"], body["messages"]) = (agent.into(), messages.into());
        let usage = stream && self.rng.percent(30);
        if usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        let key = self.rng.percent(40).then(|| format!("key {number}"));
        if let Some(key) = &key {
            headers += &format!("Idempotency-Key: {key}\r\n");
        }
        let (apart, keyed, since) = (to.is_none(), key.is_some(), self.now);
        let (taken, answer) = (None, None);
        let said = Said { user, text, key, agent, to, apart, ack: true, since, taken, answer };
        self.ledger.said.push(said);
        let token = Some(secret(user));
        let path = "/v1/chat/completions";
        let mut bytes = request("POST", path, token.as_deref(), &headers, &body.to_string());
        let pipelined = self.rng.once_in(20);
        if pipelined {
            bytes.extend(request("GET", "/v1/models", token.as_deref(), "", ""));
        }
        Request { what: What::Say { number, stream, usage, keyed }, bytes, pipelined }
    }

    // --- leaving ---------------------------------------------------------------------------------

    fn caller_pace(&mut self, caller: usize, id: u64) {
        let (now, kind) = (self.now, self.rng.index(3));
        let stall = self.rng.seconds(1, 90);
        let pace =
            Pace { most: self.rng.between(50, 2000) as usize, every: self.rng.millis(5, 800) };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(call) = &mut self.callers[caller].call else { return };
        match kind {
            0 => wire.pace = Pace::FAST,
            1 => wire.pace = pace,
            _ => wire.stall(now + stall),
        }
        call.slow |= kind > 0;
        self.tell(Who::Conn(id), "pace", (kind as u64, 2));
        self.arm(id);
    }

    /// Its connection goes, in one of the ways in which that happens.
    pub fn caller_leaves(&mut self, caller: usize, how: usize) {
        let Some(call) = &mut self.callers[caller].call else { return };
        call.cut = true;
        let id = call.wire;
        self.seen.http_left += 1;
        self.tell(Who::Caller(caller), "leaves", (id, how as u64));
        if self.cut(id, how) {
            self.callers[caller].call = None;
        }
    }
}

fn request(method: &str, path: &str, token: Option<&str>, headers: &str, body: &str) -> Vec<u8> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let kind = match body {
        "" => String::new(),
        body => {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        }
    };
    let token = token.unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}{headers}{kind}\r\n{body}")
        .into()
}
