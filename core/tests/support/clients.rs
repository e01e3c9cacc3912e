//! The clients of the small world: real connections of both roles, and what is said on them.

use super::{Counter, LOCAL, World, envelope};
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A client with a real connection, and the server's end of it.
pub struct Client {
    pub node: usize,
    pub id: ConnId,
    pub messages: VecDeque<Value>,
    /// Code and reason of the server's Close.
    pub closed: Option<(u16, String)>,
    /// Status and body of an HTTP answer.
    pub answer: Option<(u16, String)>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Everything that the server has said.
    pub heard: Vec<u8>,
    pub client: Connection,
    pub server: Connection,
    /// The client's end does not read.
    pub stalled: bool,
    /// Nothing that the client's end says arrives.
    pub mute: bool,
    pub(super) gone: bool,
    /// The number of the last event.
    pub seq: u64,
    /// For the next resume.
    pub resume: String,
    /// It speaks the dialect of OpenClaw: each message to it must be one that the clients take.
    pub openclaw: bool,
    request: u64,
}

impl World {
    /// A client that has sent this upgrade request.
    pub fn upgrade(&mut self, node: usize, peer: &str, request: ClientRequest) -> usize {
        self.connect(node, peer, request, false)
    }

    fn connect(&mut self, node: usize, peer: &str, request: ClientRequest, mute: bool) -> usize {
        let at = self.clients.len();
        let id = ConnId(at as u64 + 1);
        let peer: Option<SocketAddr> =
            (peer != LOCAL).then(|| format!("{peer}:4000").parse().expect("an address"));
        let entropy = Box::new(Counter(at as u64));
        self.clients.push(Client {
            node,
            id,
            messages: VecDeque::new(),
            closed: None,
            answer: None,
            heard: Vec::new(),
            headers: Vec::new(),
            client: Connection::client(request, entropy, self.limits.clone(), self.now),
            server: Connection::server(self.limits.clone(), self.now),
            stalled: false,
            mute,
            gone: false,
            seq: 0,
            resume: String::new(),
            openclaw: false,
            request: 0,
        });
        match peer {
            Some(peer) => self.nodes[node].connected(self.now, id, peer),
            None => self.nodes[node].connected_locally(self.now, id),
        }
        self.settle();
        at
    }

    /// A socket on which nothing was said.
    pub fn socket(&mut self, node: usize) -> usize {
        self.socket_from(node, "127.0.0.1")
    }

    pub fn socket_from(&mut self, node: usize, peer: &str) -> usize {
        let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
        self.connect(node, peer, request, true)
    }

    /// Bytes arrive that no client of ours would send; from now on it says nothing itself.
    pub fn feed(&mut self, at: usize, bytes: &[u8]) {
        let Client { node, id, server, mute, .. } = &mut self.clients[at];
        *mute = true;
        let mut bytes = bytes.to_vec();
        let mut turn = server.receive(self.now, &mut bytes);
        while let Some((event, outbox)) = turn.next_event() {
            self.nodes[*node].handle(self.now, *id, event, outbox);
        }
        self.settle();
    }

    /// An open WebSocket that is not logged in; the challenge was read.
    pub fn open(&mut self, node: usize) -> usize {
        self.open_from(node, "127.0.0.1")
    }

    pub fn open_from(&mut self, node: usize, peer: &str) -> usize {
        let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
        let at = self.upgrade(node, peer, request);
        let challenge = self.clients[at].messages.pop_front().expect("the challenge");
        assert_eq!(challenge["event"], "connect.challenge");
        assert!(challenge["payload"]["nonce"].as_str().is_some_and(|nonce| nonce.len() > 20));
        at
    }

    /// A client that is logged in.
    pub fn login(&mut self, node: usize, token: &str, user: &str) -> usize {
        let at = self.open(node);
        let hello = self.call(at, "connect", json!({"token": token, "user_id": user}));
        assert_eq!(hello["ok"], true, "{hello}");
        self.remember(at, &hello);
        at
    }

    /// Takes the resume token of a connect answer.
    fn remember(&mut self, at: usize, hello: &Value) {
        let token = hello["payload"]["resume"]["token"].as_str().expect("a token");
        self.clients[at].resume = token.into();
    }

    /// A new connection that wants back the link of an earlier one; gives it and the answer's
    /// `resume`.
    pub fn resume(&mut self, node: usize, old: usize, token: &str, user: &str) -> (usize, Value) {
        let at = self.open(node);
        self.clients[at].seq = self.clients[old].seq;
        let resume = json!({"token": self.clients[old].resume, "lastSeq": self.clients[old].seq});
        let params = json!({"token": token, "user_id": user, "resume": resume});
        let hello = self.call(at, "connect", params);
        assert_eq!(hello["ok"], true, "{hello}");
        self.remember(at, &hello);
        (at, hello["payload"]["resume"].clone())
    }

    pub fn send_text(&mut self, at: usize, text: &str) {
        let now = self.now;
        self.clients[at].client.outbox(now).text(text).expect("room");
        self.settle();
    }

    /// Sends a request; gives its id.
    pub fn request(&mut self, at: usize, method: &str, params: Value) -> String {
        self.clients[at].request += 1;
        let id = format!("r{}", self.clients[at].request);
        let text = json!({"type": "req", "id": id, "method": method, "params": params});
        self.send_text(at, &text.to_string());
        id
    }

    /// The answer to a request, if it has come.
    pub fn answer(&mut self, at: usize, id: &str) -> Option<Value> {
        let messages = &mut self.clients[at].messages;
        let found = messages.iter().position(|m| m["type"] == "res" && m["id"] == id)?;
        messages.remove(found)
    }

    /// Sends a request and takes its answer, which must come without time passing.
    pub fn call(&mut self, at: usize, method: &str, params: Value) -> Value {
        let id = self.request(at, method, params);
        self.answer(at, &id).unwrap_or_else(|| panic!("no answer to {method}"))
    }

    /// Sends a request and takes its answer, which must come within ten seconds.
    pub fn call_slow(&mut self, at: usize, method: &str, params: Value) -> Value {
        let id = self.request(at, method, params);
        self.advance(Duration::from_secs(10));
        self.answer(at, &id).unwrap_or_else(|| panic!("no answer to {method}"))
    }

    /// Takes the events of this name.
    pub fn events(&mut self, at: usize, name: &str) -> Vec<Value> {
        let messages = &mut self.clients[at].messages;
        let (found, rest) = messages.drain(..).partition(|m| m["event"] == name);
        *messages = rest;
        Vec::from(found).into_iter().map(|mut event: Value| event["payload"].take()).collect()
    }

    /// The client's transport is cut.
    pub fn cut(&mut self, at: usize) {
        let Client { node, id, server, gone, .. } = &mut self.clients[at];
        *gone = true;
        let mut turn = server.handle_eof(self.now);
        while let Some((event, outbox)) = turn.next_event() {
            self.nodes[*node].handle(self.now, *id, event, outbox);
        }
        self.settle();
    }

    pub(super) fn pump(&mut self, at: usize) -> bool {
        let now = self.now;
        let Client {
            node,
            id,
            client,
            server,
            messages,
            closed,
            answer,
            heard,
            headers,
            stalled,
            mute,
            gone,
            seq,
            openclaw,
            ..
        } = &mut self.clients[at];
        if *gone {
            return false;
        }
        let mut moved = false;
        let mut bytes = output(client, now);
        if *mute {
            bytes.clear();
        }
        if !bytes.is_empty() && server.wants().read {
            moved = true;
            let mut turn = server.receive(now, &mut bytes);
            while let Some((event, outbox)) = turn.next_event() {
                self.nodes[*node].handle(now, *id, event, outbox);
            }
        }
        // What was sent while nobody read would be lost here; no test does that.
        let mut bytes = if *stalled {
            if !server.outbox(now).is_empty() {
                // The kernel would have blocked.
                server.outbox(now).written(now, 0);
            }
            Vec::new()
        } else {
            output(server, now)
        };
        if !bytes.is_empty() {
            moved = true;
            heard.extend_from_slice(&bytes);
            self.nodes[*node].handle_flushed(now, *id, server.outbox(now));
            let mut turn = client.receive(now, &mut bytes);
            while let Some((event, _)) = turn.next_event() {
                match event {
                    Event::Text(text) => {
                        let message: Value = serde_json::from_str(text).expect("JSON");
                        *openclaw |= message["payload"]["snapshot"].get("stateVersion").is_some();
                        if *openclaw {
                            let checked = envelope::check(&message);
                            checked.unwrap_or_else(|what| panic!("{what}: {message}"));
                        }
                        if message["payload"]["type"] == "hello-ok"
                            && message["payload"]["resume"]["resumed"] == false
                        {
                            *seq = 0;
                        }
                        if message["type"] == "event" && message.get("seq").is_some() {
                            let first = match message["event"].as_str() {
                                Some("lagged") => &message["payload"]["from"],
                                _ => &message["seq"],
                            };
                            assert_eq!(*first, *seq + 1, "contiguous: {message}");
                            *seq = message["seq"].as_u64().expect("a number");
                        }
                        messages.push_back(message);
                    }
                    Event::Closed(Cause::Peer(code, reason)) => {
                        *closed = Some((code.0, reason.into()));
                    }
                    Event::Response(head) => {
                        let body = String::from_utf8_lossy(head.body()).into_owned();
                        *answer = Some((head.status(), body));
                        *headers = texts(head.headers());
                    }
                    _ => {}
                }
            }
        }
        if server.wants().end != End::Stay && server.outbox(now).is_empty() && !*stalled {
            *gone = true;
            moved = true;
            let mut turn = client.handle_eof(now);
            while let Some((event, _)) = turn.next_event() {
                if let Event::Response(head) = event {
                    let body = String::from_utf8_lossy(head.body()).into_owned();
                    *answer = Some((head.status(), body));
                    *headers = texts(head.headers());
                }
            }
            for _ in 0..2 {
                let mut turn = server.handle_eof(now);
                while let Some((event, outbox)) = turn.next_event() {
                    self.nodes[*node].handle(now, *id, event, outbox);
                }
            }
        }
        moved
    }
}

fn output(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while !connection.outbox(now).is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let outbox = connection.outbox(now);
        let filled = outbox.slices(&mut slices);
        let before = all.len();
        for slice in &slices[..filled] {
            all.extend_from_slice(slice);
        }
        connection.outbox(now).written(now, all.len() - before);
    }
    all
}

fn texts<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.map(|(name, value)| (name.into(), text(value))).collect()
}
