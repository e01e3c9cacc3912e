//! Everything that there is, and what happens next.

use super::caller::Caller;
use super::device::Device;
use super::guest::{Guest, Part};
use super::host::Host;
use super::ledger::Ledger;
use super::pipe::Pipe;
use super::plan::{Plan, USERS};
use super::rng::Rng;
use super::store::{Store, agent};
use super::story::{Story, Who};
use super::wire::{News, Wire};
use super::work::Work as Working;
use super::worker::{FAILS, REQUEUES, Worker};
use crate::epoch::epoch;
use moorline_core::gateway::*;
use moorline_core::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happens, and to whom.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Server(u64),
    Client(u64),
    Node(usize),
    Store,
    Bus(u64),
    Outcome(u64),
    /// A device does something.
    Act(usize),
    /// A client of the second dialect does something.
    GuestAct(usize),
    /// A worker does something.
    WorkerAct(usize),
    /// A client of the HTTP API does something.
    CallerAct(usize),
    /// Somebody comes who does not log in.
    Lurk,
    /// The gateway ends: with a drain, or not.
    End(bool),
    /// It may have taken too long to end.
    Kill,
    /// The next one begins.
    Start,
    Sweep,
}

/// Whose a connection's client end is.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Somebody's who does not log in.
    Nobody,
    Device(usize),
    Guest(usize),
    Worker(usize),
    Caller(usize),
}

/// What a run has seen: that it was worth something.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub events: u64,
    pub whole: u64,
    pub resumed: u64,
    pub gaps: u64,
    pub acknowledged: usize,
    pub pings: u64,
    pub connections: u64,
    pub drains: u64,
    pub crashes: u64,
    pub refused: u64,
    pub given_up: u64,
    pub guests: u64,
    pub guests_by_token: u64,
    pub guest_events: u64,
    pub guest_whole: u64,
    pub guest_missed: u64,
    pub guests_given_up: u64,
    pub second_answers: u64,
    pub invoked: u64,
    pub not_invoked: u64,
    pub workers: u64,
    pub given: u64,
    pub given_again: u64,
    pub cancelled: u64,
    pub http_calls: u64,
    pub http_whole: u64,
    pub http_errors: u64,
    pub http_cut: u64,
    pub http_left: u64,
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub plan: Plan,
    pub config: GatewayConfig,
    limits: Arc<Limits>,
    pub rng: Rng,
    queue: BinaryHeap<Reverse<(Instant, u64, Due)>>,
    ticket: u64,
    pub hosts: Vec<Host>,
    /// Sockets are accepted.
    pub listening: bool,
    /// When the process must be gone, if it drains.
    pub draining: Option<Instant>,
    pub wires: BTreeMap<u64, Wire>,
    /// Connections of which there is a fact that they came, and none that they ended.
    pub open: BTreeSet<ConnId>,
    conns: u64,
    pub devices: Vec<Device>,
    /// Clients of the second dialect.
    pub guests: Vec<Guest>,
    /// Those who answer for agents.
    pub workers: Vec<Worker>,
    pub work: Working,
    /// Clients of the HTTP API.
    pub callers: Vec<Caller>,
    /// Connections of what nobody else needs an answer to, by its place in the ledger.
    pub alone: BTreeMap<usize, u64>,
    /// Runs of that.
    pub lonely: BTreeMap<String, usize>,
    /// Runs that the host of a node works on.
    pub at_hosts: BTreeMap<(usize, JobId), String>,
    /// What nodes were told to do.
    pub invokes: u64,
    /// What no fact may hold.
    pub secrets: BTreeSet<String>,
    pub store: Store,
    store_armed: Option<Instant>,
    bus: BTreeMap<u64, (usize, BusMessage)>,
    /// When the last message from one node to another arrives.
    bus_last: BTreeMap<(usize, usize), Instant>,
    outcomes: BTreeMap<u64, (usize, JobId, Outcome)>,
    pub ledger: Ledger,
    pub story: Story,
    pub seen: Seen,
    /// Devices do things.
    pub busy: bool,
    pub started: Instant,
    /// When it begins, or looks whether it has.
    pub begins: Option<Instant>,
    /// When it was last told to end in order.
    pub ended: Option<Instant>,
    /// It has drained, and its last connections are being closed.
    pub closing: bool,
}

impl World {
    pub fn new(nodes: u16, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now = epoch();
        let plan = Plan::new(nodes, &mut rng);
        let config = plan.config();
        let devices = (0..plan.devices).map(|at| Device::new(USERS[at % USERS.len()])).collect();
        let guests = (0..plan.guests).map(|at| {
            let user = Self::guest_user(at);
            let number = at as u8 + 1;
            match at {
                0 => Guest::new(Part::Node, user, 4, Some(number)),
                1 => Guest::new(Part::Keeper, user, 4, None),
                _ => {
                    let protocol = rng.between(3, 4);
                    Guest::new(Part::Operator, user, protocol, rng.percent(60).then_some(number))
                }
            }
        });
        let guests: Vec<_> = guests.collect();
        let agent = |at: usize| [REQUEUES, FAILS][at % 2];
        let workers = (0..plan.workers).map(|at| Worker::new(agent(at), now)).collect();
        let callers = (0..plan.callers).map(|at| Caller::new(USERS[at % USERS.len()])).collect();
        // All of the configuration begin so.
        let secrets = BTreeSet::from(["sesame".to_owned()]);
        let store = Store::new(rng.fork());
        let mut world = Self {
            now,
            start: now,
            plan,
            limits: Arc::new(config.limits.clone()),
            config,
            rng,
            queue: BinaryHeap::new(),
            ticket: 0,
            hosts: Vec::new(),
            listening: false,
            draining: None,
            wires: BTreeMap::new(),
            open: BTreeSet::new(),
            conns: 0,
            devices,
            guests,
            workers,
            work: Working::default(),
            callers,
            alone: BTreeMap::new(),
            lonely: BTreeMap::new(),
            at_hosts: BTreeMap::new(),
            invokes: 0,
            secrets,
            store,
            store_armed: None,
            bus: BTreeMap::new(),
            bus_last: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            ledger: Ledger::default(),
            story: Story::new(seed),
            seen: Seen::default(),
            busy: false,
            started: now,
            begins: None,
            ended: None,
            closing: false,
        };
        world.begin();
        world.later(Duration::from_secs(10), Due::Sweep);
        world
    }

    pub fn tell(&mut self, who: Who, what: &'static str, numbers: (u64, u64)) {
        self.story.tell(self.now - self.start, who, what, numbers);
    }

    // --- time ------------------------------------------------------------------------------------

    pub fn at(&mut self, at: Instant, due: Due) {
        self.ticket += 1;
        self.queue.push(Reverse((at.max(self.now), self.ticket, due)));
    }

    pub fn later(&mut self, after: Duration, due: Due) {
        self.at(self.now + after, due);
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _, due))) = self.queue.peek().copied()
            && at <= end
        {
            self.queue.pop();
            self.now = at;
            self.happen(due);
            self.stop_if_drained();
        }
        self.now = end;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Server(id) => {
                let Some(wire) = self.wires.get_mut(&id) else { return };
                if wire.server_armed.take_if(|at| *at == self.now).is_some() {
                    let node = wire.node;
                    self.drive_server(id);
                    self.settle(node);
                }
            }
            Due::Client(id) => {
                let Some(wire) = self.wires.get_mut(&id) else { return };
                if wire.client_armed.take_if(|at| *at == self.now).is_some() {
                    self.drive_client(id);
                }
            }
            Due::Node(node) => {
                let Some(host) = self.hosts.get_mut(node) else { return };
                if host.armed.take_if(|at| *at == self.now).is_some() {
                    host.wake(self.now);
                    self.tell(Who::Node(node), "deadline", (0, 0));
                    self.settle(node);
                }
            }
            Due::Store => {
                if self.store_armed.take_if(|at| *at == self.now).is_some() {
                    if let Some((node, job, outcome)) = self.store.execute(self.now) {
                        self.tell(Who::Store, "outcome", (node as u64, job.0));
                        self.outcome(node, job, Outcome::Store(outcome));
                    }
                    self.arm_store();
                }
            }
            Due::Bus(ticket) => {
                if let Some((node, message)) = self.bus.remove(&ticket) {
                    self.tell(Who::Node(node), "message", (ticket, 0));
                    self.hosts[node].gateway.handle_message(self.now, message);
                    self.settle(node);
                }
            }
            Due::Outcome(ticket) => {
                if let Some((node, job, outcome)) = self.outcomes.remove(&ticket) {
                    self.tell(Who::Node(node), "agent", (job.0, ticket));
                    if !matches!(outcome, Outcome::Chunk(_) | Outcome::Progress(_)) {
                        self.at_hosts.remove(&(node, job));
                    }
                    self.outcome(node, job, outcome);
                }
            }
            Due::Act(device) => {
                if self.devices[device].armed.take_if(|at| *at == self.now).is_some() {
                    self.act(device);
                }
            }
            Due::GuestAct(guest) => {
                if self.guests[guest].armed.take_if(|at| *at == self.now).is_some() {
                    self.guest_act(guest);
                }
            }
            Due::WorkerAct(worker) => {
                if self.workers[worker].armed.take_if(|at| *at == self.now).is_some() {
                    self.worker_act(worker);
                }
            }
            Due::CallerAct(caller) => {
                if self.callers[caller].armed.take_if(|at| *at == self.now).is_some() {
                    self.caller_act(caller);
                }
            }
            Due::Lurk => self.lurk(),
            Due::End(drain) => self.end(drain),
            // What is done then is done after every step.
            Due::Kill => {}
            Due::Start => {
                if self.begins.take_if(|at| *at == self.now).is_some() {
                    self.begin();
                }
            }
            Due::Sweep => {
                self.sweep();
                let pause = if self.busy { 5 } else { 120 };
                self.later(Duration::from_secs(pause), Due::Sweep);
            }
        }
    }

    fn outcome(&mut self, node: usize, job: JobId, outcome: Outcome) {
        self.hosts[node].gateway.handle_result(self.now, job, outcome);
        self.settle(node);
    }

    // --- nodes -----------------------------------------------------------------------------------

    /// After every call of a gateway: its actions are done, and its timer is armed.
    pub fn settle(&mut self, node: usize) {
        loop {
            // It may be gone, and a connection to it be driven for the last time.
            let Some(host) = self.hosts.get_mut(node) else { return };
            host.take_actions(None);
            let later = host.take_later();
            let todo = std::mem::take(&mut host.todo);
            if later.is_empty() && todo.is_empty() {
                break;
            }
            for action in todo {
                self.perform(node, action);
            }
            for (conn, said) in later {
                if let Some(server) =
                    self.wires.get_mut(&conn.0).and_then(|wire| wire.server.as_mut())
                {
                    for later in said {
                        later.say(server, self.now);
                    }
                    self.drive_server(conn.0);
                }
            }
        }
        self.check_node(node);
        let host = &mut self.hosts[node];
        if let Some(at) = host.gateway.deadline()
            && host.armed.is_none_or(|armed| at < armed)
        {
            let at = at.max(self.now);
            host.armed = Some(at);
            self.at(at, Due::Node(node));
        }
    }

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Start { job, work: Work::Store(work) } => {
                self.store.take(self.now, node, job, work);
                self.arm_store();
            }
            Action::Start { job, work: Work::Run(run) } => {
                if let Some(number) = self.ledger.number(&run.message)
                    && self.ledger.said[number].is_lonely()
                {
                    self.lonely.insert(run.run.to_string(), number);
                }
                self.at_hosts.insert((node, job), run.run.to_string());
                let (pieces, end) = agent(&run, &mut self.rng);
                let mut at = self.now;
                for (pause, outcome) in pieces {
                    at += pause;
                    self.outcome_at(at, node, job, outcome);
                }
                if let Some(end) = end {
                    at += self.rng.millis(1, 50);
                    self.outcome_at(at, node, job, end);
                }
            }
            Action::Cancel { job } => {
                self.at_hosts.remove(&(node, job));
                // An agent may not notice at once: what it says then is ignored.
                if self.rng.percent(50) {
                    self.outcomes.retain(|_, (at, other, _)| *at != node || *other != job);
                }
            }
            Action::Publish { to, message } => {
                for other in 0..self.hosts.len() {
                    let meant = match to {
                        Route::Node(id) => usize::from(id.0) == other,
                        Route::Others => other != node,
                    };
                    if meant {
                        self.publish(node, other, message.clone());
                    }
                }
            }
            Action::Note(fact) => self.note(&fact),
            other => panic!("a connection's action: {other:?}"),
        }
    }

    fn outcome_at(&mut self, at: Instant, node: usize, job: JobId, outcome: Outcome) {
        let ticket = self.ticket;
        self.outcomes.insert(ticket, (node, job, outcome));
        self.at(at, Due::Outcome(ticket));
    }

    fn publish(&mut self, from: usize, to: usize, message: BusMessage) {
        let mut delay = Duration::from_micros(self.rng.between(1, 2000));
        if !self.plan.roomy && self.rng.once_in(400) {
            delay = self.rng.seconds(1, 15);
        }
        let last = self.bus_last.entry((from, to)).or_insert(self.now);
        let at = (*last).max(self.now + delay);
        *last = at;
        let ticket = self.ticket;
        self.bus.insert(ticket, (to, message));
        self.at(at, Due::Bus(ticket));
    }

    fn arm_store(&mut self) {
        if let Some(at) = self.store.next()
            && self.store_armed.is_none_or(|armed| at < armed)
        {
            let at = at.max(self.now);
            self.store_armed = Some(at);
            self.at(at, Due::Store);
        }
    }

    /// Whatever was under way between the nodes and their helpers is gone.
    pub fn forget_all(&mut self) {
        self.store.crash();
        self.store_armed = None;
        self.bus.clear();
        self.bus_last.clear();
        self.outcomes.clear();
        self.at_hosts.clear();
        self.hosts.clear();
        self.open.clear();
    }

    // --- connections -----------------------------------------------------------------------------

    /// A socket to a node that listens.
    pub fn connect(&mut self, node: usize, owner: Owner) -> u64 {
        self.conns += 1;
        self.seen.connections += 1;
        let id = ConnId(self.conns);
        let path = if matches!(owner, Owner::Guest(_)) { "/" } else { "/ws" };
        let request = ClientRequest::new("localhost:18790", path).expect("a request");
        let entropy = Box::new(self.rng.fork());
        let client = Connection::client(request, entropy, self.limits.clone(), self.now);
        let server = Connection::server(self.limits.clone(), self.now);
        let capacity = [2 * 1024, 16 * 1024, 256 * 1024][self.rng.index(3)];
        let pipe = || Pipe::new(capacity, self.plan.delay);
        let ends = (server, client);
        let mut wire = Wire::new(id, node, ends, (pipe(), pipe()), self.now);
        wire.owner = owner;
        if let Owner::Caller(_) = owner {
            wire.forget_client();
            wire.plain = Some(VecDeque::new());
        }
        self.wires.insert(id.0, wire);
        let who = match owner {
            Owner::Nobody => 99,
            Owner::Device(at) => at as u64,
            Owner::Guest(at) => 100 + at as u64,
            Owner::Worker(at) => 200 + at as u64,
            Owner::Caller(at) => 300 + at as u64,
        };
        self.tell(Who::Conn(id.0), "connected", (node as u64, who));
        let port = 1024 + (self.conns % 60_000) as u16;
        self.hosts[node].gateway.connected(self.now, id, ([127, 0, 0, 1], port).into());
        self.settle(node);
        self.drive_client(id.0);
        self.drive_server(id.0);
        self.settle(node);
        id.0
    }

    pub fn drive_server(&mut self, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if wire.server.is_none() {
            return;
        }
        let before = wire.closed;
        let Some(host) = self.hosts.get_mut(wire.node) else { return };
        wire.drive_server(self.now, host, &mut self.rng);
        let (closed, is_gone) = (wire.closed, wire.server.is_none());
        self.tell(Who::Conn(id), "server", (u64::from(closed), u64::from(is_gone)));
        if closed > before {
            self.is_over(id);
        }
        self.check_wire(id);
        self.arm(id);
    }

    /// The gateway has given the connection up: its link waits from now on.
    fn is_over(&mut self, id: u64) {
        for device in &mut self.devices {
            if let Some(claim) = device.claim.as_mut().filter(|claim| claim.wire == id) {
                claim.over.get_or_insert(self.now);
            }
        }
        self.work.worker_gone(self.now, id);
    }

    pub fn drive_client(&mut self, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let pings = wire.pings;
        wire.drive_client(self.now, &mut self.rng);
        let (news, pings) = (std::mem::take(&mut wire.news), wire.pings - pings);
        let owner = wire.owner;
        self.seen.pings += pings;
        self.tell(Who::Conn(id), "client", (news.len() as u64, pings));
        if let Owner::Device(device) = owner
            && self.devices[device].wire == Some(id)
            && (pings > 0 || news.iter().any(|news| matches!(news, News::Text(_))))
            && let Some(claim) = &mut self.devices[device].claim
            && claim.wire == id
        {
            claim.heard = self.now;
        }
        for news in news {
            self.news(id, owner, news);
        }
        self.arm(id);
    }

    /// Arms both ends of a wire for what is next; forgets it when both are gone.
    pub fn arm(&mut self, id: u64) {
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if wire.server.is_none() && !wire.has_client() {
            self.wires.remove(&id);
            return;
        }
        let mut server = wire.server_next(now).map(|at| at.max(now));
        let mut client = wire.client_next(now).map(|at| at.max(now));
        let sooner = |armed: &mut Option<Instant>, at: &mut Option<Instant>| match *at {
            Some(next) if armed.is_none_or(|armed| next < armed) => *armed = Some(next),
            _ => *at = None,
        };
        sooner(&mut wire.server_armed, &mut server);
        sooner(&mut wire.client_armed, &mut client);
        if let Some(at) = server {
            self.at(at, Due::Server(id));
        }
        if let Some(at) = client {
            self.at(at, Due::Client(id));
        }
    }
}
