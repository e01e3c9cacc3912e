//! The nodes of this dialect: which are connected and to which loop, what of them was approved, and what
//! waits for somebody who approves it.
//!
//! ```text
//!  node connects ── declares ──▶ Online ── approved before? ── yes ──▶ its commands are of use
//!                                  │                         no │
//!                                  │                            ▼
//!                                  │          request ── approve ──▶ NodePairing, in the store
//!                                  └─ another connection of it: the older one is closed
//! ```
//!
//! Every loop has all of it. What a loop changes it tells the others.

use super::super::bounded::Forgetful;
use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::refusal::{Code, Refusal, cut};
use super::super::retained::Held;
use super::node_pairing::{NodePairing, NodeRequest};
use super::node_surface::{Manifest, Surface};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A node that is connected.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Online {
    /// The loop, and its connection there.
    pub(super) at: (NodeId, ConnId),
    /// Unix milliseconds. A later connection of the same node is later, even within a millisecond.
    pub(super) since: u64,
    pub(super) manifest: Arc<Manifest>,
    /// What it has told of its machine last: JSON.
    pub(super) stats: Option<Arc<str>>,
}

/// A connection of this loop that is a node.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) node: Arc<str>,
    /// When what it says of each of these may be passed on again.
    pub(super) quiet: BTreeMap<&'static str, Instant>,
    _held: Held,
}

/// How long a request of a node that has gone stays: somebody may be about to decide.
const REQUEST_MS: u64 = 5 * 60 * 1000;

/// What was decided and what was taken back is remembered, because news of it are overtaken.
const REMEMBERED: usize = 1000;

#[derive(Debug)]
pub(in crate::gateway) struct Nodes {
    pub(super) online: BTreeMap<Arc<str>, Online>,
    here: BTreeMap<ConnId, Here>,
    pub(super) pairings: BTreeMap<Arc<str>, NodePairing>,
    /// One of a node at most.
    requests: BTreeMap<Arc<str>, NodeRequest>,
    /// Requests that somebody has decided on.
    decided: Forgetful<Arc<str>, ()>,
    /// When what was approved of a node was taken back, in Unix milliseconds.
    removed: Forgetful<Arc<str>, u64>,
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self {
            online: BTreeMap::new(),
            here: BTreeMap::new(),
            pairings: BTreeMap::new(),
            requests: BTreeMap::new(),
            decided: Forgetful::new(REMEMBERED),
            removed: Forgetful::new(REMEMBERED),
        }
    }

    // --- connections ---------------------------------------------------------------------------------

    pub(super) fn enter(&mut self, conn: ConnId, node: Arc<str>, held: Held) {
        self.here.insert(conn, Here { node, quiet: BTreeMap::new(), _held: held });
    }

    pub(super) fn leave(&mut self, conn: ConnId) -> Option<Arc<str>> {
        self.here.remove(&conn).map(|here| here.node)
    }

    pub(super) fn here(&mut self, conn: ConnId) -> Option<&mut Here> {
        self.here.get_mut(&conn)
    }

    /// The connections of a loop that has ended are none.
    pub(super) fn forget_loop(&mut self, of: NodeId) {
        self.online.retain(|_, online| online.at.0 != of);
    }

    pub(super) fn is_online(&self, node: &str) -> bool {
        self.online.contains_key(node)
    }

    /// Those of this loop.
    pub(super) fn online_here(&self, own: NodeId) -> Vec<(Arc<str>, Online)> {
        let here = self.online.iter().filter(|(_, online)| online.at.0 == own);
        here.map(|(node, online)| (node.clone(), online.clone())).collect()
    }

    /// A connection is that of the node; gives the one that it takes the place of. An older one than what is
    /// known is not taken.
    pub(super) fn come(&mut self, node: &Arc<str>, new: Online) -> Option<(NodeId, ConnId)> {
        let old = self.online.get(node).map(|old| (old.since, old.at));
        match old {
            Some(old) if old > (new.since, new.at) => Some(new.at),
            Some((_, at)) if at == new.at => {
                self.online.insert(node.clone(), new);
                None
            }
            old => {
                self.online.insert(node.clone(), new);
                old.map(|(_, at)| at)
            }
        }
    }

    /// The connection is gone. Says whether it was the node's.
    pub(super) fn gone(&mut self, node: &str, at: (NodeId, ConnId), seen: u64) -> bool {
        if self.online.get(node).is_none_or(|online| online.at != at) {
            return false;
        }
        self.online.remove(node);
        if let Some(pairing) = self.pairings.get_mut(node) {
            pairing.seen = pairing.seen.max(Some(seen));
        }
        true
    }

    // --- what may be done ----------------------------------------------------------------------------

    /// Where a node is that may be told to do this.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn find(&self, node: &str, command: &str) -> Result<(NodeId, ConnId), Refusal> {
        let Some(online) = self.online.get(node) else {
            if !self.pairings.contains_key(node) {
                return Err(unknown_node());
            }
            return Err(not_connected());
        };
        if !online.manifest.surface.commands.contains(command) {
            let text = format!("the node has no command {}", cut(command, 128));
            return Err(Refusal::invalid(text)
                .details(|o| o.str("reason", "command-not-declared").str("command", command)));
        }
        let pairing = self.pairings.get(node);
        if pairing.is_none_or(|pairing| !pairing.surface.commands.contains(command)) {
            let text = format!("nobody has approved the command {} of it", cut(command, 128));
            let request = self.requests.get(node).map(|request| &*request.id);
            return Err(Refusal::invalid(text).details(|o| {
                o.str("reason", "command-not-approved")
                    .str("command", command)
                    .maybe_str("requestId", request)
            }));
        }
        Ok(online.at)
    }

    /// What a node that declares this may be told to do.
    pub(super) fn effective(&self, node: &str, declared: &Surface) -> Surface {
        let pairing = self.pairings.get(node);
        pairing.map_or_else(Surface::default, |pairing| declared.within(&pairing.surface))
    }

    /// The word for how far a node is.
    pub(super) fn approval(&self, node: &str, at: u64) -> &'static str {
        let is_asked = self.request_of(node, at).is_some();
        match (self.pairings.contains_key(node), is_asked) {
            (true, false) => "approved",
            (true, true) => "pending-reapproval",
            (false, true) => "pending-approval",
            (false, false) => "unapproved",
        }
    }

    // --- requests ------------------------------------------------------------------------------------

    /// The requests that can be decided.
    pub(super) fn requests(&self, at: u64) -> impl Iterator<Item = &NodeRequest> {
        self.requests.values().filter(move |request| self.is_open(request, at))
    }

    pub(super) fn request_of(&self, node: &str, at: u64) -> Option<&NodeRequest> {
        self.requests.get(node).filter(|request| self.is_open(request, at))
    }

    pub(super) fn request(&self, id: &str, at: u64) -> Option<&NodeRequest> {
        self.requests(at).find(|request| *request.id == *id)
    }

    fn is_open(&self, request: &NodeRequest, at: u64) -> bool {
        self.online.contains_key(&request.node) || at < request.ts.saturating_add(REQUEST_MS)
    }

    /// Whether a node has to ask before all that it declares is of use.
    pub(super) fn must_ask(&self, node: &str, declared: &Surface) -> bool {
        self.pairings.get(node).is_none_or(|pairing| !pairing.surface.covers(declared))
    }

    /// A node asks; gives the request that this takes the place of. Nothing where somebody has decided on it.
    pub(super) fn ask(&mut self, request: NodeRequest) -> Option<NodeRequest> {
        if self.decided.get(&request.id).is_some() {
            return None;
        }
        self.requests.insert(request.node.clone(), request)
    }

    /// Those that nobody can decide any more go.
    pub(super) fn expire(&mut self, at: u64) {
        let over = self.requests.values().filter(|request| !self.is_open(request, at));
        let over: Vec<_> = over.map(|request| request.node.clone()).collect();
        for node in over {
            self.requests.remove(&node);
        }
    }

    /// Somebody has decided: gives the request, if it was there.
    pub(super) fn decide(&mut self, request: &NodeRequest) -> bool {
        self.decided.entry(&*request.id, || ());
        let is_it = |other: &NodeRequest| other.id == request.id;
        if self.requests.get(&request.node).is_some_and(is_it) {
            self.requests.remove(&request.node);
            return true;
        }
        false
    }

    pub(super) fn is_decided(&self, id: &str) -> bool {
        self.decided.get(id).is_some()
    }

    // --- what was approved ---------------------------------------------------------------------------

    /// Something was approved, here or elsewhere. Says whether it is in force: it may have been taken back.
    pub(super) fn learn(&mut self, pairing: NodePairing) -> bool {
        let gone = self.removed.get(&pairing.node);
        if gone.is_some_and(|gone| pairing.approved <= *gone) {
            return false;
        }
        match self.pairings.get(&pairing.node) {
            Some(known) if !pairing.is_newer(known) => false,
            known => {
                let seen = known.and_then(|known| known.seen).max(pairing.seen);
                let pairing = NodePairing { seen, ..pairing };
                self.pairings.insert(pairing.node.clone(), pairing);
                true
            }
        }
    }

    /// What was approved of a node until then is taken back; its request goes, too. Says whether there was
    /// anything.
    pub(super) fn unpair(&mut self, node: &Arc<str>, at: u64) -> (bool, Option<NodeRequest>) {
        let gone = self.removed.entry(&**node, || at);
        *gone = at.max(*gone);
        let known = self.pairings.get(node).is_some_and(|pairing| pairing.approved <= at);
        if known {
            self.pairings.remove(node);
        }
        let request = self.requests.remove(node);
        if let Some(request) = &request {
            self.decided.entry(&*request.id, || ());
        }
        (known, request)
    }
}

pub(super) fn unknown_node() -> Refusal {
    Refusal::invalid("unknown nodeId")
}

pub(super) fn not_connected() -> Refusal {
    Refusal::new(Code::Unavailable, "the node is not connected")
        .details(|o| o.str("code", "NOT_CONNECTED"))
}
