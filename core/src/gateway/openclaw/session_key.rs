//! What clients of this dialect call sessions.

use std::sync::Arc;

/// The main session of an agent, and the name of the default agent.
pub(in crate::gateway) const MAIN: &str = "main";

/// The one name of a session: `agent:<agent>:<rest>`. Every other name is short for one of the agent.
pub(in crate::gateway) fn canonical(name: &str, agent: &str) -> Arc<str> {
    match super::super::session::agent_of(name) {
        Some(_) => name.into(),
        None => format!("agent:{agent}:{name}").into(),
    }
}
