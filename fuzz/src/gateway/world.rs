//! A gateway with one connection, in virtual time, and a host that does what it asks.

use super::envelope::check;
use crate::frames::push_frame;
use crate::received::Received;
use crate::run::{REQUEST, Sample, drain_output, epoch};
use moorline_core::frame::{Header, Opcode};
use moorline_core::gateway::*;
use moorline_core::{Connection, End, Event};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CONN: ConnId = ConnId(1);

pub(super) struct World {
    now: Instant,
    gateway: Gateway,
    connection: Connection,
    store: MemoryStore,
    /// The store answers, says that it is broken, or says nothing.
    store_mode: u8,
    /// Outcomes to come: when, in which order, of which job.
    due: BTreeMap<(Instant, u64), (JobId, Outcome)>,
    ticket: u64,
    answers: Vec<Value>,
    /// The number of the latest event of the present login.
    seq: u64,
    /// Events that came.
    events: u64,
    /// The gateway has sent a Close.
    pub(super) is_closed: bool,
}

impl World {
    /// With an open WebSocket on which the challenge has come.
    pub(super) fn new(store_mode: u8) -> Self {
        let config = config();
        let (now, limits) = (epoch(), Arc::new(config.limits.clone()));
        let node = Node { index: 0, count: 1 };
        let gateway = Gateway::new(config, node, Box::new(Sample(1)), now, 1_700_000_000_000);
        let mut world = Self {
            now,
            gateway: gateway.expect("a configuration"),
            connection: Connection::server(limits, now),
            store: MemoryStore::default(),
            store_mode: 0,
            due: BTreeMap::new(),
            ticket: 0,
            answers: Vec::new(),
            seq: 0,
            events: 0,
            is_closed: false,
        };
        // Nobody is let in before the store has said what an earlier gateway left.
        world.settle();
        world.store_mode = store_mode;
        let peer = "127.0.0.1:4000".parse().expect("an address");
        world.gateway.connected(now, CONN, peer);
        world.receive(REQUEST.to_vec(), true);
        assert_eq!(world.events, 1, "the challenge");
        world
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - epoch()
    }

    /// A message arrives.
    pub(super) fn feed(&mut self, payload: &[u8], is_text: bool) {
        let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        let header = Header { fin: true, rsv: 0, opcode, mask: Some([1, 2, 3, 4]), len: 0 };
        let mut wire = Vec::new();
        push_frame(&mut wire, header, payload);
        self.receive(wire, false);
    }

    pub(super) fn take_answers(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.answers)
    }

    /// Lets time pass, with everything that is due on the way.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.wake(at);
        }
        self.now = end;
    }

    /// Lets as much time pass as it takes until nothing is going on.
    pub(super) fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.gateway.pending() == 0 && self.due.is_empty() {
                return;
            }
            let at = self.next().expect("what is pending has a deadline");
            self.wake(at);
        }
        panic!("it never ends: {} pending", self.gateway.pending());
    }

    /// The client is gone; nothing of it stays.
    pub(super) fn hang_up(mut self) {
        let mut turn = self.connection.handle_eof(self.now);
        let mut closed = 0;
        while let Some((event, outbox)) = turn.next_event() {
            closed += usize::from(matches!(event, Event::Closed(_)));
            self.gateway.handle(self.now, CONN, event, outbox);
        }
        assert_eq!(closed, 1);
        self.settle();
        self.drain();
        assert_eq!(self.gateway.connections(), (0, 0));
        assert_eq!(self.gateway.pending(), 0);
    }

    fn next(&self) -> Option<Instant> {
        let due = self.due.keys().next().map(|(at, _)| *at);
        self.gateway.deadline().into_iter().chain(due).min()
    }

    fn wake(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.gateway.handle_deadline(self.now);
        self.settle();
    }

    fn receive(&mut self, mut bytes: Vec<u8>, is_head: bool) {
        let mut turn = self.connection.receive(self.now, &mut bytes);
        while let Some((event, outbox)) = turn.next_event() {
            assert!(!matches!(event, Event::Closed(_)), "{event:?}");
            self.gateway.handle(self.now, CONN, event, outbox);
        }
        if is_head {
            // The answer to the request leaves before the first frame.
            let mut output = Vec::new();
            drain_output(&mut self.connection, &mut output);
            let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
            assert!(output.starts_with(b"HTTP/1.1 101 "), "{}", output.escape_ascii());
            self.read(&output[end + 4..]);
        }
        self.settle();
    }

    /// Does all that can be done without time passing.
    fn settle(&mut self) {
        loop {
            while let Some(action) = self.gateway.poll_action() {
                self.act(action);
            }
            let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now)
            else {
                break;
            };
            let (job, outcome) = entry.remove();
            self.gateway.handle_result(self.now, job, outcome);
        }
        let mut output = Vec::new();
        drain_output(&mut self.connection, &mut output);
        self.read(&output);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { frame, .. } => deliver(self.connection.outbox(self.now), &frame),
            Action::Close { code, reason, .. } => self.connection.close(self.now, code, &reason),
            Action::GiveUp { .. } => self.connection.outbox(self.now).give_up(),
            Action::Start { job, work: Work::Store(work) } => {
                let outcome = match self.store_mode {
                    0 | 1 => self.store.execute(work),
                    2 => StoreOutcome::Failed(StoreError::Unavailable),
                    _ => return,
                };
                self.later(Duration::ZERO, job, Outcome::Store(outcome));
            }
            Action::Start { job, work: Work::Run(run) } => self.run(job, &run),
            Action::Start { job, work: Work::Logs(query) } => {
                let page = LogRing::new("log", LogRing::LIMIT).read(query);
                self.later(Duration::ZERO, job, Outcome::Logs(page));
            }
            Action::Cancel { job } => self.due.retain(|_, (other, _)| *other != job),
            Action::Publish { .. } => panic!("there is no other node"),
            Action::Start { work: Work::Host(_), .. } => panic!("the client is not the host"),
            Action::Start { work: Work::Media(_) | Work::Site(_) | Work::Metrics, .. }
            | Action::Respond { .. }
            | Action::Body { .. }
            | Action::EndBody { .. }
            | Action::HoldBody { .. } => panic!("there are no files on a WebSocket"),
            Action::Note(_) => {}
        }
    }

    fn run(&mut self, job: JobId, run: &Run) {
        let step = Duration::from_millis(20);
        match &*run.agent {
            "stuck" => {}
            "broken" => self.later(step, job, Outcome::Failed("out of order".into())),
            _ => {
                let mut wait = step;
                for chunk in echo_chunks(&run.message) {
                    self.later(wait, job, Outcome::Chunk(chunk.into()));
                    wait += step;
                }
                let content = run.message.to_string();
                self.later(
                    wait,
                    job,
                    Outcome::Done { content, usage: Usage::default(), stop: StopReason::Stop },
                );
            }
        }
    }

    fn later(&mut self, wait: Duration, job: JobId, outcome: Outcome) {
        self.ticket += 1;
        self.due.insert((self.now + wait, self.ticket), (job, outcome));
    }

    /// What the client makes of the gateway's bytes.
    fn read(&mut self, output: &[u8]) {
        let received = Received::parse(output, false, 0);
        for (opcode, _, payload) in received.messages {
            assert_eq!(opcode, Opcode::Text);
            let message: Value = serde_json::from_slice(&payload).expect("JSON");
            check(&message, &mut self.seq);
            match message["type"] == "res" {
                true => self.answers.push(message),
                false => self.events += 1,
            }
        }
        self.is_closed |= received.closes > 0 || self.connection.wants().end != End::Stay;
    }
}

fn config() -> GatewayConfig {
    let mut config = GatewayConfig::new("127.0.0.1:18790".parse().expect("an address"));
    let token = |secret, role| Token { secret: Secret::new(secret), role, user: None };
    config.tokens = vec![
        token("secret", Role::Admin),
        token("operator", Role::Operator),
        token("viewer", Role::Viewer),
    ];
    for name in ["stuck", "broken"] {
        config.agents.push(Agent::new(name, name));
    }
    config
}
