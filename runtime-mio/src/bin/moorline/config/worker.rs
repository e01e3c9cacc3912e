//! The backend `worker`: processes that connect by themselves answer for the agent.

use super::members::{self, Members};
use super::secret::NamedSecret;
use super::slot::{Context, Wrong, read_secret};
use super::tree::Node;
use moorline_core::gateway::{OnLost, WorkerBackend};
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// Every setting of such a backend. The docs say what each is for.
#[derive(Clone)]
pub(crate) struct WorkerSettings {
    token: Option<NamedSecret>,
    on_lost: OnLost,
    attempts: u32,
    wait: Duration,
    max_waiting: usize,
}

/// All keys of such a backend.
pub(super) const KEYS: [&str; 6] =
    ["type", "token", "on_lost", "attempts", "wait_ms", "max_waiting"];

const SECRET: &str = "a text, {file: \"path\"} or {env: \"NAME\"}";

const HOUR: u64 = 60 * 60 * 1000;

impl Default for WorkerSettings {
    fn default() -> Self {
        let WorkerBackend { agent: _, token: _, on_lost, attempts, wait, waiting } =
            WorkerBackend::new("", None);
        Self { token: None, on_lost, attempts, wait, max_waiting: waiting }
    }
}

impl WorkerSettings {
    pub(super) fn read(node: &Node, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let default = Self::default();
        let members = Members::read(node, "the backend worker", &KEYS)?;
        let token = members.node("token").map(|node| read_secret(node, SECRET, context));
        let on_lost = match members.node("on_lost") {
            None => default.on_lost,
            Some(node) => {
                let word = members::text(node)?;
                let known = [OnLost::Fail, OnLost::Requeue];
                known.into_iter().find(|known| known.as_str() == word).ok_or_else(|| {
                    let message = "expected on_lost, fail or requeue".into();
                    Wrong { at: node.at, message }
                })?
            }
        };
        let attempts = members.number("attempts", (1, 100), u64::from(default.attempts))?;
        let waiting = members.number("max_waiting", (0, 100_000), default.max_waiting as u64)?;
        Ok(Self {
            token: token.transpose()?,
            on_lost,
            // In their ranges.
            attempts: attempts as u32,
            wait: members.millis("wait_ms", (0, HOUR), default.wait)?,
            max_waiting: waiting as usize,
        })
    }

    /// Without the token.
    pub(super) fn show(&self) -> Json {
        let mut shown = Map::new();
        shown.insert("type".into(), json!("worker"));
        if let Some(token) = &self.token {
            shown.insert("token".into(), json!(token.shown()));
        }
        shown.insert("on_lost".into(), json!(self.on_lost.as_str()));
        shown.insert("attempts".into(), json!(self.attempts));
        shown.insert("wait_ms".into(), json!(self.wait.as_millis() as u64));
        shown.insert("max_waiting".into(), json!(self.max_waiting));
        Json::Object(shown)
    }

    /// What the gateway works by.
    pub(super) fn backend(&self, agent: &str) -> WorkerBackend {
        WorkerBackend {
            on_lost: self.on_lost,
            attempts: self.attempts,
            wait: self.wait,
            waiting: self.max_waiting,
            ..WorkerBackend::new(agent, self.token.as_ref().map(|token| token.secret.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_every_key() {
        let docs = include_str!("../../../../../docs/worker.md");
        for key in KEYS.into_iter().filter(|key| *key != "type") {
            assert!(docs.contains(&format!("\n| `{key}` |")), "{key}");
        }
    }
}
