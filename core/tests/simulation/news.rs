//! What comes to a client, and what it makes of it.

use super::device::{Asked, Claim};
use super::story::Who;
use super::wire::News;
use super::world::{Owner, World};
use serde_json::{Value, json};

impl World {
    pub fn news(&mut self, id: u64, owner: Owner, news: News) {
        let device = match owner {
            Owner::Guest(guest) => return self.guest_news(id, guest, news),
            Owner::Worker(worker) => return self.worker_news(id, worker, news),
            Owner::Caller(caller) => return self.caller_news(id, caller, news),
            Owner::Device(device) if self.devices[device].wire == Some(id) => device,
            // An old connection of a device that has another one: nobody listens.
            Owner::Device(_) => return,
            Owner::Nobody => {
                if matches!(news, News::Open) && self.rng.percent(30) {
                    self.guess(id);
                }
                return;
            }
        };
        match news {
            News::Bytes(_) | News::End => panic!("plain HTTP on {id}"),
            News::Open => {}
            News::Text(text) => self.text(id, device, &text),
            News::Refused(status) => {
                self.seen.refused += 1;
                let known = matches!(status, 503 | 408);
                assert!(known, "an upgrade was refused with {status}");
                self.devices[device].failures += 1;
            }
            News::Closed(code, reason) => {
                let logged_in = self.devices[device].logged_in;
                self.tell(Who::Device(device), "closed", (code.into(), u64::from(logged_in)));
                let wrong = code == 1008 && reason == "handshake timeout" && logged_in;
                assert!(!wrong, "device {device} was logged in and is told: {reason}");
                if reason == "slow consumer" {
                    self.seen.given_up += 1;
                }
                self.lost(device);
            }
        }
    }

    /// A stranger tries a token.
    fn guess(&mut self, id: u64) {
        let text = json!({"type": "req", "id": "1", "method": "connect", "params": {"token": "x"}});
        if let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) {
            let _ = client.outbox(self.now).text(&text.to_string());
        }
    }

    fn text(&mut self, id: u64, device: usize, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let name = message["event"].as_str();
        match (message["type"].as_str(), name) {
            (Some("event"), Some("connect.challenge")) => {
                // Some never log in.
                if !self.rng.once_in(20) {
                    let (wrong, fresh) = (self.rng.once_in(25), self.rng.once_in(12));
                    self.log_in(device, wrong, fresh);
                }
            }
            (Some("event"), Some("shutdown")) if message.get("seq").is_none() => {}
            (Some("event"), _) => {
                let state = &mut self.devices[device];
                assert!(state.logged_in, "an event before the login of device {device}: {text}");
                let taken = state.reader.event(state.user, &message);
                let taken = taken.and_then(|()| self.check_told(device, &message["payload"]));
                if let Err(wrong) = taken {
                    panic!("device {device} on {id}: {wrong}: {text}");
                }
                let number = message["seq"].as_u64().unwrap_or_default();
                self.tell(Who::Device(device), "event", (number, text.len() as u64));
            }
            (Some("res"), _) => self.answer(id, device, &message),
            _ => panic!("device {device} cannot read {text}"),
        }
    }

    /// What is told of a worker's answer is what that worker has said.
    fn check_told(&self, device: usize, payload: &Value) -> Result<(), String> {
        match (payload["type"].as_str(), payload["runId"].as_str()) {
            (Some("chunk"), Some(run)) => {
                self.work.check(self.devices[device].reader.text(run), false)
            }
            (Some("run.completed"), _) => {
                self.work.check(payload["payload"]["content"].as_str().ok_or("no content")?, true)
            }
            _ => Ok(()),
        }
    }

    fn answer(&mut self, wire: u64, device: usize, message: &Value) {
        let name = message["id"].as_str().expect("an id");
        let asked = self.devices[device].asked.remove(name);
        let asked = asked.unwrap_or_else(|| panic!("an answer that nobody waits for: {message}"));
        let (ok, payload) = (message["ok"] == true, &message["payload"]);
        let code = message["error"]["code"].as_str().unwrap_or_default();
        self.tell(Who::Device(device), "answer", (u64::from(ok), code.len() as u64));
        match asked {
            Asked::Connect { wrong: true, .. } => {
                assert!(!ok, "a wrong token is taken");
                if code == "UNAVAILABLE" {
                    // The gateway stops, and has not looked at it.
                    return;
                }
                let state = &mut self.devices[device];
                state.logged_in = false;
                // Who fails to log in anew on a connection gives up its link.
                state.claim.take_if(|claim| claim.wire == wire);
                if self.rng.percent(80) {
                    self.log_in(device, false, false);
                }
            }
            Asked::Connect { resumes, must, .. } if ok => {
                let resume = &payload["resume"];
                self.hello(wire, device, resume, resumes, must);
            }
            Asked::Connect { .. } => {
                // A later login came before the answer, or the gateway stops.
                assert!(matches!(code, "UNAVAILABLE"), "{message}");
            }
            Asked::Send(number) => self.sent(device, number, ok, message),
            Asked::Foreign => {
                let refused =
                    matches!(code, "FORBIDDEN" | "NOT_FOUND" | "UNAVAILABLE" | "UNAUTHORIZED");
                assert!(!ok && refused, "somebody else's session: {message}");
            }
            Asked::History(session) if ok => {
                assert_eq!(payload["sessionKey"], *session);
                let user = self.devices[device].user;
                let own = format!("{user} says ");
                let answers = format!("re: {user} says ");
                for message in payload["messages"].as_array().expect("messages") {
                    let text = message["content"].as_str().expect("a text");
                    let fits = text.starts_with(&own) || text.starts_with(&answers);
                    assert!(fits, "{user} never said nor heard: {text}");
                    if let Err(wrong) = self.work.check(text, true) {
                        panic!("device {device} reads: {wrong}");
                    }
                }
            }
            Asked::History(_) | Asked::Abort => {}
        }
    }

    fn hello(&mut self, wire: u64, device: usize, resume: &Value, resumes: bool, must: bool) {
        let resumed = resume["resumed"] == true;
        assert_eq!(resume["gap"], resumes && !resumed, "device {device}: {resume}");
        assert!(resumed || !must, "device {device} must get its link back: {resume}");
        assert!(resumes || !resumed);
        self.seen.resumed += u64::from(resumed);
        self.seen.gaps += u64::from(resumes && !resumed);
        self.tell(Who::Device(device), "hello", (u64::from(resumed), u64::from(must)));
        let now = self.now;
        let state = &mut self.devices[device];
        if !resumed {
            state.reader.restart();
        }
        let token = resume["token"].as_str().expect("a token").to_owned();
        // A login that comes while the gateway stops may be too late to be saved; and one that was asked for
        // behind this one may have taken its link by now.
        let later = |asked: &Asked| matches!(asked, Asked::Connect { .. });
        let good = self.draining.is_none() && !state.asked.values().any(later);
        state.claim = Some(Claim { token, wire, heard: now, over: None, offered: false, good });
        (state.logged_in, state.failures) = (true, 0);
        let pause = self.rng.millis(1, 2000);
        if self.busy {
            self.soon(device, pause);
        }
    }

    fn sent(&mut self, device: usize, number: usize, ok: bool, message: &Value) {
        let said = &mut self.ledger.said[number];
        let payload = &message["payload"];
        if ok {
            if let Err(wrong) = said.answered(payload) {
                panic!("device {device}: {wrong}: {message} to {said:?}");
            }
            if let Some(content) = payload["content"].as_str()
                && let Err(wrong) = self.work.answers(content, &said.text)
            {
                panic!("device {device}: {wrong}");
            }
            let is_final = payload.get("content").is_some() || payload["cancelled"] == true;
            // Some go on asking until they have the answer itself.
            if is_final || said.ack || self.rng.percent(50) {
                self.devices[device].unsettled.remove(&number);
            }
        } else if message["error"]["retryable"] != true {
            let code = message["error"]["code"].as_str().unwrap_or_default();
            match code {
                "INTERNAL" => {
                    self.devices[device].unsettled.remove(&number);
                }
                // It has lost its login meanwhile, and asks again after the next one.
                "UNAUTHORIZED" => {}
                _ => panic!("device {device} said {said:?} and is told {message}"),
            }
        }
    }
}
