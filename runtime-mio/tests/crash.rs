//! `kill -9` at random moments under load, again and again: what was acknowledged is there, and nothing
//! is there twice. MOORLINE_CRASH_ROUNDS is for longer runs, MOORLINE_CRASH_SEED repeats one, as far as
//! the machine's own timing lets it.

mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use world::{Client, Gateway, command, folder};

/// Rounds that CI runs.
const ROUNDS: u64 = 200;

/// Rounds between two looks at everything, each with users of its own: keys are bounded per user.
const EPOCH: u64 = 25;

const CLIENTS: usize = 4;

/// New messages of a client in one round.
const MESSAGES: usize = 12;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a client has said and heard; it outlives the gateway.
struct User {
    name: String,
    dice: Dice,
    /// The parameters of each `chat.send`, by key, which is the text, too.
    sent: BTreeMap<String, Value>,
    /// The first answer to each.
    acknowledged: BTreeMap<String, Value>,
    sessions: Vec<Value>,
    retries: usize,
}

impl User {
    /// Says things until the connection ends.
    fn speak(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut client = Client::login(address, &self.name)?;
        let mut again = self.unacknowledged();
        // Some that were answered are asked again: the answer must be the same.
        let answered: Vec<_> = self.acknowledged.keys().rev().take(20).cloned().collect();
        again.extend(answered.into_iter().filter(|_| self.dice.roll(4) == 0));
        self.retries += again.len();
        again.extend((0..2).map(|_| self.compose()));
        self.ask(&mut client, &again)?;
        let mut left = MESSAGES;
        while left > 0 {
            let burst = (1 + self.dice.roll(4) as usize).min(left);
            left -= burst;
            let keys: Vec<_> = (0..burst).map(|_| self.compose()).collect();
            self.ask(&mut client, &keys)?;
        }
        loop {
            client.answer()?;
        }
    }

    fn unacknowledged(&self) -> Vec<String> {
        let open = self.sent.keys().filter(|key| !self.acknowledged.contains_key(*key));
        open.cloned().collect()
    }

    fn compose(&mut self) -> String {
        let key = format!("{}-{:05}", self.name, self.sent.len());
        let ack = self.dice.roll(2) == 0;
        let mut params = json!({"message": key, "idempotencyKey": key, "ack": ack});
        if !self.sessions.is_empty() && self.dice.roll(6) > 0 {
            let at = self.dice.roll(self.sessions.len() as u64) as usize;
            params["sessionKey"] = self.sessions[at].clone();
        }
        self.sent.insert(key.clone(), params);
        key
    }

    /// Sends all of these at once, and takes an answer to each.
    fn ask(&mut self, client: &mut Client, keys: &[String]) -> io::Result<()> {
        for keys in keys.chunks(16) {
            let mut open = BTreeMap::new();
            for key in keys {
                open.insert(client.request("chat.send", self.sent[key].clone())?, key);
            }
            while !open.is_empty() {
                let (id, mut answer) = client.answer()?;
                let key = open.remove(&id).expect("an answer to something that was asked");
                let retryable = answer["error"]["code"] == "RESOURCE_EXHAUSTED";
                assert!(answer["ok"] == true || retryable, "{key}: {answer}");
                if !retryable {
                    self.take(key, answer["payload"].take());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &str, answer: Value) {
        if let Some(content) = answer["content"].as_str() {
            assert_eq!(content, key, "somebody else's answer");
        }
        match self.acknowledged.get_mut(key) {
            None => {
                let session = &answer["sessionKey"];
                if !self.sessions.contains(session) {
                    self.sessions.push(session.clone());
                }
                self.acknowledged.insert(key.to_string(), answer);
            }
            Some(first) => {
                for name in ["runId", "sessionKey"] {
                    assert_eq!(answer[name], first[name], "{key}: {first} and then {answer}");
                }
                match &first["messageId"] {
                    // It was told that the run had begun, or waited: this says more.
                    Value::Null => *first = answer,
                    id => assert_eq!(answer["messageId"], *id, "{key}: {first} and then {answer}"),
                }
            }
        }
    }

    /// Compares what was said with what the gateway has.
    fn check(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut client = Client::login(address, &self.name)?;
        loop {
            let open = self.unacknowledged();
            if open.is_empty() {
                break;
            }
            self.ask(&mut client, &open)?;
        }
        let sessions = self.list_sessions(&mut client)?;
        let mut stored = BTreeMap::new();
        for session in &sessions {
            for message in client.history(session)? {
                let text = message["content"].as_str().expect("a text").to_string();
                let role = message["role"].as_str().expect("a role").to_string();
                let id = (session.clone(), message["id"].clone());
                let twice = stored.insert((text, role), id);
                assert_eq!(twice, None, "{}: {message} is there twice", self.name);
            }
        }
        for (key, answer) in &self.acknowledged {
            let (session, _) = stored
                .remove(&(key.clone(), "user".into()))
                .unwrap_or_else(|| panic!("{key} was acknowledged and is lost: {answer}"));
            assert_eq!(answer["sessionKey"], session, "{key}");
            let said = stored.remove(&(key.clone(), "assistant".into()));
            if answer["messageId"] != Value::Null {
                assert_eq!(said, Some((session, answer["messageId"].clone())), "{key}: {answer}");
            }
        }
        assert!(stored.is_empty(), "nobody said {stored:?}");
        Ok(())
    }

    /// The sessions that the gateway has for this user: also those that no answer told of.
    fn list_sessions(&self, client: &mut Client) -> io::Result<Vec<String>> {
        let (mut own, mut offset) = (Vec::new(), 0);
        loop {
            let list = client.call("sessions.list", json!({"limit": 200, "offset": offset}))?;
            let page = list["sessions"].as_array().expect("sessions");
            // The token is an admin's, who sees everybody's.
            let of_user = page.iter().filter(|session| session["userId"] == *self.name);
            own.extend(of_user.map(|session| session["key"].as_str().expect("a key").to_string()));
            offset += page.len();
            if page.is_empty() {
                return Ok(own);
            }
        }
    }
}

/// A gateway that is killed under the hands of its clients.
fn round(state: &Path, users: &mut [User], dice: &mut Dice) {
    if dice.roll(10) == 0 {
        // While it starts.
        let mut child = command(state).spawn().unwrap();
        thread::sleep(Duration::from_micros(dice.roll(20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Sessions live at other loops than before.
    let loops = (1 + dice.roll(3)).to_string();
    let mut gateway = Gateway::with(state, &["--loops", &loops]);
    let address = gateway.address;
    thread::scope(|scope| {
        for user in users {
            // It ends with the connection.
            scope.spawn(move || user.speak(address).unwrap_err());
        }
        thread::sleep(Duration::from_micros(dice.roll(100_000)));
        gateway.kill();
    });
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("MOORLINE_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("MOORLINE_CRASH_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into()
    });
    println!("MOORLINE_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let state = folder("crash");
    let (mut sent, mut retries, mut cut) = (0, 0, 0);
    for epoch in 0..rounds.div_ceil(EPOCH) {
        let mut users: Vec<_> = (0..CLIENTS)
            .map(|n| User {
                name: format!("e{epoch}u{n}"),
                dice: Dice(dice.roll(u64::MAX)),
                sent: BTreeMap::new(),
                acknowledged: BTreeMap::new(),
                sessions: Vec::new(),
                retries: 0,
            })
            .collect();
        for _ in 0..EPOCH.min(rounds - epoch * EPOCH) {
            round(&state, &mut users, &mut dice);
            cut += users.iter().map(|user| user.unacknowledged().len()).sum::<usize>();
        }
        let gateway = Gateway::start(&state);
        for user in &mut users {
            user.check(gateway.address).unwrap();
            sent += user.sent.len();
            retries += user.retries;
        }
    }
    println!("{rounds} rounds, {sent} messages, {cut} cut off, {retries} asked again");
    assert!(sent as u64 > rounds, "there was no load");
    assert!(cut as u64 > rounds / 4, "nothing was under way when it was killed");
}
