//! What comes to a client of the second dialect, and what it makes of it.

use super::guest::{Asks, Login, Part};
use super::guest_reader::{fits, text_of};
use super::story::Who;
use super::wire::News;
use super::world::World;
use crate::signing::Challenge;
use serde_json::Value;

impl World {
    pub fn guest_news(&mut self, id: u64, guest: usize, news: News) {
        if self.guests[guest].wire != Some(id) {
            // An old connection of one that has another: nobody listens.
            return;
        }
        match news {
            News::Bytes(_) | News::End => panic!("plain HTTP on {id}"),
            News::Open => {}
            News::Text(text) => self.guest_text(id, guest, &text),
            News::Refused(status) => {
                assert!(matches!(status, 503 | 408), "an upgrade was refused with {status}");
                self.guests[guest].failures += 1;
            }
            News::Closed(code, reason) => {
                let logged_in = self.guests[guest].logged_in;
                self.tell(Who::Guest(guest), "closed", (code.into(), u64::from(logged_in)));
                let wrong = code == 1008 && reason == "handshake timeout" && logged_in;
                assert!(!wrong, "guest {guest} was logged in and is told: {reason}");
                self.seen.guests_given_up += u64::from(reason == "slow consumer");
                self.guest_lost(guest);
            }
        }
    }

    fn guest_text(&mut self, id: u64, guest: usize, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let payload = &message["payload"];
        match (message["type"].as_str(), message["event"].as_str()) {
            (Some("event"), Some("connect.challenge")) => {
                let nonce = payload["nonce"].as_str().expect("a nonce").to_owned();
                let ts = payload["ts"].as_u64().expect("a time");
                self.guest_logs_in(guest, &Challenge { nonce, ts });
            }
            (Some("event"), Some("node.invoke.request")) => {
                assert_eq!(self.guests[guest].part, Part::Node, "{text}");
                let asked = payload["paramsJSON"].as_str().expect("params");
                let asked: Value = serde_json::from_str(asked).expect("JSON");
                let number = asked["n"].as_u64().expect("a number");
                let name = payload["id"].as_str().expect("a name").to_owned();
                let before = self.guests[guest].told.insert(name, number);
                assert_eq!(before, None, "told twice: {text}");
                let pause = self.rng.millis(1, 4000);
                if self.busy {
                    self.guest_soon(guest, pause);
                }
            }
            (Some("event"), Some("node.invoke.cancel")) => {
                let name = payload["invokeId"].as_str().expect("a name");
                self.guests[guest].told.remove(name);
            }
            (Some("event"), Some("shutdown" | "tick")) if message.get("seq").is_none() => {}
            (Some("event"), Some("voicewake.changed" | "voicewake.routing.changed"))
            | (Some("event"), Some("node.pair.requested" | "node.pair.resolved"))
                if self.guests[guest].part == Part::Node =>
            {
                assert_eq!(message.get("seq"), None, "{text}");
            }
            (Some("event"), _) => {
                let bounded = !self.plan.roomy;
                let state = &mut self.guests[guest];
                assert!(state.logged_in, "an event before the login of guest {guest}: {text}");
                let (protocol, user) = (state.protocol, state.user);
                let (whole, missed) = (state.reader.whole, state.reader.missed);
                if let Err(wrong) = state.reader.event(protocol, user, &message, bounded) {
                    panic!("guest {guest} of protocol {protocol} on {id}: {wrong}: {text}");
                }
                let whole_text = match (message["event"].as_str(), payload["state"].as_str()) {
                    (Some("chat"), state) => Some(state == Some("final")),
                    (Some("session.message"), _) => Some(true),
                    _ => None,
                };
                if let Some(whole_text) = whole_text
                    && let Err(wrong) = self.work.check(&text_of(&payload["message"]), whole_text)
                {
                    panic!("guest {guest} on {id}: {wrong}: {text}");
                }
                let state = &self.guests[guest];
                self.seen.guest_events += 1;
                self.seen.guest_whole += state.reader.whole - whole;
                self.seen.guest_missed += state.reader.missed - missed;
                let number = message["seq"].as_u64().unwrap_or_default();
                self.tell(Who::Guest(guest), "event", (number, text.len() as u64));
            }
            (Some("res"), _) => self.guest_answer(guest, &message),
            _ => panic!("guest {guest} cannot read {text}"),
        }
    }

    fn guest_answer(&mut self, guest: usize, message: &Value) {
        let name = message["id"].as_str().expect("an id");
        let asks = self.guests[guest].asked.remove(name);
        let asks = asks.unwrap_or_else(|| panic!("an answer that nobody waits for: {message}"));
        let (ok, payload) = (message["ok"] == true, &message["payload"]);
        let code = message["error"]["code"].as_str().unwrap_or_default();
        self.tell(Who::Guest(guest), "answer", (u64::from(ok), code.len() as u64));
        match asks {
            Asks::Connect(login) => self.guest_let_in(guest, login, ok, message),
            Asks::Send(number) if ok => {
                self.guest_taken(guest, number);
                let status = payload["status"].as_str().expect("a status");
                assert!(matches!(status, "started" | "in_flight" | "ok"), "{message}");
                // Some go on asking until it has ended.
                if status == "ok" || self.rng.percent(50) {
                    self.guests[guest].unsettled.remove(&number);
                }
            }
            Asks::Agent { number, accepted } => {
                if ok && payload["status"] == "accepted" {
                    assert!(!accepted, "accepted twice: {message}");
                    self.guest_taken(guest, number);
                    let asks = Asks::Agent { number, accepted: true };
                    self.guests[guest].asked.insert(name.to_owned(), asks);
                } else if ok {
                    self.guest_taken(guest, number);
                    let said = &self.ledger.said[number];
                    for text in payload["result"]["payloads"].as_array().expect("payloads") {
                        let text = text["text"].as_str().expect("a text");
                        let is_it = text.starts_with(&format!("re: {}", said.text));
                        assert!(is_it, "{message} is not the answer to {said:?}");
                        if let Err(wrong) = self.work.answers(text, &said.text) {
                            panic!("guest {guest}: {wrong}");
                        }
                    }
                    self.guests[guest].unsettled.remove(&number);
                    self.seen.second_answers += u64::from(accepted);
                } else if accepted {
                    // Its run has failed.
                    assert_eq!(payload["status"], "error", "{message}");
                    self.guests[guest].unsettled.remove(&number);
                } else {
                    self.guest_refused(guest, number, message);
                }
            }
            Asks::Send(number) => self.guest_refused(guest, number, message),
            Asks::History if ok => {
                let user = self.guests[guest].user;
                for message in payload["messages"].as_array().expect("messages") {
                    let text = text_of(message);
                    if let Err(wrong) =
                        fits(user, &text).and_then(|()| self.work.check(&text, true))
                    {
                        panic!("guest {guest}: {wrong}");
                    }
                }
            }
            Asks::Invoke(number) => {
                self.seen.invoked += u64::from(ok);
                self.seen.not_invoked += u64::from(!ok);
                if ok {
                    assert_eq!(payload["payload"]["n"], number, "another's answer: {message}");
                }
            }
            Asks::Requests if ok => {
                let pending = payload["pending"].clone();
                self.approve(guest, &pending);
            }
            Asks::Result => assert!(ok, "a node's answer is refused: {message}"),
            Asks::History | Asks::Requests | Asks::Other => {}
        }
    }

    fn guest_let_in(&mut self, guest: usize, login: Login, ok: bool, message: &Value) {
        let code = message["error"]["code"].as_str().unwrap_or_default();
        if !ok {
            let later = code == "UNAVAILABLE";
            // News of a token may take their time on the way to another node.
            let is_known = self.plan.roomy || self.plan.nodes == 1;
            let must = match login {
                Login::Wrong => false,
                Login::Secret => true,
                Login::Token { must } => must && is_known,
            };
            assert!(later || !must, "guest {guest} is let in by {login:?}: {message}");
            if let (Login::Token { .. }, false) = (login, later) {
                self.guests[guest].forget_token();
            }
            // The connection is closed behind this.
            return;
        }
        assert_ne!(login, Login::Wrong, "a wrong token is taken");
        let protocol = message["payload"]["protocol"].as_u64();
        assert_eq!(protocol, Some(self.guests[guest].protocol), "{message}");
        if let Some(token) = self.guests[guest].joined(&message["payload"]) {
            self.secrets.insert(token);
        }
        self.seen.guests += 1;
        self.seen.guests_by_token += u64::from(matches!(login, Login::Token { .. }));
        self.tell(Who::Guest(guest), "hello", (protocol.unwrap_or_default(), 0));
        let pause = self.rng.millis(1, 2000);
        if self.busy {
            self.guest_soon(guest, pause);
        }
    }

    /// The gateway has taken what a guest has said.
    fn guest_taken(&mut self, guest: usize, number: usize) {
        let said = &mut self.ledger.said[number];
        let key = said.key.clone().expect("guests have keys");
        let session = said.to.clone().expect("guests name the session");
        assert_eq!(said.user, self.guests[guest].user);
        said.taken = Some((key, session));
    }

    fn guest_refused(&mut self, guest: usize, number: usize, message: &Value) {
        let error = &message["error"];
        let known = error["code"] == "UNAVAILABLE" || error["code"] == "AGENT_TIMEOUT";
        assert!(known, "{message} to {:?}", self.ledger.said[number]);
        if error["retryable"] != true {
            self.guests[guest].unsettled.remove(&number);
        }
    }
}
