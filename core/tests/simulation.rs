//! The whole gateway in virtual time, from one seed: nodes on a bus, connections of both roles over a
//! bad network, users with devices, with clients of the second dialect and with those of the HTTP API, machines that
//! do what they are told, workers that answer for agents and are lost, a store with troubles, restarts with and
//! without a drain.
//!
//! `MOORLINE_SIM_SEED=<seed>` replays a failure, `MOORLINE_SIM_HOURS=<n>` simulates so many hours.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/epoch.rs"]
mod epoch;
#[path = "support/signing.rs"]
mod signing;
#[path = "simulation"]
mod simulation {
    pub mod acts;
    pub mod caller;
    pub mod caller_acts;
    pub mod caller_news;
    pub mod checks;
    pub mod course;
    pub mod device;
    pub mod guest;
    pub mod guest_acts;
    pub mod guest_news;
    pub mod guest_reader;
    pub mod host;
    pub mod http_reader;
    pub mod ledger;
    pub mod news;
    pub mod pipe;
    pub mod plan;
    pub mod reader;
    pub mod restart;
    pub mod rng;
    pub mod store;
    pub mod story;
    pub mod wire;
    pub mod work;
    pub mod worker;
    pub mod worker_acts;
    pub mod worker_news;
    pub mod world;
}

use simulation::course::{Outcome, run};

/// Hours of one world.
const HOURS: u64 = 10;

/// Hours of each test, if nobody wants more.
const NORMAL: u64 = 300;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The seeds of a test; that of a failure alone, if there is one to be replayed.
fn seeds(first: u64) -> Vec<u64> {
    match variable("MOORLINE_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let hours = variable("MOORLINE_SIM_HOURS").map_or(NORMAL, |hours| hours / 2);
            (first..first + hours.div_ceil(HOURS)).collect()
        }
    }
}

/// Runs all seeds and shows that the worlds were worth running.
fn run_all(nodes: u16, first: u64) {
    let seeds = seeds(first);
    let mut all = Vec::new();
    for seed in &seeds {
        all.push(run(nodes, *seed, HOURS).seen);
    }
    let sum = |of: fn(&simulation::world::Seen) -> u64| all.iter().map(of).sum::<u64>();
    let (worlds, hours) = (seeds.len() as u64, seeds.len() as u64 * HOURS);
    let seen = [
        ("acknowledged", sum(|seen| seen.acknowledged as u64), 20 * worlds),
        ("events", sum(|seen| seen.events), 100 * worlds),
        ("runs put together", sum(|seen| seen.whole), 10 * worlds),
        ("resumed", sum(|seen| seen.resumed), 5 * worlds),
        ("gaps", sum(|seen| seen.gaps), worlds),
        ("pings", sum(|seen| seen.pings), 60 * hours),
        ("connections", sum(|seen| seen.connections), 50 * worlds),
        ("drains", sum(|seen| seen.drains), worlds),
        ("crashes", sum(|seen| seen.crashes), worlds / 2),
        ("given up", sum(|seen| seen.given_up), worlds / 30),
        ("logins of guests", sum(|seen| seen.guests), 30 * worlds),
        ("by device tokens", sum(|seen| seen.guests_by_token), 10 * worlds),
        ("events of guests", sum(|seen| seen.guest_events), 100 * worlds),
        ("runs told to guests", sum(|seen| seen.guest_whole), 10 * worlds),
        ("missed by guests", sum(|seen| seen.guest_missed), worlds / 10),
        ("guests given up", sum(|seen| seen.guests_given_up), worlds / 10),
        ("second answers", sum(|seen| seen.second_answers), 3 * worlds),
        ("done by nodes", sum(|seen| seen.invoked), 3 * worlds),
        ("not done by nodes", sum(|seen| seen.not_invoked), 3 * worlds),
        ("logins of workers", sum(|seen| seen.workers), 10 * worlds),
        ("given to workers", sum(|seen| seen.given), 10 * worlds),
        ("given once more", sum(|seen| seen.given_again), worlds / 3),
        ("taken from workers", sum(|seen| seen.cancelled), worlds / 3),
        ("answers over HTTP", sum(|seen| seen.http_calls), 10 * worlds),
        ("completions", sum(|seen| seen.http_whole), 3 * worlds),
        ("errors over HTTP", sum(|seen| seen.http_errors), worlds),
        ("answers cut off", sum(|seen| seen.http_cut), worlds),
        ("callers who left", sum(|seen| seen.http_left), worlds),
    ];
    println!("{nodes} node(s), {worlds} worlds, {hours} hours: {seen:?}");
    if worlds >= 30 {
        for (what, count, least) in seen {
            assert!(count >= least, "only {count} {what}, and {least} were to be expected");
        }
    }
}

#[test]
fn one_node_keeps_its_promises() {
    run_all(1, 1_000);
}

#[test]
fn three_nodes_keep_their_promises() {
    run_all(3, 2_000);
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for (nodes, seed) in [(1, 7), (3, 8)] {
        let [one, two] = [(); 2].map(|()| run(nodes, seed, 3));
        let trace = |outcome: &Outcome| (outcome.hash, outcome.steps);
        assert_eq!(trace(&one), trace(&two));
        assert_ne!(trace(&one), trace(&run(nodes, seed + 100, 3)));
    }
}
