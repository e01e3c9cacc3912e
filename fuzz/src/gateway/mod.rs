//! What a client may say to the gateway.

mod envelope;
mod recipe;
mod world;

use crate::input::Input;
use envelope::{Judged, judge};
use moorline_core::gateway::methods;
use recipe::Recipe;
use serde_json::Value;
use std::time::Duration;
use world::World;

/// Any messages to a gateway, by a client that is logged in or not: every answer and event has the
/// documented shape; what is no request is refused at once, with an empty id; every request has one
/// answer with its id in the end; nothing is pending or held once all is done.
///
/// What is a request is judged by a reader of its own on top of serde_json.
///
/// The input: options, then operations, each with its bytes.
pub fn gateway(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(2 * 1024)]);
    let options = input.byte();
    let mut client = Client::new(options);
    for _ in 0..24 {
        if input.is_empty() || client.world.is_closed {
            break;
        }
        client.step(&mut input);
    }
    client.finish();
}

struct Client {
    world: World,
    recipe: Recipe,
    is_admin: bool,
    /// Known to be logged in, known not to be, or neither.
    logged_in: Option<bool>,
    /// The ids of requests without an answer yet.
    open: Vec<String>,
    /// What counts towards the end of the connection, and what may count.
    strikes: u32,
    doubtful: u32,
}

impl Client {
    fn new(options: u8) -> Self {
        let mut client = Self {
            world: World::new(options >> 4 & 3),
            recipe: Recipe::default(),
            is_admin: false,
            logged_in: Some(false),
            open: Vec::new(),
            strikes: 0,
            doubtful: 0,
        };
        let token = ["secret", "operator", "viewer"].get(usize::from(options & 3));
        if let Some(token) = token {
            client.say(&format!(
                r#"{{"type":"req","id":"in","method":"connect","params":{{"token":"{token}"}}}}"#
            ));
            assert_eq!(client.logged_in, Some(true));
            client.is_admin = *token == "secret";
        }
        client
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        match kind % 8 {
            0 => {
                let len = input.byte();
                let bytes = input.take(len.into());
                self.hear(bytes, false);
            }
            1 => {
                let len = input.byte();
                let bytes = input.take(len.into());
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.say(text),
                    Err(_) => self.hear(bytes, false),
                }
            }
            2 => {
                let text = self.recipe.json(input);
                self.say(&text);
            }
            3 => {
                self.world.advance(Duration::from_millis(u64::from(kind) * 2));
                self.take_answers();
            }
            _ => {
                let text = self.recipe.request(input);
                self.say(&text);
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.hear(text.as_bytes(), true);
    }

    fn hear(&mut self, bytes: &[u8], is_text: bool) {
        let before = self.logged_in;
        self.world.feed(bytes, is_text);
        let judged = judge(bytes);
        if let Judged::Request { id, .. } = &judged {
            self.open.push(id.clone());
        } else {
            // The answer to what is no request.
            self.open.push(String::new());
        }
        let answers = self.take_answers();
        match &judged {
            Judged::Refused(why) => {
                let [answer] = &answers[..] else { panic!("{why}: {answers:?}") };
                assert_eq!(code(answer), "INVALID_REQUEST", "{why}: {answer}");
                self.strikes += 1;
            }
            Judged::Request { id, method, params } => {
                let answer = answers.iter().find(|answer| answer["id"] == **id);
                let known = methods().iter().find(|known| known.name == method);
                let codes: &[&str] = match known {
                    _ if before == Some(false) && method != "connect" => &["UNAUTHORIZED"],
                    None if before == Some(true) => &["INVALID_REQUEST"],
                    Some(known) if !params.fit(known) && (self.is_admin || method == "connect") => {
                        &["INVALID_REQUEST", "RESOURCE_EXHAUSTED", "UNAUTHORIZED"]
                    }
                    _ => &[],
                };
                if !codes.is_empty() {
                    let answer = answer.expect("an answer at once");
                    assert!(codes.contains(&code(answer)), "{answer}");
                }
                if let Some(answer) = answer {
                    let is_login = method == "connect";
                    if is_login {
                        self.logged_in = Some(true).filter(|_| answer["ok"] == true);
                        self.is_admin = answer["payload"]["role"] == "admin";
                    }
                    if code(answer) == "UNAUTHORIZED" {
                        // Of somebody who is logged in, a refused login or a missing role is none.
                        self.strikes += u32::from(before == Some(false));
                        self.doubtful += u32::from(before.is_none());
                    }
                }
            }
        }
        let most = self.strikes + self.doubtful;
        let is_late = self.world.elapsed() >= Duration::from_secs(10);
        let is_closed = self.world.is_closed;
        assert!(self.strikes < 16 || is_closed, "open after {} strikes", self.strikes);
        assert!(most >= 16 || is_late || !is_closed, "closed after {most} strikes");
    }

    /// What was answered since; each answer belongs to an open request.
    fn take_answers(&mut self) -> Vec<Value> {
        let answers = self.world.take_answers();
        for answer in &answers {
            let id = answer["id"].as_str().expect("an id");
            let at = self.open.iter().position(|open| open == id);
            self.open.swap_remove(at.unwrap_or_else(|| panic!("nobody asked: {answer}")));
            if let Some(key) = answer["payload"]["sessionKey"].as_str() {
                self.recipe.session = key.to_owned();
            }
        }
        answers
    }

    fn finish(mut self) {
        self.world.drain();
        self.take_answers();
        assert!(self.world.is_closed || self.open.is_empty(), "no answer to {:?}", self.open);
        self.world.hang_up();
    }
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("ok")
}
