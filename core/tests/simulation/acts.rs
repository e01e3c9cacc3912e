//! What users and strangers do, and what goes wrong on the way.

use super::device::Asked;
use super::ledger::Said;
use super::pipe::Ending;
use super::plan::{LONG, SECRET, USERS};
use super::story::Who;
use super::wire::Pace;
use super::worker::{FAILS, REQUEUES};
use super::world::{Due, Owner, World};
use moorline_core::CloseCode;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a message is sent again with its key: well within the time that keys are kept.
pub const RETRIES: Duration = Duration::from_secs(150);

impl World {
    /// A device does something after a while.
    pub fn soon(&mut self, device: usize, after: Duration) {
        let at = self.now + after;
        self.devices[device].armed = Some(at);
        self.at(at, Due::Act(device));
    }

    pub fn pause(&mut self) -> Duration {
        let (low, high) = self.plan.pause;
        self.rng.seconds(low, high)
    }

    pub fn act(&mut self, device: usize) {
        let Some(wire) = self.devices[device].wire else {
            if self.busy || self.devices[device].stays {
                self.dial(device);
            }
            return;
        };
        if !self.devices[device].logged_in || !self.busy {
            return;
        }
        let pause = self.pause();
        self.soon(device, pause);
        let retry = self.devices[device].to_retry();
        if let Some(said) = retry.first().copied()
            && self.rng.percent(70)
        {
            return self.say_again(device, said);
        }
        match self.rng.index(100) {
            0..50 => self.say_something(device),
            50..57 => self.abort(device),
            57..67 => self.read_history(device),
            67..70 => self.pry(device),
            70..78 => self.change_pace(wire),
            78..90 => self.lose(device),
            90..93 => self.say_goodbye(device),
            93..96 => self.take_over(device),
            96..98 => self.log_in_again(device),
            _ => self.doubly(device),
        }
    }

    // --- coming and going ------------------------------------------------------------------------

    /// Connects to some node; the rest follows from what it says.
    pub fn dial(&mut self, device: usize) {
        let wait = self.rng.millis(200, 3000) * (self.devices[device].failures.min(4) + 1);
        if !self.listening {
            self.devices[device].failures += 1;
            return self.soon(device, wait);
        }
        let node = self.rng.index(self.hosts.len());
        let id = self.connect(node, Owner::Device(device));
        self.tell(Who::Device(device), "dials", (id, node as u64));
        self.devices[device].wire = Some(id);
        self.devices[device].logged_in = false;
        // Its first bytes have not been driven yet by anybody but the connect.
        self.drive_client(id);
    }

    pub fn request(&mut self, device: usize, method: &str, params: &Value, asked: Asked) {
        let Some(id) = self.devices[device].wire else { return };
        let now = self.now;
        self.devices[device].requests += 1;
        let name = format!("{method}-{}", self.devices[device].requests);
        let text = json!({"type": "req", "id": name, "method": method, "params": params});
        let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) else {
            return;
        };
        if client.outbox(now).text(&text.to_string()).is_ok() {
            self.devices[device].asked.insert(name, asked);
            self.tell(Who::Device(device), "asks", (id, text.to_string().len() as u64));
            self.drive_client(id);
        }
    }

    /// `connect`, with what gets the link back if there is something.
    pub fn log_in(&mut self, device: usize, wrong: bool, fresh: bool) {
        let at = self.now;
        let token = if wrong { "guessed" } else { SECRET };
        let state = &mut self.devices[device];
        let mut params = json!({"token": token, "user_id": state.user});
        let (mut resumes, mut must) = (false, false);
        let last = state.reader.seq;
        if let Some(claim) = state.claim.as_mut().filter(|_| !fresh && !wrong) {
            let recent = |since| at - since < Duration::from_secs(100);
            must = self.plan.roomy
                && claim.good
                && !claim.offered
                && recent(claim.heard)
                && claim.over.is_none_or(recent);
            resumes = true;
            claim.offered = true;
            params["resume"] = json!({"token": claim.token, "lastSeq": last});
        }
        self.request(device, "connect", &params, Asked::Connect { resumes, must, wrong });
    }

    /// The device has no connection any more, as far as it knows.
    pub fn lost(&mut self, device: usize) {
        self.devices[device].offline();
        let wait = self.until_back();
        self.soon(device, wait);
    }

    /// How long somebody is away.
    pub fn until_back(&mut self) -> Duration {
        match self.rng.index(10) {
            0..5 => self.rng.millis(0, 500),
            5..8 => self.rng.seconds(1, 20),
            8 => self.rng.seconds(20, 95),
            _ => self.rng.seconds(100, 300),
        }
    }

    /// The connection goes in one of the ways in which connections go.
    fn lose(&mut self, device: usize) {
        let Some(id) = self.devices[device].wire else { return };
        let how = self.rng.index(5);
        self.tell(Who::Device(device), "loses", (id, how as u64));
        if self.cut(id, how) {
            self.lost(device);
        }
    }

    /// Ends a transport in one of five ways. Says whether its client knows at once.
    pub fn cut(&mut self, id: u64, how: usize) -> bool {
        let World { wires, rng, now, .. } = self;
        let Some(wire) = wires.get_mut(&id) else { return false };
        match how {
            // Both ends learn of it.
            0 => {
                wire.up.end(*now, Ending::Reset, rng);
                wire.down.end(*now, Ending::Reset, rng);
                self.arm(id);
                // The client learns it from its own end.
                return false;
            }
            // The program ends.
            1 => wire.drop_client(*now, rng),
            // The gateway never learns.
            2 => {
                wire.up.swallow();
                wire.down.swallow();
                wire.forget_client();
            }
            // The device never learns, but by its own clock.
            3 => {
                wire.up.end(*now, Ending::Reset, rng);
                wire.down.swallow();
                self.arm(id);
                return false;
            }
            // Nobody learns.
            _ => {
                wire.up.swallow();
                wire.down.swallow();
                self.arm(id);
                return false;
            }
        }
        self.arm(id);
        true
    }

    fn say_goodbye(&mut self, device: usize) {
        let Some(id) = self.devices[device].wire else { return };
        self.tell(Who::Device(device), "goodbye", (id, 0));
        self.devices[device].doubt();
        if let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) {
            client.close(self.now, CloseCode::NORMAL, "");
        }
        self.lost(device);
        self.drive_client(id);
    }

    /// Another connection for the same link, while the old one looks alive.
    fn take_over(&mut self, device: usize) {
        self.tell(Who::Device(device), "takes over", (0, 0));
        self.devices[device].offline();
        self.dial(device);
    }

    /// On the same connection.
    fn log_in_again(&mut self, device: usize) {
        self.devices[device].doubt();
        let wrong = self.rng.percent(20);
        self.tell(Who::Device(device), "logs in again", (u64::from(wrong), 0));
        self.log_in(device, wrong, true);
    }

    pub fn change_pace(&mut self, id: u64) {
        let (now, kind) = (self.now, self.rng.index(4));
        let stall = self.rng.seconds(1, 90);
        let pace =
            Pace { most: self.rng.between(50, 2000) as usize, every: self.rng.millis(5, 800) };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        match kind {
            0 | 1 => wire.pace = Pace::FAST,
            2 => wire.pace = pace,
            _ => wire.stall(now + stall),
        }
        if let Owner::Device(device) = wire.owner
            && kind >= 2
        {
            self.devices[device].doubt();
        }
        self.tell(Who::Conn(id), "pace", (kind as u64, 0));
        self.arm(id);
    }

    // --- asking ----------------------------------------------------------------------------------

    /// A session of this user that somebody has been told of.
    pub fn session_of(&mut self, user: &str) -> Option<String> {
        let of_user = self.ledger.said.iter().rev().filter(|said| said.user == user);
        let known: Vec<&String> =
            of_user.filter_map(|said| Some(&said.taken.as_ref()?.1)).take(6).collect();
        if known.is_empty() { None } else { Some(known[self.rng.index(known.len())].clone()) }
    }

    /// The agent of a session that somebody has been told of.
    pub fn agent_of(&self, session: &str) -> &'static str {
        let of_it = |said: &&Said| said.taken.as_ref().is_some_and(|(_, of)| *of == session);
        self.ledger.said.iter().find(of_it).map_or("echo", |said| said.agent)
    }

    pub fn some_agent(&mut self) -> &'static str {
        const AGENTS: [&str; 9] =
            ["echo", "echo", "echo", "broken", "stuck", "flood", FAILS, REQUEUES, REQUEUES];
        let agent = AGENTS[self.rng.index(AGENTS.len())];
        if agent == "flood" && self.plan.roomy { "echo" } else { agent }
    }

    fn say_something(&mut self, device: usize) {
        let user = self.devices[device].user;
        let number = self.ledger.said.len();
        let words = if self.rng.percent(5) { LONG / 8 } else { self.rng.between(0, 8) };
        let text = format!("{user} says {number}{}", " and more".repeat(words as usize));
        let mut agent = self.some_agent();
        let to = if self.rng.percent(70) { self.session_of(user) } else { None };
        if let Some(session) = &to {
            agent = self.agent_of(session);
        }
        let key = self.rng.percent(85).then(|| format!("key {number}"));
        let ack = self.rng.percent(40);
        let since = self.now;
        let (taken, answer) = (None, None);
        let apart = false;
        let said = Said { user, text, key, agent, to, apart, ack, since, taken, answer };
        if said.key.is_some() {
            self.devices[device].unsettled.insert(number);
        }
        let params = said.params();
        self.ledger.said.push(said);
        self.tell(Who::Device(device), "says", (number as u64, 0));
        self.request(device, "chat.send", &params, Asked::Send(number));
    }

    /// The same with the same key.
    fn say_again(&mut self, device: usize, number: usize) {
        let said = &self.ledger.said[number];
        if self.now - said.since > RETRIES {
            self.devices[device].unsettled.remove(&number);
            return;
        }
        let params = said.params();
        self.tell(Who::Device(device), "says again", (number as u64, 0));
        self.request(device, "chat.send", &params, Asked::Send(number));
    }

    /// What is still under way is asked for once more.
    fn doubly(&mut self, device: usize) {
        let mut open = self.devices[device].unsettled.iter().copied();
        if let Some(number) = open.next_back() {
            self.say_again(device, number);
        }
    }

    fn abort(&mut self, device: usize) {
        let user = self.devices[device].user;
        if let Some(session) = self.session_of(user) {
            let params = json!({"sessionKey": session});
            self.request(device, "chat.abort", &params, Asked::Abort);
        }
    }

    fn read_history(&mut self, device: usize) {
        let user = self.devices[device].user;
        if let Some(session) = self.session_of(user) {
            let params = json!({"sessionKey": session, "limit": self.rng.between(1, 30)});
            self.request(device, "chat.history", &params, Asked::History(session));
        }
    }

    /// Somebody else's.
    fn pry(&mut self, device: usize) {
        let user = self.devices[device].user;
        let other = USERS[self.rng.index(USERS.len())];
        if other != user
            && let Some(session) = self.session_of(other)
        {
            let method = ["chat.history", "chat.send", "chat.abort"][self.rng.index(3)];
            let params = json!({"sessionKey": session, "message": "mine", "limit": 5});
            self.request(device, method, &params, Asked::Foreign);
        }
    }

    // --- strangers -------------------------------------------------------------------------------

    /// Somebody comes who says nothing, or only HTTP, or goes no further than a wrong token.
    pub fn lurk(&mut self) {
        if !self.listening {
            return;
        }
        let node = self.rng.index(self.hosts.len());
        let id = self.connect(node, Owner::Nobody);
        let kind = self.rng.index(4);
        self.tell(Who::Conn(id), "lurks", (kind as u64, 0));
        let rng = &mut self.rng;
        let Some(wire) = self.wires.get_mut(&id) else { return };
        match kind {
            // It is there, and that is all.
            0 => wire.up.swallow(),
            1 => {
                wire.up.swallow();
                wire.down.swallow();
                wire.client = None;
            }
            2 => wire.stall(self.now + rng.seconds(0, 100)),
            _ => {}
        }
        self.arm(id);
    }
}
