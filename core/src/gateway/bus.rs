//! What nodes say to each other, and where a session lives.
//!
//! A bus must deliver what one node says to another in order and once; it may be slow, and a node may
//! be gone: calls have a time limit. With one node nothing is ever said.

use super::api_keys::ApiKey;
use super::budget::Crowd;
use super::conn::ConnId;
use super::failures::Guess;
use super::link::{Attached, LinkId};
use super::openclaw::{DeviceNews, NodeNews};
use super::pairing::{Device, PairRequest};
use super::presence::Entry;
use super::principal::Principal;
use super::rate::Payers;
use super::refusal::{Code, Refusal};
use super::resume::{Claim, Resumed};
use super::revocations::Revocation;
use super::ring::Event;
use super::send::{Body, Cx, ReplyTo};
use super::session::Op;
use super::waiting::PairAction;
use super::workers::WorkerNews;
use super::{Gateway, Timer};
use std::sync::Arc;
use std::time::Instant;

/// A node's number, from 0.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// Which of how many nodes a gateway is.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Node {
    /// From 0.
    pub index: u16,
    /// How many there are; the same at all of them.
    pub count: u16,
}

impl Node {
    /// The only one.
    pub const SINGLE: Self = Self { index: 0, count: 1 };

    pub(super) fn id(self) -> NodeId {
        NodeId(self.index)
    }

    /// Where what this key names lives: a stable hash (FNV-1a), the same on every machine.
    pub(super) fn home(self, key: &str) -> NodeId {
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        NodeId((hash % u64::from(self.count)) as u16)
    }
}

/// To whom a message goes.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Route {
    /// One node.
    Node(NodeId),
    /// All but the sender.
    Others,
}

/// Names a forwarded request at the node that forwarded it.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub(super) u64);

/// An answer on its way back.
#[derive(Debug, Clone)]
pub struct Answer(Body);

impl From<Body> for Answer {
    fn from(body: Body) -> Self {
        Self(body)
    }
}

/// What one node says to another.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BusMessage {
    /// I have just begun: who is connected to you?
    Join {
        /// The sender.
        node: NodeId,
    },
    /// These have come or changed at the sender, those have gone.
    Presence {
        /// The sender.
        node: NodeId,
        /// Come or changed.
        there: Vec<Entry>,
        /// Gone.
        gone: Vec<ConnId>,
    },
    /// A request for a session that lives at the receiver.
    Call {
        /// The sender.
        from: NodeId,
        /// The request's name there.
        call: CallId,
        /// Who asks.
        who: Principal,
        /// What is asked.
        op: Op,
    },
    /// A call was taken and will be answered when its run has ended.
    Taken {
        /// The request.
        call: CallId,
    },
    /// A call's answer.
    Answer {
        /// The request.
        call: CallId,
        /// The answer.
        body: Answer,
    },
    /// An event for these users.
    Event {
        /// The sender.
        from: NodeId,
        /// The users.
        users: Vec<Arc<str>>,
        /// The event.
        event: Event,
    },
    /// A link was made at the sender: which runs of its user are under way at you?
    Arrived {
        /// The sender.
        from: NodeId,
        /// The link.
        link: LinkId,
        /// Its user.
        user: Arc<str>,
    },
    /// These are, and what they have said so far.
    UnderWay {
        /// The sender.
        from: NodeId,
        /// The link that asked.
        link: LinkId,
        /// One or two events for each run.
        events: Vec<Event>,
    },
    /// A client has come to the sender for a link of the receiver.
    Resume {
        /// The sender.
        from: NodeId,
        /// The connection there.
        conn: ConnId,
        /// To be repeated in the answer: a connection may log in anew meanwhile.
        call: CallId,
        /// Who it is.
        who: Principal,
        /// What it offers.
        claim: Claim,
    },
    /// The link is the connection's from now on, or cannot be.
    Resumed {
        /// The sender.
        from: NodeId,
        /// The connection.
        conn: ConnId,
        /// That of the question.
        call: CallId,
        /// What came of it.
        link: Option<Resumed>,
    },
    /// A link's message for a connection of the receiver.
    Deliver {
        /// The connection.
        conn: ConnId,
        /// The link.
        link: LinkId,
        /// The message.
        text: Arc<str>,
    },
    /// So much of what was delivered has been sent.
    Left {
        /// The connection.
        conn: ConnId,
        /// The link.
        link: LinkId,
        /// Bytes.
        bytes: u64,
    },
    /// The connection has ended, or has another login.
    Detached {
        /// The sender.
        from: NodeId,
        /// The connection.
        conn: ConnId,
        /// The link.
        link: LinkId,
        /// Whether its client may come back.
        keep: bool,
    },
    /// The link was resumed by another connection: close this one.
    Replaced {
        /// The connection.
        conn: ConnId,
        /// The link.
        link: LinkId,
    },
    /// The sender drains, and has no run and no answer to give any more.
    Quiet {
        /// The sender.
        node: NodeId,
    },
    /// The connection's peer does not read what its link says: end it.
    GiveUp {
        /// The connection.
        conn: ConnId,
        /// The link.
        link: LinkId,
    },
    /// An API key was made at the sender.
    KeyMade {
        /// The key, without the key.
        key: ApiKey,
    },
    /// An API key is revoked.
    KeyGone {
        /// Its id.
        id: Arc<str>,
    },
    /// A token is valid no more.
    Revoked {
        /// Which.
        what: Revocation,
    },
    /// A device asks to be let in.
    PairAsked {
        /// Which.
        request: PairRequest,
    },
    /// A device was let in.
    PairApproved {
        /// Which.
        device: Device,
    },
    /// A device was not let in.
    PairDenied {
        /// Its name.
        name: Arc<str>,
    },
    /// A device that was let in is so no more.
    DeviceGone {
        /// Its name.
        name: Arc<str>,
    },
    /// Something has become of a node of the second dialect.
    Nodes {
        /// What.
        news: NodeNews,
    },
    /// Something has become of a worker, or of a run that one has.
    Workers {
        /// What.
        news: WorkerNews,
    },
    /// Sockets of the sender that are not logged in.
    PreAuth {
        /// The sender.
        node: NodeId,
        /// How many.
        crowd: Crowd,
    },
    /// A wrong credential came to the sender.
    Guessed {
        /// Of which kind, from where.
        guess: Guess,
    },
    /// Something has become of a device of the second dialect.
    Devices {
        /// What.
        news: DeviceNews,
    },
    /// These have spent some of their rate.
    Spent {
        /// Who.
        payers: Payers,
        /// How much.
        cost: u64,
    },
}

/// A request that another node works on.
pub(super) struct Call {
    to: ReplyTo,
    deadline: Instant,
}

impl Gateway {
    /// Has another node do this.
    pub(super) fn forward(
        &mut self,
        cx: &mut Cx<'_>,
        home: NodeId,
        who: &Principal,
        op: Op,
        to: ReplyTo,
    ) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let deadline = cx.now + self.config.bounds().call_within + op.takes();
        self.timers.insert((deadline, Timer::Call(call)));
        self.calls.insert(call, Call { to, deadline });
        let from = self.node.id();
        self.publish(Route::Node(home), BusMessage::Call { from, call, who: who.clone(), op });
    }

    pub(super) fn handle_bus(&mut self, cx: &mut Cx<'_>, message: BusMessage) {
        match message {
            BusMessage::Join { node } => {
                self.node_restarted(cx, node);
                self.presence_restarted(cx.now, node);
                self.quiet_before.remove(&node);
                self.tell_nodes(cx, node);
                self.tell_workers(cx, node);
                for crowd in self.budget.restarted(node) {
                    let message = BusMessage::PreAuth { node: self.node.id(), crowd };
                    self.publish(Route::Node(node), message);
                }
                self.tell_requests(node);
                let there = self.presence.of_node(self.node.id());
                if !there.is_empty() {
                    let (from, gone) = (self.node.id(), Vec::new());
                    let message = BusMessage::Presence { node: from, there, gone };
                    self.publish(Route::Node(node), message);
                }
            }
            BusMessage::Presence { node, there, gone } => {
                self.presence_elsewhere(cx, node, there, gone);
            }
            BusMessage::Call { from, call, who, op } => {
                let to = ReplyTo::Remote { node: from, call };
                if self.draining.is_some() {
                    self.reply_error(cx, to, &shutting_down());
                } else {
                    self.perform(cx, &who, op, to);
                }
            }
            BusMessage::Taken { call } => {
                let within = self.config.bounds().run_within + self.config.bounds().call_within;
                if let Some(call_) = self.calls.get_mut(&call) {
                    self.timers.remove(&(call_.deadline, Timer::Call(call)));
                    call_.deadline = cx.now + within;
                    self.timers.insert((call_.deadline, Timer::Call(call)));
                }
            }
            BusMessage::Answer { call, body: Answer(body) } => {
                if let Some(Call { to, deadline }) = self.calls.remove(&call) {
                    self.timers.remove(&(deadline, Timer::Call(call)));
                    let Some(to) = self.room_to_answer(cx, to, body.json.len()) else { return };
                    self.reply_body(cx, to, &body);
                }
            }
            BusMessage::Event { from, users, event } => self.event_here(cx, from, &users, &event),
            BusMessage::Arrived { from, link, user } => {
                let events = self.runs_so_far(&user);
                let message = BusMessage::UnderWay { from: self.node.id(), link, events };
                self.publish(Route::Node(from), message);
            }
            BusMessage::UnderWay { from, link, events } => self.caught_up(cx, from, link, events),
            BusMessage::Resume { from, conn, call, who, claim } => {
                self.resume_for(cx, (from, conn, call), &who, &claim);
            }
            BusMessage::Resumed { from, conn, call, link } => {
                self.resumed(cx, from, conn, call, link);
            }
            BusMessage::Deliver { conn, link, text } => self.delivered(cx, conn, link, &text),
            BusMessage::Left { conn, link, bytes } => self.left_elsewhere(cx, link, conn, bytes),
            BusMessage::Detached { from, conn, link, keep } => {
                self.link_detached(cx, link, Attached::There(from, conn), keep);
            }
            BusMessage::Replaced { conn, link } => self.replaced(cx, conn, link),
            BusMessage::Quiet { node } => self.now_quiet(node),
            BusMessage::GiveUp { conn, link } => {
                if self.is_served(conn, link) {
                    self.give_up(cx, conn);
                }
            }
            BusMessage::KeyMade { key } => self.key_known(key),
            BusMessage::KeyGone { id } => self.key_gone(cx, &id),
            BusMessage::Revoked { what } => self.revoked(cx, &what),
            BusMessage::PairAsked { request } => self.pair_asked(cx, request),
            BusMessage::PairApproved { device } => self.device_known(cx, device),
            BusMessage::PairDenied { name } => self.pair_over(cx, &name, PairAction::Denied),
            BusMessage::DeviceGone { name } => self.device_gone(cx, &name),
            BusMessage::Nodes { news } => self.node_news(cx, news),
            BusMessage::Workers { news } => self.worker_news(cx, news),
            BusMessage::PreAuth { node, crowd } => self.budget.hear(node, crowd),
            BusMessage::Guessed { guess } => {
                self.failures.count(cx.now, guess);
            }
            BusMessage::Devices { news } => self.device_news(cx, news),
            BusMessage::Spent { payers, cost } => self.rate.spent_elsewhere(cx.now, &payers, cost),
        }
    }

    /// The other node did not answer.
    pub(super) fn call_expired(&mut self, cx: &mut Cx<'_>, call: CallId) {
        if let Some(Call { to, .. }) = self.calls.remove(&call) {
            let refusal =
                Refusal::new(Code::Unavailable, "the node of this session does not answer");
            self.reply_error(cx, to, &refusal);
        }
    }

    /// Gives an event to these users, wherever they are connected.
    pub(super) fn event(&mut self, cx: &mut Cx<'_>, users: &[Arc<str>], event: &Event) {
        let from = self.node.id();
        self.event_here(cx, from, users, event);
        if self.node.count > 1 {
            let (users, event) = (users.to_vec(), event.clone());
            self.publish(Route::Others, BusMessage::Event { from, users, event });
        }
    }
}

pub(super) fn shutting_down() -> Refusal {
    Refusal::new(Code::Unavailable, "the gateway is shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_stable_and_spread() {
        let node = Node { index: 0, count: 3 };
        assert_eq!(node.home("agent:echo:ws:direct:1"), node.home("agent:echo:ws:direct:1"));
        let mut hits = [0; 3];
        for n in 0..3000 {
            hits[usize::from(node.home(&format!("agent:echo:ws:direct:{n}")).0)] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
    }
}
