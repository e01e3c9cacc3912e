//! Whatever workers do and in whichever order: each run ends exactly once, and nothing is left of it.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/gateway.rs"]
mod world;

#[path = "support/workers.rs"]
mod workers;

use moorline_core::Entropy;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use workers::*;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

fn is_end(kind: &str) -> bool {
    matches!(kind, "run.completed" | "run.failed" | "run.cancelled")
}

/// What a user may see of one run.
#[track_caller]
fn check_course(kinds: &[String], case: &str) {
    let ends = kinds.iter().filter(|kind| is_end(kind)).count();
    assert_eq!(ends, 1, "{case}: {kinds:?}");
    assert!(kinds.last().is_some_and(|kind| is_end(kind)), "{case}: after its end: {kinds:?}");
    assert_eq!(kinds[0], "run.started", "{case}: {kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "run.started").count(), 1, "{case}: {kinds:?}");
    let said = kinds.iter().position(|kind| matches!(kind.as_str(), "chunk" | "thinking"));
    let again = kinds.iter().rposition(|kind| kind == "run.retrying");
    assert!(said.is_none_or(|said| again.is_none_or(|again| again < said)), "{case}: {kinds:?}");
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum Act {
    Cut,
    Complete,
    Stop,
    Say,
}

#[test]
fn every_order_of_death_completion_and_stop_ends_a_run_once() {
    use Act::{Complete, Cut, Say, Stop};
    let acts = [Cut, Complete, Stop, Say];
    let mut cases = 0;
    // The loops that are late: none, the worker's words, or the run's.
    for (nodes, late) in [(1, None), (2, None), (2, Some((1, 0))), (2, Some((0, 1)))] {
        for requeue in [false, true] {
            for code in 0..256_usize {
                let order: Vec<Act> = (0..4).map(|at| acts[code >> (2 * at) & 3]).collect();
                let case = format!("{nodes} {late:?} {requeue} {order:?}");
                let config = if requeue { requeueing() } else { worker_config() };
                let mut world = World::with(nodes, config);
                let ann = world.login(0, "operator", "ann");
                let at = worker(&mut world, usize::from(nodes) - 1, 1);
                let (run, session) = begin_in(&mut world, ann, &Value::Null);
                if let Some((from, to)) = late {
                    world.make_late(from, to);
                }
                let mut is_there = true;
                for act in order {
                    match act {
                        Cut if is_there => {
                            world.cut(at);
                            is_there = false;
                        }
                        Complete if is_there => drop(complete(&mut world, at, &run)),
                        Say if is_there => drop(delta(&mut world, at, &run, "a")),
                        Stop => drop(world.call(ann, "chat.abort", json!({"sessionKey": session}))),
                        Cut | Complete | Say => {}
                    }
                }
                world.bring();
                if is_there {
                    world.cut(at);
                }
                world.advance(SECOND * 30);
                check_course(&kinds(&mut world, ann, &run), &case);
                assert_quiet(&world);
                assert_eq!(link(&mut world, ann)["workers"]["waiting"], 0, "{case}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 4 * 2 * 256);
}

/// What one worker has, by what it was told and what it was answered.
struct Seat {
    concurrency: usize,
    has: BTreeSet<String>,
    is_there: bool,
}

struct Schedule {
    world: World,
    random: Counter,
    users: Vec<usize>,
    seats: BTreeMap<usize, Seat>,
    /// Runs with their sessions and who began them.
    runs: Vec<(String, Value, usize)>,
    /// The kinds of the events of each.
    seen: BTreeMap<String, Vec<String>>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let nodes = 1 + (seed % 3) as u16;
        let mut config = if seed.is_multiple_of(2) { requeueing() } else { worker_config() };
        config.workers[0].wait = SECOND * (seed / 2 % 4) as u32;
        config.workers[0].waiting = 1 + (seed / 8 % 4) as usize;
        config.workers[0].attempts = 1 + (seed / 16 % 3) as u32;
        let mut world = World::with(nodes, config);
        let users = (0..nodes).map(|node| world.login(node.into(), "operator", "ann")).collect();
        let (seats, runs, seen) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { world, random: Counter(seed), users, seats, runs, seen }
    }

    fn below(&mut self, most: usize) -> usize {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        u32::from_be_bytes(bytes) as usize % most.max(1)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    fn step(&mut self) {
        let there: Vec<usize> =
            self.seats.iter().filter(|(_, seat)| seat.is_there).map(|(at, _)| *at).collect();
        match self.below(12) {
            0 | 1 => {
                let user = self.pick(&self.users.clone()).expect("a user");
                let (run, session) = begin_in(&mut self.world, user, &Value::Null);
                self.runs.push((run, session, user));
            }
            2 if there.len() < 4 => {
                let (node, concurrency) = (self.below(self.users.len()), 1 + self.below(3));
                let at = worker(&mut self.world, node, concurrency as u64);
                self.seats.insert(at, Seat { concurrency, has: BTreeSet::new(), is_there: true });
            }
            3 => {
                if let Some(at) = self.pick(&there).filter(|_| self.below(2) == 0) {
                    self.world.cut(at);
                    if let Some(seat) = self.seats.get_mut(&at) {
                        seat.is_there = false;
                        seat.has.clear();
                    }
                }
            }
            4 => {
                if let Some(at) = self.pick(&there) {
                    let method = if self.below(2) == 0 { "agent.drain" } else { "agent.register" };
                    let concurrency = self.seats[&at].concurrency;
                    self.world.call(at, method, json!({"concurrency": concurrency}));
                }
            }
            5 => {
                if let Some((run, session, user)) = self.pick(&self.runs.clone()) {
                    let params = json!({"sessionKey": session, "runId": run});
                    self.world.call(user, "chat.abort", params);
                }
            }
            6 => {
                let time = Duration::from_millis(self.below(6_000) as u64);
                self.world.advance(time);
            }
            7 if self.users.len() > 1 => {
                self.world.bring();
                let (from, to) = (self.below(self.users.len()), self.below(self.users.len()));
                if from != to {
                    self.world.make_late(from, to);
                }
            }
            _ => self.speak(&there),
        }
        self.look();
    }

    /// A worker says something of any run there ever was, most often of one that it has.
    fn speak(&mut self, there: &[usize]) {
        let Some(at) = self.pick(there) else { return };
        let own: Vec<String> = self.seats[&at].has.iter().cloned().collect();
        let any: Vec<String> = self.runs.iter().map(|(run, ..)| run.clone()).collect();
        let from = if self.below(4) > 0 && !own.is_empty() { own.clone() } else { any };
        let Some(run) = self.pick(&from) else { return };
        let methods = ["run.delta", "run.thinking", "run.complete", "run.fail"];
        let method = self.pick(&methods).expect("a method");
        let answer = self.world.call(at, method, json!({"runId": run, "text": "a"}));
        let is_own = own.contains(&run);
        assert_eq!(code(&answer) == "ok", is_own, "{method}: {answer}");
        let is_end = matches!(method, "run.complete" | "run.fail");
        if let Some(seat) = self.seats.get_mut(&at).filter(|_| is_end) {
            seat.has.remove(&run);
        }
    }

    /// Takes what everybody was told.
    fn look(&mut self) {
        for (at, seat) in &mut self.seats {
            // In their order: a place that was taken back may be given again.
            let messages = std::mem::take(&mut self.world.clients[*at].messages);
            for message in messages {
                let run = message["payload"]["runId"].as_str().unwrap_or_default().to_owned();
                match message["event"].as_str() {
                    Some("run.start") => assert!(seat.has.insert(run), "{message}"),
                    Some("run.cancel") => assert!(seat.has.remove(&run), "{message}"),
                    _ => {}
                }
            }
            assert!(seat.has.len() <= seat.concurrency, "{:?}", seat.has);
            if !seat.is_there {
                seat.has.clear();
            }
        }
        let first = self.users.clone();
        for user in first {
            for event in self.world.events(user, "agent") {
                let run = event["runId"].as_str().expect("a run").to_owned();
                let is_own = self.runs.iter().any(|(own, _, by)| *own == run && *by == user);
                if is_own {
                    let kind = event["type"].as_str().expect("a type").to_owned();
                    self.seen.entry(run).or_default().push(kind);
                }
            }
            self.world.clients[user].messages.clear();
        }
    }
}

#[test]
fn each_run_ends_exactly_once_whatever_workers_do() {
    let seeds = match std::env::var("WORKER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..120_u64,
    };
    let (mut ends, mut retries) = (BTreeMap::new(), 0);
    for seed in seeds {
        // It stands in the output of a failure.
        println!("WORKER_SEED={seed}");
        let mut schedule = Schedule::new(seed);
        for _ in 0..120 {
            schedule.step();
        }
        schedule.world.bring();
        let there: Vec<_> = schedule.seats.iter().filter(|(_, seat)| seat.is_there).collect();
        for at in there.into_iter().map(|(at, _)| *at).collect::<Vec<_>>() {
            schedule.world.cut(at);
        }
        schedule.world.advance(SECOND * 60);
        schedule.look();
        for (run, ..) in &schedule.runs {
            let kinds = schedule.seen.get(run).cloned().unwrap_or_default();
            check_course(&kinds, &format!("seed {seed}, {run}"));
            *ends.entry(kinds.last().cloned().unwrap_or_default()).or_insert(0) += 1;
            retries += kinds.iter().filter(|kind| *kind == "run.retrying").count();
        }
        let world = &mut schedule.world;
        assert_quiet(world);
        // All places are free: a worker that comes has nothing to do.
        let at = worker(world, 0, 1);
        assert!(given(world, at).is_empty());
        for user in schedule.users.clone() {
            let workers = link(&mut schedule.world, user)["workers"].clone();
            assert_eq!(
                (&workers["ready"], &workers["active"], &workers["waiting"]),
                (&json!(1), &json!(0), &json!(0)),
                "seed {seed}: {workers}"
            );
        }
    }
    if std::env::var_os("WORKER_SEED").is_none() {
        // What never happens is not tested.
        for end in ["run.completed", "run.failed", "run.cancelled"] {
            assert!(ends.get(end).is_some_and(|count| *count > 50), "{ends:?}");
        }
        assert!(retries > 50, "{retries}");
    }
}
