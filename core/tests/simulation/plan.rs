//! What a seed decides about a world before it begins.

use super::guest::{KEEPER, secret};
use super::rng::Rng;
use super::worker::{ATTEMPTS, FAILS, REQUEUES, worker_secret};
use moorline_core::gateway::*;
use std::time::Duration;

pub const USERS: [&str; 3] = ["ann", "bob", "eve"];

/// What the devices of all users log in by.
pub const SECRET: &str = "sesame-of-devices";

/// Texts are not longer than this; an answer that floods is.
pub const LONG: u64 = 3000;
pub const LONGEST_EVENT: usize = 96 * 1024;

#[derive(Debug)]
pub struct Plan {
    /// How many nodes a start has at most.
    pub nodes: u16,
    /// Bounds are never reached, so that nothing may be lost that was promised to stay.
    pub roomy: bool,
    /// Store works that go wrong, in percent, in troubled times.
    pub trouble: u64,
    /// Milliseconds that bytes take.
    pub delay: (u64, u64),
    pub devices: usize,
    /// Clients of the second dialect: a node, who keeps it, and others.
    pub guests: usize,
    /// Programs that answer for the agents of workers.
    pub workers: usize,
    /// Clients of the HTTP API.
    pub callers: usize,
    /// Seconds that a run may wait for one.
    pub wait: u64,
    /// Seconds between what one device does.
    pub pause: (u64, u64),
}

impl Plan {
    pub fn new(nodes: u16, rng: &mut Rng) -> Self {
        let roomy = rng.percent(50);
        Self {
            nodes,
            roomy,
            trouble: [0, 0, 2, 8][rng.index(4)],
            delay: [(0, 1), (1, 30), (5, 300), (20, 1500)][rng.index(4)],
            devices: rng.between(3, 9) as usize,
            guests: rng.between(3, 8) as usize,
            workers: rng.between(1, 5) as usize,
            callers: rng.between(1, 3) as usize,
            wait: [0, 2, 10][rng.index(3)],
            pause: [(1, 4), (1, 20), (5, 40)][rng.index(3)],
        }
    }

    pub fn config(&self) -> GatewayConfig {
        let mut config = GatewayConfig::new("127.0.0.1:18790".parse().expect("an address"));
        let token = |secret: &str, role, user: Option<&str>| Token {
            secret: Secret::new(secret),
            role,
            user: user.map(Into::into),
        };
        config.tokens = vec![
            token(SECRET, Role::Operator, None),
            token(&secret(KEEPER), Role::Admin, Some(KEEPER)),
        ];
        let own = USERS.map(|user| token(&secret(user), Role::Operator, Some(user)));
        config.tokens.extend(own);
        for name in ["stuck", "broken", "flood"] {
            config.agents.push(Agent::new(name, name));
        }
        for (agent, on_lost) in [(FAILS, OnLost::Fail), (REQUEUES, OnLost::Requeue)] {
            config.agents.push(Agent::new(agent, agent));
            let token = Some(Secret::new(&worker_secret(agent)));
            config.workers.push(WorkerBackend {
                on_lost,
                attempts: ATTEMPTS,
                wait: Duration::from_secs(self.wait),
                waiting: if self.roomy { 64 } else { 2 },
                ..WorkerBackend::new(agent, token)
            });
        }
        let bounds = &mut config.bounds;
        bounds.run_within = Duration::from_secs(120);
        if !self.roomy {
            config.limits.outbox = 192 * 1024;
            config.limits.outbox_pause = 16 * 1024;
            bounds.link_bytes = 64 * 1024;
            bounds.link_events = 100;
            bounds.links_bytes = 160 * 1024;
            bounds.detached_links = 3;
            bounds.queued_turns = 3;
            bounds.idempotency_keys = 4;
        }
        config
    }
}
