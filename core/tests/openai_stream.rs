//! The HTTP API of OpenAI: how answers leave, at the pace of their readers, and how runs end.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods)]

#[path = "support/http.rs"]
mod http;
#[path = "support/gateway.rs"]
mod world;

use http::*;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

#[test]
fn a_stream_says_who_speaks_then_the_pieces_then_why_it_ended() {
    let mut world = World::with(1, patient());
    let at = ask(&mut world, &streamed(&[]));
    let begun = answer(&world, at).expect("its head comes before the agent says anything");
    assert_eq!((begun.status, begun.whole), (200, false));
    assert_eq!(begun.header("X-Accel-Buffering"), Some("no"));
    assert_eq!(begun.chunks().len(), 1);
    world.advance(SECOND);
    let whole = answer(&world, at).expect("an answer");
    assert!(whole.whole);
    assert_eq!(whole.events().last(), Some(&"[DONE]"));
    let chunks = whole.chunks();
    let deltas: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"content": "one "}),
            json!({"content": "two "}),
            json!({"content": "three"}),
            json!({}),
        ]
    );
    for chunk in &chunks {
        assert_eq!(
            (&chunk["object"], &chunk["id"]),
            (&json!("chat.completion.chunk"), &chunks[0]["id"])
        );
        assert_eq!(chunk.get("usage"), None);
    }
    let reasons: Vec<_> =
        chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(reasons, [&json!(null), &json!(null), &json!(null), &json!(null), &json!("stop")]);
    assert_eq!((world.nodes[0].pending(), world.nodes[0].retained()), (0, 0));

    let usage =
        answered(&mut world, "", &streamed(&[("stream_options", json!({"include_usage": true}))]));
    let chunks = usage.chunks();
    let (last, others) = chunks.split_last().expect("chunks");
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(3)));
    assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
}

#[test]
fn a_run_that_fails_is_an_error_or_ends_the_stream_as_one() {
    let mut world = World::with(1, patient());
    let failed = answered(&mut world, "", &hello(&[("model", json!("broken"))]));
    assert_eq!(failed.status, 500);
    assert_eq!(error(&failed)["type"], "server_error");
    assert_eq!(error(&failed)["message"], "run failed: out of order");
    let failed = answered(&mut world, "", &streamed(&[("model", json!("broken"))]));
    assert_eq!((failed.status, failed.whole), (200, true));
    let events = failed.chunks();
    assert_eq!(events.len(), 2, "{failed:?}");
    assert_eq!(events[1]["error"]["message"], "run failed: out of order");
    assert!(!failed.body.contains("[DONE]"));
    assert_eq!(world.nodes[0].pending(), 0);
}

#[test]
fn silence_is_filled_and_an_agent_that_never_ends_is_stopped() {
    let mut config = patient();
    config.bounds.run_within = 60 * SECOND;
    let mut world = World::with(1, config);
    let stuck = [("model", json!("stuck"))];
    let (stream, whole) = (ask(&mut world, &streamed(&stuck)), ask(&mut world, &hello(&stuck)));
    for beats in 1..4 {
        world.advance(15 * SECOND);
        let so_far = answer(&world, stream).expect("an answer");
        assert_eq!(so_far.body.matches(": keep-alive\n\n").count(), beats);
    }
    assert_eq!(answer(&world, whole), None);
    world.advance(30 * SECOND);
    let late = answer(&world, whole).expect("an answer");
    assert_eq!((late.status, &error(&late)["code"]), (504, &json!("agent_timeout")));
    let late = answer(&world, stream).expect("an answer");
    assert!(late.whole);
    assert_eq!(late.chunks().last().expect("an event")["error"]["code"], "agent_timeout");
    assert_eq!((world.cancelled, world.nodes[0].pending()), (2, 0));
}

#[test]
fn a_client_that_leaves_ends_its_run_unless_somebody_may_come_back_for_it() {
    for (headers, cancelled) in
        [("", 1), ("X-Moorline-Session-Key: k\r\n", 0), ("Idempotency-Key: k\r\n", 0)]
    {
        for stream in [false, true] {
            let mut world = World::with(1, patient());
            let stuck = [("model", json!("stuck")), ("stream", json!(stream))];
            let at = ask_at(&mut world, 0, headers, &hello(&stuck));
            world.advance(SECOND);
            assert_eq!(world.cancelled, 0);
            world.cut(at);
            assert_eq!(world.cancelled, cancelled, "{headers}");
            assert_eq!(world.nodes[0].pending() > 0, cancelled == 0);
            let Some(Fact::Closed { requests, cause, .. }) = world.closed_fact(at) else {
                panic!()
            };
            assert_eq!((*requests, *cause), (1, "eof"));
        }
    }
}

#[test]
fn a_run_that_is_stopped_elsewhere_is_no_answer() {
    let mut world = World::with(1, patient());
    let reader = world.login(0, "operator", "default");
    let session = "X-Moorline-Session-Key: k\r\n";
    let stuck = [("model", json!("stuck"))];
    let whole = ask_at(&mut world, 0, session, &hello(&stuck));
    // This one waits its turn.
    let stream = ask_at(&mut world, 0, session, &streamed(&stuck));
    let begun = answer(&world, stream).expect("a stream says at once that it waits");
    assert_eq!((begun.status, begun.whole), (200, false));
    world.call(reader, "chat.abort", json!({"sessionKey": "k"}));
    let stopped = answer(&world, whole).expect("an answer");
    assert_eq!((stopped.status, stopped.header("X-Should-Retry")), (409, Some("false")));
    assert_eq!(error(&stopped)["code"], "run_cancelled");
    let stopped = answer(&world, stream).expect("an answer");
    assert_eq!(stopped.chunks().last().expect("an event")["error"]["code"], "run_cancelled");
    assert_eq!((stopped.whole, world.nodes[0].pending()), (true, 0));
}

#[test]
fn requests_of_one_session_have_their_turns() {
    let mut world = World::with(1, patient());
    let session = "X-Moorline-Session-Key: k\r\n";
    let all: Vec<_> = (0..3).map(|_| ask_at(&mut world, 0, session, &streamed(&[]))).collect();
    world.advance(10 * SECOND);
    for at in all {
        let answer = answer(&world, at).expect("an answer");
        assert_eq!((answer.streamed().as_str(), answer.whole), ("one two three", true));
    }
}

#[test]
fn a_key_that_comes_again_gets_the_same_run() {
    for session in ["", "X-Moorline-Session-Key: k\r\n"] {
        for nodes in [1, 2] {
            let mut world = World::with(nodes, patient());
            let last = usize::from(nodes) - 1;
            let headers = format!("{session}Idempotency-Key: key-1\r\n");
            let first = ask_at(&mut world, 0, &headers, &streamed(&[]));
            world.advance(Duration::from_millis(45));
            // It comes when a piece has been said already.
            let second = ask_at(&mut world, last, &headers, &streamed(&[]));
            world.advance(SECOND);
            let third = ask_at(&mut world, 0, &headers, &hello(&[]));
            let answers: Vec<_> =
                [first, second, third].iter().map(|at| answer(&world, *at).expect("one")).collect();
            assert_eq!(answers[0].streamed(), "one two three");
            assert_eq!(answers[1].streamed(), "one two three", "{session} {nodes}");
            assert!(answers[1].whole);
            let third = answers[2].json();
            assert_eq!(third["choices"][0]["message"]["content"], "one two three");
            assert_eq!(third["id"], answers[0].chunks()[0]["id"]);
            assert_eq!(world.runs.len(), 1, "{session} {nodes}");
            let other = hello(&[("messages", json!([{"role": "user", "content": "other"}]))]);
            assert_eq!(answered(&mut world, &headers, &other).status, 400);
        }
    }
}

#[test]
fn a_session_may_live_at_another_node() {
    for n in 0..8 {
        let mut world = World::with(2, patient());
        let headers = format!("X-Moorline-Session-Key: session-{n}\r\n");
        let stream = ask_at(&mut world, 0, &headers, &streamed(&[]));
        world.advance(SECOND);
        let stream = answer(&world, stream).expect("an answer");
        assert_eq!((stream.streamed().as_str(), stream.whole), ("one two three", true));
        let pieces = stream.chunks().len();
        assert_eq!(pieces, 5, "they come as they are said");
        let whole = ask_at(&mut world, 1, &headers, &hello(&[]));
        world.advance(SECOND);
        let whole = answer(&world, whole).expect("an answer").json();
        assert_eq!(whole["choices"][0]["message"]["content"], "one two three");
        assert_eq!(world.nodes.iter().map(Gateway::pending).sum::<usize>(), 0);
    }
    // A node that nobody reaches.
    let mut refused = 0;
    for n in 0..8 {
        let mut world = World::with(2, patient());
        world.cut_off = vec![1];
        let headers = format!("X-Moorline-Session-Key: session-{n}\r\n");
        let at = ask_at(&mut world, 0, &headers, &streamed(&[]));
        world.advance(20 * SECOND);
        let answer = answer(&world, at).expect("an answer");
        assert!(matches!(answer.status, 200 | 503));
        refused += usize::from(answer.status == 503);
    }
    assert!((1..8).contains(&refused));
}

#[test]
fn a_conversation_of_the_client_is_told_to_no_other_node() {
    let mut world = World::with(2, patient());
    let before = world.published;
    answered(&mut world, "", &streamed(&[]));
    assert_eq!(world.published, before);
}

#[test]
fn pieces_for_a_slow_reader_become_one() {
    let mut config = patient();
    // A window of 2,048 bytes: the role and a few words.
    config.limits.outbox = 4096;
    let mut world = World::with(1, config);
    let text = "word ".repeat(400);
    let body = streamed(&[("messages", json!([{"role": "user", "content": text}]))]);
    let at = ask(&mut world, &body);
    world.clients[at].stalled = true;
    world.advance(10 * SECOND);
    assert!(world.nodes[0].retained() < 64 * 1024, "{}", world.nodes[0].retained());
    world.clients[at].stalled = false;
    world.advance(SECOND);
    let answer = answer(&world, at).expect("an answer");
    assert!(answer.whole);
    assert_eq!(answer.streamed(), text);
    assert!(answer.chunks().len() < 100, "{}", answer.chunks().len());
    assert_eq!((world.nodes[0].pending(), world.nodes[0].retained()), (0, 0));
}

#[test]
fn a_reader_that_falls_too_far_behind_is_given_up() {
    let mut config = patient();
    config.bounds.link_bytes = 10_000;
    let mut world = World::with(1, config);
    let text = "a longer word. ".repeat(20_000);
    let body = streamed(&[("messages", json!([{"role": "user", "content": text}]))]);
    let at = ask(&mut world, &body);
    world.clients[at].stalled = true;
    let mut most = 0;
    for _ in 0..600 {
        world.advance(SECOND / 10);
        most = most.max(world.nodes[0].retained());
    }
    // What was said is kept once for the run, and at most a window and the bound for its reader.
    assert!(most < text.len() + text.len() + 400_000, "{most}");
    let Some(Fact::Closed { cause, reason, .. }) = world.closed_fact(at) else {
        panic!("it is still there")
    };
    assert_eq!((*cause, &**reason), ("overflow", "slow consumer"));
    assert_eq!((world.cancelled, world.nodes[0].pending(), world.nodes[0].retained()), (1, 0, 0));
}

#[test]
fn a_large_answer_leaves_whole_however_slowly_it_is_read() {
    let mut config = patient();
    config.limits.outbox = 100_000;
    let mut world = World::with(1, config);
    let text = "x".repeat(500_000);
    let at = ask(&mut world, &hello(&[("messages", json!([{"role": "user", "content": text}]))]));
    world.clients[at].stalled = true;
    world.advance(10 * SECOND);
    assert!(world.nodes[0].retained() > 60_000, "what waits for the reader counts");
    world.clients[at].stalled = false;
    world.advance(SECOND);
    let answer = answer(&world, at).expect("an answer");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], text);
    assert_eq!(world.nodes[0].retained(), 0);
}

#[test]
fn streams_end_as_their_runs_do_when_the_gateway_stops() {
    let mut world = World::with(1, patient());
    let ends = ask(&mut world, &streamed(&[]));
    let (stuck, body) =
        (ask(&mut world, &streamed(&[("model", json!("stuck"))])), hello(&[]).to_string());
    let whole = ask(&mut world, &hello(&[("model", json!("stuck"))]));
    let broken = ask(&mut world, &hello(&[("model", json!("broken"))]));
    let session = "X-Moorline-Session-Key: k\r\n";
    let [_, waiting] =
        [(); 2].map(|()| ask_at(&mut world, 0, session, &streamed(&[("model", json!("stuck"))])));
    let mut late = request("operator", "", &body);
    let rest = late.split_off(late.len() - 1);
    let coming = send(&mut world, 0, &late);
    let now = world.now;
    world.nodes[0].drain(now, &Drain::stop("test"));
    world.settle();
    world.feed(coming, &rest);
    let refused = answer(&world, coming).expect("an answer");
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("5")));
    world.advance(SECOND);
    assert_eq!(answer(&world, ends).expect("an answer").streamed(), "one two three");
    assert!(!answer(&world, stuck).expect("an answer").whole);
    world.advance(30 * SECOND);
    // One that began and one that waited.
    for stopped in [stuck, waiting] {
        let stopped = answer(&world, stopped).expect("an answer");
        let error = stopped.chunks().last().expect("an event")["error"].clone();
        assert_eq!(error["code"], "unavailable");
        let text = "run failed: the gateway stopped before the agent had answered";
        assert_eq!(error["message"], text);
        assert!(stopped.whole);
    }
    // What fails meanwhile has its own reason.
    assert_eq!(
        error(&answer(&world, broken).expect("an answer"))["message"],
        "run failed: out of order"
    );
    let stopped = answer(&world, whole).expect("an answer");
    assert_eq!((stopped.status, stopped.header("Retry-After")), (503, Some("1")));
    assert!(world.nodes[0].is_drained());
}

#[test]
fn thoughts_are_told_apart_and_the_agents_reason_to_end_is_the_clients() {
    let mut config = patient();
    config.agents.push(Agent::new("script", "Script"));
    let mut world = World::with(1, config);
    let call = ToolCall { id: "1".into(), name: "look".into(), arguments: "{}".into() };
    world.script = vec![
        Outcome::Progress(Progress::Thinking("hm ".into())),
        Outcome::Progress(Progress::Thinking("well".into())),
        Outcome::Progress(Progress::ToolCall(call)),
        Outcome::Chunk("so ".into()),
        Outcome::Progress(Progress::Thinking("!".into())),
        Outcome::Chunk("much".into()),
        Outcome::Done {
            content: "so much".into(),
            usage: Usage { prompt_tokens: 3, completion_tokens: 4 },
            stop: StopReason::Length,
        },
    ];
    let script = [("model", json!("script"))];
    let answer = answered(&mut world, "", &streamed(&script));
    let deltas: Vec<_> =
        answer.chunks().iter().skip(1).map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
    let thought = |text: &str| json!({"reasoning_content": text});
    let said = |text: &str| json!({"content": text});
    let expected =
        [thought("hm "), thought("well"), said("so "), thought("!"), said("much"), json!({})];
    assert_eq!(deltas, expected);
    let last = answer.chunks().pop().expect("chunks");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    let whole = answered(&mut world, "", &hello(&script)).json();
    assert_eq!(whole["choices"][0]["message"]["content"], "so much");
    assert_eq!(
        (&whole["choices"][0]["finish_reason"], &whole["usage"]["total_tokens"]),
        (&json!("length"), &json!(7))
    );
}

#[test]
fn a_failure_that_passes_says_when_to_come_back() {
    for (code, wait, status, retry) in [
        (Code::Unavailable, Some(2500), 503, Some("3")),
        (Code::Unavailable, None, 503, Some("1")),
        (Code::ResourceExhausted, Some(7000), 429, Some("7")),
        (Code::AgentTimeout, None, 504, None),
        (Code::Internal, None, 500, None),
    ] {
        let mut config = patient();
        config.agents.push(Agent::new("script", "Script"));
        let mut world = World::with(1, config);
        let mut failure = RunFailure::new(code, "the model is away");
        failure.retry_after = wait.map(Duration::from_millis);
        world.script = vec![Outcome::Failed(failure)];
        let script = [("model", json!("script"))];
        let refused = answered(&mut world, "", &hello(&script));
        assert_eq!((refused.status, refused.header("Retry-After")), (status, retry), "{code:?}");
        assert_eq!(error(&refused)["message"], "run failed: the model is away");
        let broken = answered(&mut world, "", &streamed(&script));
        let error = &broken.chunks()[1]["error"];
        assert_eq!(error["code"], code.as_str().to_ascii_lowercase());
    }
}
