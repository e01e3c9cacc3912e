//! Links: what a login owns beyond its socket. A socket dies; the link stays for a while, goes on
//! collecting events, and a `connect` with its resume token attaches it to another socket.
//!
//! A link lives at the node where it was made. A client that comes back at another node is served
//! through the bus: one node gives the numbers, so none is given twice.

mod delivery;
mod lifetime;
mod links;

use super::bus::NodeId;
use super::conn::ConnId;
use super::openclaw::View;
use super::principal::Principal;
use super::retained::Held;
use super::ring::Ring;
use std::time::Instant;

pub(super) use links::Links;

/// Names a link at its node.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub(super) u64);

/// The link of a connection.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum LinkAt {
    Here(LinkId),
    There(NodeId, LinkId),
}

/// The connection of a link.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Attached {
    Nowhere,
    Here(ConnId),
    There(NodeId, ConnId),
}

/// A resume token: whoever has it must still log in.
pub(super) type ResumeToken = [u8; 16];

/// What a link's events look like.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Moorline's own.
    Base,
    /// That of OpenClaw, in this protocol. Its clients cannot ask for a link again.
    OpenClaw(View),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) who: Principal,
    pub(super) token: ResumeToken,
    /// The node that the token names for the client: where the link was when it got it.
    pub(super) named: NodeId,
    pub(super) ring: Ring,
    /// What the ring keeps.
    held: Held,
    pub(super) attached: Attached,
    /// Since when it is not attached.
    detached: Option<Instant>,
    /// Bytes given to the connection, and how many of them have left.
    given: u64,
    left: u64,
    /// Who is connected has changed, and the client was not told.
    presence_stale: bool,
    /// What its events look like.
    pub(super) dialect: Dialect,
    /// Nodes that have not told yet which runs are under way: their events wait for that.
    awaiting: Vec<NodeId>,
    /// When something of it is due.
    timer: Option<Instant>,
}

impl Link {
    /// Whether it still has to be told which runs are under way at a node.
    pub(super) fn is_awaiting(&self, node: NodeId) -> bool {
        self.awaiting.contains(&node)
    }

    /// Its connection, if that is one of this node.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.attached {
            Attached::Here(conn) => Some(conn),
            Attached::Nowhere | Attached::There(..) => None,
        }
    }
}
