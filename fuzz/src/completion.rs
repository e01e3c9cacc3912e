//! What a client of the HTTP API may send.

use crate::input::{Input, Pieces};
use crate::run::{Sample, drain_output, epoch};
use moorline_core::gateway::*;
use moorline_core::{Connection, End};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

const CONN: ConnId = ConnId(1);

/// Any body of a request for a completion, in any pieces: one whole answer, the same as in one piece; a
/// refusal is an error object; an agent is given what a reader of its own finds in the body; nothing is
/// pending or held in the end.
///
/// The input: options, how it is cut, then the body, as bytes or as choices of members.
pub fn completion_request(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(2 * 1024)]);
    let options = input.byte();
    let pieces = Pieces::new(&mut input);
    let body = if options & 1 == 0 { input.rest().to_vec() } else { recipe(&mut input) };
    let wire = request(&body);
    let whole = World::ask(&wire, None);
    let cut = World::ask(&wire, Some(pieces));
    assert_eq!(whole.output, cut.output, "{}", body.escape_ascii());
    whole.check(&body);
}

fn request(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What came of a request.
struct World {
    output: Vec<u8>,
    runs: Vec<Run>,
}

impl World {
    fn ask(wire: &[u8], mut pieces: Option<Pieces>) -> Self {
        let now = epoch();
        let config = GatewayConfig::new("127.0.0.1:18790".parse().expect("an address"));
        let mut connection = Connection::server(Arc::new(config.limits.clone()), now);
        let node = Node { index: 0, count: 1 };
        let gateway = Gateway::new(config, node, Box::new(Sample(1)), now, 1_700_000_000_000);
        let mut gateway = gateway.expect("a configuration");
        let mut world = Self { output: Vec::new(), runs: Vec::new() };
        let mut store = MemoryStore::default();
        world.act(&mut gateway, &mut connection, &mut store, now);
        gateway.connected(now, CONN, "127.0.0.1:4000".parse().expect("an address"));
        let mut rest = wire;
        while !rest.is_empty() {
            let len = pieces.as_mut().map_or(rest.len(), Pieces::next).min(rest.len());
            let mut piece = rest[..len].to_vec();
            rest = &rest[len..];
            let mut turn = connection.receive(now, &mut piece);
            while let Some((event, outbox)) = turn.next_event() {
                gateway.handle(now, CONN, event, outbox);
            }
            world.act(&mut gateway, &mut connection, &mut store, now);
        }
        assert_ne!(connection.wants().end, End::Stay, "it was answered whole");
        for _ in 0..2 {
            let mut turn = connection.handle_eof(now);
            while let Some((event, outbox)) = turn.next_event() {
                gateway.handle(now, CONN, event, outbox);
            }
            world.act(&mut gateway, &mut connection, &mut store, now);
        }
        assert_eq!((gateway.pending(), gateway.retained()), (0, 0));
        assert_eq!(gateway.connections(), (0, 0));
        world
    }

    /// Does all that is to be done; agents answer at once.
    fn act(
        &mut self,
        gateway: &mut Gateway,
        connection: &mut Connection,
        store: &mut MemoryStore,
        now: Instant,
    ) {
        loop {
            while let Some(action) = gateway.poll_action() {
                let outbox = connection.outbox(now);
                match action {
                    Action::Start { job, work: Work::Store(work) } => {
                        gateway.handle_result(now, job, Outcome::Store(store.execute(work)));
                    }
                    Action::Start { job, work: Work::Run(run) } => {
                        let content = run.message.to_string();
                        for chunk in echo_chunks(&content) {
                            gateway.handle_result(now, job, Outcome::Chunk(chunk.into()));
                        }
                        let (usage, stop) = (Usage::default(), StopReason::Stop);
                        gateway.handle_result(now, job, Outcome::Done { content, usage, stop });
                        self.runs.push(run);
                    }
                    Action::Respond { answer, .. } => answer.write(outbox),
                    Action::Body { piece, .. } => outbox.body(piece).expect("room"),
                    Action::EndBody { .. } => outbox.end_body().expect("a stream"),
                    Action::Note(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            let before = self.output.len();
            drain_output(connection, &mut self.output);
            if self.output.len() == before {
                return;
            }
            gateway.handle_flushed(now, CONN, connection.outbox(now));
        }
    }

    fn check(&self, body: &[u8]) {
        let output = std::str::from_utf8(&self.output).expect("text");
        let (head, answer) = output.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        if status != "200" {
            let error: Value = serde_json::from_str(answer).expect("JSON");
            let message = error["error"]["message"].as_str().expect("a message");
            assert!(!message.is_empty() && error["error"]["type"].is_string(), "{error}");
            assert!(["400", "404"].contains(&status), "{output}");
            assert!(self.runs.is_empty());
            return;
        }
        let asked: Value = serde_json::from_slice(body).expect("JSON");
        let [run] = &self.runs[..] else { panic!("one run: {asked}") };
        let is = |message: &&Value, roles: [&str; 2]| {
            roles.contains(&message["role"].as_str().expect("a role"))
        };
        let messages = asked["messages"].as_array().expect("a list");
        let system: Vec<_> = messages.iter().filter(|m| is(m, ["system", "developer"])).collect();
        let mut before: Vec<_> = messages.iter().filter(|m| is(m, ["user", "assistant"])).collect();
        let last = before.pop().expect("a message of the user");
        assert_eq!((last["role"].as_str(), text(last)), (Some("user"), run.message.to_string()));
        let system: Vec<_> = system.into_iter().map(text).filter(|text| !text.is_empty()).collect();
        assert_eq!(run.instructions.as_deref().unwrap_or_default(), system.join("\n\n"));
        assert!(asked["n"].is_null() || asked["n"] == 1, "{asked}");
        assert!(asked["tools"].as_array().is_none_or(Vec::is_empty), "{asked}");
        if asked["user"].as_str().is_none_or(str::is_empty) {
            let history: Vec<_> = run.history.iter().map(|m| m.text.to_string()).collect();
            assert_eq!(history, before.into_iter().map(text).collect::<Vec<_>>());
        }
        if asked["stream"] == true {
            let said = answer.split("data: ").filter_map(|data| data.split("\n\n").next());
            let said = said.filter_map(|data| serde_json::from_str::<Value>(data).ok());
            let said: String = said
                .filter_map(|data| {
                    Some(data["choices"][0]["delta"]["content"].as_str()?.to_string())
                })
                .collect();
            assert_eq!(said, *run.message);
            assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
        } else {
            let answer: Value = serde_json::from_str(answer).expect("JSON");
            assert_eq!(answer["choices"][0]["message"]["content"], *run.message);
        }
    }
}

/// What a message says.
fn text(message: &Value) -> String {
    match &message["content"] {
        Value::Array(parts) => {
            let text = |part: &Value| {
                let text = part.get("text").filter(|_| part["type"] == "text");
                text.or(part.get("refusal")).and_then(Value::as_str).map(String::from)
            };
            parts.iter().map(|part| text(part).expect("a text")).collect()
        }
        Value::String(text) => text.clone(),
        other => {
            assert!(other.is_null(), "{message}");
            String::new()
        }
    }
}

const MEMBERS: [&str; 16] = [
    "\"model\":\"echo\"",
    "\"model\":\"moorline/default\"",
    "\"model\":\"none\"",
    "\"stream\":true",
    "\"stream\":false",
    "\"stream\":1",
    "\"stream_options\":{\"include_usage\":true}",
    "\"n\":1",
    "\"n\":2",
    "\"tools\":[]",
    "\"tools\":[{}]",
    "\"user\":\"u\"",
    "\"user\":\"\"",
    "\"stop\":null",
    "\"temperature\":0.5",
    "\"x\":{\"y\":[[\"\\ud83d\\ude00\"]]}",
];

const MESSAGES: [&str; 12] = [
    "{\"role\":\"user\",\"content\":\"one two\"}",
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a \"},{\"type\":\"text\",\"text\":\"b\"}]}",
    "{\"role\":\"user\",\"content\":\"\"}",
    "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}",
    "{\"role\":\"assistant\",\"content\":\"well\"}",
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}",
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]}",
    "{\"role\":\"system\",\"content\":\"be brief\"}",
    "{\"role\":\"developer\"}",
    "{\"role\":\"tool\",\"content\":\"x\"}",
    "{\"content\":\"x\"}",
    "{\"role\":\"user\",\"role\":\"user\"}",
];

/// A body of members that the API knows; the first two are a model and messages.
fn recipe(input: &mut Input<'_>) -> Vec<u8> {
    let mut members = vec![MEMBERS[usize::from(input.byte() % 3)].to_string()];
    let count = input.byte() % 5;
    let mut messages: Vec<_> =
        (0..count).map(|_| MESSAGES[usize::from(input.byte()) % MESSAGES.len()]).collect();
    messages.push(MESSAGES[usize::from(input.byte() % 3)]);
    members.push(format!("\"messages\":[{}]", messages.join(",")));
    while !input.is_empty() && members.len() < 12 {
        let member = MEMBERS[usize::from(input.byte()) % MEMBERS.len()].to_string();
        members.push(member);
    }
    format!("{{{}}}", members.join(",")).into_bytes()
}
