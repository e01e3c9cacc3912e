//! Which workers there are, at all loops, and which of them is given the next run.

use super::super::bus::NodeId;
use super::super::conn::ConnId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A worker's connection, among all loops.
pub(super) type WorkerAt = (NodeId, ConnId);

/// A worker, as its own loop knows it and tells the others.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Which one on its connection, where one may log in after the other: what was offered to an earlier one
    /// is not for it.
    pub(super) login: u64,
    /// The ids of the agents that it answers for.
    pub(super) agents: Arc<[Arc<str>]>,
    /// Runs that it takes at once.
    pub(super) concurrency: usize,
    /// Runs that it has.
    pub(super) active: usize,
    /// It wants no new ones.
    pub(super) draining: bool,
    /// Its connection has no room for another one until what is queued has left.
    pub(super) blocked: bool,
}

impl Worker {
    pub(super) fn answers_for(&self, agent: &str) -> bool {
        self.agents.iter().any(|own| **own == *agent)
    }

    pub(super) fn has_room(&self) -> bool {
        !self.draining && !self.blocked && self.active < self.concurrency
    }
}

#[derive(Debug)]
struct Known {
    worker: Worker,
    /// Runs that it was offered by this loop and has neither taken nor refused: it does not count them yet.
    offered: usize,
    /// When it was offered one last, counted in offers.
    last: u64,
}

impl Known {
    /// What it has to do, as far as it is known here.
    fn load(&self) -> usize {
        self.worker.active + self.offered
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Roster {
    workers: BTreeMap<WorkerAt, Known>,
    offers: u64,
}

/// The workers of one agent.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that take runs, or would if they had less to do.
    pub(super) ready: usize,
    pub(super) draining: usize,
    /// What the ready ones have to do, for whichever of their agents.
    pub(super) active: usize,
    pub(super) concurrency: usize,
}

impl Roster {
    pub(super) fn get(&self, at: WorkerAt) -> Option<&Worker> {
        self.workers.get(&at).map(|known| &known.worker)
    }

    /// Changes a worker; gives it as it is now.
    pub(super) fn change(
        &mut self,
        at: WorkerAt,
        change: impl FnOnce(&mut Worker),
    ) -> Option<Worker> {
        let worker = &mut self.workers.get_mut(&at)?.worker;
        change(worker);
        debug_assert!(worker.concurrency > 0, "who takes nothing is no worker");
        Some(worker.clone())
    }

    /// A worker has come, or is another than it was.
    pub(super) fn learn(&mut self, at: WorkerAt, worker: Worker) {
        match self.workers.get_mut(&at) {
            Some(known) => known.worker = worker,
            None => {
                self.workers.insert(at, Known { worker, offered: 0, last: 0 });
            }
        }
    }

    pub(super) fn forget(&mut self, at: WorkerAt) -> Option<Worker> {
        self.workers.remove(&at).map(|known| known.worker)
    }

    /// The workers of one loop.
    pub(super) fn of_node(&self, node: NodeId) -> Vec<(WorkerAt, Worker)> {
        let range = (node, ConnId(0))..=(node, ConnId(u64::MAX));
        self.workers.range(range).map(|(at, known)| (*at, known.worker.clone())).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// The one that has the least to do, and of several such the one that was asked longest ago, which is
    /// to be offered a run now. Work in proportion to the workers.
    /// `but` is not chosen.
    pub(super) fn choose(&mut self, agent: &str, but: Option<WorkerAt>) -> Option<WorkerAt> {
        let has_room =
            |known: &Known| known.worker.has_room() && known.load() < known.worker.concurrency;
        let (at, known) = self
            .workers
            .iter_mut()
            .filter(|(at, known)| {
                Some(**at) != but && known.worker.answers_for(agent) && has_room(known)
            })
            .min_by_key(|(_, known)| (known.load(), known.last))?;
        self.offers += 1;
        known.last = self.offers;
        known.offered += 1;
        Some(*at)
    }

    /// What [`Roster::choose`] gave has answered: it counts the run itself now, or has refused it.
    pub(super) fn offer_over(&mut self, at: WorkerAt) {
        if let Some(known) = self.workers.get_mut(&at) {
            known.offered = known.offered.saturating_sub(1);
        }
    }

    pub(super) fn count(&self, agent: &str) -> Count {
        let mut count = Count::default();
        for Known { worker, .. } in self.workers.values() {
            if !worker.answers_for(agent) {
                continue;
            }
            if worker.draining {
                count.draining += 1;
                continue;
            }
            count.ready += 1;
            count.active += worker.active;
            count.concurrency += worker.concurrency;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(agents: &[&str], concurrency: usize) -> Worker {
        let agents = agents.iter().map(|agent| Arc::from(*agent)).collect();
        Worker { login: 0, agents, concurrency, active: 0, draining: false, blocked: false }
    }

    fn at(conn: u64) -> WorkerAt {
        (NodeId((conn % 2) as u16), ConnId(conn))
    }

    #[test]
    fn the_least_active_is_chosen_and_equals_take_turns() {
        let mut roster = Roster::default();
        for conn in 0..3 {
            roster.learn(at(conn), worker(&["a"], 2));
        }
        let chosen: Vec<_> = (0..6).map(|_| roster.choose("a", None).expect("room").1.0).collect();
        let mut first = chosen[..3].to_vec();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2], "each has one before any has two");
        assert_eq!(chosen[..3], chosen[3..]);
        assert_eq!(roster.choose("a", None), None, "all have as much as they take");
        // One is done with one.
        roster.offer_over(at(1));
        assert_eq!(roster.choose("a", None), Some(at(1)));
        assert_eq!(roster.choose("b", None), None);
    }

    #[test]
    fn who_drains_or_is_blocked_or_answers_for_others_is_not_chosen() {
        let mut roster = Roster::default();
        roster.learn(at(0), Worker { draining: true, ..worker(&["a"], 2) });
        roster.learn(at(1), Worker { blocked: true, ..worker(&["a"], 2) });
        roster.learn(at(2), worker(&["b"], 2));
        assert_eq!(roster.choose("a", None), None);
        assert_eq!(
            roster.count("a"),
            Count { ready: 1, draining: 1, active: 0, concurrency: 2 },
            "who is blocked only waits"
        );
        roster.change(at(1), |worker| worker.blocked = false);
        assert_eq!(roster.choose("a", None), Some(at(1)));
    }
}
