//! `agents`: who users can talk to, and what answers for each of them.

use super::members::{self, Members};
use super::openai::OpenAiSettings;
use super::slot::{Context, Wrong};
use super::tree::{Node, Value};
use super::worker::WorkerSettings;
use moorline_core::gateway::{Agent, WorkerBackend};
use serde_json::{Value as Json, json};

/// An agent and its backend.
#[derive(Clone)]
pub(crate) struct AgentSettings {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) backend: Backend,
}

/// What answers for an agent.
#[derive(Clone)]
pub(crate) enum Backend {
    /// The built-in agent, which says what it is told.
    Echo,
    /// An endpoint of chat completions.
    OpenAi(Box<OpenAiSettings>),
    /// Processes that connect to the gateway.
    Worker(Box<WorkerSettings>),
}

/// What may stand there.
pub(super) const ALLOWED: &str = "a list of objects {id, name, backend}";

/// What an id is. It stands in the keys of sessions between colons, in URLs, labels of metrics and log lines.
const ID: &str =
    "expected letters, digits, '.', '_' and '-', a letter or digit first, at most 64 of them";

/// Whether this can be an agent's id.
fn is_id(id: &str) -> bool {
    let is_in_one = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    id.len() <= 64
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.bytes().all(is_in_one)
}

const BACKENDS: &str = "echo, openai or worker";

impl AgentSettings {
    /// The agent that is there unless another one is configured.
    pub(super) fn echo() -> Self {
        Self { id: "echo".into(), name: "Echo".into(), backend: Backend::Echo }
    }

    pub(super) fn read(node: &Node, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let members = Members::read(node, "an agent", &["id", "name", "backend"])?;
        let Some(id) = members.text("id")? else {
            return Err(Wrong { at: node.at, message: "an agent needs an id".into() });
        };
        if !is_id(id) {
            let at = members.node("id").map_or(node.at, |node| node.at);
            return Err(Wrong { at, message: format!("{id:?} is no id of an agent: {ID}") });
        }
        let name = members.text("name")?.unwrap_or(id);
        let backend = match members.node("backend") {
            None => Backend::Echo,
            Some(node) => Backend::read(node, context)?,
        };
        Ok(Self { id: id.into(), name: name.into(), backend })
    }

    pub(super) fn show(&self) -> Json {
        json!({"id": self.id, "name": self.name, "backend": self.backend.show()})
    }

    /// What the gateway knows of it.
    pub(super) fn agent(&self) -> Agent {
        let backend = Some(self.backend.show().to_string());
        Agent { backend, ..Agent::new(self.id.as_str(), self.name.as_str()) }
    }

    /// What the gateway knows of its workers, if they answer for it.
    pub(super) fn workers(&self) -> Option<WorkerBackend> {
        match &self.backend {
            Backend::Worker(settings) => Some(settings.backend(&self.id)),
            Backend::Echo | Backend::OpenAi(_) => None,
        }
    }

    /// Whether this entry of a file holds a secret itself.
    pub(super) fn has_inline_secret(node: &Node) -> bool {
        let member = |node: &Node, name: &str| match &node.value {
            Value::Object(members) => {
                members.iter().find(|member| member.key == name).map(|member| member.node.clone())
            }
            _ => None,
        };
        let Some(backend) = member(node, "backend") else { return false };
        let is_text = |node: Node| matches!(node.value, Value::Text(_));
        ["api_key", "token"].into_iter().any(|name| member(&backend, name).is_some_and(is_text))
    }
}

impl Backend {
    fn read(node: &Node, context: &mut Context<'_>) -> Result<Self, Wrong> {
        let kind = match &node.value {
            Value::Object(members) => members.iter().find(|m| m.key == "type").map(|m| &m.node),
            // Its name alone, for one that needs nothing else.
            _ => Some(node),
        };
        let Some(kind) = kind else {
            let message = format!("a backend needs a type: {BACKENDS}");
            return Err(Wrong { at: node.at, message });
        };
        match members::text(kind)? {
            "echo" if std::ptr::eq(kind, node) => Ok(Self::Echo),
            "echo" => Members::read(node, "the backend echo", &["type"]).map(|_| Self::Echo),
            "openai" => OpenAiSettings::read(node, context).map(Box::new).map(Self::OpenAi),
            "worker" if std::ptr::eq(kind, node) => Ok(Self::Worker(Box::default())),
            "worker" => WorkerSettings::read(node, context).map(Box::new).map(Self::Worker),
            _ => {
                let message = format!("expected a type of backend, {BACKENDS}");
                Err(Wrong { at: kind.at, message })
            }
        }
    }

    /// Without secrets.
    fn show(&self) -> Json {
        match self {
            Self::Echo => json!({"type": "echo"}),
            Self::OpenAi(settings) => settings.show(),
            Self::Worker(settings) => settings.show(),
        }
    }
}
