//! Requests of plain HTTP in the small world, and their answers, however they end.
#![allow(dead_code, clippy::disallowed_methods)]

use super::world::{World, config};
use moorline_core::gateway::GatewayConfig;
use serde_json::{Value, json};
use std::time::Duration;

/// An answer so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// All of it has come.
    pub whole: bool,
}

impl Reply {
    pub fn json(&self) -> Value {
        assert!(self.whole, "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    /// The data of an event stream; comments are left out.
    pub fn events(&self) -> Vec<&str> {
        assert_eq!(self.header("Content-Type"), Some("text/event-stream; charset=utf-8"));
        let events = self.body.split_terminator("\n\n");
        events.filter_map(|event| event.strip_prefix("data: ")).collect()
    }

    pub fn chunks(&self) -> Vec<Value> {
        let data = self.events().into_iter().filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }

    /// The text of all pieces.
    pub fn streamed(&self) -> String {
        let chunks = self.chunks();
        let text =
            |chunk: &Value| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_string());
        chunks.iter().filter_map(text).collect()
    }
}

/// Sends bytes on a new connection.
pub fn send(world: &mut World, node: usize, request: &[u8]) -> usize {
    let at = world.socket(node);
    world.feed(at, request);
    at
}

/// The answer that has come by now, if its head has.
pub fn answer(world: &World, at: usize) -> Option<Reply> {
    let heard = std::str::from_utf8(&world.clients[at].heard).expect("text");
    let heard = heard.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
    let (head, body) = heard.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Reply { status, head: head.into(), body: body.into(), whole: false };
    if answer.header("Transfer-Encoding").is_some() {
        assert_eq!(answer.header("Content-Length"), None);
        let (mut rest, mut text) = (body, String::new());
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).expect("a size");
            let piece = &after[..size];
            assert_eq!(&after[size..size + 2], "\r\n");
            rest = &after[size + 2..];
            text.push_str(piece);
            if size == 0 {
                assert_eq!(rest, "", "nothing behind the last chunk");
                answer.whole = true;
            }
        }
        answer.body = text;
    } else {
        let length = answer.header("Content-Length").map(|length| length.parse());
        answer.whole = length == Some(Ok(body.len()));
    }
    Some(answer)
}

// --- requests for completions ---------------------------------------------------------------------

pub const SECOND: Duration = Duration::from_secs(1);

/// Whose clients wait for an answer.
pub fn patient() -> GatewayConfig {
    let mut config = config();
    config.limits.handshake_within = 3600 * SECOND;
    config
}

pub fn request(token: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{headers}\
         Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn ask_at(world: &mut World, node: usize, headers: &str, body: &Value) -> usize {
    send(world, node, &request("operator", headers, &body.to_string()))
}

pub fn ask(world: &mut World, body: &Value) -> usize {
    ask_at(world, 0, "", body)
}

/// Asks, waits for ten seconds, and gives the answer.
pub fn answered(world: &mut World, headers: &str, body: &Value) -> Reply {
    let at = ask_at(world, 0, headers, body);
    world.advance(10 * SECOND);
    answer(world, at).expect("an answer")
}

pub fn hello(more: &[(&str, Value)]) -> Value {
    let mut body =
        json!({"model": "echo", "messages": [{"role": "user", "content": "one two three"}]});
    for (name, value) in more {
        body[*name] = value.clone();
    }
    body
}

pub fn streamed(more: &[(&str, Value)]) -> Value {
    let mut body = hello(more);
    body["stream"] = json!(true);
    body
}

pub fn error(answer: &Reply) -> Value {
    let mut json = answer.json();
    json["error"].take()
}
