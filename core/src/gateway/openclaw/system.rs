//! The methods about the gateway itself.

use super::super::Gateway;
use super::super::bus::NodeId;
use super::super::json::{self, Object};
use super::super::presence::{Entry, conn_name};
use super::super::send::Cx;
use super::dispatch::{Call, Done};
use super::session_key::MAIN;
use std::time::Instant;

/// Entries in a list of who is connected: as many as clients keep.
const MOST: usize = 200;

pub(super) fn health(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let now = cx.now;
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| gateway.write_openclaw_health(out, now));
    }
    Ok(())
}

pub(super) fn status(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            let agent = gateway.default_agent();
            Object::new(out)
                .str("runtimeVersion", &gateway.config.raw.version)
                .object("heartbeat", |o| o.str("defaultAgentId", agent).raw("agents", "[]"))
                .raw("channelSummary", "[]")
                .raw("queuedSystemEvents", "[]")
                .object("sessions", |o| {
                    o.raw("paths", "[]")
                        .num("count", 0)
                        .raw("defaults", "{}")
                        .raw("recent", "[]")
                        .raw("byAgent", "[]")
                })
                .end();
        });
    }
    Ok(())
}

pub(super) fn presence(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let now = cx.now;
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| gateway.write_openclaw_presence(out, now));
    }
    Ok(())
}

/// Agents here are asked, they do not ask by themselves.
pub(super) fn last_heartbeat(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| out.push_str("null"));
    }
    Ok(())
}

impl Gateway {
    pub(super) fn write_openclaw_health(&self, out: &mut String, now: Instant) {
        let agent = self.default_agent();
        let sessions = |o: Object<'_>| o.str("path", "").num("count", 0).raw("recent", "[]").end();
        Object::new(out)
            .bool("ok", self.store_works(now))
            .num("ts", self.ms(now))
            .num("durationMs", 0)
            .raw("channels", "{}")
            .raw("channelOrder", "[]")
            .raw("channelLabels", "{}")
            .num("heartbeatSeconds", 0)
            .str("defaultAgentId", agent)
            .list("agents", &self.config.raw.agents, |out, known| {
                let id = self.agent_shown(&known.id);
                let mut object = Object::new(out).str("agentId", id).bool("isDefault", id == agent);
                object = object.object("heartbeat", |o| {
                    o.bool("enabled", false).str("every", "disabled").raw("everyMs", "null")
                });
                sessions(Object::new(object.key("sessions")));
                object.end();
            })
            .object("sessions", |o| o.str("path", "").num("count", 0).raw("recent", "[]"))
            .end();
    }

    /// Who is connected, and the gateway itself as the first.
    pub(in crate::gateway) fn write_openclaw_presence(&self, out: &mut String, now: Instant) {
        let now_ms = self.ms(now);
        let own = std::iter::once(None);
        let others = self.presence.iter().take(MOST).map(Some);
        json::list(out, own.chain(others), |out, entry| match entry {
            None => Object::new(out)
                .str("host", "moorline")
                .str("version", &self.config.raw.version)
                .str("mode", "gateway")
                .str("reason", "self")
                .str("text", "Gateway: moorline")
                .num("ts", now_ms)
                .end(),
            Some((node, entry)) => write_entry(out, node, entry),
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

fn write_entry(out: &mut String, node: NodeId, entry: &Entry) {
    let (id, version, platform) =
        entry.client.as_ref().map_or((None, None, None), |client| client.words());
    let name = id.unwrap_or("client");
    Object::new(out)
        .str("host", name)
        .maybe_str("version", version)
        .maybe_str("platform", platform)
        .str("reason", "connect")
        .str("text", &format!("{name}: {}", entry.user))
        .num("ts", entry.active)
        .str("instanceId", &conn_name(node, entry.conn))
        .maybe_str("clientId", id)
        .maybe_str("deviceId", entry.device.as_deref())
        .str("user", &entry.user)
        .num("onlineSince", entry.since)
        .num("lastActivityAt", entry.active)
        .end();
}
