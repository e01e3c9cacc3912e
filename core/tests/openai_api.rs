//! The HTTP API of OpenAI: what is asked, of whom, and what is refused.
#![cfg(feature = "gateway")]
#![allow(clippy::disallowed_methods)]

#[path = "support/http.rs"]
mod http;
#[path = "support/gateway.rs"]
mod world;

use http::*;
use moorline_core::gateway::*;
use serde_json::{Value, json};
use world::*;

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

const VIEWER: &str = "Authorization: Bearer viewer\r\n";

#[test]
fn agents_are_models() {
    let mut world = World::with(1, patient());
    let mut page = |path: &str, headers: &str| {
        let at = send(&mut world, 0, &get(path, headers));
        answer(&world, at).expect("an answer")
    };
    let models = page("/v1/models", VIEWER);
    assert_eq!((models.status, models.header("Content-Type")), (200, Some("application/json")));
    let models = models.json();
    assert_eq!(models["object"], "list");
    let ids: Vec<_> = models["data"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    assert_eq!(ids, ["echo", "stuck", "broken"]);
    assert_eq!(models["data"][0]["object"], "model");
    assert_eq!(models["data"][0]["created"], UNIX_MS / 1000);
    for (id, found) in [
        ("echo", "echo"),
        ("moorline", "echo"),
        ("default", "echo"),
        ("openclaw", "echo"),
        ("openclaw/stuck", "stuck"),
        ("openclaw%2Fstuck", "stuck"),
        ("agent:broken", "broken"),
        ("moorline/default", "echo"),
    ] {
        assert_eq!(page(&format!("/v1/models/{id}"), VIEWER).json()["id"], found, "{id}");
    }
    let none = page("/v1/models/gpt-4o", VIEWER);
    assert_eq!(none.status, 404);
    assert_eq!(error(&none)["code"], "model_not_found");
    let nobody = page("/v1/models", "");
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.header("WWW-Authenticate"), Some("Bearer"));
    assert_eq!(error(&nobody)["code"], "invalid_api_key");
}

#[test]
fn an_answer_has_the_text_and_what_it_cost() {
    let mut world = World::with(1, patient());
    let answer = answered(&mut world, "", &hello(&[]));
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["model"], "echo");
    assert_eq!(json["created"], UNIX_MS / 1000);
    assert!(json["id"].as_str().expect("a text").starts_with("chatcmpl-run-0-"));
    let choice = &json["choices"][0];
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "one two three", "refusal": null})
    );
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("stop"), &json!(0)));
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    assert_eq!(json["usage"], usage);
    let called = world.facts.iter().filter(|fact| {
        matches!(fact, Fact::Called { method: "chat.completions", error: None, .. })
    });
    assert_eq!(called.count(), 1);
    assert_eq!(world.store.size().0, 0, "nothing is kept of it");
    let closed = world.facts.iter().filter(|fact| matches!(fact, Fact::Closed { requests: 1, .. }));
    assert_eq!(closed.count(), 1, "one line for the connection");
    assert_eq!((world.nodes[0].pending(), world.nodes[0].retained()), (0, 0));
}

#[test]
fn any_split_of_a_request_gives_the_same_answer() {
    let body = json!({"model": "agent:echo", "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "gr\u{fc}\u{df} "}, {"type": "text", "text": "dich"}]},
    ]});
    let plain = request("operator", "", &body.to_string());
    let body = body.to_string();
    let mut chunked = request("operator", "", "").split_off(0);
    let head = String::from_utf8(std::mem::take(&mut chunked)).expect("text");
    let head = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let (one, two) = body.split_at(11);
    let chunked =
        format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    for request in [plain, chunked.into_bytes()] {
        for size in [1, 2, 7, 64, request.len()] {
            let mut world = World::with(1, patient());
            let at = world.socket(0);
            for piece in request.chunks(size) {
                world.feed(at, piece);
            }
            world.advance(SECOND);
            let answer = answer(&world, at).expect("an answer");
            let json = answer.json();
            assert_eq!(json["choices"][0]["message"]["content"], "gr\u{fc}\u{df} dich", "{size}");
            assert_eq!(json["model"], "agent:echo", "as it was asked for");
            assert_eq!(world.runs[0].instructions.as_deref(), Some("be brief"));
        }
    }
}

#[test]
fn without_a_session_the_client_keeps_the_conversation() {
    let mut world = World::with(1, patient());
    let reader = world.login(0, "operator", "default");
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "ONE"},
        {"role": "developer", "content": [{"type": "text", "text": "be loud"}]},
        {"role": "user", "content": "two", "name": "ann"},
    ]);
    let answer = answered(&mut world, "", &hello(&[("messages", messages)]));
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "two");
    let run = &world.runs[0];
    let said: Vec<_> = run.history.iter().map(|m| (m.author, &*m.text)).collect();
    assert_eq!(said, [(Author::User, "one"), (Author::Assistant, "ONE")]);
    assert_eq!((&*run.message, run.instructions.as_deref()), ("two", Some("be brief\n\nbe loud")));
    assert_eq!(&*run.user, "default");
    assert_eq!(world.store.size().0, 0);
    for name in ["agent", "chat.turn"] {
        assert!(world.events(reader, name).is_empty(), "nobody else hears of it");
    }
}

#[test]
fn a_named_session_is_kept_and_only_what_is_new_is_said_in_it() {
    for header in ["X-Moorline-Session-Key", "x-openclaw-session-key"] {
        let mut world = World::with(1, patient());
        let reader = world.login(0, "operator", "default");
        let name = format!("{header}: agent:echo:notes\r\n");
        let messages = json!([
            {"role": "user", "content": "the client repeats it"},
            {"role": "assistant", "content": "all"},
            {"role": "user", "content": "first"},
        ]);
        answered(&mut world, &name, &hello(&[("messages", messages)]));
        let second = answered(&mut world, &name, &streamed(&[]));
        assert_eq!(second.streamed(), "one two three");
        let said: Vec<_> = world.runs[1].history.iter().map(|m| &*m.text).collect();
        assert_eq!(said, ["first", "first"], "what the agent is given is what was kept");
        let history = world.call(reader, "chat.history", json!({"sessionKey": "agent:echo:notes"}));
        assert_eq!(history["payload"]["messages"].as_array().map(Vec::len), Some(4));
        assert!(!world.events(reader, "agent").is_empty(), "it is a session like any other");
    }
}

#[test]
fn a_clients_user_has_a_session_of_whoever_is_logged_in() {
    let mut world = World::with(1, patient());
    let ann = [("user", json!("ann"))];
    answered(&mut world, "X-GoClaw-User-Id: u1\r\n", &hello(&ann));
    answered(&mut world, "X-GoClaw-User-Id: u1\r\n", &hello(&ann));
    answered(&mut world, "X-GoClaw-User-Id: u2\r\n", &hello(&ann));
    let sessions: Vec<_> = world.runs.iter().map(|run| &*run.session).collect();
    assert_eq!(
        sessions,
        [
            "agent:echo:openai-user:u1:ann",
            "agent:echo:openai-user:u1:ann",
            "agent:echo:openai-user:u2:ann"
        ]
    );
    assert_eq!(world.runs[1].history.len(), 2);
    // Nobody takes the place of somebody else's user.
    let theirs =
        "X-GoClaw-User-Id: eve\r\nX-Moorline-Session-Key: agent:echo:openai-user:u3:ann\r\n";
    let refused = answered(&mut world, theirs, &hello(&[]));
    assert_eq!((refused.status, world.runs.len()), (403, 3));
}

#[test]
fn somebody_elses_session_is_refused() {
    let mut world = World::with(1, patient());
    let of = |user: &str| format!("X-GoClaw-User-Id: {user}\r\nX-Moorline-Session-Key: notes\r\n");
    answered(&mut world, &of("ann"), &hello(&[]));
    for body in [hello(&[]), streamed(&[])] {
        let refused = answered(&mut world, &of("eve"), &body);
        assert_eq!(refused.status, 403);
        assert_eq!(error(&refused)["type"], "permission_error");
        assert_eq!(error(&refused)["message"], "session does not belong to user");
    }
    let body = request("secret", &of("root"), &hello(&[]).to_string());
    let at = send(&mut world, 0, &body);
    world.advance(SECOND);
    assert_eq!(answer(&world, at).expect("an answer").status, 200, "admins see all");
}

#[test]
fn what_cannot_be_done_says_what_of_the_request_it_is() {
    let mut world = World::with(1, patient());
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    for (name, value, status, param, code) in [
        ("model", json!("gpt-4o"), 404, json!(null), json!("model_not_found")),
        ("model", json!(""), 400, json!("model"), json!(null)),
        ("model", json!(7), 400, json!("model"), json!(null)),
        ("messages", json!([]), 400, json!("messages"), json!(null)),
        ("messages", json!(null), 400, json!("messages"), json!(null)),
        ("messages", json!("hi"), 400, json!("messages"), json!(null)),
        ("messages", json!([1]), 400, json!("messages[0]"), json!(null)),
        ("messages", json!([{"content": "x"}]), 400, json!("messages[0].role"), json!(null)),
        ("messages", json!([{"role": "x"}]), 400, json!("messages[0].role"), json!(null)),
        ("messages", user(json!("")), 400, json!("messages[0].content"), json!(null)),
        ("messages", user(json!(1)), 400, json!("messages[0].content"), json!(null)),
        (
            "messages",
            json!([{"role": "assistant", "content": "x"}]),
            400,
            json!("messages"),
            json!(null),
        ),
        (
            "messages",
            part(json!({"type": "image_url", "image_url": {"url": "x"}})),
            400,
            json!("messages[0].content[0].type"),
            json!("unsupported_parameter"),
        ),
        (
            "messages",
            part(json!({"type": "text"})),
            400,
            json!("messages[0].content[0].text"),
            json!(null),
        ),
        (
            "messages",
            json!([{"role": "tool", "content": "x"}]),
            400,
            json!("messages[0].role"),
            json!("unsupported_parameter"),
        ),
        (
            "messages",
            json!([{"role": "assistant", "tool_calls": [{}]}]),
            400,
            json!("messages[0].tool_calls"),
            json!("unsupported_parameter"),
        ),
        (
            "tools",
            json!([{"type": "function"}]),
            400,
            json!("tools"),
            json!("unsupported_parameter"),
        ),
        ("stop", json!("x"), 400, json!("stop"), json!("unsupported_parameter")),
        ("n", json!(2), 400, json!("n"), json!("unsupported_parameter")),
        ("logprobs", json!(true), 400, json!("logprobs"), json!("unsupported_parameter")),
        (
            "response_format",
            json!({"type": "json_object"}),
            400,
            json!("response_format"),
            json!("unsupported_parameter"),
        ),
        (
            "modalities",
            json!(["text", "audio"]),
            400,
            json!("modalities"),
            json!("unsupported_parameter"),
        ),
        ("stream", json!("yes"), 400, json!("stream"), json!(null)),
        ("stream_options", json!(1), 400, json!("stream_options"), json!(null)),
        ("user", json!("u".repeat(129)), 400, json!("user"), json!(null)),
    ] {
        let answer = answered(&mut world, "", &hello(&[(name, value.clone())]));
        let error = error(&answer);
        assert_eq!(
            (answer.status, &error["param"], &error["code"]),
            (status, &param, &code),
            "{value} {error}"
        );
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 8), "{error}");
    }
    assert_eq!(world.runs.len(), 0);
    // What changes nothing is taken.
    let harmless = [
        ("temperature", json!(0.5)),
        ("max_tokens", json!(7)),
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("stop", json!([])),
        ("n", json!(1)),
        ("response_format", json!({"type": "text"})),
        ("modalities", json!(["text"])),
        ("stream_options", json!(null)),
        ("what nobody knows", json!({"deep": [[[]]]})),
    ];
    assert_eq!(answered(&mut world, "", &hello(&harmless)).status, 200);
}

#[test]
fn what_is_no_request_is_told_and_costs_nothing() {
    let mut world = World::with(1, patient());
    let nested = format!("{{\"x\":{}{}}}", "[".repeat(31), "]".repeat(31));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(32), "]".repeat(32));
    let many = |count| {
        let members: Vec<_> = (0..count).map(|n| format!("\"k{n}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    for (body, text) in [
        ("", "no body"),
        ("nonsense", "no JSON object"),
        ("[]", "no JSON object"),
        ("{} {}", "no JSON object"),
        ("{\"model\":\"echo\"", "no JSON object"),
        ("{\"model\":\"\\ud800\"}", "surrogate"),
        ("{\"model\":\"a\",\"model\":\"echo\"}", "duplicate member model"),
        ("{\"model\":\"a\",\"\\u006dodel\":\"echo\"}", "duplicate member model"),
        (&nested, "must provide a model"),
        (&deep, "nested too deep"),
        (&many(100), "must provide a model"),
        (&many(101), "more than 100 members"),
    ] {
        let at = send(&mut world, 0, &request("operator", "", body));
        let answer = answer(&world, at).expect("an answer");
        let error = error(&answer);
        assert_eq!(
            (answer.status, &error["type"]),
            (400, &json!("invalid_request_error")),
            "{body}"
        );
        assert!(
            error["message"].as_str().is_some_and(|said| said.contains(text)),
            "{body} {error}"
        );
    }
    let mut latin = request("operator", "", "{\"model\":\"echo\",\"x\":\"y\"}");
    let last = latin.len() - 3;
    latin[last] = 0xE4;
    let at = send(&mut world, 0, &latin);
    assert!(
        error(&answer(&world, at).expect("an answer"))["message"]
            .as_str()
            .expect("text")
            .contains("UTF-8")
    );
    let form = request("operator", "", "{}");
    let form = String::from_utf8(form).expect("text").replace("application/json", "text/plain");
    let at = send(&mut world, 0, form.as_bytes());
    assert_eq!(answer(&world, at).expect("an answer").status, 415);
    let at = send(&mut world, 0, &get("/v1/chat/completions", VIEWER));
    let answer = answer(&world, at).expect("an answer");
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("POST")));
    assert_eq!((world.runs.len(), world.nodes[0].retained()), (0, 0));
}

#[test]
fn each_limit_holds_at_its_value() {
    let mut config = patient();
    let body = hello(&[]).to_string();
    config.max_request_bytes = body.len();
    let mut world = World::with(1, config);
    let at = send(&mut world, 0, &request("operator", "", &body));
    world.advance(SECOND);
    assert_eq!(answer(&world, at).expect("an answer").status, 200);
    let large = format!("{body} ");
    let at = send(&mut world, 0, &request("operator", "", &large));
    let refused = answer(&world, at).expect("an answer");
    assert_eq!(refused.status, 413);
    assert!(error(&refused)["message"].as_str().expect("text").contains(&body.len().to_string()));
    // The same without a length.
    let head = String::from_utf8(request("operator", "", "")).expect("text");
    let head = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let at = send(&mut world, 0, format!("{head}{:x}\r\n{large}\r\n", large.len()).as_bytes());
    assert_eq!(answer(&world, at).expect("an answer").status, 413);
    let mut config = patient();
    config.max_message_chars = 13;
    let mut world = World::with(1, config);
    assert_eq!(answered(&mut world, "", &hello(&[])).status, 200);
    let long = hello(&[("messages", json!([{"role": "user", "content": "12345678901234"}]))]);
    let refused = answered(&mut world, "", &long);
    assert_eq!((refused.status, &error(&refused)["param"]), (400, &json!("messages[0].content")));
    let many = |count: usize| {
        let message = json!({"role": "user", "content": "x"});
        let mut body = hello(&[("messages", json!(vec![message; count]))]);
        body["model"] = json!("echo");
        body
    };
    let mut world = World::with(1, patient());
    assert_eq!(answered(&mut world, "", &many(2000)).status, 200);
    assert_eq!(answered(&mut world, "", &many(2001)).status, 400);
}

#[test]
fn who_may_not_is_told_so_before_the_body_is_read() {
    let mut config = patient();
    config.rate_limit_rpm = 60;
    config.bounds.burst = 1;
    let mut world = World::with(1, config);
    for (token, status, kind) in
        [("wrong", 401, "authentication_error"), ("viewer", 403, "permission_error")]
    {
        let mut head = request(token, "", &hello(&[]).to_string());
        head.truncate(head.len() - 10);
        let at = send(&mut world, 0, &head);
        let refused = answer(&world, at).expect("an answer");
        assert_eq!((refused.status, &error(&refused)["type"]), (status, &json!(kind)));
    }
    world.advance(60 * SECOND);
    assert_eq!(answered(&mut world, "", &hello(&[])).status, 200);
    let at = ask(&mut world, &hello(&[]));
    let at_once = ask(&mut world, &hello(&[]));
    world.advance(SECOND);
    assert_eq!(answer(&world, at).expect("an answer").status, 200);
    let limited = answer(&world, at_once).expect("an answer");
    assert_eq!((limited.status, limited.header("Retry-After")), (429, Some("1")));
    assert_eq!(error(&limited)["code"], "rate_limit_exceeded");
}

#[test]
fn a_store_that_fails_is_told_with_when_to_come_back() {
    let mut world = World::with(1, patient());
    world.store_mode = StoreMode::Fails;
    for body in [hello(&[]), streamed(&[])] {
        let refused = answered(&mut world, "X-Moorline-Session-Key: k\r\n", &body);
        assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
    }
    assert_eq!(
        answered(&mut world, "", &hello(&[])).status,
        200,
        "nothing is to be kept of this one"
    );
}

#[test]
fn pages_of_allowed_origins_may_ask() {
    let mut config = patient();
    config.allowed_origins = vec!["https://chat.example.com".into()];
    let mut world = World::with(1, config);
    let origin = "Origin: https://chat.example.com\r\n";
    for (path, method) in [("/v1/chat/completions", "POST"), ("/v1/models", "GET")] {
        let preflight = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\n{origin}\
             Access-Control-Request-Method: {method}\r\n\
             Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n"
        );
        let at = send(&mut world, 0, preflight.as_bytes());
        let allowed = answer(&world, at).expect("an answer");
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.header("Access-Control-Allow-Methods"), Some(method));
        assert_eq!(allowed.header("Access-Control-Allow-Headers"), Some("Authorization, *"));
        assert_eq!(allowed.header("Access-Control-Allow-Origin"), Some("https://chat.example.com"));
    }
    for body in [hello(&[]), streamed(&[]), hello(&[("model", json!("none"))])] {
        let answer = answered(&mut world, origin, &body);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://chat.example.com"));
    }
    let evil = answered(&mut world, "Origin: https://evil.example\r\n", &hello(&[]));
    assert_eq!((evil.status, evil.header("Access-Control-Allow-Origin")), (403, None));
    assert!(error(&evil)["message"].as_str().expect("text").contains("--allow-origin"));
}

#[test]
fn what_users_have_in_memory_is_bounded() {
    let mut config = patient();
    config.bounds.user_bytes = 50_000;
    let mut world = World::with(1, config);
    let text = |len: usize| json!([{"role": "user", "content": "x".repeat(len)}]);
    assert_eq!(answered(&mut world, "", &hello(&[("messages", text(10_000))])).status, 200);
    let refused = answered(&mut world, "", &hello(&[("messages", text(60_000))]));
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    let mut config = patient();
    config.bounds.live_sessions = 1;
    let mut world = World::with(1, config);
    ask(&mut world, &streamed(&[("model", json!("stuck"))]));
    let refused = answered(&mut world, "", &hello(&[]));
    assert_eq!(refused.status, 429, "it counts as a session with something going on");
}
