//! The process: it begins, ends in order or not, and begins again with the same store.

use super::host::Host;
use super::pipe::Ending;
use super::story::Who;
use super::world::{Due, World};
use moorline_core::CloseCode;
use moorline_core::gateway::{Drain, Gateway, Node};
use std::time::Duration;

pub const UNIX_MS: u64 = 1_700_000_000_000;

/// How long a start waits for the store before anybody is let in.
const STORE_WITHIN: Duration = Duration::from_secs(10);

/// A service manager kills what drains for longer.
const KILL_AFTER: Duration = Duration::from_secs(45);

impl World {
    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        UNIX_MS + (self.now - self.start).as_millis() as u64
    }

    pub fn begin(&mut self) {
        if self.hosts.is_empty() {
            let most = self.plan.nodes;
            let count =
                if self.rng.percent(80) { most } else { self.rng.between(1, most.into()) as u16 };
            self.tell(Who::World, "begins", (count.into(), 0));
            for index in 0..count {
                let entropy = Box::new(self.rng.fork());
                let (config, node) = (self.config.clone(), Node { index, count });
                let gateway = Gateway::new(config, node, entropy, self.now, self.unix_ms());
                self.hosts.push(Host::new(gateway.expect("a configuration")));
            }
            for node in 0..self.hosts.len() {
                self.settle(node);
            }
            self.started = self.now;
        }
        // Whoever comes now is refused: the listener waits for what an earlier gateway left.
        let is_ready = self.hosts.iter().all(|host| host.gateway.has_started());
        if is_ready || self.now >= self.started + STORE_WITHIN {
            if !is_ready || self.was_troubled() {
                self.devices.iter_mut().for_each(super::device::Device::doubt);
            }
            self.tell(Who::World, "listens", (u64::from(is_ready), 0));
            self.listening = true;
        } else {
            self.begin_after(Duration::from_millis(5));
        }
    }

    /// The store had its troubles since the gateway was last told to end: links may not be saved.
    fn was_troubled(&self) -> bool {
        self.store.failed.is_some_and(|at| self.ended.is_some_and(|end| at >= end))
    }

    /// There is one beginning at a time.
    fn begin_after(&mut self, pause: Duration) {
        let at = self.now + pause;
        self.begins = Some(at);
        self.at(at, Due::Start);
    }

    /// The gateway is told to end, or is killed.
    pub fn end(&mut self, drain: bool) {
        if self.hosts.is_empty() || self.draining.is_some() {
            return;
        }
        let had_begun = std::mem::take(&mut self.listening);
        if !had_begun && self.was_troubled() {
            self.devices.iter_mut().for_each(super::device::Device::doubt);
        }
        self.begins = None;
        if !drain {
            self.tell(Who::World, "crashes", (0, 0));
            self.seen.crashes += 1;
            self.devices.iter_mut().for_each(super::device::Device::doubt);
            return self.gone();
        }
        self.tell(Who::World, "drains", (0, 0));
        self.seen.drains += 1;
        self.ended = Some(self.now);
        self.draining = Some(self.now + KILL_AFTER);
        self.closing = false;
        let restart = self.rng.percent(70);
        for node in 0..self.hosts.len() {
            let expected = Some(Duration::from_secs(2));
            let (reason, restart_expected) = ("restart".into(), expected.filter(|_| restart));
            let drain = Drain { restart, reason, restart_expected };
            self.hosts[node].gateway.drain(self.now, &drain);
            self.settle(node);
        }
        self.later(KILL_AFTER, Due::Kill);
    }

    /// Goes on with the end of a gateway that drains.
    pub fn stop_if_drained(&mut self) {
        let Some(kill) = self.draining else { return };
        if self.hosts.is_empty() {
            return;
        }
        if !self.closing && self.hosts.iter().all(|host| host.gateway.is_drained()) {
            self.closing = true;
            let ids: Vec<_> = self.wires.keys().copied().collect();
            for id in ids {
                let Some(wire) = self.wires.get_mut(&id) else { continue };
                let node = wire.node;
                if let Some(server) = &mut wire.server {
                    server.close(self.now, CloseCode::GOING_AWAY, "going away");
                    self.drive_server(id);
                    self.settle(node);
                }
            }
        }
        let open = self.wires.values().any(|wire| wire.server.is_some());
        if self.closing && !open {
            for (node, host) in self.hosts.iter().enumerate() {
                assert_eq!(host.gateway.connections(), (0, 0), "node {node} has drained");
            }
            self.gone();
        } else if self.now >= kill {
            // Not everybody could be waited for.
            assert!(self.closing, "a drain has an end");
            self.devices.iter_mut().for_each(super::device::Device::doubt);
            self.gone();
        }
    }

    /// The process is gone: nothing but the store is left, and the machine ends the transports.
    fn gone(&mut self) {
        self.tell(Who::World, "gone", (0, 0));
        self.draining = None;
        self.forget_all();
        self.work.crash();
        let World { wires, rng, now, devices, callers, .. } = self;
        for wire in wires.values_mut().filter(|wire| wire.server.is_some()) {
            (wire.server, wire.killed) = (None, true);
            if rng.percent(80) {
                wire.down.end(*now, Ending::Reset, rng);
                wire.up.end(*now, Ending::Reset, rng);
            } else {
                wire.down.swallow();
                wire.up.swallow();
            }
        }
        for call in callers.iter_mut().filter_map(|caller| caller.call.as_mut()) {
            // Nobody may tell its client.
            call.cut |= wires.get(&call.wire).is_some_and(|wire| wire.killed);
        }
        for device in devices {
            if let Some(claim) = &mut device.claim {
                claim.over.get_or_insert(*now);
            }
        }
        let ids: Vec<_> = self.wires.keys().copied().collect();
        for id in ids {
            self.arm(id);
        }
        let pause = self.rng.seconds(0, 8);
        self.begin_after(pause);
    }
}
