//! The course of one world: busy times, idle hours between them, and the end.

use super::pipe::Ending;
use super::story::Who;
use super::wire::Pace;
use super::world::{Due, Seen, World};
use std::time::Duration;

/// By then everything that was begun has ended: a full queue of turns, each as long as a run may take.
const QUIET_AFTER: Duration = Duration::from_secs(17 * 120 + 600);

/// What came of a world.
#[derive(Debug)]
pub struct Outcome {
    pub hash: u64,
    pub steps: u64,
    pub seen: Seen,
}

/// Lives through so many hours.
pub fn run(nodes: u16, seed: u64, hours: u64) -> Outcome {
    let mut world = World::new(nodes, seed);
    let end = world.start + Duration::from_secs(3600) * hours as u32;
    while world.now < end {
        world.busy_time();
        world.idle_time();
    }
    world.last_time();
    Outcome { hash: world.story.hash(), steps: world.story.steps(), seen: world.seen.clone() }
}

impl World {
    fn busy_time(&mut self) {
        self.tell(Who::World, "busy", (0, 0));
        self.busy = true;
        self.store.trouble = if self.rng.percent(60) { self.plan.trouble } else { 0 };
        let length = self.rng.seconds(60, 300);
        for device in 0..self.devices.len() {
            self.devices[device].stays = true;
            let after = self.rng.seconds(0, 30);
            self.soon(device, after);
        }
        for guest in 0..self.guests.len() {
            self.guests[guest].stays = true;
            let after = self.rng.seconds(0, 30);
            self.guest_soon(guest, after);
        }
        for worker in 0..self.workers.len() {
            self.workers[worker].stays = true;
            let after = self.rng.seconds(0, 10);
            self.worker_soon(worker, after);
        }
        for caller in 0..self.callers.len() {
            let after = self.rng.seconds(0, 30);
            self.caller_soon(caller, after);
        }
        for _ in 0..self.rng.index(6) {
            let after = self.rng.seconds(0, 300);
            self.later(after, Due::Lurk);
        }
        for _ in 0..self.rng.index(3) {
            let after = self.rng.seconds(5, length.as_secs());
            let drain = self.rng.percent(60);
            self.later(after, Due::End(drain));
        }
        self.advance(length);
        self.busy = false;
        self.store.trouble = 0;
    }

    /// Most go away, and whoever stays says nothing.
    fn idle_time(&mut self) {
        self.tell(Who::World, "idle", (0, 0));
        for device in 0..self.devices.len() {
            self.devices[device].stays = self.rng.percent(25);
            if !self.devices[device].stays {
                self.leave(device);
            }
        }
        for guest in 0..self.guests.len() {
            self.guests[guest].stays = self.rng.percent(25);
            if !self.guests[guest].stays {
                self.guest_leaves(guest);
            }
        }
        for worker in 0..self.workers.len() {
            self.workers[worker].stays = self.rng.percent(25);
            if !self.workers[worker].stays {
                self.worker_leaves(worker);
            }
        }
        for caller in 0..self.callers.len() {
            if self.rng.percent(60) {
                let how = self.rng.index(5);
                self.caller_leaves(caller, how);
            }
        }
        self.forget_old_wires();
        for wire in self.wires.values_mut() {
            wire.pace = Pace::FAST;
        }
        let now = self.now;
        for worker in &mut self.workers {
            worker.reads_from = now;
        }
        let length = self.rng.seconds(600, 2 * 3600);
        self.advance(length);
        if length > QUIET_AFTER {
            // What goes on by itself, such as a look whether the store works, may be under way just now.
            for _ in 0..20 {
                if self.hosts.iter().all(|host| host.gateway.pending() == 0) {
                    break;
                }
                self.advance(Duration::from_millis(500));
            }
            self.check_quiet();
        }
    }

    /// Connections that nobody uses any more, because another one was made in their place.
    fn forget_old_wires(&mut self) {
        let guests = self.guests.iter().filter_map(|guest| guest.wire);
        let used = self.devices.iter().filter_map(|device| device.wire);
        let workers = self.workers.iter().filter_map(|worker| worker.wire);
        let callers = self.callers.iter().filter_map(|caller| caller.wire());
        let used: Vec<_> = used.chain(guests).chain(workers).chain(callers).collect();
        let World { wires, rng, now, .. } = self;
        let mut old = Vec::new();
        for (id, wire) in wires.iter_mut().filter(|(id, _)| !used.contains(id)) {
            wire.drop_client(*now, rng);
            old.push(*id);
        }
        for id in old {
            self.arm(id);
        }
    }

    fn leave(&mut self, device: usize) {
        let Some(id) = self.devices[device].wire else { return };
        let is_cut = self.rng.percent(50);
        self.tell(Who::Device(device), "leaves", (id, u64::from(is_cut)));
        self.devices[device].offline();
        self.leave_wire(id, is_cut);
    }

    fn guest_leaves(&mut self, guest: usize) {
        let Some(id) = self.guests[guest].wire else { return };
        let is_cut = self.rng.percent(50);
        self.tell(Who::Guest(guest), "leaves", (id, u64::from(is_cut)));
        self.guests[guest].offline();
        self.leave_wire(id, is_cut);
    }

    fn worker_leaves(&mut self, worker: usize) {
        let Some(id) = self.workers[worker].wire else { return };
        let is_cut = self.rng.percent(50);
        self.tell(Who::Worker(worker), "leaves", (id, u64::from(is_cut)));
        self.workers[worker].offline();
        self.leave_wire(id, is_cut);
    }

    fn leave_wire(&mut self, id: u64, is_cut: bool) {
        let World { wires, rng, now, .. } = self;
        let Some(wire) = wires.get_mut(&id) else { return };
        if is_cut {
            wire.up.end(*now, Ending::Reset, rng);
            wire.down.end(*now, Ending::Reset, rng);
        } else {
            wire.up.swallow();
            wire.down.swallow();
            wire.forget_client();
        }
        self.arm(id);
    }

    /// Nobody does anything any more; what is under way comes to its end.
    fn last_time(&mut self) {
        self.tell(Who::World, "ends", (0, 0));
        for device in 0..self.devices.len() {
            self.devices[device].stays = false;
            self.leave(device);
        }
        for guest in 0..self.guests.len() {
            self.guests[guest].stays = false;
            self.guest_leaves(guest);
        }
        for worker in 0..self.workers.len() {
            self.workers[worker].stays = false;
            self.worker_leaves(worker);
        }
        for caller in 0..self.callers.len() {
            let how = self.rng.index(5);
            self.caller_leaves(caller, how);
            self.callers[caller].call = None;
        }
        self.forget_old_wires();
        // A run and its call, a link and what it holds, a restart on the way.
        self.advance(Duration::from_secs(900));
        self.check_end();
    }
}
