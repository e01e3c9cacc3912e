//! Readers of runs in the dialect of OpenClaw who read slowly, come late, or outlive the loop of a run.

use crate::openclaw;
use crate::world;
use openclaw::{cli, enter, said};
use serde_json::{Value, json};
use std::time::Duration;
use world::{World, config};

const MS: Duration = Duration::from_millis(1);

fn join(world: &mut World, node: usize, protocol: u64) -> usize {
    enter(world, node, cli("secret", protocol, &["operator.write"]))
}

fn text(event: &Value) -> &str {
    event["message"]["content"][0]["text"].as_str().unwrap_or_default()
}

/// Names and numbers of all events that have come, and their payloads.
fn events(world: &mut World, at: usize) -> Vec<(String, u64, Value)> {
    let messages = world.clients[at].messages.drain(..);
    let numbered = messages.filter_map(|mut event| {
        let seq = event["seq"].as_u64()?;
        Some((event["event"].as_str()?.to_owned(), seq, event["payload"].take()))
    });
    numbered.collect()
}

#[test]
fn an_answer_for_which_there_is_no_room_beside_an_event_waits_for_it() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = join(&mut world, 0, 4);
        let words = "y".repeat(523_900);
        let id = world.request(at, "agent", said("main", "k1", &words));
        world.advance(10 * MS);
        assert_eq!(world.answer(at, &id).expect("the first")["payload"]["status"], "accepted");
        world.advance(Duration::from_secs(20));
        assert_eq!(world.clients[at].closed, None, "{nodes}");
        let done = world.answer(at, &id).expect("the second");
        let told = done["payload"]["result"]["payloads"][0]["text"].as_str();
        assert_eq!(told.map(str::len), Some(words.len()));
        assert_eq!(text(world.events(at, "chat").last().expect("an end")).len(), words.len());
    }
}

#[test]
fn an_answer_of_the_base_dialect_waits_for_room_as_well() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = world.login(0, "secret", "ann");
        let words = "y".repeat(523_900);
        let ids: Vec<_> = (0..2)
            .map(|_| world.request(at, "chat.send", json!({"message": words, "agentId": "echo"})))
            .collect();
        world.clients[at].stalled = true;
        world.advance(Duration::from_secs(20));
        world.clients[at].stalled = false;
        world.advance(Duration::from_secs(10));
        assert_eq!(world.clients[at].closed, None);
        for id in ids {
            let answer = world.answer(at, &id).expect("an answer");
            let told = answer["payload"]["content"].as_str().map(str::len);
            let shown: String = answer.to_string().chars().take(300).collect();
            assert_eq!(told, Some(words.len()), "{shown}");
        }
    }
}

/// What is kept for who does not read has its bound: the answer is not what breaks it.
#[test]
fn answers_that_wait_are_kept_within_the_bytes_of_their_user() {
    let mut config = config();
    config.bounds.user_bytes = 4 * 1024 * 1024;
    let mut world = World::with(1, config);
    let at = join(&mut world, 0, 4);
    let words = "y".repeat(523_900);
    for turn in 0..8 {
        let session = format!("agent:main:{turn}");
        world.request(at, "agent", said(&session, &format!("k{turn}"), &words));
        world.advance(Duration::from_secs(2));
        world.clients[at].stalled = turn >= 3;
        assert!(world.nodes[0].retained() <= 6 * 1024 * 1024, "{}", world.nodes[0].retained());
    }
    world.cut(at);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.nodes[0].retained(), 0);
}

#[test]
fn a_slow_reader_of_whole_texts_misses_no_number_when_its_run_ends() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes);
        let at = join(&mut world, 0, 3);
        let words = "word ".repeat(1000);
        world.request(at, "chat.send", said("main", "k1", &words));
        world.settle();
        // What is on its way is soon as much as may be: the rest waits, and joins.
        world.clients[at].stalled = true;
        world.advance(Duration::from_secs(30));
        world.clients[at].stalled = false;
        world.advance(Duration::from_secs(5));
        let events = events(&mut world, at);
        let numbers: Vec<_> = events.iter().map(|(_, seq, _)| *seq).collect();
        let first = numbers[0];
        let all: Vec<_> = (first..first + numbers.len() as u64).collect();
        assert_eq!(numbers, all, "of {nodes}");
        let chat = events.iter().filter(|(name, ..)| name == "chat").map(|(.., chat)| chat);
        let chat: Vec<_> = chat.collect();
        assert!(chat.len() > 1, "{chat:?}");
        for pair in chat.windows(2) {
            assert!(text(pair[1]).starts_with(text(pair[0])), "{pair:?}");
        }
        assert_eq!(text(chat[chat.len() - 1]), words);
    }
}

#[test]
fn who_comes_in_the_middle_of_a_run_is_told_its_beginning_first() {
    for (nodes, protocol) in [(1, 4), (1, 3), (3, 4), (3, 3)] {
        let mut world = World::new(nodes);
        let first = join(&mut world, 0, 4);
        let words = "word ".repeat(200);
        world.request(first, "chat.send", said("main", "k1", &words));
        // Some of it was told, and some is gathered.
        world.advance(Duration::from_millis(990));
        let at = join(&mut world, nodes as usize - 1, protocol);
        world.advance(Duration::from_secs(60));
        let events = events(&mut world, at);
        let (mut chat, mut steps, mut last) = (String::new(), String::new(), (0, 0));
        for (name, _, event) in &events {
            let seq = event["seq"].as_u64().unwrap_or_default();
            match &**name {
                "chat" if event["state"] == "delta" => {
                    assert!(seq > last.0, "{event}");
                    last.0 = seq;
                    assert_eq!(
                        protocol == 4 && chat.is_empty(),
                        event["replace"] == true,
                        "{event}"
                    );
                    chat.push_str(event["deltaText"].as_str().unwrap_or_default());
                    if protocol == 3 {
                        text(event).clone_into(&mut chat);
                    }
                    assert_eq!(text(event), chat, "{event}");
                }
                "agent" => {
                    assert!(seq > last.1, "{event}");
                    last.1 = seq;
                    steps.push_str(event["data"]["delta"].as_str().unwrap_or_default());
                }
                _ => {}
            }
        }
        assert_eq!((&*chat, &*steps), (&*words, &*words), "{nodes} {protocol}");
    }
}

#[test]
fn a_run_whose_loop_begins_anew_is_told_to_have_failed() {
    let mut world = World::new(3);
    let mut sessions = (0..).map(|n| format!("agent:stuck:{n}"));
    // A session of another loop than its reader's: the key decides which.
    let (at, id) = loop {
        let session = sessions.next().expect("another");
        let at = join(&mut world, 0, 4);
        let id = world.request(at, "agent", said(&session, &session, "hello"));
        world.advance(Duration::from_secs(1));
        assert_eq!(world.answer(at, &id).expect("the first")["payload"]["status"], "accepted");
        if world.nodes[1].pending() > 0 {
            break (at, id);
        }
    };
    world.events(at, "chat");
    world.restart(1, config());
    let chat = world.events(at, "chat");
    let [end] = &chat[..] else { panic!("{chat:?}") };
    assert_eq!((&end["state"], &end["errorMessage"]), (&json!("error"), &json!(LOST)));
    let done = world.answer(at, &id).expect("the second");
    assert_eq!(done["error"]["message"], LOST);
    world.restart(1, config());
    assert!(world.events(at, "chat").is_empty() && world.answer(at, &id).is_none(), "told once");
}

const LOST: &str = "the gateway has lost this run";
