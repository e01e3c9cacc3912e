//! What the host knows of its links to agents: apart from the links of clients, which are the gateway's own.

use super::Gateway;
use super::breaker::BreakerState;
use super::json::{self, Object};
use super::refusal::cut;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Whether an agent can be reached.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub enum AgentLink {
    /// As far as anybody knows.
    #[default]
    Up,
    /// It can be, and refuses what the gateway asks for, as with a wrong key: who runs the gateway has to do
    /// something. Runs are given to it all the same, for that may have been done at its end.
    Refused,
    /// It was not, and is being tried.
    Trying,
    /// It is not: runs fail at once.
    Down,
}

impl AgentLink {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Refused, Self::Trying, Self::Down];

    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Refused => "refused",
            Self::Trying => "trying",
            Self::Down => "down",
        }
    }
}

impl From<BreakerState> for AgentLink {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Up,
            BreakerState::HalfOpen => Self::Trying,
            BreakerState::Open => Self::Down,
        }
    }
}

/// A language model behind an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What its provider calls it.
    pub id: String,
    /// Who runs it, such as the host of an endpoint.
    pub provider: String,
}

/// What a host knows of its link to one agent, for [`Gateway::set_agent_state`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentState {
    /// Whether it can be reached.
    pub link: AgentLink,
    /// The agent's circuit breaker, if it has one.
    pub breaker: Option<BreakerState>,
    /// Why it is not [`AgentLink::Up`], for people; 256 bytes of it are shown.
    pub reason: Option<String>,
    /// Since when it is not [`AgentLink::Up`], if that is known.
    pub since: Option<Instant>,
    /// When it is tried again, if that is known.
    pub retry_at: Option<Instant>,
    /// The models behind it, of which 64 are shown.
    pub models: Vec<Model>,
}

/// Bytes of a reason, and of a model's names.
const MAX_TEXT: usize = 256;

/// Models of one agent.
const MAX_MODELS: usize = 64;

/// States of the agents that were told, by their ids.
#[derive(Debug, Default)]
pub(super) struct AgentStates(BTreeMap<Arc<str>, AgentState>);

impl AgentStates {
    /// An agent of which nothing was told works.
    fn link(&self, agent: &str) -> AgentLink {
        self.0.get(agent).map_or(AgentLink::Up, |state| state.link)
    }

    pub(super) fn models(&self, agent: &str) -> &[Model] {
        self.0.get(agent).map_or(&[], |state| &state.models)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|agent, _| keep(agent));
    }
}

impl Gateway {
    /// The host's link to an agent is like this now. `agents.list`, `models.list`, `health` and `/ready` say
    /// so from now on. It refuses nothing by itself: the host, which knows more, fails runs that cannot
    /// work. Nothing happens for an agent that is not configured; all nodes of a process must be told.
    pub fn set_agent_state(&mut self, agent: &str, mut state: AgentState) {
        if self.config.agent(agent).is_none() {
            return;
        }
        if let Some(reason) = &mut state.reason {
            reason.truncate(reason.floor_char_boundary(MAX_TEXT));
        }
        state.models.truncate(MAX_MODELS);
        for Model { id, provider } in &mut state.models {
            id.truncate(id.floor_char_boundary(MAX_TEXT));
            provider.truncate(provider.floor_char_boundary(MAX_TEXT));
        }
        self.agents.0.insert(agent.into(), state);
    }

    /// The configured agents, and whether each can be reached: as far as the host has told, or, where
    /// workers answer for it, whether one of them takes runs.
    pub fn agent_links(&self) -> impl Iterator<Item = (&str, AgentLink)> {
        let agents = self.config.raw.agents.iter();
        agents.map(|agent| (agent.id.as_str(), self.agent_link(&agent.id)))
    }

    /// Agents that cannot be reached, refuse, or are just being tried.
    pub(super) fn agents_down(&self) -> usize {
        let agents = self.config.raw.agents.iter();
        agents.filter(|agent| self.agent_link(&agent.id) != AgentLink::Up).count()
    }

    /// One word about an agent for people.
    pub(super) fn agent_status(&self, agent: &str) -> &'static str {
        match self.agent_link(agent) {
            AgentLink::Up => "active",
            AgentLink::Refused => "refused",
            AgentLink::Trying => "recovering",
            AgentLink::Down => "unavailable",
        }
    }

    /// The host knows of its own agents, this gateway of its workers.
    fn agent_link(&self, agent: &str) -> AgentLink {
        self.worker_link(agent).unwrap_or_else(|| self.agents.link(agent))
    }

    /// The member `link` of an agent.
    pub(super) fn write_agent_link<'o>(&self, object: Object<'o>, agent: &str) -> Object<'o> {
        if let Some(link) = self.worker_link(agent) {
            return self.write_worker_link(object, agent, link);
        }
        let default = AgentState::default();
        let state = self.agents.0.get(agent).unwrap_or(&default);
        object.object("link", |o| {
            let o = o
                .str("state", state.link.as_str())
                .maybe_str("breaker", state.breaker.map(BreakerState::as_str))
                .maybe_str("reason", state.reason.as_deref());
            let o = match state.since {
                Some(at) => o.num("sinceMs", self.ms(at)),
                None => o,
            };
            match state.retry_at {
                Some(at) => o.num("retryAtMs", self.ms(at)),
                None => o,
            }
        })
    }

    /// The models behind all agents; an agent without one is left out.
    pub(super) fn write_agent_models(&self, out: &mut String) {
        let agents = self.config.raw.agents.iter();
        let models = agents.flat_map(|agent| {
            self.agents.models(&agent.id).iter().map(move |model| (&*agent.id, model))
        });
        json::list(out, models, |out, (agent, model)| {
            Object::new(out)
                .str("id", cut(&model.id, MAX_TEXT))
                .str("name", cut(&model.id, MAX_TEXT))
                .str("provider", &model.provider)
                .str("agentId", agent)
                .bool("available", self.agent_link(agent) != AgentLink::Down)
                .end();
        });
    }

    /// Whether an agent answers, as far as anybody knows.
    pub(super) fn is_agent_available(&self, agent: &str) -> bool {
        self.agent_link(agent) != AgentLink::Down
    }
}
