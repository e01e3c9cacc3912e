//! The methods about agents.

use super::super::Gateway;
use super::super::json::{self, Object};
use super::super::refusal::Refusal;
use super::super::send::Cx;
use super::super::session::agent_of;
use super::answers::PROVIDER;
use super::dispatch::{Call, Done};
use super::session_key::{MAIN, main_of};

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let main = main_of(call.who.user());
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            Object::new(out)
                .str("defaultId", gateway.default_agent())
                .str("mainKey", &main)
                .str("scope", "per-sender")
                .list("agents", &gateway.config.raw.agents, |out, agent| {
                    Object::new(out)
                        .str("id", gateway.agent_shown(&agent.id))
                        .str("name", &agent.name)
                        .object("identity", |o| o.str("name", &agent.name))
                        .object("model", |o| o.str("primary", &model_of(&agent.id)))
                        .end();
                })
                .end();
        });
    }
    Ok(())
}

pub(super) fn identity(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let session = call.values.text("sessionKey");
    let named = call.values.text("agentId");
    let named = named.as_deref().or(session.as_deref().and_then(agent_of)).unwrap_or(MAIN);
    let id = gateway.agent_called(named).to_owned();
    let Some(agent) = gateway.config.agent(&id).cloned() else {
        return Err(unknown_agent(named));
    };
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            Object::new(out)
                .str("agentId", gateway.agent_shown(&agent.id))
                .str("name", &agent.name)
                .end();
        });
    }
    Ok(())
}

/// Each agent as a model: which one an agent asks is its own affair.
pub(super) fn models(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            let mut object = Object::new(out);
            gateway.write_models(object.key("models"));
            object.end();
        });
    }
    Ok(())
}

impl Gateway {
    pub(super) fn write_models(&self, out: &mut String) {
        json::list(out, &self.config.raw.agents, |out, agent| {
            Object::new(out)
                .str("id", &agent.id)
                .str("name", &agent.name)
                .str("provider", PROVIDER)
                .bool("available", self.is_agent_available(&agent.id))
                .list("input", ["text"], json::string)
                .end();
        });
    }

    /// What the default agent is called: clients know it as `main`, unless another one is called so.
    pub(in crate::gateway) fn default_agent(&self) -> &str {
        self.agent_shown(&self.config.raw.agents[0].id)
    }

    /// What an agent is called.
    pub(in crate::gateway) fn agent_shown<'a>(&self, id: &'a str) -> &'a str {
        let is_default = self.config.raw.agents[0].id == id;
        if is_default && self.config.agent(MAIN).is_none() { MAIN } else { id }
    }

    /// The agent that is called so.
    pub(in crate::gateway) fn agent_called<'a>(&'a self, name: &'a str) -> &'a str {
        if name == MAIN && self.config.agent(MAIN).is_none() {
            return &self.config.raw.agents[0].id;
        }
        name
    }
}

fn model_of(agent: &str) -> String {
    format!("{PROVIDER}/{agent}")
}

pub(super) fn unknown_agent(name: &str) -> Refusal {
    let name = super::super::refusal::cut(name, 128);
    Refusal::invalid(format!("unknown agent id: {name}"))
        .details(|o| o.str("code", "UNKNOWN_AGENT_ID"))
}
