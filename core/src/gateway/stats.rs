//! What a gateway is like at the moment, and what it has done, in numbers.

use super::Gateway;
use super::conn::Conn;
use std::time::Instant;

/// A gateway in numbers, by [`Gateway::stats`].
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sockets, by how far they are.
    pub phases: Phases,
    /// Places of those who are not logged in that are taken, at all nodes as far as this one knows.
    pub pre_auth: usize,
    /// Links, those without a connection included.
    pub links: usize,
    /// Links without a connection.
    pub detached_links: usize,
    /// Bytes of events that links keep.
    pub link_bytes: usize,
    /// How many that may be.
    pub link_bytes_limit: usize,
    /// Bytes that are kept for users, those of links and of outboxes included.
    pub user_bytes: usize,
    /// How many that may be.
    pub user_bytes_limit: usize,
    /// Bytes of answers that are remembered for idempotency keys.
    pub idempotency_bytes: usize,
    /// How many that may be.
    pub idempotency_bytes_limit: usize,
    /// Bytes of uploads that the disk has not taken.
    pub upload_bytes: usize,
    /// Sessions with something going on.
    pub live_sessions: usize,
    /// Works of the store that have no outcome yet.
    pub store_jobs: usize,
    /// Uploads that are under way.
    pub uploads: usize,
    /// Files on their way to clients.
    pub downloads: usize,
    /// Whether everything is in order, as `/ready` says.
    pub ready: bool,
    /// What was counted so far.
    pub tally: Tally,
}

/// Sockets, by how far they are. Each is counted once.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    /// The request is awaited, or answered.
    pub head: usize,
    /// A WebSocket that is not logged in.
    pub connect: usize,
    /// Logged in.
    pub open: usize,
    /// The ending is under way.
    pub closing: usize,
}

/// What a gateway counts itself, since its start: no [`Fact`](super::Fact) tells of it.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// WebSocket messages that came.
    pub messages_in: u64,
    /// WebSocket messages that were sent.
    pub messages_out: u64,
    /// Requests for methods that neither dialect has.
    pub unknown_methods: u64,
    /// Events that became part of one which still waited.
    pub events_merged: u64,
    /// Pieces of a text that were left out because a later event tells it whole.
    pub events_told_again: u64,
    /// Events that were left out and that nothing else tells.
    pub events_lost: u64,
    /// Times that a client was told that it has missed events.
    pub lagged: u64,
    /// Times that an address was locked out.
    pub lock_outs: u64,
}

impl Gateway {
    /// How the gateway is, for metrics. Work in proportion to the connections: for whoever looks now and
    /// then.
    pub fn stats(&self, now: Instant) -> Stats {
        let (links, detached_links, link_bytes) = self.links.size();
        let bounds = self.config.bounds();
        let mut phases = Phases::default();
        for conn in self.conns.values() {
            phases.count(conn);
        }
        Stats {
            phases,
            pre_auth: self.budget.total(),
            links,
            detached_links,
            link_bytes,
            link_bytes_limit: bounds.links_bytes,
            user_bytes: self.retained(),
            user_bytes_limit: bounds.held_bytes,
            idempotency_bytes: self.idempotency.bytes(),
            idempotency_bytes_limit: bounds.idempotency_bytes,
            upload_bytes: self.upload_bytes(),
            live_sessions: self.live.len(),
            store_jobs: self.store_jobs.len(),
            uploads: self.uploads.len(),
            downloads: self.downloads.len(),
            ready: self.is_ready(now),
            tally: self.tally,
        }
    }
}

impl Phases {
    fn count(&mut self, conn: &Conn) {
        let phase = if conn.closing.is_some() || conn.given_up {
            &mut self.closing
        } else if !conn.accepted {
            &mut self.head
        } else if conn.principal.is_none() {
            &mut self.connect
        } else {
            &mut self.open
        };
        *phase += 1;
    }
}
