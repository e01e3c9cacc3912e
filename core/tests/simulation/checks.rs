//! What must be true at every step, and what must be true in the end.

use super::plan::{LONGEST_EVENT, USERS};
use super::story::Who;
use super::worker::{FAILS, REQUEUES};
use super::world::{Owner, World};
use moorline_core::gateway::{AgentLink, Fact};
use std::time::Duration;

/// A little later is not too late: bytes are seen by an end some microseconds after each other.
const SLACK: Duration = Duration::from_millis(10);

impl World {
    pub fn note(&mut self, fact: &Fact) {
        let shown = format!("{fact:?}");
        let said = self.secrets.iter().find(|secret| shown.contains(&***secret));
        assert!(said.is_none() && !shown.contains(" says "), "a fact tells too much: {shown}");
        match fact {
            Fact::Authenticated { conn, .. } => {
                if let Some(wire) = self.wires.get_mut(&conn.0) {
                    wire.anonymous = None;
                }
            }
            Fact::AuthFailed { conn, .. } => {
                if let Some(wire) = self.wires.get_mut(&conn.0) {
                    wire.anonymous.get_or_insert(self.now);
                }
            }
            Fact::Closed { conn, cause, .. } => {
                self.tell(Who::Conn(conn.0), cause, (0, 0));
                assert!(self.open.remove(conn), "{conn} has ended, and had ended before");
            }
            Fact::RunStarted { run, .. } => self.work.run_started(run),
            Fact::RunEnded { run, state, .. } => self.work.run_ended(self.now, run, state),
            Fact::RunLost { run, attempt, .. } => {
                self.work.run_lost(self.now, run, u64::from(*attempt));
            }
            Fact::Connected { conn, .. } => assert!(self.open.insert(*conn), "{conn} came twice"),
            _ => {}
        }
    }

    /// What a node keeps is bounded.
    pub fn check_node(&self, node: usize) {
        let bounds = &self.config.bounds;
        let (links, detached, bytes) = self.hosts[node].gateway.links();
        assert!(detached <= links);
        assert!(detached <= bounds.detached_links, "node {node}: {detached} detached links");
        let most = links * (bounds.link_bytes + LONGEST_EVENT);
        assert!(bytes <= most, "node {node}: {bytes} bytes in {links} links");
        assert!(
            detached == 0 || bytes <= bounds.links_bytes + links * 1024,
            "node {node}: {bytes} bytes in {links} links, and {detached} of them could go"
        );
    }

    /// What a connection costs and how long it lasts is bounded.
    pub fn check_wire(&mut self, id: u64) {
        let Some(wire) = self.wires.get(&id) else { return };
        assert!(wire.closed <= 1, "{id} was closed {} times", wire.closed);
        let limits = &self.config.limits;
        let Some(server) = &wire.server else {
            assert!(wire.closed == 1 || wire.killed, "{id} is gone and nobody was told");
            return;
        };
        // Storage grows by half, and a page of history is taken whole.
        let most = 2 * (limits.outbox as usize + LONGEST_EVENT) + 512 * 1024;
        let retained = server.retained();
        assert!(retained <= most, "{id} holds {retained} bytes");
        let (now, bounds) = (self.now, &self.config.bounds);
        if matches!(wire.owner, Owner::Caller(_)) {
            // It waits for as long as what it has asked for takes.
            return;
        }
        if let Some(since) = wire.anonymous {
            let within = limits.handshake_within + bounds.connect_within + limits.close_within * 2;
            let age = now - since;
            assert!(age <= within + SLACK, "nobody is logged in on {id} after {age:?}");
        }
        let alive = wire.moved.max(wire.heard + limits.ping_every);
        let longest = limits.pong_within.max(limits.drain_within);
        let within = longest + limits.drain_within.max(limits.close_within);
        assert!(now <= alive + within + SLACK, "{id} was silent for {:?}", now - wire.heard);
    }

    pub fn sweep(&mut self) {
        let ids: Vec<_> = self.wires.keys().copied().collect();
        for id in ids {
            self.check_wire(id);
        }
        for node in 0..self.hosts.len() {
            self.check_node(node);
        }
        self.work.check_lost(self.now);
        self.check_workers();
        self.check_callers();
    }

    /// Workers that read know what is not theirs any more.
    fn check_workers(&self) {
        for (at, worker) in self.workers.iter().enumerate().filter(|(_, worker)| worker.logged_in) {
            let wire = worker.wire.and_then(|id| self.wires.get(&id));
            let reads = worker.reads_from + Duration::from_secs(60) < self.now;
            if !reads || !wire.is_some_and(|wire| wire.server.is_some() && wire.down.carries()) {
                continue;
            }
            for (run, task) in &worker.runs {
                let is_over = self.work.is_long_over(self.now, run, task.attempt);
                assert!(!is_over, "worker {at} was never told that {run} is over");
            }
        }
    }

    /// Nothing was begun for long: who is logged in has all answers, and saw all runs end.
    pub fn check_quiet(&self) {
        for (at, device) in self.devices.iter().enumerate().filter(|(_, device)| device.logged_in) {
            assert!(device.asked.is_empty(), "device {at} waits for {:?}", device.asked);
            // A drain does not wait for a store that hangs, nor for a bus: the end of a run may then
            // come too late for the links that are saved.
            let is_sound = self.plan.roomy && self.plan.trouble == 0;
            let open = device.reader.open();
            assert!(open.is_empty() || !is_sound, "device {at} saw no end of {open:?}");
        }
        for (at, guest) in self.guests.iter().enumerate().filter(|(_, guest)| guest.logged_in) {
            assert!(guest.asked.is_empty(), "guest {at} waits for {:?}", guest.asked);
            let is_sound = self.plan.roomy && self.plan.trouble == 0;
            let open = guest.reader.open();
            assert!(open.is_empty() || !is_sound, "guest {at} saw no end of {open:?}");
        }
        for (at, worker) in self.workers.iter().enumerate().filter(|(_, worker)| worker.logged_in) {
            assert!(worker.asked.is_empty(), "worker {at} waits for {:?}", worker.asked);
            assert!(worker.runs.is_empty(), "worker {at} still has {:?}", worker.runs);
        }
        for (node, host) in self.hosts.iter().enumerate() {
            assert_eq!(host.gateway.pending(), 0, "node {node} still works: {:?}", host.gateway);
        }
        for (at, caller) in self.callers.iter().enumerate() {
            assert!(caller.call.is_none(), "caller {at} waits: {:?}", caller.call);
        }
        assert!(self.work.running().is_empty(), "runs that go on: {:?}", self.work.running());
    }

    /// All is over.
    pub fn check_end(&mut self) {
        assert!(self.wires.values().all(|wire| wire.server.is_none()), "a connection is left");
        assert!(self.open.is_empty(), "no facts of an ending: {:?}", self.open);
        for (node, host) in self.hosts.iter().enumerate() {
            let gateway = &host.gateway;
            assert_eq!(gateway.connections(), (0, 0), "connections of node {node}");
            assert_eq!(gateway.pending(), 0, "node {node} still works on something");
            assert_eq!(gateway.links(), (0, 0, 0), "links of node {node}");
            assert_eq!(gateway.deadline(), None, "node {node} waits for something");
            assert_eq!(gateway.retained(), 0, "node {node} keeps something");
            let is_worked = |agent: &str| agent == FAILS || agent == REQUEUES;
            for (agent, link) in gateway.agent_links().filter(|(agent, _)| is_worked(agent)) {
                assert_eq!(link, AgentLink::Down, "node {node} has a worker of {agent}");
            }
        }
        let at = self.unix_ms();
        assert_eq!(self.store.records(at), 0, "links that nobody has taken");
        match self.ledger.check(&USERS, &mut self.store, &self.work) {
            Ok(acknowledged) => self.seen.acknowledged = acknowledged,
            Err(wrong) => panic!("{wrong}"),
        }
        for device in &self.devices {
            self.seen.events += device.reader.events;
            self.seen.whole += device.reader.whole;
        }
    }
}
