//! A small world in virtual time: gateways that are nodes of one bus, real connections of both roles,
//! one store, and agents that answer as their names say.
#![allow(dead_code, clippy::disallowed_methods, clippy::needless_pass_by_value)]

#[path = "disk.rs"]
mod disk;
#[path = "envelope.rs"]
pub mod envelope;
#[path = "epoch.rs"]
mod epoch;
#[path = "files.rs"]
mod files;

pub use disk::{Disk, DiskMode};
use epoch::epoch;
pub use files::{Files, FilesMode};
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const UNIX_MS: u64 = 1_700_000_000_000;

/// Bytes that differ, from a seed.
pub struct Counter(pub u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

/// What the store does with work.
#[derive(Debug, Copy, Clone, PartialEq)]
pub enum StoreMode {
    Works,
    Fails,
    Full,
    Hangs,
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub nodes: Vec<Gateway>,
    pub clients: Vec<Client>,
    pub facts: Vec<Fact>,
    pub store: MemoryStore,
    pub store_mode: StoreMode,
    slow: Option<usize>,
    pub disk: Disk,
    /// The folder of the site.
    pub files: Files,
    /// The process's log, or nobody who keeps one.
    pub log: Option<LogRing>,
    /// What was counted; `None`: nobody writes it.
    pub metrics: Option<Exposition>,
    /// What the process around the gateways was asked, and what it answers; nothing at all without.
    pub host_asked: Vec<HostWork>,
    pub host_says: Option<HostOutcome>,
    /// When a slow disk is done with what it has.
    disk_busy: Instant,
    /// Messages that went over the bus.
    pub published: usize,
    /// Nodes that the bus does not reach.
    pub cut_off: Vec<usize>,
    /// From which node to which the bus is late, and what it has not brought yet.
    late: Option<(usize, usize)>,
    on_the_way: Vec<BusMessage>,
    /// Runs that agents were given, and those that were cancelled.
    pub runs: Vec<Run>,
    pub cancelled: usize,
    /// What the agent `script` does, step by step.
    pub script: Vec<Outcome>,
    limits: Arc<Limits>,
    /// Outcomes to come: when, in which order, from which node, for which job.
    due: BTreeMap<(Instant, u64), (usize, JobId, Outcome)>,
    ticket: u64,
}

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
    gone: bool,
    /// The number of the last event.
    pub seq: u64,
    /// For the next resume.
    pub resume: String,
    /// It speaks the dialect of OpenClaw: each message to it must be one that the clients take.
    pub openclaw: bool,
    request: u64,
}

pub fn config() -> GatewayConfig {
    let mut config = GatewayConfig::new("127.0.0.1:18790".parse().expect("an address"));
    let token = |secret: &str, role, user: Option<&str>| Token {
        secret: Secret::new(secret),
        role,
        user: user.map(Into::into),
    };
    config.tokens = vec![
        token("secret", Role::Admin, None),
        token("rotated", Role::Admin, None),
        token("operator", Role::Operator, None),
        token("viewer", Role::Viewer, None),
        token("bound", Role::Operator, Some("bob")),
    ];
    config.owner_ids = vec!["root".into()];
    for name in ["stuck", "broken"] {
        config.agents.push(Agent::new(name, name));
    }
    // Tests fill queues with long texts.
    config.max_message_chars = 1_000_000;
    config.bounds.pre_auth_v4 = 1000;
    config.bounds.pre_auth = 1000;
    config
}

thread_local! {
    /// Gateways that were started by this test: no two get the same bytes, as it is in the world.
    static STARTS: Cell<u64> = const { Cell::new(7) };
}

/// The peer of a connection over the host's own socket.
pub const LOCAL: &str = "local";

impl World {
    pub fn new(nodes: u16) -> Self {
        Self::with(nodes, config())
    }

    pub fn with(nodes: u16, config: GatewayConfig) -> Self {
        Self::with_store(nodes, config, MemoryStore::default())
    }

    /// Gateways that find what earlier ones left.
    pub fn with_store(nodes: u16, config: GatewayConfig, store: MemoryStore) -> Self {
        Self::with_slow(nodes, config, store, None)
    }

    /// The same; the store takes a second for each work of this node.
    pub fn with_slow(
        nodes: u16,
        config: GatewayConfig,
        store: MemoryStore,
        slow: Option<usize>,
    ) -> Self {
        let now = epoch();
        let limits = Arc::new(config.limits.clone());
        let nodes = (0..nodes)
            .map(|index| {
                let entropy = Box::new(Counter(STARTS.replace(STARTS.get() + 1)));
                let node = Node { index, count: nodes };
                Gateway::new(config.clone(), node, entropy, now, UNIX_MS).expect("a configuration")
            })
            .collect();
        let mut world = Self {
            now,
            start: now,
            nodes,
            clients: Vec::new(),
            facts: Vec::new(),
            store,
            store_mode: StoreMode::Works,
            slow,
            disk: Disk::default(),
            files: Files::default(),
            log: Some(LogRing::new("log-1", LogRing::LIMIT)),
            metrics: Some(Exposition { content_type: "text/test", body: "some 1\n".into() }),
            host_asked: Vec::new(),
            host_says: None,
            disk_busy: now,
            published: 0,
            cut_off: Vec::new(),
            late: None,
            on_the_way: Vec::new(),
            runs: Vec::new(),
            cancelled: 0,
            script: Vec::new(),
            limits,
            due: BTreeMap::new(),
            ticket: 0,
        };
        world.settle();
        world
    }

    /// What one node says to another is on its way until [`World::bring`].
    pub fn make_late(&mut self, from: usize, to: usize) {
        self.late = Some((from, to));
    }

    /// The bus brings what was late, in its order.
    pub fn bring(&mut self) {
        let to = self.late.take().map_or(0, |(_, to)| to);
        for message in std::mem::take(&mut self.on_the_way) {
            self.nodes[to].handle_message(self.now, message);
        }
        self.settle();
    }

    /// From now on the store takes a second for each work of this node.
    pub fn make_slow(&mut self, node: usize) {
        self.slow = Some(node);
    }

    // --- clients -------------------------------------------------------------------------------

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

    /// A node dies with all its sockets and begins anew.
    pub fn restart(&mut self, node: usize, config: GatewayConfig) {
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            client.gone = true;
        }
        self.due.retain(|_, (at, ..)| *at != node);
        let entropy = Box::new(Counter(STARTS.replace(STARTS.get() + 1)));
        let count = self.nodes.len() as u16;
        let unix_ms = UNIX_MS + (self.now - self.start).as_millis() as u64;
        let which = Node { index: node as u16, count };
        self.nodes[node] =
            Gateway::new(config, which, entropy, self.now, unix_ms).expect("a configuration");
        self.settle();
    }

    pub fn closed_fact(&self, at: usize) -> Option<&Fact> {
        let wanted = self.clients[at].id;
        let mut found = self
            .facts
            .iter()
            .filter(|fact| matches!(fact, Fact::Closed { conn, .. } if *conn == wanted));
        let first = found.next();
        assert!(found.next().is_none(), "two endings");
        first
    }

    // --- time ----------------------------------------------------------------------------------

    /// Lets time pass, with everything that is due on the way.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        loop {
            let gateways = self.nodes.iter().filter_map(Gateway::deadline);
            let conns =
                self.clients.iter().filter(|client| !client.gone).flat_map(|client| {
                    [client.client.wants().wake_at, client.server.wants().wake_at]
                });
            let jobs = self.due.keys().next().map(|(at, _)| *at);
            let next = gateways.chain(conns.flatten()).chain(jobs).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.wake();
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn wake(&mut self) {
        let now = self.now;
        for gateway in &mut self.nodes {
            gateway.handle_deadline(now);
        }
        self.act();
        for at in 0..self.clients.len() {
            let Client { node, id, client, server, gone, .. } = &mut self.clients[at];
            if *gone {
                continue;
            }
            let mut turn = client.handle_deadline(now);
            while turn.next_event().is_some() {}
            let mut turn = server.handle_deadline(now);
            while let Some((event, outbox)) = turn.next_event() {
                self.nodes[*node].handle(now, *id, event, outbox);
            }
            self.act();
        }
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let (node, job, outcome) = entry.remove();
            self.nodes[node].handle_result(now, job, outcome);
            self.act();
        }
    }

    /// Moves everything that moves without time passing.
    pub fn settle(&mut self) {
        loop {
            self.act();
            let mut moved = false;
            for at in 0..self.clients.len() {
                moved |= self.pump(at);
                self.act();
            }
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= self.now
            {
                let (node, job, outcome) = entry.remove();
                self.nodes[node].handle_result(self.now, job, outcome);
                self.act();
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn pump(&mut self, at: usize) -> bool {
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

    fn act(&mut self) {
        let mut bus = VecDeque::new();
        loop {
            for node in 0..self.nodes.len() {
                while let Some(action) = self.nodes[node].poll_action() {
                    self.act_on(node, action, &mut bus);
                }
            }
            let Some((node, message)) = bus.pop_front() else { return };
            self.nodes[node].handle_message(self.now, message);
        }
    }

    fn act_on(&mut self, node: usize, action: Action, bus: &mut VecDeque<(usize, BusMessage)>) {
        let now = self.now;
        match action {
            Action::Send { to, frame } => {
                let client = self.clients.iter_mut().find(|client| client.id == to);
                deliver(client.expect("a client").server.outbox(now), &frame);
            }
            Action::Close { conn, code, reason } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                client.expect("a client").server.close(now, code, &reason);
            }
            Action::GiveUp { conn } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                client.expect("a client").server.outbox(now).give_up();
            }
            Action::Start { job, work: Work::Store(work) } => {
                let outcome = match self.store_mode {
                    StoreMode::Works => self.store.execute(work),
                    StoreMode::Fails => StoreOutcome::Failed(StoreError::Unavailable),
                    StoreMode::Full => StoreOutcome::Failed(StoreError::Full),
                    StoreMode::Hangs => return,
                };
                let wait = Duration::from_secs(u64::from(self.slow == Some(node)));
                self.later(wait, node, job, Outcome::Store(outcome));
            }
            Action::Respond { conn, answer } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                answer.write(client.expect("a client").server.outbox(now));
            }
            Action::Body { conn, piece } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                // It fails when the connection has ended.
                let _ = client.expect("a client").server.outbox(now).body(piece);
            }
            Action::EndBody { conn } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                let _ = client.expect("a client").server.outbox(now).end_body();
            }
            Action::HoldBody { conn, hold } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                client.expect("a client").server.outbox(now).hold_body(hold);
            }
            Action::Start { job, work: Work::Media(work) } => {
                let wait = match self.disk.mode {
                    DiskMode::Hangs => return,
                    DiskMode::Slow(time) => {
                        self.disk_busy = self.disk_busy.max(now) + time;
                        self.disk_busy - now
                    }
                    _ => Duration::ZERO,
                };
                let outcome = self.disk.execute(work);
                self.later(wait, node, job, Outcome::Media(outcome));
            }
            Action::Start { job, work: Work::Site(work) } => {
                let wait = match self.files.mode {
                    FilesMode::Hangs => return,
                    FilesMode::Slow(time) => time,
                    _ => Duration::ZERO,
                };
                let outcome = self.files.execute(work);
                self.later(wait, node, job, Outcome::Site(outcome));
            }
            Action::Start { job, work: Work::Logs(query) } => {
                if let Some(log) = &self.log {
                    let page = log.read(query);
                    self.later(Duration::ZERO, node, job, Outcome::Logs(page));
                }
            }
            Action::Start { job, work: Work::Metrics } => {
                if let Some(text) = &self.metrics {
                    self.later(Duration::ZERO, node, job, Outcome::Metrics(text.clone()));
                }
            }
            Action::Start { job, work: Work::Host(work) } => {
                self.host_asked.push(work);
                if let Some(outcome) = self.host_says.clone() {
                    self.later(Duration::ZERO, node, job, Outcome::Host(outcome));
                }
            }
            Action::Start { job, work: Work::Run(run) } => {
                let step = Duration::from_millis(20);
                let mut wait = step;
                match &*run.agent {
                    "stuck" => {}
                    "script" => {
                        for outcome in self.script.clone() {
                            self.later(wait, node, job, outcome);
                            wait += step;
                        }
                    }
                    "broken" => self.later(wait, node, job, Outcome::Failed("out of order".into())),
                    _ => {
                        for chunk in echo_chunks(&run.message) {
                            self.later(wait, node, job, Outcome::Chunk(chunk.into()));
                            wait += step;
                        }
                        let content = run.message.to_string();
                        let usage = Usage { prompt_tokens: 1, completion_tokens: 2 };
                        self.later(
                            wait,
                            node,
                            job,
                            Outcome::Done { content, usage, stop: StopReason::Stop },
                        );
                    }
                }
                self.runs.push(run);
            }
            Action::Cancel { job } => {
                self.cancelled += 1;
                self.due.retain(|_, (at, other, _)| *at != node || *other != job);
            }
            Action::Publish { to, message } => {
                self.published += 1;
                for other in 0..self.nodes.len() {
                    let meant = match to {
                        Route::Node(id) => usize::from(id.0) == other,
                        Route::Others => other != node,
                    };
                    if meant && self.late == Some((node, other)) {
                        self.on_the_way.push(message.clone());
                    } else if meant
                        && !self.cut_off.contains(&other)
                        && !self.cut_off.contains(&node)
                    {
                        bus.push_back((other, message.clone()));
                    }
                }
            }
            Action::Note(fact) => self.facts.push(fact),
        }
    }

    fn later(&mut self, wait: Duration, node: usize, job: JobId, outcome: Outcome) {
        self.ticket += 1;
        self.due.insert((self.now + wait, self.ticket), (node, job, outcome));
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

/// The code of an error answer, or `ok`.
pub fn code(answer: &Value) -> &str {
    match answer["ok"].as_bool() {
        Some(true) => "ok",
        _ => answer["error"]["code"].as_str().unwrap_or("no code"),
    }
}

pub fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}
