//! Nodes come and go: the loop of their connection tells the others, and asks whether what they declare was
//! approved.

use super::super::Gateway;
use super::super::bus::{BusMessage, NodeId, Route};
use super::super::conn::ConnId;
use super::super::json::Object;
use super::super::link::{Dialect, LinkId};
use super::super::refusal::SOON;
use super::super::ring::Event;
use super::super::send::Cx;
use super::super::waiting::PairAction;
use super::connect_params::PeerRole;
use super::node_pairing::{NodePairing, NodeRequest, write_resolved};
use super::node_surface::Manifest;
use super::nodes::Online;
use super::peer::Peer;
use super::scopes::Scopes;
use crate::frame::CloseCode;
use std::sync::Arc;

/// What one loop tells the others about nodes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NodeNews {
    /// One has connected to the sender, or has told of its machine.
    Come(Arc<str>, NodeOnline),
    /// The connection of one has ended, at this time in Unix milliseconds.
    Gone(Arc<str>, NodeId, ConnId, u64),
    /// One asks to have approved what it can do.
    Asked(NodeRequest),
    /// Somebody has decided against a request, or another one has taken its place.
    Rejected(NodeRequest),
    /// Something was approved, by a decision on this request if there is one.
    Paired(Box<NodePairing>, Option<NodeRequest>),
    /// What was approved of one until then, in Unix milliseconds, is not any more.
    Unpaired(Arc<str>, u64),
    /// Whoever waits for this answer of a node of the receiver has gone.
    Cancelled(Arc<str>),
    /// An event for the operators who may read.
    Told(&'static str, Arc<str>),
}

/// A node that is connected.
#[derive(Debug, Clone)]
pub struct NodeOnline(pub(super) Online);

/// How the older of two connections of one node ends. It should not come back at once, as a restart has it
/// do: two programs with one key would go on for ever.
const REPLACED: &str = "replaced by another connection of this node";

/// The same when what was approved of it is taken back: it comes again and asks.
const CHANGED: &str = "node capabilities changed";

impl Gateway {
    /// A node has logged in.
    pub(super) fn node_arrived(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let own = self.node.id();
        let Some(state) = self.conns.get(&conn) else { return };
        let Some((node, manifest)) = state.openclaw.as_deref().and_then(Peer::as_node) else {
            return;
        };
        let Some(user) = state.principal.as_ref().map(|who| who.user.clone()) else { return };
        let most = self.config.bounds().devices;
        let nodes = &self.openclaw.nodes;
        let crowded = nodes.online.len() >= most && !nodes.online.contains_key(&node);
        if crowded || self.room_for(&user, manifest.bytes()).is_err() {
            return self.close(cx, conn, CloseCode::TRY_AGAIN, "too many nodes", None);
        }
        let held = self.retained.hold(&user, manifest.bytes());
        let known = nodes.online.get(&node).map_or(0, |known| known.since + 1);
        let since = self.ms(cx.now).max(known);
        let online = Online { at: (own, conn), since, manifest: manifest.clone(), stats: None };
        self.openclaw.nodes.enter(conn, node.clone(), held);
        self.publish_node(NodeNews::Come(node.clone(), NodeOnline(online.clone())));
        self.node_came(cx, &node, online);
        // Nobody has given it words to wake up at.
        self.send_unnumbered(cx, conn, "voicewake.changed", r#"{"triggers":[]}"#);
        self.ask_for_node(cx, &node, manifest);
    }

    /// Keeps the later of two connections.
    fn node_came(&mut self, cx: &mut Cx<'_>, node: &Arc<str>, online: Online) {
        if let Some((of, conn)) = self.openclaw.nodes.come(node, online)
            && of == self.node.id()
        {
            self.close(cx, conn, CloseCode::POLICY, REPLACED, None);
        }
    }

    /// A connection of this dialect has ended, or is not logged in any more.
    pub(in crate::gateway) fn openclaw_left(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.cancel_asked(cx, conn);
        let Some(node) = self.openclaw.nodes.leave(conn) else { return };
        let (own, at) = (self.node.id(), self.ms(cx.now));
        if self.openclaw.nodes.gone(&node, (own, conn), at) {
            self.publish_node(NodeNews::Gone(node, own, conn, at));
        }
        self.fail_invokes(cx, conn);
    }

    /// Asks for what was not approved before.
    fn ask_for_node(&mut self, cx: &mut Cx<'_>, node: &Arc<str>, manifest: Arc<Manifest>) {
        let at = self.ms(cx.now);
        self.openclaw.nodes.expire(at);
        if !self.openclaw.nodes.must_ask(node, &manifest.surface) {
            return;
        }
        let nodes = &self.openclaw.nodes;
        let known = nodes.request_of(node, at);
        let is_same = |known: &NodeRequest| known.manifest.surface == manifest.surface;
        // It asks again when it comes again, if there is no room now.
        let crowded = nodes.requests(at).count() >= self.config.bounds().pairings;
        if known.is_some_and(is_same) || known.is_none() && crowded {
            return;
        }
        let again = nodes.pairings.contains_key(node);
        let id = self.uuid().into();
        let request = NodeRequest { id, node: node.clone(), manifest, again, ts: at };
        self.note_pairing(node, PairAction::Requested, None);
        self.publish_node(NodeNews::Asked(request.clone()));
        self.node_asked(cx, request);
    }

    fn node_asked(&mut self, cx: &mut Cx<'_>, request: NodeRequest) {
        let mut payload = String::new();
        request.write(&mut payload);
        if let Some(old) = self.openclaw.nodes.ask(request) {
            self.node_request_over(cx, &old, "rejected");
        }
        self.tell_operators(cx, Scopes::PAIRING, "node.pair.requested", &payload);
    }

    // --- the other loops -------------------------------------------------------------------------------

    pub(super) fn publish_node(&mut self, news: NodeNews) {
        self.publish(Route::Others, BusMessage::Nodes { news });
    }

    /// Another loop has news.
    pub(in crate::gateway) fn node_news(&mut self, cx: &mut Cx<'_>, news: NodeNews) {
        match news {
            NodeNews::Come(node, NodeOnline(online)) => self.node_came(cx, &node, online),
            NodeNews::Gone(node, of, conn, at) => {
                self.openclaw.nodes.gone(&node, (of, conn), at);
            }
            NodeNews::Asked(request) => {
                if !self.openclaw.nodes.is_decided(&request.id) {
                    self.node_asked(cx, request);
                }
            }
            NodeNews::Rejected(request) => self.node_request_over(cx, &request, "rejected"),
            NodeNews::Paired(pairing, request) => self.node_paired(cx, *pairing, request.as_ref()),
            NodeNews::Unpaired(node, at) => self.node_unpaired(cx, &node, at),
            NodeNews::Cancelled(ask) => self.cancel_ask(cx, &ask),
            NodeNews::Told(name, payload) => {
                self.tell_operators(cx, Scopes::READ, name, &payload);
            }
        }
    }

    /// A loop has begun anew: it has no nodes, and does not know those of the others.
    pub(in crate::gateway) fn tell_nodes(&mut self, cx: &Cx<'_>, to: NodeId) {
        self.openclaw.nodes.forget_loop(to);
        let own = self.node.id();
        let online = self.openclaw.nodes.online_here(own).into_iter();
        let come = online.map(|(node, online)| NodeNews::Come(node, NodeOnline(online)));
        let at = self.ms(cx.now);
        let asked = self.openclaw.nodes.requests(at).cloned().map(NodeNews::Asked);
        let news: Vec<_> = come.chain(asked).collect();
        for news in news {
            self.publish(Route::Node(to), BusMessage::Nodes { news });
        }
    }

    // --- what was decided ------------------------------------------------------------------------------

    /// A request is over, in whatever way.
    pub(super) fn node_request_over(
        &mut self,
        cx: &mut Cx<'_>,
        request: &NodeRequest,
        decision: &str,
    ) {
        self.openclaw.nodes.decide(request);
        let mut payload = String::new();
        write_resolved(&mut payload, request, decision, self.ms(cx.now));
        self.tell_operators(cx, Scopes::PAIRING, "node.pair.resolved", &payload);
        if let Some(conn) = self.node_conn(&request.node) {
            self.send_unnumbered(cx, conn, "node.pair.resolved", &payload);
        }
    }

    /// Something was approved, and is durable. Says nothing of what was taken back meanwhile.
    pub(super) fn node_paired(
        &mut self,
        cx: &mut Cx<'_>,
        pairing: NodePairing,
        request: Option<&NodeRequest>,
    ) {
        let is_in = self.openclaw.nodes.learn(pairing);
        if let Some(request) = request {
            let decision = if is_in { "approved" } else { "rejected" };
            self.node_request_over(cx, request, decision);
        }
    }

    /// What was approved of a node is taken back: it comes again, and asks.
    pub(super) fn node_unpaired(&mut self, cx: &mut Cx<'_>, node: &Arc<str>, at: u64) {
        let (_, request) = self.openclaw.nodes.unpair(node, at);
        if let Some(request) = request {
            self.node_request_over(cx, &request, "rejected");
        }
        if let Some(conn) = self.node_conn(node) {
            self.close(cx, conn, CloseCode::RESTART, CHANGED, None);
        }
    }

    /// The node's connection, if that is one of this loop.
    fn node_conn(&self, node: &str) -> Option<ConnId> {
        let (of, conn) = self.openclaw.nodes.online.get(node)?.at;
        (of == self.node.id()).then_some(conn)
    }

    /// Gives an event to the operators of this loop that have a scope. Work in proportion to the links.
    pub(super) fn tell_operators(
        &mut self,
        cx: &mut Cx<'_>,
        scope: Scopes,
        name: &'static str,
        payload: &str,
    ) {
        let may = |peer: &Peer| peer.role == PeerRole::Operator && peer.scopes.allows(scope);
        let links = self.links.iter().filter(|(_, link)| {
            let peer = || self.conns.get(&link.conn()?)?.openclaw.as_deref();
            matches!(link.dialect, Dialect::OpenClaw(_)) && peer().is_some_and(may)
        });
        let links: Vec<LinkId> = links.map(|(id, _)| id).collect();
        for link in links {
            self.push_event(cx, link, Event::plain(name, payload));
        }
    }

    /// Whether an event that a node causes may go to all operators: of each kind once a second at most, as
    /// nobody looks faster. Gives the node.
    pub(super) fn may_pass_on(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        name: &'static str,
    ) -> Option<Arc<str>> {
        let here = self.openclaw.nodes.here(conn)?;
        if here.quiet.get(name).is_some_and(|until| cx.now < *until) {
            return None;
        }
        here.quiet.insert(name, cx.now + SOON);
        Some(here.node.clone())
    }

    /// What a node says about its machine, for those who look at it.
    pub(super) fn node_stats(&mut self, cx: &mut Cx<'_>, conn: ConnId, stats: &str) -> bool {
        let at = self.ms(cx.now);
        let name = "node.hostStats";
        if !stats.starts_with('{') {
            return false;
        }
        let Some(node) = self.may_pass_on(cx, conn, name) else { return false };
        let stats = match stats.trim_end().strip_suffix('}').map(str::trim_end) {
            Some("{") => format!("{{\"updatedAtMs\":{at}}}"),
            Some(rest) => format!("{rest},\"updatedAtMs\":{at}}}"),
            None => return false,
        };
        let mut payload = String::new();
        Object::new(&mut payload).str("nodeId", &node).raw("hostStats", &stats).end();
        if let Some(online) = self.openclaw.nodes.online.get_mut(&node) {
            online.stats = Some(stats.into());
            let online = NodeOnline(online.clone());
            self.publish_node(NodeNews::Come(node, online));
        }
        self.tell_everywhere(cx, name, payload);
        true
    }

    /// Gives an event to all operators who may read.
    pub(super) fn tell_everywhere(&mut self, cx: &mut Cx<'_>, name: &'static str, payload: String) {
        self.tell_operators(cx, Scopes::READ, name, &payload);
        self.publish_node(NodeNews::Told(name, payload.into()));
    }
}
