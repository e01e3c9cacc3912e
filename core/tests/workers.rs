//! Workers: given runs, answering them, lost, stopped and sent away, on one loop and over several.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "support/gateway.rs"]
mod world;

#[path = "support/workers.rs"]
mod workers;

use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use workers::*;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

/// Ann at the first loop, and a worker at the last one.
fn pair(nodes: u16, config: GatewayConfig, concurrency: u64) -> (World, usize, usize) {
    let mut world = World::with(nodes, config);
    let ann = world.login(0, "operator", "ann");
    let at = worker(&mut world, usize::from(nodes) - 1, concurrency);
    (world, ann, at)
}

#[test]
fn a_worker_answers_and_its_user_sees_all_of_it() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let params = json!({"message": "hello", "agentId": "research"});
        let request = world.request(ann, "chat.send", params.clone());
        let start = world.events(at, "run.start").pop().expect("a run");
        let run = start["runId"].as_str().expect("an id").to_owned();
        assert_eq!(start["agentId"], "research");
        assert_eq!((&start["message"], &start["userId"]), (&json!("hello"), &json!("ann")));
        assert_eq!((&start["history"], &start["attempt"]), (&json!([]), &json!(1)));
        let session = start["sessionKey"].clone();
        assert_eq!(link(&mut world, ann)["workers"]["active"], 1);
        let told = [
            ("run.thinking", json!({"runId": run, "text": "hm"})),
            (
                "run.tool",
                json!({"runId": run, "phase": "call", "id": "t1", "name": "find",
                "arguments": {"query": ["a", 1]}}),
            ),
            (
                "run.tool",
                json!({"runId": run, "phase": "result", "id": "t1", "name": "find",
                "result": "42"}),
            ),
            ("run.delta", json!({"runId": run, "text": "the ans"})),
            ("run.delta", json!({"runId": run, "text": "wer"})),
            (
                "run.complete",
                json!({"runId": run, "usage":
                {"prompt_tokens": 7, "completion_tokens": 2}}),
            ),
        ];
        for (method, params) in told {
            let answer = world.call(at, method, params);
            assert_eq!(answer["payload"], json!({}), "{method}: {answer}");
        }
        let answer = world.answer(ann, &request).expect("an answer");
        assert_eq!(answer["payload"]["content"], "the answer", "{answer}");
        assert_eq!(answer["payload"]["usage"]["total_tokens"], 9);
        let events = seen(&mut world, ann, &run);
        let kinds: Vec<_> = events.iter().map(|(kind, _)| kind.as_str()).collect();
        let expected = [
            "run.started",
            "thinking",
            "tool.call",
            "tool.result",
            "chunk",
            "chunk",
            "run.completed",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(events[2].1["arguments"], json!({"query": ["a", 1]}));
        // The next run is told of what was said.
        let mut params = params;
        params["sessionKey"] = session;
        world.request(ann, "chat.send", params);
        let start = world.events(at, "run.start").pop().expect("a run");
        let said: Vec<_> =
            start["history"].as_array().expect("a list").iter().map(|m| &m["content"]).collect();
        assert_eq!(said, ["hello", "the answer"]);
        complete(&mut world, at, start["runId"].as_str().expect("an id"));
        assert_eq!(link(&mut world, ann)["workers"]["active"], 0);
        assert_quiet(&world);
        assert!(world.runs.is_empty(), "the host was given nothing");
    }
}

#[test]
fn what_is_said_without_an_id_is_answered_only_when_it_is_refused() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let run = begin(&mut world, ann);
        world.clients[at].messages.clear();
        for params in [json!({"runId": run, "text": "a"}), json!({"runId": run, "text": ""})] {
            let text = json!({"type": "req", "method": "run.delta", "params": params});
            world.send_text(at, &text.to_string());
        }
        assert!(world.clients[at].messages.is_empty());
        let params = json!({"runId": "no", "text": "a"});
        let text = json!({"type": "req", "method": "run.delta", "params": params});
        world.send_text(at, &text.to_string());
        let refused = world.clients[at].messages.pop_front().expect("a refusal");
        assert_eq!(code(&refused), "NOT_FOUND");
        assert_eq!(refused["error"]["details"]["runId"], "no");
        assert_eq!(kinds(&mut world, ann, &run), ["run.started", "chunk"]);
        // However much it says, it has no requests that wait for an answer.
        for _ in 0..100 {
            let text = json!({"type": "req", "method": "run.delta",
                "params": {"runId": run, "text": "b"}});
            world.send_text(at, &text.to_string());
        }
        assert_eq!(code(&complete(&mut world, at, &run)), "ok");
    }
}

#[test]
fn runs_go_to_the_worker_with_the_least_to_do_and_none_gets_more_than_it_takes() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, hasty());
        let users: Vec<_> =
            (0..nodes).map(|node| world.login(node.into(), "operator", "ann")).collect();
        let small = worker(&mut world, 0, 1);
        let large = worker(&mut world, usize::from(nodes) - 1, 3);
        let mut counts = Vec::new();
        for n in 0..4 {
            begin(&mut world, users[n % users.len()]);
            counts.push((given(&mut world, small).len(), given(&mut world, large).len()));
        }
        counts.sort_unstable();
        assert_eq!(counts, [(0, 1), (0, 1), (0, 1), (1, 0)], "{nodes}");
        assert_eq!(
            link(&mut world, users[0])["workers"],
            json!({"ready": 2, "draining": 0, "active": 4, "concurrency": 4, "waiting": 0})
        );
        let params = json!({"message": "one more", "agentId": "research"});
        let request = world.request(users[0], "chat.send", params);
        world.advance(Duration::ZERO);
        let answer = world.answer(users[0], &request).expect("an answer");
        assert_eq!(code(&answer), "RESOURCE_EXHAUSTED", "{answer}");
        assert_eq!(answer["error"]["retryAfterMs"], 1000);
    }
}

#[test]
fn several_workers_share_and_take_turns() {
    for nodes in [1, 2] {
        let mut world = World::with(nodes, worker_config());
        let ann = world.login(0, "operator", "ann");
        let all: Vec<_> = (0..3).map(|n| worker(&mut world, n % usize::from(nodes), 8)).collect();
        let mut turns = Vec::new();
        for _ in 0..6 {
            // Each is done before the next comes: all have nothing to do.
            let run = begin(&mut world, ann);
            let has: Vec<_> =
                all.iter().copied().filter(|at| !given(&mut world, *at).is_empty()).collect();
            assert_eq!(has.len(), 1);
            complete(&mut world, has[0], &run);
            turns.push(has[0]);
        }
        assert_eq!(turns[..3], turns[3..]);
        assert_eq!(turns[..3].iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }
}

// --- no worker -----------------------------------------------------------------------------------------

/// What each loop tells its host of the agent `research`, for metrics.
fn told_to_host(world: &World) -> Vec<AgentLink> {
    let links = world.nodes.iter().flat_map(Gateway::agent_links);
    links.filter(|(agent, _)| *agent == "research").map(|(_, link)| link).collect()
}

#[test]
fn without_a_worker_a_run_fails_at_once_and_says_when_to_come_again() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, hasty());
        let ann = world.login(0, "operator", "ann");
        let params = json!({"message": "hello", "agentId": "research"});
        let request = world.request(ann, "chat.send", params);
        world.advance(Duration::ZERO);
        let answer = world.answer(ann, &request).expect("an answer");
        assert_eq!(code(&answer), "UNAVAILABLE", "{answer}");
        assert_eq!(answer["error"]["retryable"], true);
        assert_eq!(answer["error"]["retryAfterMs"], 5000);
        assert!(message(&answer).contains("no worker of the agent is connected"), "{answer}");
        assert_eq!(link(&mut world, ann)["state"], "down");
        assert_eq!(told_to_host(&world), [AgentLink::Down; 3][..usize::from(nodes)]);
        let at = worker(&mut world, usize::from(nodes) - 1, 1);
        assert_eq!(link(&mut world, ann)["state"], "up");
        assert_eq!(told_to_host(&world), [AgentLink::Up; 3][..usize::from(nodes)]);
        world.cut(at);
        assert_eq!(link(&mut world, ann)["state"], "down");
        assert_eq!(told_to_host(&world), [AgentLink::Down; 3][..usize::from(nodes)]);
        assert_quiet(&world);
    }
}

#[test]
fn a_run_waits_for_a_worker_as_long_as_it_may() {
    for nodes in [1, 3] {
        for (come_after, served) in [(9_999, true), (10_000, false)] {
            let mut world = World::with(nodes, worker_config());
            let ann = world.login(0, "operator", "ann");
            let run = begin(&mut world, ann);
            world.advance(Duration::from_millis(come_after));
            let at = worker(&mut world, usize::from(nodes) - 1, 1);
            assert_eq!(given(&mut world, at).len(), usize::from(served), "{come_after}");
            let expected: &[&str] =
                if served { &["run.started"] } else { &["run.started", "run.failed"] };
            assert_eq!(kinds(&mut world, ann, &run), expected);
        }
    }
}

#[test]
fn runs_that_wait_are_served_in_their_order_and_no_more_wait_than_may() {
    for nodes in [1, 3] {
        let mut config = worker_config();
        config.workers[0].waiting = 3;
        let (mut world, ann, at) = pair(nodes, config, 1);
        let first = begin(&mut world, ann);
        assert_eq!(given(&mut world, at), [first.as_str()]);
        let waiting: Vec<_> = (0..3).map(|_| begin(&mut world, ann)).collect();
        assert_eq!(link(&mut world, ann)["workers"]["waiting"], 3);
        let fourth = begin(&mut world, ann);
        world.advance(Duration::ZERO);
        let events = seen(&mut world, ann, &fourth);
        assert_eq!(events.last().expect("an end").1["code"], "RESOURCE_EXHAUSTED");
        let mut last = first;
        for run in waiting {
            assert_eq!(code(&complete(&mut world, at, &last)), "ok");
            assert_eq!(given(&mut world, at), [run.as_str()]);
            last = run;
        }
        complete(&mut world, at, &last);
        assert_quiet(&world);
    }
}

#[test]
fn who_stops_waiting_leaves_the_queue() {
    for nodes in [1, 3] {
        let mut world = World::with(nodes, worker_config());
        let ann = world.login(0, "operator", "ann");
        let (stopped, session) = begin_in(&mut world, ann, &Value::Null);
        let stays = begin(&mut world, ann);
        world.call(ann, "chat.abort", json!({"sessionKey": session, "runId": stopped}));
        let at = worker(&mut world, usize::from(nodes) - 1, 8);
        assert_eq!(given(&mut world, at), [stays.as_str()]);
        complete(&mut world, at, &stays);
        assert_quiet(&world);
    }
}

// --- lost workers --------------------------------------------------------------------------------------

#[test]
fn the_run_of_a_lost_worker_fails_unless_it_may_be_given_to_another() {
    for nodes in [1, 3] {
        for (requeue, said, again) in
            [(false, false, false), (true, false, true), (true, true, false)]
        {
            let config = if requeue { requeueing() } else { worker_config() };
            let (mut world, ann, first) = pair(nodes, config, 1);
            let second = worker(&mut world, 0, 1);
            let run = begin(&mut world, ann);
            let (has, other) = match given(&mut world, first).is_empty() {
                false => (first, second),
                true => (second, first),
            };
            if said {
                delta(&mut world, has, &run, "well");
            }
            world.cut(has);
            let case = format!("{nodes} {requeue} {said}");
            assert_eq!(given(&mut world, other).len(), usize::from(again), "{case}");
            let events = seen(&mut world, ann, &run);
            let (kind, payload) = events.last().expect("an event");
            if again {
                assert_eq!(kind, "run.retrying", "{case}");
                assert_eq!((&payload["attempt"], &payload["maxAttempts"]), (&json!(2), &json!(3)));
                complete(&mut world, other, &run);
                assert_eq!(kinds(&mut world, ann, &run), ["run.completed"]);
            } else {
                assert_eq!(kind, "run.failed", "{case}");
                assert_eq!(payload["code"], "UNAVAILABLE");
                assert!(payload["retryAfterMs"].is_u64(), "{payload}");
            }
            let lost = |fact: &&Fact| matches!(fact, Fact::RunLost { .. });
            let facts: Vec<_> = world.facts.iter().filter(lost).collect();
            assert!(
                matches!(facts[..], [Fact::RunLost { attempt: 1, again: a, .. }] if *a == again)
            );
            assert_quiet(&world);
        }
    }
}

#[test]
fn a_run_that_loses_all_its_workers_fails_after_its_attempts() {
    for nodes in [1, 3] {
        let (mut world, ann, mut at) = pair(nodes, requeueing(), 1);
        let run = begin(&mut world, ann);
        for attempt in 1..=3 {
            let start = world.events(at, "run.start").pop().expect("the run");
            assert_eq!(start["attempt"], attempt);
            world.cut(at);
            at = worker(&mut world, usize::from(nodes) - 1, 1);
        }
        assert!(given(&mut world, at).is_empty());
        let expected = ["run.started", "run.retrying", "run.retrying", "run.failed"];
        assert_eq!(kinds(&mut world, ann, &run), expected);
        assert_quiet(&world);
    }
}

#[test]
fn a_worker_that_falls_silent_is_lost() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let run = begin(&mut world, ann);
        world.clients[at].mute = true;
        world.advance(SECOND * 120);
        let events = kinds(&mut world, ann, &run);
        assert_eq!(events.last().map(String::as_str), Some("run.failed"));
        assert_eq!(link(&mut world, ann)["state"], "down");
    }
}

#[test]
fn what_was_offered_to_the_login_before_is_not_given_to_the_next_one() {
    for (requeue, offers) in [(true, 2), (false, 1)] {
        let config = if requeue { requeueing() } else { worker_config() };
        let (mut world, ann, at) = pair(2, config, 2);
        world.make_late(0, 1);
        let run = begin(&mut world, ann);
        // The offer is on its way, and the worker logs in anew on its connection.
        world.call(at, "connect", json!({"token": "research-token", "role": "agent"}));
        world.call(at, "agent.register", json!({"concurrency": 2}));
        world.bring();
        let given = given(&mut world, at);
        assert_eq!(given.len(), offers - 1, "{requeue}: {given:?}");
        if requeue {
            assert_eq!(code(&complete(&mut world, at, &run)), "ok");
        }
        let expected: &[&str] = match requeue {
            true => &["run.started", "run.retrying", "run.completed"],
            false => &["run.started", "run.failed"],
        };
        assert_eq!(kinds(&mut world, ann, &run), expected);
        assert_eq!(link(&mut world, ann)["workers"]["active"], 0, "{requeue}");
        assert_quiet(&world);
    }
}

#[test]
fn a_run_is_not_given_again_to_a_worker_whose_loop_was_late() {
    let (mut world, ann, at) = pair(2, requeueing(), 1);
    world.make_late(0, 1);
    let run = begin(&mut world, ann);
    // The offer is on its way for longer than a call may take.
    world.advance(Duration::from_secs(11));
    world.bring();
    assert!(given(&mut world, at).len() <= 1);
    let next = worker(&mut world, 0, 1);
    assert_eq!(given(&mut world, next), [run.as_str()]);
    // What the first one still says of it is not taken for the second one's.
    assert_ne!(code(&delta(&mut world, at, &run, "late")), "ok");
    assert_eq!(code(&complete(&mut world, next, &run)), "ok");
    assert_eq!(kinds(&mut world, ann, &run), ["run.started", "run.retrying", "run.completed"]);
    assert_quiet(&world);
}

#[test]
fn a_run_that_waits_for_another_worker_keeps_nobody_waiting() {
    let (mut world, ann, at) = pair(2, requeueing(), 1);
    world.make_late(0, 1);
    begin(&mut world, ann);
    world.advance(Duration::from_secs(11));
    world.bring();
    given(&mut world, at);
    let [second, third] = [(); 2].map(|()| begin(&mut world, ann));
    assert_eq!(given(&mut world, at), [second.as_str()]);
    assert_eq!(code(&complete(&mut world, at, &second)), "ok");
    assert_eq!(given(&mut world, at), [third.as_str()]);
    assert_eq!(code(&complete(&mut world, at, &third)), "ok");
}

#[test]
fn a_loop_that_begins_anew_loses_its_workers_and_its_runs() {
    let config = requeueing();
    let (mut world, ann, there) = pair(2, config.clone(), 1);
    let run = begin(&mut world, ann);
    assert_eq!(given(&mut world, there).len(), 1);
    // The worker's loop: the run is given to another one.
    world.restart(1, config.clone());
    let at = worker(&mut world, 1, 2);
    assert_eq!(given(&mut world, at), [run.as_str()]);
    // The run's own loop: its worker is told, and has room again.
    world.restart(0, config);
    assert_eq!(world.events(at, "run.cancel"), [json!({"runId": run, "reason": "lost"})]);
    let ann = world.login(0, "operator", "ann");
    assert_eq!(link(&mut world, ann)["workers"]["active"], 0);
    let run = begin(&mut world, ann);
    assert_eq!(given(&mut world, at), [run.as_str()]);
}

#[test]
fn a_loop_that_does_not_answer_an_offer_has_lost_it() {
    let (mut world, ann, there) = pair(2, requeueing(), 1);
    world.make_late(0, 1);
    let run = begin(&mut world, ann);
    assert!(given(&mut world, there).is_empty());
    let here = worker(&mut world, 0, 1);
    world.advance(SECOND * 11);
    assert_eq!(given(&mut world, here), [run.as_str()]);
    // The bus brings it after all, and that it is not wanted.
    world.bring();
    assert_eq!(given(&mut world, there), [run.as_str()]);
    assert_eq!(world.events(there, "run.cancel").len(), 1);
    assert_eq!(code(&complete(&mut world, there, &run)), "FAILED_PRECONDITION");
    assert_eq!(code(&complete(&mut world, here, &run)), "ok");
    assert_eq!(kinds(&mut world, ann, &run), ["run.started", "run.retrying", "run.completed"]);
}

// --- draining ------------------------------------------------------------------------------------------

#[test]
fn a_worker_that_drains_ends_what_it_has_and_is_given_nothing() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 4);
        let run = begin(&mut world, ann);
        given(&mut world, at);
        let answer = world.call(at, "agent.drain", json!({}));
        assert_eq!(answer["payload"], json!({"active": 1}));
        assert_eq!(link(&mut world, ann)["state"], "down");
        assert_eq!(link(&mut world, ann)["workers"]["draining"], 1);
        let waits = begin(&mut world, ann);
        assert!(given(&mut world, at).is_empty());
        assert_eq!(code(&complete(&mut world, at, &run)), "ok");
        assert!(given(&mut world, at).is_empty());
        // It may change its mind.
        world.call(at, "agent.register", json!({"concurrency": 4}));
        assert_eq!(given(&mut world, at), [waits.as_str()]);
    }
}

#[test]
fn a_gateway_that_drains_lets_workers_end_their_runs() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let run = begin(&mut world, ann);
        let now = world.now;
        for node in &mut world.nodes {
            node.drain(now, &Drain::stop("stopping"));
        }
        world.settle();
        assert_eq!(world.events(at, "shutdown").len(), 1);
        assert_eq!(world.clients[at].closed, None);
        assert_eq!(code(&delta(&mut world, at, &run, "so")), "ok");
        let again = world.call(at, "agent.register", json!({}));
        assert_eq!(code(&again), "UNAVAILABLE");
        assert_eq!(code(&complete(&mut world, at, &run)), "ok");
        let events = kinds(&mut world, ann, &run);
        assert_eq!(events, ["run.started", "chunk", "run.completed"]);
        world.advance(SECOND);
        assert!(world.nodes.iter().all(Gateway::is_drained));
        assert_eq!(world.clients[at].closed.as_ref().map(|(code, _)| *code), Some(1001));
    }
}

#[test]
fn a_run_that_does_not_end_in_time_is_stopped_when_the_gateway_drains() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let run = begin(&mut world, ann);
        let now = world.now;
        for node in &mut world.nodes {
            node.drain(now, &Drain::stop("stopping"));
        }
        world.advance(SECOND * 15);
        assert_eq!(world.events(at, "run.cancel"), [json!({"runId": run, "reason": "shutdown"})]);
        assert!(world.nodes.iter().all(Gateway::is_drained));
    }
}

// --- what is said too late, twice or of others' runs --------------------------------------------------------

#[test]
fn the_first_end_counts_and_whatever_comes_later_is_told_so() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let ends = [
            ("run.complete", json!({"content": "yes"}), "completed"),
            ("run.fail", json!({"message": "no"}), "failed"),
        ];
        for (method, params, how) in ends {
            let run = begin(&mut world, ann);
            let mut params = params;
            params["runId"] = run.clone().into();
            assert_eq!(code(&world.call(at, method, params.clone())), "ok");
            for (method, _, _) in [("run.complete", 0, 0), ("run.fail", 0, 0), ("run.delta", 0, 0)]
            {
                let later = json!({"runId": run, "text": "more"});
                let refused = world.call(at, method, later);
                assert_eq!(code(&refused), "FAILED_PRECONDITION", "{refused}");
                assert!(message(&refused).ends_with(how), "{refused}");
            }
            let events = kinds(&mut world, ann, &run);
            assert_eq!(events, ["run.started", &format!("run.{how}")]);
        }
    }
}

#[test]
fn a_run_that_is_stopped_is_cancelled_and_its_place_is_free() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let (run, session) = begin_in(&mut world, ann, &Value::Null);
        let next = begin(&mut world, ann);
        assert_eq!(given(&mut world, at), [run.as_str()]);
        world.call(ann, "chat.abort", json!({"sessionKey": session}));
        assert_eq!(world.events(at, "run.cancel"), [json!({"runId": run, "reason": "stopped"})]);
        assert_eq!(given(&mut world, at), [next.as_str()]);
        let late = delta(&mut world, at, &run, "but");
        assert_eq!(code(&late), "FAILED_PRECONDITION");
        assert!(message(&late).ends_with("cancelled"), "{late}");
        assert_eq!(kinds(&mut world, ann, &run), ["run.started", "run.cancelled"]);
    }
}

#[test]
fn a_run_that_takes_too_long_is_cancelled() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let run = begin(&mut world, ann);
        world.advance(SECOND * 60 * 30);
        assert_eq!(world.events(at, "run.cancel"), [json!({"runId": run, "reason": "timeout"})]);
        let events = seen(&mut world, ann, &run);
        assert_eq!(events.last().expect("an end").1["code"], "AGENT_TIMEOUT");
    }
}

#[test]
fn another_workers_runs_are_not_touched() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, worker_config(), 1);
        let run = begin(&mut world, ann);
        given(&mut world, at);
        for node in 0..usize::from(nodes) {
            let other = worker(&mut world, node, 1);
            let expected = if node == usize::from(nodes) - 1 { "FORBIDDEN" } else { "NOT_FOUND" };
            for method in ["run.delta", "run.complete", "run.fail", "run.thinking"] {
                let params = json!({"runId": run, "text": "mine", "content": "mine"});
                let refused = world.call(other, method, params);
                assert_eq!(code(&refused), expected, "{refused}");
            }
        }
        assert_eq!(kinds(&mut world, ann, &run), ["run.started"]);
        assert_eq!(code(&complete(&mut world, at, &run)), "ok");
    }
}

#[test]
fn a_worker_that_comes_again_has_none_of_its_old_runs() {
    for nodes in [1, 3] {
        let (mut world, ann, at) = pair(nodes, requeueing(), 1);
        let run = begin(&mut world, ann);
        world.cut(at);
        let other = worker(&mut world, 0, 1);
        assert_eq!(given(&mut world, other), [run.as_str()]);
        let again = worker(&mut world, usize::from(nodes) - 1, 1);
        let refused = delta(&mut world, again, &run, "as I said");
        let expected = if nodes == 1 { "FORBIDDEN" } else { "NOT_FOUND" };
        assert_eq!(code(&refused), expected);
    }
}

#[test]
fn a_workers_failure_reaches_the_user_with_its_code_and_its_time() {
    for (given_code, expected) in [
        (json!("RESOURCE_EXHAUSTED"), "RESOURCE_EXHAUSTED"),
        (json!("UNAVAILABLE"), "UNAVAILABLE"),
        (json!("INVALID_REQUEST"), "INVALID_REQUEST"),
        // Of the client's own link only the gateway speaks.
        (json!("UNAUTHORIZED"), "INTERNAL"),
        (json!("MODEL_OVERLOADED"), "INTERNAL"),
        (Value::Null, "INTERNAL"),
    ] {
        let (mut world, ann, at) = pair(2, worker_config(), 1);
        let params = json!({"message": "hello", "agentId": "research"});
        let request = world.request(ann, "chat.send", params);
        let run = given(&mut world, at).pop().expect("a run");
        let params = json!({"runId": run, "code": given_code, "message": "too much",
            "retryAfterMs": 1234});
        assert_eq!(code(&world.call(at, "run.fail", params)), "ok");
        let answer = world.answer(ann, &request).expect("an answer");
        assert_eq!(code(&answer), expected, "{answer}");
        assert!(message(&answer).contains("too much"), "{answer}");
        assert_eq!(answer["error"]["retryAfterMs"], 1234);
    }
}
