//! A thousand clients of both dialects in conversation on one gateway: each hears its own conversation
//! whole, among those of others, and ends as it should; memory is bounded.
#![cfg(target_os = "linux")]

mod support;
#[path = "support/gateway.rs"]
mod world;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, Peer};
use world::{Gateway, folder};

const CLIENTS: usize = 1_000;

/// Their users: each has as many clients of each kind, which hear what the others are told.
const USERS: usize = 100;

/// How often each client says something.
const ROUNDS: usize = 4;

/// Clients that log in at once, well under what an address may have.
const DOORS: usize = 8;

/// Bytes of a client's stack.
const STACK: usize = 256 * 1024;

const MIB: u64 = 1024 * 1024;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dialect {
    Base,
    /// Of OpenClaw, with this version of its protocol.
    OpenClaw(u64),
}

/// A client and the conversation that only it leads.
struct Talker {
    number: usize,
    dialect: Dialect,
    peer: Peer,
    session: Option<String>,
    /// The number of the last event.
    seq: u64,
    requests: usize,
    /// What the present run has said.
    text: String,
    answer: Option<Value>,
    ended: bool,
}

impl Talker {
    fn new(address: SocketAddr, number: usize, key: &str) -> Self {
        let dialect = match number / USERS % 4 {
            0 | 1 => Dialect::Base,
            2 => Dialect::OpenClaw(3),
            _ => Dialect::OpenClaw(4),
        };
        let mut peer = Peer::tcp(address);
        peer.upgrade();
        let mut talker = Self {
            number,
            dialect,
            peer,
            session: None,
            seq: 0,
            requests: 0,
            text: String::new(),
            answer: None,
            ended: false,
        };
        let params = match dialect {
            Dialect::Base => json!({"token": key, "user_id": user(number)}),
            Dialect::OpenClaw(protocol) => {
                talker.session = Some(format!("agent:main:talk-{number}"));
                json!({
                    "minProtocol": 3, "maxProtocol": protocol,
                    "client": {
                        "id": "gateway-client", "version": "1", "platform": "linux",
                        "mode": "backend",
                    },
                    "scopes": ["operator.read", "operator.write"], "auth": {"token": key},
                })
            }
        };
        let hello = talker.call("connect", &params);
        if let Dialect::OpenClaw(protocol) = dialect {
            assert_eq!(hello["protocol"], protocol, "{hello}");
        }
        talker
    }

    fn words(&self, round: usize) -> String {
        format!("client {} says its piece number {round}", self.number)
    }

    /// Reads until all clients are there: one that does not read would be a slow reader.
    fn wait_for(&mut self, there: &AtomicUsize) {
        there.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        while there.load(Ordering::Relaxed) < CLIENTS {
            assert!(since.elapsed() < PATIENCE, "not all clients have come");
            let stream = &self.peer.stream;
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let comes = stream.peek(&mut [0]).is_ok();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if comes {
                self.read(ROUNDS);
            }
        }
    }

    /// Says something, without waiting for what comes of it.
    fn say(&mut self, round: usize) {
        (self.ended, self.text) = (false, String::new());
        let mut params = json!({"message": self.words(round)});
        if let Some(session) = &self.session {
            params["sessionKey"] = json!(session);
        }
        if self.dialect != Dialect::Base {
            params["idempotencyKey"] = json!(self.run(round));
        }
        self.request("chat.send", &params);
    }

    /// What a client calls its run.
    fn run(&self, round: usize) -> String {
        format!("run-{}-{round}", self.number)
    }

    /// Hears all of what came of it.
    fn hear(&mut self, round: usize) {
        while !self.ended || self.answer.is_none() {
            self.read(round);
        }
        let answer = self.answer.take().unwrap();
        let words = self.words(round);
        assert_eq!(self.text, words, "{:?}", self.dialect);
        match self.dialect {
            Dialect::Base => {
                assert_eq!(answer["content"], words, "{answer}");
                self.session = answer["sessionKey"].as_str().map(Into::into);
            }
            Dialect::OpenClaw(_) => assert_eq!(answer["runId"], self.run(round), "{answer}"),
        }
    }

    /// What was said is kept, in its order and nothing else.
    fn remember(&mut self) {
        let page = self.call("chat.history", &json!({"sessionKey": self.session}));
        let messages = page["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2 * ROUNDS, "{page}");
        for (at, message) in messages.iter().enumerate() {
            let text = match &message["content"] {
                Value::Array(blocks) => &blocks[0]["text"],
                text => text,
            };
            assert_eq!(text, &self.words(at / 2));
            assert_eq!(message["role"], ["user", "assistant"][at % 2]);
        }
    }

    /// Ends with the code that it gives.
    fn end(mut self) {
        self.peer.send(0x8, &1000_u16.to_be_bytes());
        loop {
            let (first, payload) = self.peer.read_frame();
            if first == 0x88 {
                assert_eq!(payload[..2], 1000_u16.to_be_bytes());
                break;
            }
        }
        assert!(self.peer.read_rest().is_empty());
    }

    fn request(&mut self, method: &str, params: &Value) {
        self.requests += 1;
        let id = self.requests.to_string();
        let text = json!({"type": "req", "id": id, "method": method, "params": params});
        self.peer.send(0x1, text.to_string().as_bytes());
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.request(method, params);
        while self.answer.is_none() {
            self.read(ROUNDS);
        }
        self.answer.take().unwrap()
    }

    /// Takes one frame.
    fn read(&mut self, round: usize) {
        if let Err(error) = self.peer.stream.peek(&mut [0]) {
            let Self { number, dialect, session, text, answer, ended, .. } = self;
            panic!(
                "{error}: client {number} of {dialect:?}, {session:?}, round {round}: it was \
                 answered {answer:?} and told {text:?}, to the end: {ended}"
            );
        }
        let (first, payload) = self.peer.read_frame();
        if first == 0x89 {
            return self.peer.send(0xA, &payload);
        }
        assert_eq!(first, 0x81, "{}", payload.escape_ascii());
        let mut frame: Value = serde_json::from_slice(&payload).unwrap();
        if frame["type"] == "res" {
            assert_eq!(frame["ok"], true, "{frame}");
            assert_eq!(frame["id"], self.requests.to_string());
            self.answer = Some(frame["payload"].take());
            return;
        }
        if let Some(seq) = frame["seq"].as_u64() {
            assert_eq!(seq, self.seq + 1, "{frame}");
            self.seq = seq;
        }
        assert_ne!(frame["event"], "lagged", "{frame}");
        match self.dialect {
            Dialect::Base => self.take_base(&frame),
            Dialect::OpenClaw(protocol) => self.take_openclaw(&frame, protocol, round),
        }
    }

    fn take_base(&mut self, frame: &Value) {
        let event = &frame["payload"];
        if frame["event"] != "agent" {
            return;
        }
        // The first run makes the session; its name is what tells it from those of the same user.
        match (event["type"].as_str(), &self.session) {
            (Some("run.started"), None) => {
                let said = event["payload"]["message"].as_str().unwrap();
                if said == self.words(0) {
                    self.session = event["sessionKey"].as_str().map(Into::into);
                }
            }
            (kind, Some(session)) if event["sessionKey"] == *session => match kind {
                Some("chunk") => self.text += event["payload"]["content"].as_str().unwrap(),
                Some("run.completed") => self.ended = true,
                Some("run.started") => {}
                _ => panic!("{frame}"),
            },
            _ => {}
        }
    }

    fn take_openclaw(&mut self, frame: &Value, protocol: u64, round: usize) {
        let event = &frame["payload"];
        if frame["event"] != "chat" || event["runId"] != self.run(round) {
            return;
        }
        assert_eq!(event["sessionKey"], *self.session.as_ref().unwrap(), "{event}");
        let whole = event["message"]["content"][0]["text"].as_str();
        match event["state"].as_str() {
            Some("delta") if protocol == 4 => {
                if event["replace"] == true {
                    self.text.clear();
                }
                self.text += event["deltaText"].as_str().unwrap();
            }
            Some("delta") => self.text = whole.unwrap().into(),
            Some("final") => {
                assert_eq!(whole, Some(self.text.as_str()), "{event}");
                self.ended = true;
            }
            _ => panic!("{event}"),
        }
    }
}

fn user(number: usize) -> String {
    format!("user-{}", number % USERS)
}

/// A key for each user: the gateway's own token would make all of them one user in OpenClaw's dialect.
fn keys(address: SocketAddr) -> Vec<String> {
    let mut admin = world::Client::login(address, "root").unwrap();
    let key = |number| {
        let params =
            json!({"name": format!("key {number}"), "role": "operator", "user": user(number)});
        let made = admin.call("api_keys.create", params).unwrap();
        made["key"].as_str().unwrap().to_owned()
    };
    (0..USERS).map(key).collect()
}

#[test]
fn a_thousand_clients_of_both_dialects_hear_their_own_conversations_whole() {
    let mut gateway = Gateway::with(&folder("both-dialects"), &["--loops", "2"]);
    let address = gateway.address;
    let keys = keys(address);
    let there = AtomicUsize::new(0);
    let doors: [Mutex<()>; DOORS] = Default::default();
    let play = &|number: usize| {
        let door = doors[number % DOORS].lock().unwrap_or_else(PoisonError::into_inner);
        let mut talker = Talker::new(address, number, &keys[number % USERS]);
        drop(door);
        talker.wait_for(&there);
        for round in 0..ROUNDS {
            talker.say(round);
            talker.hear(round);
        }
        talker.remember();
        talker.end();
    };
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, move || play(number)).unwrap();
        }
    });
    let (peak, left) = (gateway.memory("VmHWM:"), gateway.memory("VmRSS:"));
    println!("{CLIENTS} clients; {} MiB at most, {} MiB after", peak / MIB, left / MIB);
    assert!(peak < 128 * MIB, "{} MiB", peak / MIB);
    kill_process(Pid::from_child(&gateway.child), Signal::TERM).unwrap();
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
}
