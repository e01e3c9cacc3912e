//! What `connect` is answered with.

use super::super::Gateway;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::presence::conn_name;
use super::credentials::Issued;
use super::methods::{EVENTS, METHODS};
use super::session_key::MAIN;
use std::time::Instant;

/// How often clients hear a `tick`: those of this dialect take a connection without one for dead, whatever
/// pings it answers.
const TICK_MS: u64 = 30_000;

impl Gateway {
    pub(super) fn write_openclaw_hello(
        &self,
        out: &mut String,
        now: Instant,
        id: ConnId,
        token: Option<&Issued>,
    ) {
        let Some(peer) = self.conns.get(&id).and_then(|conn| conn.openclaw.as_ref()) else {
            return;
        };
        let limits = &self.config.raw.limits;
        let role = peer.role;
        let reads = peer.view().reads;
        Object::new(out)
            .str("type", "hello-ok")
            .num("protocol", peer.protocol.number())
            .object("server", |o| {
                o.str("version", &self.config.raw.version)
                    .str("connId", &conn_name(self.node.id(), id))
            })
            .object("features", |o| {
                let own = METHODS.iter().filter(|method| method.role == role);
                o.list("methods", own, |out, method| json::string(out, method.name))
                    .list("events", EVENTS, |out, event| json::string(out, event))
                    .list("capabilities", ["published-model-catalog"], json::string)
            })
            .object("snapshot", |mut o| {
                match reads {
                    true => self.write_openclaw_presence(o.key("presence"), now),
                    false => o.key("presence").push_str("[]"),
                }
                self.write_openclaw_health(o.key("health"), now);
                o.object("stateVersion", |o| self.openclaw.versions(o))
                    .num("uptimeMs", now.saturating_duration_since(self.start).as_millis() as u64)
                    .object("sessionDefaults", |o| {
                        let agent = self.default_agent();
                        o.str("defaultAgentId", agent)
                            .str("mainKey", MAIN)
                            .str("mainSessionKey", &format!("agent:{agent}:{MAIN}"))
                            .str("scope", "per-sender")
                    })
            })
            .object("auth", |mut o| {
                o = o.str("role", role.as_str());
                peer.scopes.write(o.key("scopes"));
                match token {
                    Some(token) => {
                        o.str("deviceToken", token.text.expose()).num("issuedAtMs", token.at)
                    }
                    None => o,
                }
            })
            .object("policy", |o| {
                o.num("maxPayload", u64::from(limits.message))
                    .num("maxBufferedBytes", u64::from(limits.outbox))
                    .num("tickIntervalMs", TICK_MS)
            })
            .end();
    }
}
