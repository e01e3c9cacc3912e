//! What must be true at every step, and what must be true in the end.

use super::plan::{LONGEST_EVENT, USERS};
use super::world::World;
use moorline_core::gateway::Fact;
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
            Fact::Closed { conn, .. } => {
                assert!(self.open.remove(conn), "{conn} has ended, and had ended before");
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
        for (node, host) in self.hosts.iter().enumerate() {
            assert_eq!(host.gateway.pending(), 0, "node {node} still works on something");
        }
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
        }
        let at = self.unix_ms();
        assert_eq!(self.store.records(at), 0, "links that nobody has taken");
        match self.ledger.check(&USERS, &mut self.store) {
            Ok(acknowledged) => self.seen.acknowledged = acknowledged,
            Err(wrong) => panic!("{wrong}"),
        }
        for device in &self.devices {
            self.seen.events += device.reader.events;
            self.seen.whole += device.reader.whole;
        }
    }
}
