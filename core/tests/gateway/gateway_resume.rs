//! Links: what a client missed comes when it comes back, in order, each event once; or it is told.
//! The support checks the numbers of all events that any client gets.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::{Drain, Fact, Gateway};
use serde_json::{Value, json};
use std::time::Duration;
use world::{World, code, config};

const SECOND: Duration = Duration::from_secs(1);

/// What the chunks of a run say together; pieces that were said already must be the same.
fn text(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events.iter().filter(|event| event["type"] == "chunk") {
        let content = event["payload"]["content"].as_str().expect("a text");
        let offset = event["payload"]["offset"].as_u64().expect("a number") as usize;
        assert_eq!(offset, text.len(), "nothing is missing and nothing comes twice");
        text.push_str(content);
    }
    text
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn say(world: &mut World, at: usize, message: &str) -> String {
    let answer = world.call(at, "chat.send", json!({"message": message, "ack": true}));
    answer["payload"]["sessionKey"].as_str().expect("a key").into()
}

#[test]
fn what_was_missed_comes_at_once_and_in_order() {
    for (nodes, back) in [(1, 0), (3, 0), (3, 1)] {
        let mut world = World::new(nodes);
        let ann = world.login(0, "operator", "ann");
        say(&mut world, ann, "one two three four");
        world.advance(Duration::from_millis(50));
        let before = world.events(ann, "agent");
        assert_eq!(types(&before), ["run.started", "chunk", "chunk"]);
        world.cut(ann);
        world.advance(SECOND * 100);
        let (again, resume) = world.resume(back, ann, "operator", "ann");
        assert_eq!((&resume["resumed"], &resume["gap"]), (&json!(true), &json!(false)));
        let missed = world.events(again, "agent");
        // What was said while nobody listened is one piece.
        assert_eq!(types(&missed), ["chunk", "run.completed"]);
        assert_eq!(resume["replayed"], 2);
        let all: Vec<_> = before.into_iter().chain(missed).collect();
        assert_eq!(text(&all), "one two three four");
        // Who is connected is told anew, and life goes on at whichever node.
        world.advance(SECOND * 2);
        let presence = world.events(again, "presence");
        assert_eq!(presence.last().expect("an event")["total"], 1);
        say(&mut world, again, "and on");
        world.advance(SECOND);
        assert_eq!(text(&world.events(again, "agent")), "and on");
        let resumed = |fact: &Fact| matches!(fact, Fact::Resumed { gap: false, replayed: 2, .. });
        assert!(world.facts.iter().any(resumed));
    }
}

#[test]
fn a_cut_at_any_moment_loses_nothing_and_doubles_nothing() {
    let message = "a message of some words that takes the agent a while to say";
    for nodes in [1, 3] {
        for moment in 0..35 {
            let mut world = World::new(nodes);
            let mut at = world.login(0, "operator", "ann");
            say(&mut world, at, message);
            let mut all = Vec::new();
            for cut in 0..3 {
                world.advance(Duration::from_millis(moment * 10));
                // What has arrived has arrived; what is on its way is lost.
                all.extend(world.events(at, "agent"));
                world.cut(at);
                world.advance(Duration::from_millis(moment * 3));
                let node = (moment as usize + cut) % usize::from(nodes);
                let (again, resume) = world.resume(node, at, "operator", "ann");
                assert_eq!(resume["resumed"], true, "{moment}");
                at = again;
            }
            world.advance(SECOND * 3);
            all.extend(world.events(at, "agent"));
            assert_eq!(text(&all), message, "moment {moment}");
            let ends: Vec<_> = all.iter().filter(|event| event["type"] != "chunk").collect();
            assert_eq!(ends.len(), 2, "{ends:?}");
        }
    }
}

#[test]
fn events_on_their_way_are_sent_again() {
    let mut world = World::new(1);
    let ann = world.login(0, "operator", "ann");
    world.clients[ann].stalled = true;
    say_blind(&mut world, ann, "one two three");
    world.advance(SECOND);
    assert!(world.events(ann, "agent").is_empty());
    world.cut(ann);
    let (again, resume) = world.resume(0, ann, "operator", "ann");
    assert_eq!(resume["resumed"], true);
    let events = world.events(again, "agent");
    assert_eq!(text(&events), "one two three");
    assert_eq!(types(&events).last(), Some(&"run.completed"));
}

/// The client does not read, so there is no answer.
fn say_blind(world: &mut World, at: usize, message: &str) {
    world.request(at, "chat.send", json!({"message": message, "ack": true}));
}

#[test]
fn a_socket_that_looks_alive_is_taken_over() {
    for (nodes, back) in [(1, 0), (3, 2)] {
        let mut world = World::new(nodes);
        let old = world.login(0, "operator", "ann");
        say(&mut world, old, "one two three");
        let token = world.clients[old].resume.clone();
        let (new, resume) = world.resume(back, old, "operator", "ann");
        assert_eq!(resume["resumed"], true);
        assert_eq!(world.clients[old].closed, Some((1008, "resumed elsewhere".into())));
        assert_ne!(world.clients[new].resume, token, "a token is good once");
        world.advance(SECOND);
        assert_eq!(types(&world.events(new, "agent")).last(), Some(&"run.completed"));
        // And back again, where another node's link serves the socket.
        let (third, resume) = world.resume(0, new, "operator", "ann");
        assert_eq!(resume["resumed"], true);
        assert_eq!(world.clients[new].closed, Some((1008, "resumed elsewhere".into())));
        world.clients[third].resume = token;
        world.cut(third);
        let (_, resume) = world.resume(0, third, "operator", "ann");
        assert_eq!((&resume["resumed"], &resume["gap"]), (&json!(false), &json!(true)));
    }
}

#[test]
fn a_link_is_its_principals_own() {
    for back in [0, 1] {
        let mut world = World::new(2);
        let ann = world.login(0, "operator", "ann");
        say(&mut world, ann, "a secret of mine");
        world.cut(ann);
        world.advance(SECOND);
        let (eve, resume) = world.resume(back, ann, "operator", "eve");
        assert_eq!((&resume["resumed"], &resume["gap"]), (&json!(false), &json!(true)));
        // The same user in a lower role would see what that role was not given.
        let (viewer, resume) = world.resume(back, ann, "viewer", "ann");
        assert_eq!(resume["resumed"], false);
        world.advance(SECOND * 2);
        for at in [eve, viewer] {
            assert!(world.events(at, "agent").is_empty());
        }
        let (again, resume) = world.resume(back, ann, "operator", "ann");
        assert_eq!(resume["resumed"], true, "a stranger's try takes nothing away");
        assert_eq!(text(&world.events(again, "agent")), "a secret of mine");
    }
}

#[test]
fn a_link_waits_as_long_as_it_says() {
    for (wait, resumed) in [(119_999, true), (120_000, false)] {
        let mut world = World::new(1);
        let ann = world.login(0, "operator", "ann");
        world.cut(ann);
        world.advance(Duration::from_millis(wait));
        let (_, resume) = world.resume(0, ann, "operator", "ann");
        assert_eq!(
            (resume["resumed"].as_bool(), resume["gap"].as_bool()),
            (Some(resumed), Some(!resumed))
        );
        assert_eq!(resume["windowMs"], 120_000);
    }
}

#[test]
fn what_does_not_fit_is_a_gap_that_is_told() {
    for (limit, resumed) in [(13_000, true), (8_000, false)] {
        let mut config = config();
        config.bounds.link_bytes = limit;
        let mut world = World::with(1, config);
        let ann = world.login(0, "operator", "ann");
        let other = world.login(0, "operator", "ann");
        world.cut(ann);
        for _ in 0..4 {
            say(&mut world, other, &"word ".repeat(200));
            world.advance(SECOND * 10);
        }
        let (again, resume) = world.resume(0, ann, "operator", "ann");
        assert_eq!(resume["resumed"], resumed, "{limit}");
        assert_eq!(resume["gap"], !resumed);
        let events = world.events(again, "agent");
        let ends = types(&events).iter().filter(|kind| **kind == "run.completed").count();
        assert_eq!(ends, if resumed { 4 } else { 0 });
        let lagged = world.events(again, "lagged");
        assert_eq!(lagged.is_empty(), !resumed, "pieces that a later event repeats made room");
    }
}

#[test]
fn a_goodbye_a_logout_and_nonsense_leave_no_link() {
    let mut world = World::new(1);
    let ann = world.login(0, "operator", "ann");
    let now = world.now;
    world.clients[ann].client.close(now, moorline_core::CloseCode::NORMAL, "");
    world.advance(SECOND);
    let (_, resume) = world.resume(0, ann, "operator", "ann");
    assert_eq!(resume["resumed"], false);

    let bob = world.login(0, "operator", "bob");
    assert_eq!(code(&world.call(bob, "connect", json!({"token": "wrong"}))), "UNAUTHORIZED");
    let (_, resume) = world.resume(0, bob, "operator", "bob");
    assert_eq!(resume["resumed"], false);

    let at = world.open(0);
    let mut connect = |resume: Value| {
        let params = json!({"token": "operator", "user_id": "ann", "resume": resume});
        world.call(at, "connect", params)
    };
    for wrong in [json!("x"), json!([]), json!({}), json!({"token": "0-1"}), json!({"lastSeq": 1})]
    {
        assert_eq!(code(&connect(wrong.clone())), "INVALID_REQUEST", "{wrong}");
    }
    for gone in ["nonsense", "0-00000000000000000000000000000000", "7-00"] {
        let answer = connect(json!({"token": gone, "lastSeq": 0}));
        assert_eq!(answer["payload"]["resume"]["gap"], true, "{gone}");
    }
    assert_eq!(connect(Value::Null)["payload"]["resume"]["gap"], false);
}

#[test]
fn numbers_that_were_never_given_are_a_gap() {
    let mut world = World::new(1);
    let ann = world.login(0, "operator", "ann");
    world.cut(ann);
    world.clients[ann].seq += 7;
    let (_, resume) = world.resume(0, ann, "operator", "ann");
    assert_eq!((&resume["resumed"], &resume["gap"]), (&json!(false), &json!(true)));
}

#[test]
fn who_comes_late_gets_the_run_so_far_in_one_piece() {
    let message = "a message of some words that takes a while";
    for moment in 0..20 {
        let mut world = World::new(3);
        let first = world.login(0, "operator", "ann");
        say(&mut world, first, message);
        world.advance(Duration::from_millis(moment * 12));
        let late: Vec<_> = (0..3).map(|node| world.login(node, "operator", "ann")).collect();
        world.advance(SECOND);
        for at in late {
            let events = world.events(at, "agent");
            if events.is_empty() {
                // The run was over.
                assert!(moment > 10);
                continue;
            }
            assert_eq!(text(&events), message);
            let kinds = types(&events);
            assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("run.started", "run.completed"));
            let starts = kinds.iter().filter(|kind| **kind == "run.started").count();
            assert_eq!(starts, 1);
        }
    }
}

#[test]
fn a_slow_reader_gets_merged_pieces_and_the_newest_presence() {
    for back in [0, 1] {
        let mut world = World::new(2);
        let first = world.login(0, "operator", "ann");
        let (slow, _) = world.resume(back, first, "operator", "ann");
        let fast = world.login(0, "operator", "ann");
        world.advance(SECOND);
        world.events(slow, "presence");
        world.clients[slow].stalled = true;
        // More than the window: the rest waits in the ring.
        let word = "w".repeat(60) + " ";
        let message = word.repeat(1_500);
        say(&mut world, fast, &message);
        for _ in 0..10 {
            world.advance(SECOND);
            let visitor = world.login(0, "operator", "bob");
            world.advance(SECOND * 2);
            world.cut(visitor);
        }
        world.advance(SECOND * 10);
        assert!(world.clients[slow].server.retained() < 200 * 1024);
        world.clients[slow].stalled = false;
        world.advance(SECOND);
        let events = world.events(slow, "agent");
        assert_eq!(text(&events).len(), message.len());
        assert_eq!(types(&events).last(), Some(&"run.completed"));
        assert!(events.len() < 1_000, "merged: {}", events.len());
        let presence = world.events(slow, "presence");
        assert_eq!(presence.last().expect("an event")["total"], 2);
        assert_eq!(presence.last().expect("an event")["snapshot"], true);
    }
}

#[test]
fn a_link_whose_node_is_gone_is_a_gap_after_a_while() {
    let mut world = World::new(2);
    let ann = world.login(0, "operator", "ann");
    world.cut(ann);
    world.cut_off.push(0);
    let at = world.open(1);
    let resume = json!({"token": world.clients[ann].resume, "lastSeq": 1});
    let params = json!({"token": "operator", "user_id": "ann", "resume": resume});
    let hello = world.call_slow(at, "connect", params.clone());
    assert_eq!(hello["payload"]["resume"]["gap"], true);

    // A second login before the answer: the first is answered, too.
    let at = world.open(1);
    let first = world.request(at, "connect", params);
    let second = world.call(at, "connect", json!({"token": "operator", "user_id": "ann"}));
    assert_eq!(code(&second), "ok");
    assert_eq!(code(&world.answer(at, &first).expect("an answer")), "UNAVAILABLE");
    world.advance(SECOND * 20);
    assert_eq!(world.clients[at].closed, None);
}

#[test]
fn a_restart_with_a_drain_keeps_links_and_a_crash_does_not() {
    let message = "one two three four five six";
    for (before, after, back) in [(1, 1, 0), (3, 3, 1), (3, 1, 0), (1, 3, 2)] {
        for drained in [true, false] {
            let mut old = World::new(before);
            let ann = old.login(0, "operator", "ann");
            say(&mut old, ann, message);
            old.advance(Duration::from_millis(50));
            let mut all = old.events(ann, "agent");
            let link = (old.clients[ann].resume.clone(), old.clients[ann].seq);
            if drained {
                // The socket dies at once: what comes until the end is in the link only.
                old.cut(ann);
                for node in 0..usize::from(before) {
                    let now = old.now;
                    old.nodes[node].drain(now, &Drain::stop("update"));
                }
                old.advance(SECOND * 5);
                assert!(old.nodes.iter().all(Gateway::is_drained));
            }
            let mut new = World::with_store(after, config(), std::mem::take(&mut old.store));
            let other = new.login(0, "operator", "ann");
            (new.clients[other].resume, new.clients[other].seq) = link;
            let (again, resume) = new.resume(back, other, "operator", "ann");
            assert_eq!(resume["resumed"], drained, "{before} {after}");
            assert_eq!(resume["gap"], !drained);
            if drained {
                all.extend(new.events(again, "agent"));
                assert_eq!(text(&all), message);
                assert_eq!(types(&all).last(), Some(&"run.completed"));
                // It is good once: another crash finds no link in the store.
                let link = (new.clients[again].resume.clone(), new.clients[again].seq);
                let mut third = World::with_store(after, config(), std::mem::take(&mut new.store));
                let other = third.login(0, "operator", "ann");
                (third.clients[other].resume, third.clients[other].seq) = link;
                assert_eq!(third.resume(0, other, "operator", "ann").1["gap"], true);
            }
        }
    }
}

#[test]
fn who_has_seen_half_of_a_hole_finds_the_link_after_a_restart() {
    let mut old = World::new(1);
    let ann = old.login(0, "operator", "ann");
    say(&mut old, ann, "one");
    old.advance(SECOND * 2);
    let kept = old.clients[ann].seq;
    // States of who is connected are not kept: their numbers become a hole.
    for _ in 0..4 {
        old.login(0, "operator", "eve");
        old.advance(SECOND * 2);
    }
    assert_eq!(old.clients[ann].seq, kept + 4);
    old.cut(ann);
    old.clients[ann].seq -= 2;
    let (again, resume) = old.resume(0, ann, "operator", "ann");
    assert_eq!(resume["resumed"], true);
    let now = old.now;
    old.nodes[0].drain(now, &Drain::stop("update"));
    old.advance(SECOND * 5);
    let link = (old.clients[again].resume.clone(), old.clients[again].seq);
    let mut new = World::with_store(1, config(), std::mem::take(&mut old.store));
    let other = new.login(0, "operator", "ann");
    (new.clients[other].resume, new.clients[other].seq) = link;
    assert_eq!(new.resume(0, other, "operator", "ann").1["resumed"], true);
}

#[test]
fn a_link_survives_two_restarts_with_other_numbers_of_nodes() {
    for counts in [[3, 1, 3], [3, 2, 3], [1, 3, 2], [2, 1, 2]] {
        let mut world = World::new(counts[0]);
        let ann = world.login(usize::from(counts[0]) - 1, "operator", "ann");
        say(&mut world, ann, "one");
        world.advance(SECOND);
        let link = (world.clients[ann].resume.clone(), world.clients[ann].seq);
        for count in &counts[1..] {
            for node in &mut world.nodes {
                node.drain(world.now, &Drain::stop("update"));
            }
            world.advance(SECOND * 5);
            world = World::with_store(*count, config(), std::mem::take(&mut world.store));
        }
        let other = world.login(0, "operator", "ann");
        (world.clients[other].resume, world.clients[other].seq) = link;
        let (_, resume) = world.resume(0, other, "operator", "ann");
        assert_eq!(resume["resumed"], true, "{counts:?}");
    }
}

#[test]
fn what_was_sent_again_is_kept_as_long_as_what_is_new() {
    let mut world = World::new(1);
    let ann = world.login(0, "operator", "ann");
    say(&mut world, ann, "one two");
    let seen = world.clients[ann].seq;
    world.cut(ann);
    world.advance(SECOND * 100);
    let (again, resume) = world.resume(0, ann, "operator", "ann");
    assert_eq!(resume["resumed"], true);
    assert_eq!(text(&world.events(again, "agent")), "one two");
    // What was just sent got lost on its way.
    world.clients[again].seq = seen;
    world.cut(again);
    world.advance(SECOND * 119);
    let (last, resume) = world.resume(0, again, "operator", "ann");
    assert_eq!(resume["resumed"], true);
    assert_eq!(text(&world.events(last, "agent")), "one two");
}

#[test]
fn a_link_that_is_found_late_and_missed_something_is_a_gap() {
    for missed in [true, false] {
        let mut old = World::new(3);
        let ann = old.login(2, "operator", "ann");
        old.advance(SECOND);
        let link = (old.clients[ann].resume.clone(), old.clients[ann].seq);
        for node in &mut old.nodes {
            node.drain(old.now, &Drain::stop("update"));
        }
        old.advance(SECOND * 5);
        let mut new = World::with_slow(3, config(), std::mem::take(&mut old.store), Some(2));
        assert!(new.nodes[0].has_started() && !new.nodes[2].has_started());
        let at = new.login(0, "operator", if missed { "ann" } else { "bob" });
        // Begins, and ends, before the other node knows of the link.
        new.request(at, "chat.send", json!({"message": "one"}));
        new.advance(SECOND * 5);
        assert!(new.nodes[2].has_started());
        let other = new.login(0, "operator", "ann");
        (new.clients[other].resume, new.clients[other].seq) = link;
        let (_, resume) = new.resume(1, other, "operator", "ann");
        assert_eq!(resume["gap"], missed);
    }
}

#[test]
fn a_start_takes_no_more_links_than_may_wait() {
    for (links, bytes) in [(5, usize::MAX), (100, 100_000)] {
        let mut old = World::new(3);
        let clients: Vec<_> = (0..12).map(|at| old.login(at % 3, "operator", "ann")).collect();
        for at in &clients {
            say(&mut old, *at, &"x".repeat(500));
        }
        old.advance(SECOND);
        for node in 0..3 {
            let now = old.now;
            old.nodes[node].drain(now, &Drain::stop("update"));
        }
        old.advance(SECOND * 2);
        let mut config = config();
        (config.bounds.detached_links, config.bounds.links_bytes) = (links, bytes);
        let mut new = World::with_store(1, config, std::mem::take(&mut old.store));
        new.advance(SECOND);
        assert!(new.nodes[0].has_started());
        let (all, detached, kept) = new.nodes[0].links();
        assert_eq!(all, detached);
        assert!(all > 0 && all < 12 && all <= links && kept <= bytes, "{all} links, {kept} bytes");
    }
}

#[test]
fn links_stay_in_their_bounds() {
    let mut config = config();
    config.bounds.detached_links = 10;
    config.bounds.links_bytes = 100_000;
    let mut world = World::with(1, config);
    let eve: Vec<_> = (0..3).map(|_| world.login(0, "operator", "eve")).collect();
    for at in &eve {
        world.cut(*at);
    }
    // Whoever has more than half of the links makes room for the next one.
    for _ in 0..30 {
        let ann = world.login(0, "operator", "ann");
        world.cut(ann);
    }
    for at in eve {
        let (again, resume) = world.resume(0, at, "operator", "eve");
        assert_eq!(resume["resumed"], true);
        world.cut(again);
    }
    let ann = world.login(0, "operator", "ann");
    for _ in 0..50 {
        say(&mut world, ann, &"x".repeat(4000));
        world.advance(SECOND);
        let (_, detached, bytes) = world.nodes[0].links();
        assert!(detached <= 10 && bytes <= 110_000, "{detached} {bytes}");
    }
    assert_eq!(world.clients[ann].closed, None);
    world.cut(ann);
    world.advance(SECOND * 121);
    assert_eq!(world.nodes[0].links(), (0, 0, 0));
    assert_eq!(world.nodes[0].deadline(), None);
}

#[test]
fn the_answer_to_an_earlier_login_gives_its_link_to_nobody_else() {
    let mut world = World::new(2);
    let ann = world.login(0, "operator", "ann");
    let link = (world.clients[ann].resume.clone(), world.clients[ann].seq);
    world.cut(ann);
    let at = world.open(1);
    let made_up = format!("0-{}", "5a".repeat(16));
    let texts = [("ann", &link.0), ("eve", &made_up)].map(|(user, token)| {
        let resume = json!({"token": token, "lastSeq": 0});
        let params = json!({"token": "operator", "user_id": user, "resume": resume});
        json!({"type": "req", "id": user, "method": "connect", "params": params}).to_string()
    });
    // One read brings both: the other node has no time between them.
    let now = world.now;
    for text in &texts {
        world.clients[at].client.outbox(now).text(text).expect("room");
    }
    world.settle();
    assert_eq!(code(&world.answer(at, "ann").expect("an answer")), "UNAVAILABLE");
    let hello = world.answer(at, "eve").expect("an answer");
    assert_eq!(hello["payload"]["user_id"], "eve");
    assert_eq!(hello["payload"]["resume"]["resumed"], false, "{hello}");
    // It waits for Ann.
    (world.clients[at].resume, world.clients[at].seq) = link;
    assert_eq!(world.resume(1, at, "operator", "ann").1["gap"], true, "its token was used");
}

#[test]
fn runs_of_a_loop_that_began_anew_are_told_once_to_who_came_before_that_was_heard() {
    let mut world = World::new(2);
    world.make_late(0, 1);
    world.restart(0, config());
    let first = world.login(0, "operator", "ann");
    let params = json!({"message": "x", "agentId": "stuck", "ack": true});
    // Sessions are spread over the loops.
    let runs: Vec<_> = (0..8)
        .map(|_| world.call_slow(first, "chat.send", params.clone())["payload"]["runId"].clone())
        .collect();
    let of_first = |run: &&Value| run.as_str().expect("a name").starts_with("run-0-");
    assert!(runs.iter().filter(of_first).count() > 0, "{runs:?}");
    let second = world.login(1, "operator", "ann");
    world.bring();
    let told = world.events(second, "agent");
    for run in &runs {
        let begun = told.iter().filter(|event| event["runId"] == *run);
        assert_eq!(begun.count(), 1, "{run}");
    }
}
