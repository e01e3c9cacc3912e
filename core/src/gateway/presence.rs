//! Who is connected, at this node and at the others.

use super::bus::{BusMessage, NodeId, Route};
use super::client::Client;
use super::conn::ConnId;
use super::json::{self, Object};
use super::link::Dialect;
use super::openclaw::Shown;
use super::principal::{Principal, Role};
use super::send::Cx;
use super::{Gateway, Timer};
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One connection of somebody who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub(super) conn: ConnId,
    pub(super) user: Arc<str>,
    pub(super) role: Role,
    /// Unix milliseconds.
    pub(super) since: u64,
    /// The last request, as far as it is known here.
    pub(super) active: u64,
    /// The last request that other nodes are told of. What is known here goes on: a client that asks
    /// all the time would otherwise never be news.
    pub(super) told: u64,
    /// Shown to admins only.
    pub(super) peer: SocketAddr,
    /// Its own words.
    pub(super) client: Option<Arc<Client>>,
    /// What else it shows, in the dialect of OpenClaw.
    pub(super) openclaw: Option<Arc<Shown>>,
}

type Key = (NodeId, ConnId);

/// All entries, and what has changed since the last event.
#[derive(Debug, Default)]
pub(super) struct Presence {
    entries: BTreeMap<Key, Entry>,
    changed: BTreeSet<Key>,
    /// Entries of this node whose activity the other nodes do not know.
    touched: BTreeSet<ConnId>,
    told: Option<Instant>,
    due: Option<Instant>,
}

/// A client sees at most one presence event in this time.
const EVERY: Duration = Duration::from_secs(1);

/// Idle times at other nodes are right to within this time.
const ACTIVE_STEP: u64 = 30_000;

/// Changes that an event lists; of more it says only that there are more.
const CHANGES: usize = 64;

impl Presence {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Entry)> {
        self.entries.iter().map(|((node, _), entry)| (*node, entry))
    }

    pub(super) fn of_node(&self, node: NodeId) -> Vec<Entry> {
        let range = (node, ConnId(0))..=(node, ConnId(u64::MAX));
        self.entries.range(range).map(|(_, entry)| entry.clone()).collect()
    }

    /// The list that clients see; says whether it is complete.
    pub(super) fn write_list(&self, out: &mut String, now_ms: u64, limit: usize) {
        json::list(out, self.iter().take(limit), |out, (node, entry)| {
            entry.write(out, node, now_ms);
        });
    }

    /// The payload of an event that tells everything.
    pub(super) fn write_all(&self, out: &mut String, now_ms: u64, limit: usize) {
        let mut object = Object::new(out);
        self.write_list(object.key("presence"), now_ms, limit);
        object
            .raw("left", "[]")
            .num("total", self.entries.len() as u64)
            .bool("complete", self.entries.len() <= limit)
            .bool("snapshot", true)
            .end();
    }

    /// The payload of an event about these changes.
    fn write_changes(&self, out: &mut String, changes: &BTreeSet<Key>, now_ms: u64) {
        let listed = || changes.iter().take(CHANGES);
        let there = listed().filter_map(|key| Some((key.0, self.entries.get(key)?)));
        let gone = listed().filter(|key| !self.entries.contains_key(key));
        Object::new(out)
            .list("presence", there, |out, (node, entry)| entry.write(out, node, now_ms))
            .list("left", gone, |out, key| json::string(out, &conn_name(key.0, key.1)))
            .num("total", self.entries.len() as u64)
            .bool("complete", changes.len() <= CHANGES)
            .end();
    }
}

impl Entry {
    fn write(&self, out: &mut String, node: NodeId, now_ms: u64) {
        self.members(Object::new(out), node, now_ms).end();
    }

    /// What everybody may know of it.
    pub(super) fn members<'o>(&self, object: Object<'o>, node: NodeId, now_ms: u64) -> Object<'o> {
        let object = object
            .str("connId", &conn_name(node, self.conn))
            .str("userId", &self.user)
            .str("role", self.role.as_str())
            .num("since", self.since)
            .num("idleMs", now_ms.saturating_sub(self.active))
            .num("node", u64::from(node.0));
        match &self.client {
            Some(client) => object.object("client", |o| client.members(o)),
            None => object,
        }
    }

    /// Whether there is nothing to tell beyond when it was active.
    fn is_as(&self, other: &Self) -> bool {
        *self == Self { active: self.active, told: self.told, ..other.clone() }
    }
}

/// A connection's name among all nodes.
pub(super) fn conn_name(node: NodeId, conn: ConnId) -> String {
    format!("{}-{conn}", node.0)
}

impl Gateway {
    /// Somebody has logged in on this connection, or has another role now.
    pub(super) fn presence_enter(&mut self, now: Instant, id: ConnId) {
        let key = (self.node.id(), id);
        let known = self.presence.entries.get(&key);
        let active = known.map_or(self.ms(now), |entry| entry.active);
        // What the host does to its gateway is nobody's company.
        let Some(conn) = self.conns.get(&id).filter(|conn| !conn.local) else { return };
        let Some(Principal { user, role, .. }) = conn.principal.clone() else { return };
        let (peer, since, client) = (conn.peer, conn.since_ms, conn.client.clone());
        let openclaw = conn.openclaw.as_ref().map(|peer| peer.shown());
        let entry =
            Entry { conn: id, user, role, since, active, told: active, peer, client, openclaw };
        self.presence.entries.insert(key, entry);
        self.presence_changed(now, key);
    }

    pub(super) fn presence_leave(&mut self, now: Instant, conn: ConnId) {
        let key = (self.node.id(), conn);
        if self.presence_gone(now, key) {
            self.presence.touched.remove(&conn);
        }
    }

    /// A request came.
    pub(super) fn presence_active(&mut self, now: Instant, conn: ConnId) {
        let ms = self.ms(now);
        if let Some(entry) = self.presence.entries.get_mut(&(self.node.id(), conn)) {
            let stale = ms.saturating_sub(entry.told) >= ACTIVE_STEP;
            entry.active = ms;
            if stale && self.node.count > 1 {
                entry.told = ms;
                self.presence.touched.insert(conn);
                self.arm_presence(now);
            }
        }
    }

    pub(super) fn presence_elsewhere(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        there: Vec<Entry>,
        gone: Vec<ConnId>,
    ) {
        // What the other nodes may have by their own bound.
        let most = self.config.bounds().connections * usize::from(self.node.count);
        for entry in there {
            let key = (node, entry.conn);
            if self.presence.entries.len() >= most && !self.presence.entries.contains_key(&key) {
                continue;
            }
            let known = self.presence.entries.get(&key).is_some_and(|known| known.is_as(&entry));
            self.presence.entries.insert(key, entry);
            if !known {
                self.presence_changed(cx.now, key);
            }
        }
        for conn in gone {
            self.presence_gone(cx.now, (node, conn));
        }
    }

    /// A node has begun anew: nobody is connected to it but those of whom it will tell.
    pub(super) fn presence_restarted(&mut self, now: Instant, node: NodeId) {
        let range = (node, ConnId(0))..=(node, ConnId(u64::MAX));
        let gone: Vec<_> = self.presence.entries.range(range).map(|(key, _)| *key).collect();
        for key in gone {
            self.presence_gone(now, key);
        }
    }

    /// Says whether it was there.
    fn presence_gone(&mut self, now: Instant, key: Key) -> bool {
        let Some(entry) = self.presence.entries.remove(&key) else { return false };
        self.presence_left(now, key.0, entry);
        self.presence_changed(now, key);
        true
    }

    fn presence_changed(&mut self, now: Instant, key: Key) {
        self.presence.changed.insert(key);
        self.arm_presence(now);
    }

    fn arm_presence(&mut self, now: Instant) {
        if self.presence.due.is_none() {
            let due = self.presence.told.map_or(now, |told| now.max(told + EVERY));
            self.presence.due = Some(due);
            self.timers.insert((due, Timer::Presence));
        }
    }

    /// Tells everybody what has changed: work in proportion to the connections, once per second.
    pub(super) fn presence_due(&mut self, cx: &mut Cx<'_>) {
        self.presence.due = None;
        self.presence.told = Some(cx.now);
        let changed = std::mem::take(&mut self.presence.changed);
        let touched = std::mem::take(&mut self.presence.touched);
        if self.node.count > 1 {
            let own = self.node.id();
            let changed = changed.iter().filter(|key| key.0 == own).map(|key| key.1);
            let conns: BTreeSet<_> = changed.chain(touched).collect();
            let entry = |conn: &ConnId| self.presence.entries.get(&(own, *conn)).cloned();
            let there: Vec<_> = conns.iter().filter_map(entry).collect();
            let gone: Vec<_> = conns.into_iter().filter(|conn| entry(conn).is_none()).collect();
            if !there.is_empty() || !gone.is_empty() {
                self.publish(Route::Others, BusMessage::Presence { node: own, there, gone });
            }
        }
        if changed.is_empty() {
            return;
        }
        let mut payload = String::new();
        self.presence.write_changes(&mut payload, &changed, self.ms(cx.now));
        self.openclaw.presence_changed();
        let mut openclaw = None;
        let links: Vec<_> = self.links.iter().map(|(id, link)| (id, link.dialect)).collect();
        for (link, dialect) in links {
            match dialect {
                Dialect::Base => self.link_presence(cx, link, &payload),
                Dialect::OpenClaw(view) if view.reads => {
                    let payload = openclaw.get_or_insert_with(|| {
                        let mut payload = String::new();
                        self.write_presence_event(&mut payload, cx.now);
                        payload
                    });
                    self.link_presence(cx, link, payload);
                }
                Dialect::OpenClaw(_) => {}
            }
        }
    }
}
