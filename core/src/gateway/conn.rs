//! What the gateway knows about one connection.

use super::client::Client;
use super::config::Secret;
use super::late::Late;
use super::link::LinkAt;
use super::openclaw::{Joining, Peer};
use super::principal::Principal;
use super::resume::Resuming;
use super::retained::Held;
use super::waiting::Waiting;
use crate::Address;
use crate::frame::CloseCode;
use core::net::SocketAddr;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A connection, as the host numbers it. Never used twice within a process.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why the gateway closed a connection: remembered until the connection has ended.
pub(super) struct Closing {
    pub(super) code: CloseCode,
    pub(super) reason: Cow<'static, str>,
    /// The deadline that passed, if one did.
    pub(super) deadline: Option<&'static str>,
}

pub(super) struct Conn {
    /// Its other end; behind a trusted proxy the client that the proxy names.
    pub(super) peer: SocketAddr,
    pub(super) address: Address,
    /// It came over a socket that only the host itself can reach.
    pub(super) local: bool,
    pub(super) since: Instant,
    pub(super) since_ms: u64,
    /// It counts as not logged in.
    pub(super) budgeted: bool,
    /// The upgrade was accepted, and it counts as one of the connections.
    pub(super) accepted: bool,
    /// The WebSocket is open: it has its place among the connections.
    pub(super) open: bool,
    pub(super) connect_by: Option<Instant>,
    /// `Authorization: Bearer` of the upgrade request.
    pub(super) bearer: Option<Secret>,
    /// It was found wrong at the upgrade, and that was counted.
    pub(super) bearer_counted: bool,
    /// What its challenge was made of, and when it was made, in Unix milliseconds.
    pub(super) nonce: [u8; 16],
    pub(super) challenged: u64,
    /// Its upgrade request says that it came through a proxy, or is for another host than this one: then
    /// something must have passed it on.
    pub(super) forwarded: bool,
    /// It speaks the dialect of OpenClaw.
    pub(super) openclaw: Option<Box<Peer>>,
    /// It will, when the store has kept its device.
    pub(super) joining: Option<Box<Joining>>,
    /// A page in a browser has opened it: its upgrade request had an Origin.
    pub(super) from_page: bool,
    /// When its login ends by itself: the timer for it, and Unix milliseconds.
    pub(super) expiry: Option<(Instant, u64)>,
    /// It waits to be let in.
    pub(super) waiting: Option<Waiting>,
    /// Who is logged in.
    pub(super) principal: Option<Principal>,
    /// Who was logged in last: for the record of the ending.
    pub(super) last_principal: Option<Principal>,
    /// What its upgrade request says the client is.
    pub(super) user_agent: Option<Arc<Client>>,
    /// What the client said at its login, or else in the upgrade request.
    pub(super) client: Option<Arc<Client>>,
    /// What its events come from.
    pub(super) link: Option<LinkAt>,
    /// Bytes of events of another node's link that have not been reported as left.
    pub(super) delivered: u64,
    /// A `connect` that waits for the link's node.
    pub(super) resuming: Option<Resuming>,
    /// What is queued for it, while somebody is logged in.
    pub(super) queued: Option<Held>,
    /// What waits for room in its outbox.
    pub(super) late: Late,
    /// Its peer does not read: the ending is under way.
    pub(super) given_up: bool,
    pub(super) strikes: u32,
    /// Requests without an answer yet.
    pub(super) in_flight: usize,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) closing: Option<Closing>,
}

impl Conn {
    pub(super) fn new(peer: SocketAddr, now: Instant, ms: u64) -> Self {
        Self {
            peer,
            address: Address::of(peer.ip()),
            local: false,
            since: now,
            since_ms: ms,
            budgeted: false,
            accepted: false,
            open: false,
            connect_by: None,
            bearer: None,
            bearer_counted: false,
            nonce: [0; 16],
            challenged: 0,
            forwarded: false,
            openclaw: None,
            joining: None,
            from_page: false,
            expiry: None,
            waiting: None,
            principal: None,
            last_principal: None,
            user_agent: None,
            client: None,
            link: None,
            delivered: 0,
            resuming: None,
            queued: None,
            late: Late::new(),
            given_up: false,
            strikes: 0,
            in_flight: 0,
            requests: 0,
            failed: 0,
            closing: None,
        }
    }

    /// Whether it comes from this host, and nobody says that it was passed on.
    pub(super) fn is_direct(&self) -> bool {
        let here = self.peer.ip().to_canonical().is_loopback();
        self.local || here && !self.forwarded && !self.from_page
    }
}
