//! What `connect` is answered with.

use super::super::Gateway;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::presence::conn_name;
use super::super::tick;
use super::credentials::Issued;
use super::methods::{EVENTS, METHODS};
use super::peer::Protocol;
use super::session_key::main_of;
use std::time::Instant;

impl Gateway {
    pub(super) fn write_openclaw_hello(
        &self,
        out: &mut String,
        now: Instant,
        id: ConnId,
        token: Option<&Issued>,
    ) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Some(peer) = &conn.openclaw else { return };
        let limits = &self.config.raw.limits;
        let role = peer.role;
        let reads = peer.view().reads;
        let mut object = Object::new(out)
            .str("type", "hello-ok")
            .num("protocol", peer.protocol.number())
            .object("server", |o| {
                o.str("version", &self.config.raw.version)
                    .str("connId", &conn_name(self.node.id(), id))
            })
            .object("features", |o| {
                let own = METHODS.iter().filter(|method| method.role == role && method.listed);
                o.list("methods", own, |out, method| json::string(out, method.name))
                    .list("events", EVENTS, |out, event| json::string(out, event))
                    .list("capabilities", ["published-model-catalog"], json::string)
            })
            .object("snapshot", |mut o| {
                match reads {
                    true => self.write_openclaw_presence(o.key("presence"), now),
                    false => o.key("presence").push_str("[]"),
                }
                let who = conn.principal.as_ref().filter(|who| !who.role.sees_all());
                let viewer = who.map(|who| who.user.clone());
                self.write_openclaw_health(o.key("health"), now, &viewer);
                o.object("stateVersion", |o| self.openclaw.versions(o))
                    .num("uptimeMs", now.saturating_duration_since(self.start).as_millis() as u64)
                    .object("sessionDefaults", |o| {
                        let agent = self.default_agent();
                        let user = conn.principal.as_ref().map_or("", |who| &who.user);
                        let main = main_of(user);
                        o.str("defaultAgentId", agent)
                            .str("mainKey", &main)
                            .str("mainSessionKey", &format!("agent:{agent}:{main}"))
                            .str("scope", "per-sender")
                    })
            });
        if peer.protocol == Protocol::V4 || token.is_some() {
            // Older clients know it as the place of a device token.
            object = object.object("auth", |mut o| {
                o = o.str("role", role.as_str());
                peer.scopes.write(o.key("scopes"));
                match token {
                    Some(token) => {
                        o.str("deviceToken", token.text.expose()).num("issuedAtMs", token.at)
                    }
                    None => o,
                }
            });
        }
        object
            .object("policy", |o| {
                let o = o
                    .num("maxPayload", u64::from(limits.message))
                    .num("maxBufferedBytes", u64::from(limits.outbox))
                    .num("tickIntervalMs", tick::EVERY.as_millis() as u64);
                match peer.protocol {
                    Protocol::V3 => o,
                    Protocol::V4 => o.object("attachments", |o| {
                        let most = self.max_attachment() as u64;
                        o.num("maxBytes", most).num("maxImageBytes", most)
                    }),
                }
            })
            .end();
    }
}
