//! A small world in virtual time: gateways that are nodes of one bus, real connections of both roles,
//! one store, and agents that answer as their names say.
#![allow(dead_code, clippy::disallowed_methods, clippy::needless_pass_by_value)]

#[path = "clients.rs"]
mod clients;
#[path = "deeds.rs"]
mod deeds;
#[path = "disk.rs"]
mod disk;
#[path = "envelope.rs"]
pub mod envelope;
#[path = "epoch.rs"]
mod epoch;
#[path = "files.rs"]
mod files;

pub use clients::Client;
pub use disk::{Disk, DiskMode};
use epoch::epoch;
pub use files::{Files, FilesMode};
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
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
