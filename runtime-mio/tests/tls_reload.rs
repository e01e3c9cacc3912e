//! The certificate is replaced while clients talk and come: nobody loses anything.

#[path = "tls/gateway.rs"]
mod gateway;
#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/support.rs"]
mod support;

use gateway::{Gateway, put, scrape};
use moorline_mio::rustls::ClientConfig;
use moorline_mio::rustls::client::Resumption;
use peer::TlsPeer;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use support::PATIENCE;
use support::certificates::{Authority, Issued};

/// Clients that stay and talk.
const STAYING: usize = 12;

/// Places at which clients come and go.
const DOORS: usize = 4;

/// Certificates, one after the other.
const CERTIFICATES: usize = 5;

/// A client that has logged in.
struct User {
    peer: TlsPeer,
    next: u64,
    /// The session that it talks in, once it has said something.
    session: Value,
}

impl User {
    fn login(mut peer: TlsPeer, name: &str) -> Self {
        peer.upgrade();
        let mut user = Self { peer, next: 0, session: Value::Null };
        user.call("connect", &json!({"token": "t", "user_id": name}), |_| {});
        user
    }

    /// Asks, and takes the answer, which must be the next one and a good one.
    fn call(&mut self, method: &str, params: &Value, mut event: impl FnMut(&Value)) -> Value {
        self.next += 1;
        let id = self.next.to_string();
        let text = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        self.peer.send(1, text.as_bytes());
        loop {
            let mut heard: Value = serde_json::from_slice(&self.peer.read_message()).unwrap();
            if heard["type"] != "res" {
                event(&heard);
                continue;
            }
            assert_eq!((&heard["id"], &heard["ok"]), (&json!(id), &json!(true)), "{heard}");
            return heard["payload"].take();
        }
    }

    /// Says something, of which every piece must come back.
    fn say(&mut self, text: &str) {
        let mut pieces = String::new();
        let mut params = json!({"message": text});
        if self.session.is_string() {
            params["sessionKey"] = self.session.clone();
        }
        let mut answer = self.call("chat.send", &params, |event| {
            if event["payload"]["type"] == "chunk" {
                pieces += event["payload"]["payload"]["content"].as_str().unwrap();
            }
        });
        assert_eq!((answer["content"].as_str(), &*pieces), (Some(text), text));
        self.session = answer["sessionKey"].take();
    }

    /// Says goodbye, and hears the same.
    fn leave(mut self) {
        self.peer.send(8, &1000_u16.to_be_bytes());
        loop {
            let (first, payload) = self.peer.read_frame();
            if first == 0x88 {
                assert_eq!(payload[..2], 1000_u16.to_be_bytes());
                break;
            }
        }
        self.peer.stream.conn.send_close_notify();
        // The gateway may have closed its end already.
        let _ = std::io::Write::flush(&mut self.peer.stream);
    }
}

/// What all clients share.
struct World {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    certificates: Vec<Issued>,
    /// The certificate that holds, as the gateway's log says.
    holds: AtomicUsize,
    ends: AtomicBool,
}

/// Ends what others do when it is dropped, so that nobody waits for who has failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a client has done.
#[derive(Debug, PartialEq)]
enum Done {
    Said(usize),
    /// A handshake that showed this certificate, at one of the doors.
    Came(usize, usize),
}

impl World {
    fn stay(&self, number: usize, done: &Sender<Done>) {
        let _ends = Ends(&self.ends);
        let peer = TlsPeer::shake(self.address, &self.config).unwrap();
        let mut user = User::login(peer, &format!("user {number}"));
        let mut said = 0;
        while !self.ends.load(Ordering::Acquire) {
            user.say(&format!("{number} says {said}"));
            said += 1;
            done.send(Done::Said(number)).unwrap();
        }
        let params = json!({"sessionKey": user.session, "limit": 100});
        let history = user.call("chat.history", &params, |_| {});
        let kept = history["messages"].as_array().unwrap().iter();
        let kept: Vec<_> = kept.map(|message| message["content"].as_str().unwrap()).collect();
        // Each was answered with the same.
        let all: Vec<_> = (0..2 * said).map(|n| format!("{number} says {}", n / 2)).collect();
        assert_eq!(kept, all[all.len().saturating_sub(100)..]);
        user.leave();
    }

    fn come_and_go(&self, door: usize, done: &Sender<Done>) {
        let _ends = Ends(&self.ends);
        while !self.ends.load(Ordering::Acquire) {
            let before = self.holds.load(Ordering::Acquire);
            let peer = TlsPeer::shake(self.address, &self.config).unwrap();
            let shown = &peer.stream.conn.peer_certificates().unwrap()[0];
            let shown = self.certificates.iter().position(|each| each.certificate == *shown);
            let shown = shown.unwrap();
            // Of one that is being replaced the log may not have told yet.
            let after = self.holds.load(Ordering::Acquire);
            assert!((before..=after + 1).contains(&shown), "{before} <= {shown} <= {after} + 1");
            let mut user = User::login(peer, &format!("guest {door}"));
            user.say("just looking");
            user.leave();
            done.send(Done::Came(door, shown)).unwrap();
        }
    }

    /// Waits until everybody has done something that began after this was called, by this certificate.
    fn wait_for_all(&self, done: &Receiver<Done>, certificate: usize) {
        while done.try_recv().is_ok() {}
        // What was under way comes first.
        let (mut said, mut came) = ([0; STAYING], [0; DOORS]);
        while said.iter().any(|count| *count < 2) || came.iter().any(|count| *count < 2) {
            match done.recv_timeout(PATIENCE).unwrap() {
                Done::Said(number) => said[number] += 1,
                Done::Came(door, shown) => came[door] += usize::from(shown == certificate),
            }
        }
    }
}

#[test]
fn a_certificate_is_replaced_under_load_and_nobody_loses_a_connection_or_a_message() {
    let authority = Authority::new();
    let certificates: Vec<_> = (0..CERTIFICATES).map(|_| authority.issue()).collect();
    let gateway = Gateway::start("reload-under-load", &certificates[0], &["--loops", "2"]);
    let mut config = authority.client();
    // Who resumes a session is shown no certificate.
    config.resumption = Resumption::disabled();
    let world = World {
        address: gateway.address,
        config: Arc::new(config),
        certificates,
        holds: AtomicUsize::new(0),
        ends: AtomicBool::new(false),
    };
    let (sender, done) = mpsc::channel();
    thread::scope(|scope| {
        let world = &world;
        let _ends = Ends(&world.ends);
        for number in 0..STAYING {
            let done = sender.clone();
            scope.spawn(move || world.stay(number, &done));
        }
        for door in 0..DOORS {
            let done = sender.clone();
            scope.spawn(move || world.come_and_go(door, &done));
        }
        drop(sender);
        world.wait_for_all(&done, 0);
        for (number, next) in world.certificates.iter().enumerate().skip(1) {
            put(&gateway.folder, next);
            if number == 2 {
                std::fs::write(gateway.folder.join("cert.pem"), "-----BEGIN nothing").unwrap();
                gateway.reload();
                let line = gateway.line("configuration not reloaded: nothing has changed");
                assert!(line["problem"].as_str().unwrap().contains("cert.pem"), "{line}");
                world.wait_for_all(&done, 1);
                put(&gateway.folder, next);
            }
            gateway.reload();
            gateway.line("configuration reloaded");
            world.holds.store(number, Ordering::Release);
            world.wait_for_all(&done, number);
        }
    });
    // All have left as they wanted to, and no handshake has failed.
    let told = scrape(world.address, &world.config);
    let ends = told.lines().filter(|line| line.starts_with("moorline_connections_closed_total{"));
    let ends: Vec<_> = ends.map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let as_wanted = "{code=\"1000\",cause=\"peer\",initiator=\"peer\"}";
    assert_eq!(ends, [format!("moorline_connections_closed_total{as_wanted}")]);
    assert!(!told.contains("moorline_tls_handshake_failures_total{"), "{told}");
}
