//! Many at once against the real binary: sockets that say nothing, clients that do not read, and clients
//! that all come back in the same moment. Memory is bounded, nobody else waits, nothing is lost.
#![cfg(target_os = "linux")]

mod support;
#[path = "support/gateway.rs"]
mod world;

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use support::{PATIENCE, Peer};
use world::{Gateway, folder};

/// Sockets that say nothing.
const SILENT: usize = 5_000;

/// Clients of one user that do not read, and how often that user says how much.
const DEAF: usize = 200;
const ROUNDS: usize = 100;
const LONG: usize = 32_000;

/// Upgrades from a page that may not connect.
const REFUSED: usize = 10_000;

/// Clients that come back at once, and the users that they belong to.
const DEVICES: usize = 10_000;
const USERS: usize = 100;

/// Threads that play them. Each has one client at a time that is not logged in yet, well under what an
/// address may have.
const THREADS: usize = 8;

const MESSAGE: &str = "what was said while everybody was away";

const MIB: u64 = 1024 * 1024;

/// One storm at a time: each is as much as a small machine can take.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many as wanted, or as many as this machine's limit on open files allows.
fn within_open_files(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let allowed = usize::try_from(limit.current.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let count = wanted.min(allowed.saturating_sub(500));
    assert!(count >= 2_000, "this machine allows too few open files to tell");
    count
}

/// A client on another address of this machine.
fn from_elsewhere(address: SocketAddr) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let other: SocketAddr = "127.0.0.2:0".parse().unwrap();
    socket.bind(&other.into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut peer = Peer::tcp(address);
    peer.stream = TcpStream::from(socket);
    peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn message(peer: &mut Peer) -> Value {
    serde_json::from_slice(&peer.read_message()).unwrap()
}

/// The frame of a request.
fn frame(peer: &Peer, method: &str, params: &Value) -> Vec<u8> {
    let text = json!({"type": "req", "id": method, "method": method, "params": params}).to_string();
    peer.frame(0x81, text.as_bytes())
}

fn request(peer: &mut Peer, method: &str, params: &Value) {
    let frame = frame(peer, method, params);
    peer.send_raw(&frame);
}

/// Logs in on a socket that has said nothing, without waiting for the upgrade; gives the hello.
fn log_in(peer: &mut Peer, params: &Value) -> Value {
    let frame = frame(peer, "connect", params);
    peer.send_raw(&[support::request(""), frame].concat());
    let head = peer.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(message(peer)["event"], "connect.challenge");
    let mut hello = message(peer);
    assert_eq!(hello["ok"], true, "{hello}");
    hello["payload"].take()
}

#[test]
fn five_thousand_silent_sockets_keep_nobody_else_out_cost_little_and_end() {
    let _alone = alone();
    let count = within_open_files(SILENT);
    let gateway = Gateway::start(&folder("silent"));
    let me = json!({"token": "t", "user_id": "ann"});
    let mut first = Peer::tcp(gateway.address);
    log_in(&mut first, &me);
    let before = gateway.memory("VmRSS:");
    let silent: Vec<_> = (0..count).map(|_| Peer::tcp(gateway.address)).collect();
    // Their address has used up its places; another one has its own.
    let mut refused = Peer::tcp(gateway.address);
    refused.send_raw(&support::request(""));
    let head = refused.read_head();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: "), "{head}");
    log_in(&mut from_elsewhere(gateway.address), &me);
    let each = (gateway.memory("VmRSS:") - before) / count as u64;
    println!("{each} resident bytes per silent socket, of {count}");
    assert!(each < 2048, "{each} bytes each");
    // All of them end by the handshake deadline, and the place is free again.
    for mut peer in silent {
        peer.read_rest_of_any_kind();
    }
    log_in(&mut Peer::tcp(gateway.address), &me);
    request(&mut first, "health", &json!({}));
    while message(&mut first)["type"] != "res" {}
}

#[test]
fn two_hundred_clients_that_do_not_read_cost_a_bounded_amount_and_delay_nobody() {
    let _alone = alone();
    let gateway = Gateway::start(&folder("deaf"));
    let me = json!({"token": "t", "user_id": "ann"});
    let client = || {
        let mut peer = Peer::tcp(gateway.address);
        log_in(&mut peer, &me);
        peer
    };
    let deaf: Vec<_> = (0..DEAF).map(|_| client()).collect();
    let mut speaker = client();
    let long = "x".repeat(LONG);
    let mut params = json!({"message": long});
    for _ in 0..ROUNDS {
        request(&mut speaker, "chat.send", &params);
        let mut text = String::new();
        loop {
            let heard = message(&mut speaker);
            if heard["type"] == "res" {
                assert_eq!(heard["payload"]["content"], long, "{}", heard["error"]);
                params["sessionKey"] = heard["payload"]["sessionKey"].clone();
                break;
            } else if heard["payload"]["type"] == "chunk" {
                text += heard["payload"]["payload"]["content"].as_str().unwrap();
            }
        }
        assert_eq!(text, long);
    }
    let peak = gateway.memory("VmHWM:");
    println!("{} MiB at most, of {} MiB said", peak / MIB, DEAF * ROUNDS * LONG / MIB as usize);
    assert!(peak < 128 * MIB, "{} MiB", peak / MIB);
    // Each was given up, and can learn so.
    for mut peer in deaf {
        peer.read_rest_of_any_kind();
    }
}

#[test]
fn ten_thousand_refused_upgrades_leave_a_few_lines_with_their_number() {
    let _alone = alone();
    let state = folder("noise");
    let log = state.join("log");
    let mut command = world::command(&state);
    command.env("MOORLINE_LOG_LEVEL", "info").stderr(File::create(&log).unwrap());
    let mut gateway = Gateway::of(&mut command);
    let address = gateway.address;
    all((0..REFUSED).collect(), |_: usize| {
        let mut peer = Peer::tcp(address);
        peer.send_raw(&support::request("Origin: https://evil.example\r\n"));
        assert!(peer.read_head().starts_with("HTTP/1.1 403 "));
    });
    kill_process(Pid::from_child(&gateway.child), Signal::TERM).unwrap();
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    let folded = format!("{} more within a minute: refused", REFUSED - 10);
    assert!(log.contains(&folded), "{log}");
    assert!(log.lines().count() < 30, "{log}");
}

#[test]
fn ten_thousand_clients_of_a_revoked_key_are_closed_at_once_and_their_links_are_gone() {
    let _alone = alone();
    let count = within_open_files(DEVICES);
    let gateway = Gateway::with(&folder("revoked"), &["--loops", "2"]);
    let mut admin = Peer::tcp(gateway.address);
    log_in(&mut admin, &json!({"token": "t", "user_id": "root"}));
    let mut ask = |method: &str, params: Value| {
        request(&mut admin, method, &params);
        loop {
            let mut answer = message(&mut admin);
            if answer["type"] == "res" {
                assert_eq!(answer["ok"], true, "{answer}");
                return answer["payload"].take();
            }
        }
    };
    let made = ask("api_keys.create", json!({"name": "fleet", "role": "operator"}));
    let by_key = json!({"token": made["key"], "user_id": "fleet"});
    let clients = all((0..count).collect(), |number: usize| {
        let mut peer = Peer::tcp(gateway.address);
        let hello = log_in(&mut peer, &by_key);
        // Every tenth is away: its link waits.
        (hello["resume"]["token"].clone(), (!number.is_multiple_of(10)).then_some(peer))
    });
    ask("api_keys.revoke", json!({"id": made["id"]}));
    let links = all(clients, |(link, peer)| {
        if let Some(mut peer) = peer {
            loop {
                let (first, payload) = peer.read_frame();
                if first == 0x88 {
                    assert_eq!(&payload[2..], b"revoked");
                    assert_eq!(payload[..2], 1008_u16.to_be_bytes());
                    break;
                }
            }
        }
        link
    });
    // Whoever has another credential for the same user finds none of them.
    for link in links.into_iter().take(50) {
        let resume = json!({"token": link, "lastSeq": 0});
        let params = json!({"token": "t", "user_id": "fleet", "resume": resume});
        let hello = log_in(&mut Peer::tcp(gateway.address), &params);
        assert_eq!(hello["resume"]["resumed"], false, "{hello}");
    }
}

/// What a client keeps of its login while its socket is gone.
struct Device {
    number: usize,
    user: String,
    resume: Value,
    seq: u64,
    /// What the present run has said, and how many have ended.
    text: String,
    runs: usize,
}

impl Device {
    fn new(address: SocketAddr, number: usize) -> (Self, Peer) {
        let user = format!("user-{}", number % USERS);
        let mut peer = Peer::tcp(address);
        let hello = log_in(&mut peer, &json!({"token": "t", "user_id": user}));
        let resume = hello["resume"]["token"].clone();
        (Self { number, user, resume, seq: 0, text: String::new(), runs: 0 }, peer)
    }

    fn come_back(&mut self, address: SocketAddr) -> Peer {
        let mut peer = Peer::tcp(address);
        let resume = json!({"token": self.resume, "lastSeq": self.seq});
        let params = json!({"token": "t", "user_id": self.user, "resume": resume});
        let mut hello = log_in(&mut peer, &params);
        assert_eq!(hello["resume"]["resumed"], true, "{hello}");
        self.resume = hello["resume"]["token"].take();
        peer
    }

    /// Reads until this many runs have ended, or until the gateway closes. No event is missing or twice,
    /// and each run says everything.
    fn hear(&mut self, peer: &mut Peer, runs: usize) {
        while self.runs < runs {
            let (first, payload) = peer.read_frame();
            if first == 0x88 {
                assert_eq!(payload[..2], 1012_u16.to_be_bytes());
                return;
            }
            if first == 0x89 {
                peer.send(0xA, &payload);
                continue;
            }
            self.take(&serde_json::from_slice(&payload).unwrap());
        }
    }

    fn take(&mut self, event: &Value) {
        let run = &event["payload"];
        match (event["event"].as_str(), run["type"].as_str()) {
            // A link that lives at another loop is not asked for a number by this one.
            (Some("shutdown"), None) if event["seq"].is_null() => return,
            (Some("agent"), Some("chunk")) => {
                self.text += run["payload"]["content"].as_str().unwrap();
            }
            (Some("agent"), Some("run.completed")) => {
                assert_eq!(std::mem::take(&mut self.text), MESSAGE);
                self.runs += 1;
            }
            // Of who was connected meanwhile, only the newest is told.
            (Some("agent"), Some("run.started")) | (Some("presence" | "lagged"), None) => {}
            (Some("shutdown"), None) => {}
            _ => panic!("{event}"),
        }
        let is_lagged = event["event"] == "lagged";
        let first = if is_lagged { &run["from"] } else { &event["seq"] };
        assert_eq!(first, self.seq + 1, "{event}");
        self.seq = event["seq"].as_u64().unwrap();
    }
}

/// Says something as a user, from a login of its own.
fn speak(address: SocketAddr, user: usize) {
    let mut peer = Peer::tcp(address);
    log_in(&mut peer, &json!({"token": "t", "user_id": format!("user-{user}")}));
    request(&mut peer, "chat.send", &json!({"message": MESSAGE}));
    loop {
        let answer = message(&mut peer);
        if answer["type"] == "res" {
            assert_eq!(answer["payload"]["content"], MESSAGE, "{answer}");
            return;
        }
    }
}

/// Plays all of these in [`THREADS`] threads, each its share one after the other.
fn all<T: Send, R: Send>(items: Vec<T>, play: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut shares: Vec<Vec<T>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (at, item) in items.into_iter().enumerate() {
        shares[at % THREADS].push(item);
    }
    let play = &play;
    thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(play).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn ten_thousand_clients_come_back_at_once_and_after_a_restart_and_miss_nothing() {
    let _alone = alone();
    let count = within_open_files(DEVICES);
    let state = folder("storm");
    let mut gateway = Gateway::with(&state, &["--loops", "2"]);
    let address = gateway.address;
    let devices: Vec<_> = all((0..count).collect(), |number| {
        let (device, peer) = Device::new(address, number);
        // Its socket is cut, and the gateway learns so.
        peer.reset();
        device
    });
    all((0..USERS).collect(), |user| speak(address, user));
    let away = gateway.memory("VmHWM:");
    let devices = all(devices, |mut device| {
        let mut peer = device.come_back(address);
        device.hear(&mut peer, 1);
        // Every second one goes away again, before the gateway restarts.
        let peer = Some(peer).filter(|_| device.number % 2 == 0);
        (device, peer)
    });
    all((0..USERS).collect(), |user| speak(address, user));
    let peak = gateway.memory("VmHWM:");
    println!("{count} clients; {} MiB while away, {} MiB at most", away / MIB, peak / MIB);
    assert!(peak < 256 * MIB, "{} MiB", peak / MIB);

    let pid = Pid::from_child(&gateway.child);
    kill_process(pid, Signal::USR2).unwrap();
    let devices = all(devices, |(mut device, peer)| {
        if let Some(mut peer) = peer {
            // To the end: it closes when everything has been said that is said now.
            device.hear(&mut peer, usize::MAX);
        }
        device
    });
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
    let gateway = Gateway::with(&state, &["--loops", "2"]);
    let back = all(devices, |mut device| {
        let mut peer = device.come_back(gateway.address);
        device.hear(&mut peer, 2);
        peer
    });
    assert_eq!(back.len(), count);
}
