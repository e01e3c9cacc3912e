//! Who is connected, as clients of this dialect are told: always all of it, with those who have just left.

use super::super::Gateway;
use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::presence::{Entry, conn_name};
use super::super::send::Cx;
use super::client_info::ClientInfo;
use super::connect_params::PeerRole;
use super::dispatch::{Call, Done};
use super::scopes::Scopes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Entries in a list: as many as clients keep.
const MOST: usize = 200;

/// How long it is told that somebody has left, in milliseconds.
const LEFT_MS: u64 = 5 * 60 * 1000;

/// What a client of this dialect shows of itself. Only device and scopes are more than its word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Shown {
    pub(super) client: Arc<ClientInfo>,
    pub(super) role: PeerRole,
    pub(super) scopes: Scopes,
    pub(super) device: Option<Arc<str>>,
}

impl Shown {
    /// A node's device: a node is in lists once, whatever its connection.
    fn as_node(&self) -> Option<&str> {
        self.device.as_deref().filter(|_| self.role == PeerRole::Node)
    }

    /// Whether it is this device.
    pub(super) fn is(&self, device: &str) -> bool {
        self.device.as_deref() == Some(device)
    }
}

/// Those who have just left: when, in Unix milliseconds, and what they were.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<(NodeId, ConnId), (u64, Entry)>);

impl Left {
    fn keep(&mut self, node: NodeId, entry: Entry, now_ms: u64) {
        let node_of = |entry: &Entry| entry.openclaw.as_ref()?.as_node().map(Arc::<str>::from);
        let device = node_of(&entry);
        self.0.retain(|_, (at, left)| {
            now_ms < *at + LEFT_MS && (device.is_none() || node_of(left) != device)
        });
        if self.0.len() >= MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        self.0.insert((node, entry.conn), (now_ms, entry));
    }
}

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let now = cx.now;
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| gateway.write_openclaw_presence(out, now));
    }
    Ok(())
}

impl Gateway {
    /// Somebody has gone.
    pub(in crate::gateway) fn presence_left(&mut self, now: Instant, node: NodeId, entry: Entry) {
        if is_tracked(&entry) {
            let now_ms = self.ms(now);
            self.openclaw.left.keep(node, entry, now_ms);
        }
    }

    /// Who is connected, and the gateway itself as the first.
    pub(in crate::gateway) fn write_openclaw_presence(&self, out: &mut String, now: Instant) {
        let now_ms = self.ms(now);
        let there = self.presence.iter().filter(|(_, entry)| is_tracked(entry));
        let there = there.map(|(node, entry)| (node, entry, None));
        let is_back = |entry: &Entry| {
            let device = entry.openclaw.as_ref().and_then(|shown| shown.as_node());
            device.is_some_and(|device| self.openclaw.nodes.is_online(device))
        };
        let left = self.openclaw.left.0.iter();
        let left = left.filter(|(_, (at, entry))| now_ms < *at + LEFT_MS && !is_back(entry));
        let left = left.map(|((node, _), (at, entry))| (*node, entry, Some(*at)));
        let others = there.chain(left).take(MOST - 1).map(Some);
        json::list(out, std::iter::once(None).chain(others), |out, entry| match entry {
            None => Object::new(out)
                .str("host", "moorline")
                .str("version", &self.config.raw.version)
                .str("mode", "gateway")
                .str("reason", "self")
                .str("text", "Gateway: moorline")
                .num("ts", now_ms)
                .end(),
            Some((node, entry, left)) => write_entry(out, node, entry, left),
        });
    }
}

/// Programs that come for one question, and those that serve others, are no people.
fn is_tracked(entry: &Entry) -> bool {
    let mode = entry.openclaw.as_ref().map(|shown| shown.client.mode);
    !mode.is_some_and(|mode| matches!(mode, "cli" | "backend" | "probe"))
}

fn write_entry(out: &mut String, node: NodeId, entry: &Entry, left: Option<u64>) {
    let (id, version, platform) =
        entry.client.as_ref().map_or((None, None, None), |client| client.words());
    let shown = entry.openclaw.as_deref();
    let client = shown.map(|shown| &*shown.client);
    let name = client.and_then(|client| client.display_name.as_deref()).or(id).unwrap_or("client");
    let own = client.and_then(|client| client.instance.as_deref());
    let own = shown.and_then(Shown::as_node).or(own);
    let conn = conn_name(node, entry.conn);
    let mut object = Object::new(out)
        .str("host", name)
        .maybe_str("version", version)
        .maybe_str("platform", platform)
        .maybe_str("deviceFamily", client.and_then(|client| client.device_family.as_deref()))
        .maybe_str("modelIdentifier", client.and_then(|client| client.model.as_deref()))
        .maybe_str("mode", client.map(|client| client.mode))
        .str("reason", if left.is_some() { "disconnect" } else { "connect" })
        .str("instanceId", own.unwrap_or(&conn))
        .str("text", &format!("{name}: {}", entry.user))
        .num("ts", left.unwrap_or(entry.active))
        .maybe_str("clientId", id)
        .maybe_str("deviceId", shown.and_then(|shown| shown.device.as_deref()));
    if let Some(shown) = shown {
        object = object.list("roles", [shown.role.as_str()], json::string);
        shown.scopes.write(object.key("scopes"));
    }
    object
        .object("user", |o| o.str("id", &entry.user))
        .num("onlineSince", entry.since)
        .num("lastActivityAt", entry.active)
        .end();
}
