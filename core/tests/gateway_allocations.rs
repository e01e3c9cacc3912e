//! Counts what a request of a logged-in client allocates.
#![cfg(feature = "gateway")]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/gateway.rs"]
mod world;

use counting::count;
use moorline_core::{Event, gateway};

/// Allocations of a thousand requests, all of them let through, by somebody who chose a name.
fn requests(nodes: u16, rate_limit_rpm: u32) -> usize {
    let mut config = world::config();
    config.rate_limit_rpm = rate_limit_rpm;
    config.bounds.burst = 1_000;
    let mut world = world::World::with(nodes, config);
    let at = world.login(0, "secret", "ann");
    let now = world.now;
    let text = r#"{"type":"req","id":"1","method":"presence.list"}"#;
    let client = &mut world.clients[at];
    let gateway = &mut world.nodes[0];
    let mut ask = |times| {
        let mut published = 0;
        for _ in 0..times {
            let outbox = client.server.outbox(now);
            gateway.handle(now, client.id, Event::Text(text), outbox);
            outbox.written(now, outbox.queued());
            while let Some(action) = gateway.poll_action() {
                published += usize::from(matches!(action, gateway::Action::Publish { .. }));
            }
        }
        published
    };
    ask(10);
    let (published, counts) = count(|| ask(1_000));
    let told = rate_limit_rpm > 0 && nodes > 1;
    assert_eq!(published, if told { 1_000 } else { 0 });
    counts.calls
}

#[test]
fn a_rate_limit_costs_a_request_no_allocation() {
    for nodes in [1, 3] {
        assert_eq!(requests(nodes, 1_000_000), requests(nodes, 0), "{nodes} nodes");
    }
}
