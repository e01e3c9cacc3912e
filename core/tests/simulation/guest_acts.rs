//! What clients of the second dialect do.

use super::acts::RETRIES;
use super::guest::{Asks, COMMAND, KEEPER, Part};
use super::ledger::Said;
use super::plan::{LONG, USERS};
use super::story::Who;
use super::world::{Due, Owner, World};
use crate::signing::Challenge;
use moorline_core::CloseCode;
use serde_json::{Value, json};
use std::time::Duration;

impl World {
    /// A guest does something after a while.
    pub fn guest_soon(&mut self, guest: usize, after: Duration) {
        let at = self.now + after;
        self.guests[guest].armed = Some(at);
        self.at(at, Due::GuestAct(guest));
    }

    pub fn guest_act(&mut self, guest: usize) {
        let Some(wire) = self.guests[guest].wire else {
            if self.busy || self.guests[guest].stays {
                self.guest_dial(guest);
            }
            return;
        };
        if !self.guests[guest].logged_in || !self.busy {
            return;
        }
        let pause = self.pause();
        self.guest_soon(guest, pause);
        match self.guests[guest].part {
            Part::Node => self.node_answers(guest),
            Part::Keeper if self.rng.percent(60) => {
                let (method, asks) = ("node.pair.list", Asks::Requests);
                return self.guest_request(guest, method, &json!({}), asks);
            }
            Part::Keeper | Part::Operator => {}
        }
        let talks = self.guests[guest].part == Part::Operator;
        let retry = self.guests[guest].to_retry();
        if let Some(said) = retry.first().copied()
            && self.rng.percent(70)
        {
            return self.guest_says_again(guest, said);
        }
        match self.rng.index(100) {
            0..25 if talks => self.guest_says(guest, false),
            25..45 if talks => self.guest_says(guest, true),
            45..50 if talks => self.guest_aborts(guest),
            50..56 if talks => self.guest_reads(guest),
            56..64 if talks => {
                let methods = ["sessions.subscribe", "sessions.unsubscribe", "sessions.list"];
                let method = methods[self.rng.index(methods.len())];
                self.guest_request(guest, method, &json!({}), Asks::Other);
            }
            0..78 => self.guest_invokes(guest),
            78..84 => self.change_pace(wire),
            84..95 => self.guest_loses(guest),
            95..98 => self.guest_goodbye(guest),
            // Another connection, while the old one looks alive.
            _ => {
                self.tell(Who::Guest(guest), "takes over", (0, 0));
                self.guests[guest].offline();
                self.guest_dial(guest);
            }
        }
    }

    // --- coming and going ------------------------------------------------------------------------

    fn guest_dial(&mut self, guest: usize) {
        let wait = self.rng.millis(200, 3000) * (self.guests[guest].failures.min(4) + 1);
        if !self.listening {
            self.guests[guest].failures += 1;
            return self.guest_soon(guest, wait);
        }
        let node = self.rng.index(self.hosts.len());
        let id = self.connect(node, Owner::Guest(guest));
        self.tell(Who::Guest(guest), "dials", (id, node as u64));
        self.guests[guest].wire = Some(id);
        self.guests[guest].logged_in = false;
        self.drive_client(id);
    }

    pub fn guest_logs_in(&mut self, guest: usize, challenge: &Challenge) {
        let (wrong, fresh) = (self.rng.once_in(25), self.rng.once_in(4));
        let (params, login) = self.guests[guest].hello(challenge, wrong, fresh);
        self.guest_request(guest, "connect", &params, Asks::Connect(login));
        if self.rng.percent(20) {
            // Behind it, before there is an answer.
            self.guest_request(guest, "health", &json!({}), Asks::Other);
        }
    }

    pub fn guest_request(&mut self, guest: usize, method: &str, params: &Value, asks: Asks) {
        let Some(id) = self.guests[guest].wire else { return };
        let now = self.now;
        self.guests[guest].requests += 1;
        let name = format!("{method}-{}", self.guests[guest].requests);
        let text = json!({"type": "req", "id": name, "method": method, "params": params});
        let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) else {
            return;
        };
        if client.outbox(now).text(&text.to_string()).is_ok() {
            self.guests[guest].asked.insert(name, asks);
            self.tell(Who::Guest(guest), "asks", (id, text.to_string().len() as u64));
            self.drive_client(id);
        }
    }

    /// The guest has no connection any more, as far as it knows.
    pub fn guest_lost(&mut self, guest: usize) {
        self.guests[guest].offline();
        let wait = self.until_back();
        self.guest_soon(guest, wait);
    }

    fn guest_loses(&mut self, guest: usize) {
        let Some(id) = self.guests[guest].wire else { return };
        let how = self.rng.index(5);
        self.tell(Who::Guest(guest), "loses", (id, how as u64));
        if self.cut(id, how) {
            self.guest_lost(guest);
        }
    }

    fn guest_goodbye(&mut self, guest: usize) {
        let Some(id) = self.guests[guest].wire else { return };
        self.tell(Who::Guest(guest), "goodbye", (id, 0));
        if let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) {
            client.close(self.now, CloseCode::NORMAL, "");
        }
        self.guest_lost(guest);
        self.drive_client(id);
    }

    // --- talking ---------------------------------------------------------------------------------

    /// A session of this user: one that somebody has been told of, the main one, or another that no client of
    /// the base dialect would name so.
    fn guest_session(&mut self, user: &str) -> (String, &'static str) {
        if self.rng.percent(50)
            && let Some(session) = self.session_of(user)
        {
            let agent = self.agent_of(&session);
            return (session, agent);
        }
        if self.rng.percent(40) {
            return (format!("agent:main:user:{user}"), "echo");
        }
        let agent = self.some_agent();
        (format!("agent:{agent}:{user}-{}", self.rng.index(3)), agent)
    }

    fn guest_says(&mut self, guest: usize, two_answers: bool) {
        let user = self.guests[guest].user;
        let number = self.ledger.said.len();
        let words = if self.rng.percent(5) { LONG / 8 } else { self.rng.between(0, 8) };
        let text = format!("{user} says {number}{}", " and more".repeat(words as usize));
        let (session, agent) = self.guest_session(user);
        let (key, to) = (Some(format!("key {number}")), Some(session));
        let since = self.now;
        let (taken, answer) = (None, None);
        let (apart, ack) = (false, true);
        let said = Said { user, text, key, agent, to, apart, ack, since, taken, answer };
        self.ledger.said.push(said);
        self.guests[guest].unsettled.insert(number);
        self.tell(Who::Guest(guest), "says", (number as u64, u64::from(two_answers)));
        self.guest_sends(guest, number, two_answers);
    }

    /// The same with the same key, by either method.
    fn guest_says_again(&mut self, guest: usize, number: usize) {
        if self.now - self.ledger.said[number].since > RETRIES {
            self.guests[guest].unsettled.remove(&number);
            return;
        }
        self.tell(Who::Guest(guest), "says again", (number as u64, 0));
        let two_answers = self.rng.percent(50);
        self.guest_sends(guest, number, two_answers);
    }

    fn guest_sends(&mut self, guest: usize, number: usize, two_answers: bool) {
        let said = &self.ledger.said[number];
        let short = format!("agent:main:user:{}", said.user);
        let name = said.to.as_deref().map(|to| if to == short { "main" } else { to });
        let params = json!({"sessionKey": name, "message": said.text, "idempotencyKey": said.key});
        let (method, asks) = match two_answers {
            true => ("agent", Asks::Agent { number, accepted: false }),
            false => ("chat.send", Asks::Send(number)),
        };
        self.guest_request(guest, method, &params, asks);
    }

    fn guest_aborts(&mut self, guest: usize) {
        let user = self.guests[guest].user;
        if let Some(session) = self.session_of(user) {
            let params = json!({"sessionKey": session});
            self.guest_request(guest, "chat.abort", &params, Asks::Other);
        }
    }

    fn guest_reads(&mut self, guest: usize) {
        let user = self.guests[guest].user;
        let (session, _) = self.guest_session(user);
        let params = json!({"sessionKey": session, "limit": self.rng.between(1, 30)});
        self.guest_request(guest, "chat.history", &params, Asks::History);
    }

    // --- nodes -----------------------------------------------------------------------------------

    fn guest_invokes(&mut self, guest: usize) {
        let nodes = self.guests.iter().filter(|guest| guest.part == Part::Node);
        let nodes: Vec<_> =
            nodes.filter_map(|node| Some(node.device.as_ref()?.id.clone())).collect();
        if nodes.is_empty() || self.guests[guest].part == Part::Node {
            return;
        }
        let node = &nodes[self.rng.index(nodes.len())];
        self.invokes += 1;
        let number = self.invokes;
        let mut params = json!({
            "nodeId": node, "command": COMMAND, "params": {"n": number},
            "timeoutMs": self.rng.between(500, 20_000), "idempotencyKey": format!("invoke {number}"),
        });
        if self.rng.percent(20) {
            params["params"]["long"] = "x".repeat(LONG as usize).into();
        }
        self.tell(Who::Guest(guest), "invokes", (number, 0));
        self.guest_request(guest, "node.invoke", &params, Asks::Invoke(number));
    }

    /// The node does what it was told; some of it never.
    fn node_answers(&mut self, guest: usize) {
        let node = self.guests[guest].device.as_ref().expect("a node has one").id.clone();
        for (id, number) in std::mem::take(&mut self.guests[guest].told) {
            let mut result = json!({"id": id, "nodeId": node, "ok": true});
            match self.rng.index(10) {
                0 => continue,
                1 => {
                    result["ok"] = false.into();
                    result["error"] = json!({"code": "BUSY", "message": "not now"});
                }
                2..6 => result["payload"] = json!({"n": number}),
                _ => result["payloadJSON"] = json!({"n": number}).to_string().into(),
            }
            self.guest_request(guest, "node.invoke.result", &result, Asks::Result);
        }
        if self.rng.percent(20) {
            let stats = json!({"event": "node.host.stats", "payloadJSON": "{\"load\":1}"});
            self.guest_request(guest, "node.event", &stats, Asks::Other);
        }
    }

    /// What nodes ask is approved.
    pub fn approve(&mut self, guest: usize, pending: &Value) {
        for request in pending.as_array().expect("a list").clone() {
            let params = json!({"requestId": request["requestId"]});
            self.guest_request(guest, "node.pair.approve", &params, Asks::Other);
        }
    }

    /// All guests of a world: how many, and who they are.
    pub fn guest_user(at: usize) -> &'static str {
        if at < 2 { KEEPER } else { USERS[at % USERS.len()] }
    }
}
