//! The methods about agents: which there are, who they are, and when one is done.

use super::Gateway;
use super::call::{Call, Done};
use super::chat::{MAX_KEY, key};
use super::json::{self, Object};
use super::refusal::Refusal;
use super::send::Cx;
use super::session::{Op, agent_of};
use std::sync::Arc;
use std::time::Duration;

/// How long `agent.wait` waits unless the caller says: as most clients wait for an answer.
const WAIT_MS: u64 = 30_000;

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    call.answer(gateway, cx, |gateway, out| {
        let mut object = Object::new(out);
        write_list(object.key("agents"), gateway);
        object.end();
    })
}

/// Appends the agents as clients see them.
pub(super) fn write_list(out: &mut String, gateway: &Gateway) {
    json::list(out, &gateway.config.raw.agents, |out, agent| {
        let object = Object::new(out)
            .str("id", &agent.id)
            .str("name", &agent.name)
            .str("status", gateway.agent_status(&agent.id))
            .bool("isRunning", gateway.is_agent_running(&agent.id));
        gateway.write_agent_link(object, &agent.id).end();
    });
}

/// A session key names its agent; whose session it is does not matter for that.
pub(super) fn identity(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let session = key(&call.params, "sessionKey", MAX_KEY)?;
    let named = match (key(&call.params, "agentId", MAX_KEY)?, session.as_deref()) {
        (Some(agent), _) => Some(agent),
        (None, None) => None,
        (None, Some(session)) => match agent_of(session) {
            Some(agent) => Some(Arc::from(agent)),
            None => {
                let text = "sessionKey names no agent: it must begin with agent:<id>:";
                return Err(Refusal::invalid(text));
            }
        },
    };
    let id = gateway.agent(named.as_deref())?;
    call.answer(gateway, cx, |gateway, out| {
        let name = gateway.config.agent(&id).map_or(&*id, |agent| &agent.name);
        Object::new(out).str("agentId", &id).str("name", name).end();
    })
}

pub(super) fn wait(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let run = key(&call.params, "runId", MAX_KEY)?;
    let run = run.ok_or_else(|| {
        Refusal::invalid("runId is required: chat.send with ack answers with one")
    })?;
    let within = Duration::from_millis(call.params.number("timeoutMs")?.unwrap_or(WAIT_MS));
    let within = within.min(gateway.config.bounds().run_within);
    call.route(gateway, cx, Op::Wait { run, within })
}

pub(super) fn models(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    call.answer(gateway, cx, |gateway, out| {
        let mut object = Object::new(out);
        gateway.write_agent_models(object.key("models"));
        object.end();
    })
}
