//! What operators ask about nodes, and what they decide about them.

use super::super::Gateway;
use super::super::bus::{Node, NodeId};
use super::super::jobs::Job;
use super::super::json::Object;
use super::super::principal::Principal;
use super::super::record::RecordKind;
use super::super::refusal::{Code, Refusal};
use super::super::send::{Cx, ReplyTo};
use super::super::session::Op;
use super::super::waiting::PairAction;
use super::super::work::{StoreOutcome, StoreWork};
use super::answers::Then;
use super::dispatch::{Call, Done, missing};
use super::node_connections::NodeNews;
use super::node_invoke::Invoke;
use super::node_pairing::{NodePairing, NodeRequest};
use super::node_surface::{Manifest, SURFACE};
use super::nodes::unknown_node;
use std::borrow::Cow;
use std::sync::Arc;

/// Something that one loop does about a node.
#[derive(Debug, Clone)]
pub struct NodeOp {
    /// The device's name.
    pub(super) node: Arc<str>,
    /// The loop of its connection, where that matters.
    pub(super) at: Option<NodeId>,
    pub(super) what: NodeWhat,
}

#[derive(Debug, Clone)]
pub(super) enum NodeWhat {
    Invoke(Box<Invoke>),
    Approve(Box<NodeRequest>),
    Reject(Box<NodeRequest>),
    Remove,
    Rename(Box<str>),
}

/// What a change of a node in the store is for.
pub(in crate::gateway) enum NodeJob {
    /// Something is approved.
    Approve { request: Box<NodeRequest>, pairing: Box<NodePairing>, by: Arc<str>, to: ReplyTo },
    /// It has another name.
    Rename { pairing: Box<NodePairing>, to: ReplyTo },
    /// Nothing is approved any more. `known`: something was.
    Remove { node: Arc<str>, known: bool, to: ReplyTo },
}

impl NodeOp {
    /// The loop that must do this. One decides about each node, so decisions have an order.
    pub(in crate::gateway) fn home(&self, own: Node) -> NodeId {
        self.at.unwrap_or_else(|| own.home(&self.node))
    }
}

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let at = gateway.ms(cx.now);
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            let nodes = &gateway.openclaw.nodes;
            let gone = nodes.pairings.keys().filter(|node| !nodes.online.contains_key(*node));
            Object::new(out)
                .num("ts", at)
                .list("nodes", nodes.online.keys().chain(gone), |out, node| {
                    gateway.write_node(Object::new(out), node, at).end();
                })
                .end();
        });
    }
    Ok(())
}

pub(super) fn describe(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (node, at) = (text(call, "nodeId"), gateway.ms(cx.now));
    if !gateway.knows_node(&node) {
        return Err(unknown_node());
    }
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            gateway.write_node(Object::new(out).num("ts", at), &node, at).end();
        });
    }
    Ok(())
}

pub(super) fn pairings(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let at = gateway.ms(cx.now);
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            let nodes = &gateway.openclaw.nodes;
            Object::new(out)
                .list("pending", nodes.requests(at), |out, request| request.write(out))
                .list("paired", nodes.pairings.values(), |out, pairing| {
                    pairing.write(nodes.online.contains_key(&pairing.node), out);
                })
                .end();
        });
    }
    Ok(())
}

pub(super) fn approve(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let request = request(gateway, cx, call)?;
    let needed = request.manifest.surface.to_approve();
    let lacking = needed.without(call.scopes.implied());
    if !lacking.is_empty() {
        return Err(missing(lacking));
    }
    let node = request.node.clone();
    decide(gateway, cx, call, node, NodeWhat::Approve(Box::new(request)))
}

pub(super) fn reject(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let request = request(gateway, cx, call)?;
    let node = request.node.clone();
    decide(gateway, cx, call, node, NodeWhat::Reject(Box::new(request)))
}

pub(super) fn remove(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let node = text(call, "nodeId").into();
    decide(gateway, cx, call, node, NodeWhat::Remove)
}

pub(super) fn rename(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let node = text(call, "nodeId").into();
    let name = text(call, "displayName");
    let name = name.trim();
    if name.is_empty() {
        return Err(Refusal::invalid("displayName must not be empty"));
    }
    decide(gateway, cx, call, node, NodeWhat::Rename(name.into()))
}

fn decide(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    call: &mut Call<'_>,
    node: Arc<str>,
    what: NodeWhat,
) -> Done {
    if let Some(to) = call.take(Then::AsItIs) {
        let op = Op::Node(NodeOp { node, at: None, what });
        gateway.openclaw_route(cx, call.conn, op, to);
    }
    Ok(())
}

fn request(gateway: &Gateway, cx: &Cx<'_>, call: &Call<'_>) -> Result<NodeRequest, Refusal> {
    let (id, at) = (text(call, "requestId"), gateway.ms(cx.now));
    gateway.openclaw.nodes.request(&id, at).cloned().ok_or_else(unknown_request)
}

pub(super) fn text<'a>(call: &Call<'a>, name: &str) -> Cow<'a, str> {
    call.values.text(name).unwrap_or_default()
}

fn unknown_request() -> Refusal {
    Refusal::invalid("unknown requestId")
}

impl Gateway {
    /// Does this here.
    pub(in crate::gateway) fn node_op(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        op: NodeOp,
        to: ReplyTo,
    ) {
        let NodeOp { node, what, .. } = op;
        match what {
            NodeWhat::Invoke(invoke) => self.invoke_here(cx, who, &node, *invoke, to),
            NodeWhat::Approve(request) => self.approve_node(cx, who, request, to),
            NodeWhat::Reject(request) => {
                if self.openclaw.nodes.is_decided(&request.id) {
                    return self.reply_error(cx, to, &unknown_request());
                }
                self.note_pairing(&node, PairAction::Denied, Some(&who.user));
                self.publish_node(NodeNews::Rejected((*request).clone()));
                self.node_request_over(cx, &request, "rejected");
                self.reply_ok(cx, to, |_, out| {
                    Object::new(out).str("requestId", &request.id).str("nodeId", &node).end();
                });
            }
            NodeWhat::Remove => {
                let known = self.openclaw.nodes.pairings.get(&node).map(|known| known.approved);
                let at = self.ms(cx.now).max(known.unwrap_or(0));
                if known.is_some() {
                    self.note_pairing(&node, PairAction::Revoked, Some(&who.user));
                }
                self.publish_node(NodeNews::Unpaired(node.clone(), at));
                self.node_unpaired(cx, &node, at);
                // Asked of the store even when no loop knows it: an earlier try may have failed there.
                let work = StoreWork::Remove { kind: RecordKind::Node, key: node.clone(), at };
                let job = NodeJob::Remove { node, known: known.is_some(), to };
                self.start_store(cx, work, Job::Node(job));
            }
            NodeWhat::Rename(name) => {
                let Some(known) = self.openclaw.nodes.pairings.get(&node) else {
                    return self.reply_error(cx, to, &unknown_node());
                };
                let pairing = Box::new(NodePairing { name: Some(name), ..known.clone() });
                let work = put(&pairing, self.ms(cx.now));
                self.start_store(cx, work, Job::Node(NodeJob::Rename { pairing, to }));
            }
        }
    }

    fn approve_node(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        request: Box<NodeRequest>,
        to: ReplyTo,
    ) {
        let (nodes, at) = (&self.openclaw.nodes, self.ms(cx.now));
        if nodes.is_decided(&request.id) {
            return self.reply_error(cx, to, &unknown_request());
        }
        let known = nodes.pairings.get(&request.node);
        // Those that the store still thinks about count, too.
        let coming = self.store_jobs_of(|job| matches!(job, Job::Node(NodeJob::Approve { .. })));
        if known.is_none() && nodes.pairings.len() + coming >= self.config.bounds().devices {
            let text = "there are too many paired nodes: remove some";
            return self.reply_error(cx, to, &Refusal::new(Code::Unavailable, text));
        }
        let pairing = Box::new(request.approve(known, at));
        let (work, by) = (put(&pairing, at), who.user.clone());
        self.start_store(cx, work, Job::Node(NodeJob::Approve { request, pairing, by, to }));
    }

    /// The store has done it, or has not.
    pub(in crate::gateway) fn node_job_done(
        &mut self,
        cx: &mut Cx<'_>,
        job: NodeJob,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        match job {
            NodeJob::Approve { request, pairing, by, to } => {
                let node = pairing.node.clone();
                let refusal = match outcome {
                    Err(refusal) => Some(refusal.clone()),
                    Ok(_) if self.openclaw.nodes.is_decided(&request.id) => Some(unknown_request()),
                    Ok(_) => None,
                };
                if let Some(refusal) = refusal {
                    // The store may have it: who was told no must not be let in by the next start.
                    self.write_node_again(cx, &node);
                    return self.reply_error(cx, to, &refusal);
                }
                self.note_pairing(&node, PairAction::Approved, Some(&by));
                let news = NodeNews::Paired(pairing.clone(), Some((*request).clone()));
                self.publish_node(news);
                self.node_paired(cx, *pairing, Some(&request));
                let at = self.ms(cx.now);
                self.reply_ok(cx, to, |gateway, out| {
                    Object::new(out)
                        .str("requestId", &request.id)
                        .object("node", |o| gateway.write_node(o, &node, at))
                        .end();
                });
            }
            NodeJob::Rename { pairing, to } => {
                let node = pairing.node.clone();
                if let Err(refusal) = outcome {
                    self.write_node_again(cx, &node);
                    return self.reply_error(cx, to, refusal);
                }
                let name = pairing.name.clone().unwrap_or_default();
                self.publish_node(NodeNews::Paired(pairing.clone(), None));
                self.node_paired(cx, (*pairing).clone(), None);
                let now = self.openclaw.nodes.pairings.get(&node);
                if now.is_none_or(|now| now.approved != pairing.approved) {
                    // Approved anew or taken back while the store worked.
                    self.write_node_again(cx, &node);
                }
                self.reply_ok(cx, to, |_, out| {
                    Object::new(out).str("nodeId", &node).str("displayName", &name).end();
                });
            }
            NodeJob::Remove { node, known, to } => match outcome {
                Ok(StoreOutcome::Removed(there)) if known || *there => {
                    self.reply_ok(cx, to, |_, out| Object::new(out).str("nodeId", &node).end());
                }
                Ok(_) => self.reply_error(cx, to, &unknown_node()),
                Err(refusal) => self.reply_error(cx, to, refusal),
            },
        }
    }

    /// A device is not let in any more: nothing of it is approved either, should it be let in again. Every
    /// loop does this for itself; the one that decides about the node tells the store.
    pub(super) fn node_thrown_out(&mut self, cx: &mut Cx<'_>, node: &Arc<str>) {
        let Some(known) = self.openclaw.nodes.pairings.get(node) else { return };
        let at = self.ms(cx.now).max(known.approved);
        self.node_unpaired(cx, node, at);
        if self.node.home(node) == self.node.id() {
            self.forget_record(cx, RecordKind::Node, node.clone());
        }
    }

    /// Gives the store what is known of a node here; nobody waits for that.
    fn write_node_again(&mut self, cx: &Cx<'_>, node: &Arc<str>) {
        match self.openclaw.nodes.pairings.get(node) {
            Some(pairing) => {
                let work = put(pairing, self.ms(cx.now));
                self.start_store(cx, work, Job::Forget);
            }
            None => self.forget_record(cx, RecordKind::Node, node.clone()),
        }
    }

    /// Of an earlier gateway.
    pub(in crate::gateway) fn load_node(&mut self, record: &super::super::record::Record) {
        if let Some(pairing) = NodePairing::of(record) {
            self.openclaw.nodes.learn(pairing);
        }
    }

    fn knows_node(&self, node: &str) -> bool {
        let nodes = &self.openclaw.nodes;
        nodes.online.contains_key(node) || nodes.pairings.contains_key(node)
    }

    /// An entry of `node.list`.
    fn write_node<'o>(&self, object: Object<'o>, node: &str, at: u64) -> Object<'o> {
        let nodes = &self.openclaw.nodes;
        let (online, pairing) = (nodes.online.get(node), nodes.pairings.get(node));
        let name = pairing.and_then(|pairing| pairing.name.as_deref());
        let about = online.map(|online| &online.manifest.about);
        let about = about.or(pairing.map(|pairing| &pairing.about));
        let mut object = object.str("nodeId", node);
        if let Some(about) = about {
            object = about.write(object, name);
        }
        let surface = match (online, pairing) {
            (Some(online), _) => nodes.effective(node, &online.manifest.surface),
            (None, pairing) => pairing.map(|known| known.surface.clone()).unwrap_or_default(),
        };
        object = surface.write(object, SURFACE);
        object = object
            .str("approvalState", nodes.approval(node, at))
            .bool("paired", pairing.is_some())
            .bool("connected", online.is_some());
        if let Some(pairing) = pairing {
            object = object.num("approvedAtMs", pairing.approved);
        }
        if let Some(request) = nodes.request_of(node, at) {
            let Manifest { surface, .. } = &*request.manifest;
            let names =
                ["pendingDeclaredCaps", "pendingDeclaredCommands", "pendingDeclaredPermissions"];
            object = surface.write(object.str("pendingRequestId", &request.id), names);
        }
        if let Some(online) = online {
            object = object.num("connectedAtMs", online.since);
            if let Some(stats) = &online.stats {
                object = object.raw("hostStats", stats);
            }
        }
        let seen = online.map(|_| at).or(pairing.and_then(|pairing| pairing.seen));
        match seen {
            Some(seen) => object.num("lastSeenAtMs", seen),
            None => object,
        }
    }
}

fn put(pairing: &NodePairing, at: u64) -> StoreWork {
    StoreWork::Put { records: vec![pairing.record()], at }
}
