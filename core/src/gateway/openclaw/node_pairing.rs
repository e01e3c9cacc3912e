//! What of a node was approved, and what it asks to have approved.

use super::super::json::{self, Object};
use super::super::record::{Record, RecordKind};
use super::node_surface::{Manifest, NodeAbout, SURFACE, Surface};
use serde::Deserialize;
use std::sync::Arc;

/// A node of which something was approved. It outlives restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePairing {
    /// The device's name.
    pub(super) node: Arc<str>,
    /// What people call it.
    pub(super) name: Option<Box<str>>,
    pub(super) about: NodeAbout,
    /// What it may be told to do.
    pub(super) surface: Surface,
    /// Unix milliseconds: the first approval, and the last one.
    pub(super) created: u64,
    pub(super) approved: u64,
    /// When it was connected last, if that was since the gateway has begun.
    pub(super) seen: Option<u64>,
}

/// A node asks to have approved what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRequest {
    pub(super) id: Arc<str>,
    pub(super) node: Arc<str>,
    pub(super) manifest: Arc<Manifest>,
    /// Something of it was approved before.
    pub(super) again: bool,
    /// Unix milliseconds.
    pub(super) ts: u64,
}

#[derive(Deserialize)]
struct Saved {
    name: Option<Box<str>>,
    about: NodeAbout,
    surface: Surface,
    created: u64,
    approved: u64,
}

impl NodeRequest {
    /// What it becomes when somebody approves it now.
    pub(super) fn approve(&self, known: Option<&NodePairing>, at: u64) -> NodePairing {
        NodePairing {
            node: self.node.clone(),
            name: known.and_then(|known| known.name.clone()),
            about: self.manifest.about.clone(),
            surface: self.manifest.surface.clone(),
            created: known.map_or(at, |known| known.created),
            // One that comes later is later, even within a millisecond.
            approved: known.map_or(at, |known| at.max(known.approved + 1)),
            seen: known.and_then(|known| known.seen),
        }
    }

    /// For those who decide.
    pub(super) fn write(&self, out: &mut String) {
        let Manifest { about, surface } = &*self.manifest;
        let mut object = Object::new(out).str("requestId", &self.id).str("nodeId", &self.node);
        object = surface.write(about.write(object, None), SURFACE);
        surface.to_approve().write(object.key("requiredApproveScopes"));
        object.bool("silent", false).bool("isRepair", self.again).num("ts", self.ts).end();
    }
}

impl NodePairing {
    /// Whether this is what is known of the node now, if `known` was: news overtake each other.
    pub(super) fn is_newer(&self, known: &Self) -> bool {
        self.approved >= known.approved
    }

    /// For those who decide.
    pub(super) fn write(&self, connected: bool, out: &mut String) {
        let object =
            self.about.write(Object::new(out).str("nodeId", &self.node), self.name.as_deref());
        let mut object = self
            .surface
            .write(object, SURFACE)
            .bool("connected", connected)
            .num("createdAtMs", self.created)
            .num("approvedAtMs", self.approved);
        if let Some(seen) = self.seen {
            object = object.num("lastSeenAtMs", seen);
        }
        object.end();
    }

    /// For the store.
    pub(super) fn record(&self) -> Record {
        let mut value = String::new();
        let about = &self.about;
        Object::new(&mut value)
            .maybe_str("name", self.name.as_deref())
            .object("about", |o| {
                o.maybe_str("name", about.name.as_deref())
                    .str("platform", &about.platform)
                    .str("version", &about.version)
                    .maybe_str("family", about.family.as_deref())
                    .maybe_str("model", about.model.as_deref())
                    .str("client", &about.client)
                    .str("mode", &about.mode)
            })
            .object("surface", |o| self.surface.write(o, SURFACE))
            .num("created", self.created)
            .num("approved", self.approved)
            .end();
        let (kind, key) = (RecordKind::Node, self.node.clone());
        Record { kind, key, value: value.into(), expires: None }
    }

    /// The node of a record; none if it is not what [`NodePairing::record`] wrote.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let Saved { name, about, surface, created, approved } =
            serde_json::from_str(&record.value).ok()?;
        let node = record.key.clone();
        Some(Self { node, name, about, surface, created, approved, seen: None })
    }
}

/// The payload of `node.pair.resolved`.
pub(super) fn write_resolved(out: &mut String, request: &NodeRequest, decision: &str, at: u64) {
    let mut object = Object::new(out);
    json::string(object.key("requestId"), &request.id);
    object.str("nodeId", &request.node).str("decision", decision).num("ts", at).end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn what_was_approved_survives_the_store() {
        let about = NodeAbout {
            name: Some("lamp \"1\"".into()),
            platform: "linux".into(),
            version: "1".into(),
            family: None,
            model: Some("m".into()),
            client: "node-host".into(),
            mode: "node".into(),
        };
        let surface = Surface {
            caps: BTreeSet::from(["canvas".into()]),
            commands: BTreeSet::from(["a".into(), "b".into()]),
            permissions: BTreeMap::from([("camera".into(), true), ("x".into(), false)]),
        };
        let (id, node) = (Arc::from("r"), Arc::from("n"));
        let manifest = Arc::new(Manifest { about, surface });
        let request = NodeRequest { id, node, manifest, again: false, ts: 1 };
        let mut pairing = request.approve(None, 5);
        pairing.name = Some("other".into());
        assert_eq!(NodePairing::of(&pairing.record()), Some(pairing.clone()));
        let again = request.approve(Some(&pairing), 5);
        assert_eq!((again.created, again.approved, &again.name), (5, 6, &pairing.name));
        assert!(again.is_newer(&pairing) && !pairing.is_newer(&again));
        let mut record = pairing.record();
        record.value = "{}".into();
        assert_eq!(NodePairing::of(&record), None);
    }
}
