//! The methods about the gateway itself.

use super::Gateway;
use super::agents;
use super::call::{Call, Done};
use super::jobs::Job;
use super::json::Object;
use super::presence::conn_name;
use super::send::{Cx, ReplyTo};
use super::work::{SessionFilter, StoreWork};
use std::time::Instant;

/// As in the base dialect, but other users' connections are shown to admins only.
pub(super) fn health(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let now = cx.now;
    let Some(to) = call.to.take() else { return Ok(()) };
    let current = match &to {
        ReplyTo::Local { conn, .. } => conn_name(gateway.node.id(), *conn),
        ReplyTo::Remote { .. } | ReplyTo::Api { .. } | ReplyTo::Nobody => String::new(),
    };
    let all = call.who.role().sees_all();
    gateway.reply_ok(cx, to, |gateway, out| {
        let shown = gateway
            .presence
            .iter()
            .filter(|(_, entry)| all || entry.user == *call.who.user())
            .take(gateway.config.bounds().presence_listed);
        gateway
            .health_object(out, now)
            .list("clients", shown, |out, (node, entry)| {
                let peer = entry.peer.to_string();
                Object::new(out)
                    .str("id", &conn_name(node, entry.conn))
                    .maybe_str("remoteAddr", all.then_some(&peer))
                    .str("userId", &entry.user)
                    .str("role", entry.role.as_str())
                    .num("connectedAt", entry.since)
                    .end();
            })
            .str("currentId", &current)
            .end();
    });
    Ok(())
}

/// The count of sessions is the caller's own, or everybody's for an admin.
pub(super) fn status(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let owner = (!call.who.role().sees_all()).then(|| call.who.user().clone());
    if let Some(to) = call.to.take() {
        let filter = SessionFilter { owner, ..SessionFilter::default() };
        let work = StoreWork::List { filter, texts: false, limit: 0, offset: 0 };
        gateway.start_store(cx, work, Job::Status { to });
    }
    Ok(())
}

pub(super) fn presence_list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let ms = gateway.ms(cx.now);
    call.answer(gateway, cx, |gateway, out| {
        let limit = gateway.config.bounds().presence_listed;
        let total = gateway.presence.len();
        let mut object = Object::new(out);
        gateway.presence.write_list(object.key("presence"), ms, limit);
        object.num("total", total as u64).bool("complete", total <= limit).end();
    })
}

impl Gateway {
    /// The start of the health object, for the method and for the connect answer.
    pub(super) fn health_object<'o>(&self, out: &'o mut String, now: Instant) -> Object<'o> {
        let store = self.store_works(now);
        Object::new(out)
            .str("status", if store { "ok" } else { "degraded" })
            .str("version", &self.config.raw.version)
            .num("protocol", super::PROTOCOL)
            .num("uptime", now.saturating_duration_since(self.start).as_millis() as u64)
            .str("mode", "managed")
            .str("database", if store { "ok" } else { "error" })
            .num("tools", 0)
            .num("agentsDown", self.agents_down() as u64)
    }

    pub(super) fn write_status(&self, out: &mut String, sessions: usize) {
        let mut object = Object::new(out);
        agents::write_list(object.key("agents"), self);
        object
            .num("agentTotal", self.config.raw.agents.len() as u64)
            .num("clients", self.presence.len() as u64)
            .num("sessions", sessions as u64)
            .end();
    }
}
