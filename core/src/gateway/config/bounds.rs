//! Bounds on everything that peers can make grow, and their defaults.

use std::time::Duration;

/// Bounds on everything that peers can make grow. Each is one node's, except these, of which nodes tell
/// each other: the places of those who are not logged in ([`Bounds::pre_auth`]), what a user spends
/// ([`Bounds::burst`]) and wrong credentials ([`Bounds::auth_failures`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// WebSocket connections of this node. Default 10,000: half of what common limits on open files
    /// allow. More gives 503.
    pub connections: usize,
    /// Sockets that are not logged in, in all, at all nodes together. With `n` nodes it holds to within a
    /// quarter, and exactly where it is less than `8 * n`: not every socket is worth a message. A burst
    /// that reaches several nodes before they have heard of each other may pass besides. Default 5 % of
    /// `connections`, at least 64.
    pub pre_auth: usize,
    /// The same from one IPv4 address. Default 32: a household or an office behind one address.
    pub pre_auth_v4: usize,
    /// The same from one IPv6 /64, which is what one customer has. Default 64.
    pub pre_auth_v6: usize,
    /// Bytes of a message before login. Default 16 KiB: a `connect` with a long token fits.
    pub pre_auth_message: u32,
    /// From the open socket to a successful `connect`, absolute. Default 10 s.
    pub connect_within: Duration,
    /// Invalid frames until the connection is closed. Default 16.
    pub strikes: u32,
    /// Requests of one connection without an answer yet. Default 32. Higher: that many messages held
    /// in memory per connection.
    pub in_flight: usize,
    /// Requests that a user may make at once before
    /// [`GatewayConfig::rate_limit_rpm`](super::GatewayConfig::rate_limit_rpm) holds.
    /// Default 5.
    pub burst: u32,
    /// Users whose rate, and addresses whose rate or failures are remembered: of each this many. Default
    /// 10,000, about 1 MiB.
    pub remembered: usize,
    /// Wrong credentials of one address and kind per minute, at all nodes together. Default 10.
    pub auth_failures: u32,
    /// How long more of them lock the address out. Default 5 minutes.
    pub auth_lock: Duration,
    /// Sessions with something going on at this node. Default 1,024. More gives
    /// `RESOURCE_EXHAUSTED`.
    pub live_sessions: usize,
    /// Turns that wait for a run of one session. Default 16.
    pub queued_turns: usize,
    /// Bytes of their texts. Default 1 MiB.
    pub queued_bytes: usize,
    /// Messages of the past that an agent is given. Default 20; 0 reads none.
    pub agent_history: usize,
    /// Bytes of messages read at once, for an agent or a client. Default 256 KiB: a page that any
    /// client takes.
    pub page_bytes: usize,
    /// How long an idempotency key is remembered. Default 5 minutes.
    pub idempotency_within: Duration,
    /// Keys remembered per user. Default 1,000.
    pub idempotency_keys: usize,
    /// Bytes of remembered keys and answers of all users. Default 16 MiB. Older answers are dropped
    /// first.
    pub idempotency_bytes: usize,
    /// The store must answer within this time. Default 30 s.
    pub store_within: Duration,
    /// A run must end within this time. Default 30 minutes: agents call slow tools.
    pub run_within: Duration,
    /// Another node must take a request within this time. Default 10 s.
    pub call_within: Duration,
    /// How long runs may go on once the gateway drains. Default 10 s: service managers kill after 30
    /// or 90 s.
    pub drain_within: Duration,
    /// How long the link of a connection that has ended waits for its client. Default 120 s: a
    /// laptop that changes networks, a phone in a tunnel. Zero: nothing can be resumed.
    pub resume_within: Duration,
    /// Bytes of events that a link keeps for its client. Default 1 MiB. When more have to wait, a
    /// client that reads too slowly is closed, and one that is away is told of the gap.
    pub link_bytes: usize,
    /// Events that a link keeps. Default 4,096.
    pub link_events: usize,
    /// Links without a connection. Default: as many as `connections`, so that all can come back
    /// after a cut. More make the oldest go, of the user who has more than half of them first.
    pub detached_links: usize,
    /// Bytes that all links keep. Default 128 MiB. More make links without a connection go, the
    /// oldest first.
    pub links_bytes: usize,
    /// Bytes of an agent's answer. Default 8 MiB. More fail the run.
    pub answer_bytes: usize,
    /// Bytes that are kept in memory for one user, over all their connections: requests without an
    /// answer, turns that wait or run, answers of runs and what of them another node has not taken yet,
    /// what is queued for connections, and events of links, which have half of it. Default 64 MiB: twice
    /// what a user of 32 connections that each wait for something large needs. More requests and logins
    /// are refused, and a run that goes on talking fails; a higher bound lets one user take more of
    /// [`held_bytes`](Self::held_bytes).
    pub user_bytes: usize,
    /// The same of all users. Default 512 MiB. More upgrades are refused, too.
    pub held_bytes: usize,
    /// API keys that there may be. Default 1,000. Those that several nodes make at the same moment may go
    /// beyond it.
    pub api_keys: usize,
    /// Revocations that are remembered. Default 10,000. More are refused, never forgotten.
    pub revocations: usize,
    /// Devices that may ask to be let in at once, of each dialect. Default 64: as many as an admin looks
    /// through.
    /// As many nodes of the second dialect may ask to have approved what they can do.
    pub pairings: usize,
    /// How many of them from one address. Default 3: no address fills the list alone.
    pub pairings_per_address: usize,
    /// How long a device may ask. Default 60 minutes. A connection may wait as long without a login; it
    /// takes one of the places of [`Bounds::pre_auth`].
    pub pairing_within: Duration,
    /// Devices that are let in, of each dialect. Default 1,000. Those that several nodes let in at the
    /// same moment may go beyond it.
    /// Nodes of the second dialect that are connected, and those of which something was approved, are no
    /// more than this either.
    pub devices: usize,
    /// How long a device is let in. Default 30 days. Those of the second dialect have keys, and stay until
    /// they are removed.
    pub device_within: Duration,
    /// Uploads at once. Default 32; each holds at most about 400 KiB that the disk has not taken.
    pub uploads: usize,
    /// The same of one user. Default 4.
    pub user_uploads: usize,
    /// Bytes of all files that are kept of one user. Default 1 GiB. More gives 507 until old ones
    /// have gone.
    pub user_upload_bytes: usize,
    /// How many files that may be. Default 1,000: a folder that is read through in a moment.
    pub user_upload_files: usize,
    /// Bytes of all files that are kept, of all users. Default 16 GiB. More gives 507; a user who
    /// chooses who to be could fill the disk otherwise.
    pub upload_bytes: usize,
    /// How many files that may be. Default 100,000: each takes an inode.
    pub upload_files: usize,
    /// Entries in lists of who is connected. Default 256.
    pub presence_listed: usize,
    /// The loop may be late by this much and still be ready. Default 1 s.
    pub loop_delay: Duration,
}

impl Bounds {
    /// The defaults for this many connections.
    pub fn for_connections(connections: usize) -> Self {
        Self {
            connections,
            pre_auth: (connections / 20).max(64),
            pre_auth_v4: 32,
            pre_auth_v6: 64,
            pre_auth_message: 16 * 1024,
            connect_within: Duration::from_secs(10),
            strikes: 16,
            in_flight: 32,
            burst: 5,
            remembered: 10_000,
            auth_failures: 10,
            auth_lock: Duration::from_secs(300),
            live_sessions: 1024,
            queued_turns: 16,
            queued_bytes: 1024 * 1024,
            agent_history: 20,
            page_bytes: 256 * 1024,
            idempotency_within: Duration::from_secs(300),
            idempotency_keys: 1000,
            idempotency_bytes: 16 * 1024 * 1024,
            store_within: Duration::from_secs(30),
            run_within: Duration::from_secs(30 * 60),
            call_within: Duration::from_secs(10),
            drain_within: Duration::from_secs(10),
            resume_within: Duration::from_secs(120),
            link_bytes: 1024 * 1024,
            link_events: 4096,
            detached_links: connections,
            links_bytes: 128 * 1024 * 1024,
            answer_bytes: 8 * 1024 * 1024,
            user_bytes: 64 * 1024 * 1024,
            held_bytes: 512 * 1024 * 1024,
            api_keys: 1000,
            revocations: 10_000,
            pairings: 64,
            pairings_per_address: 3,
            pairing_within: Duration::from_secs(60 * 60),
            devices: 1000,
            device_within: Duration::from_secs(30 * 24 * 60 * 60),
            uploads: 32,
            user_uploads: 4,
            user_upload_bytes: 1024 * 1024 * 1024,
            user_upload_files: 1000,
            upload_bytes: 16 * 1024 * 1024 * 1024,
            upload_files: 100_000,
            presence_listed: 256,
            loop_delay: Duration::from_secs(1),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::for_connections(10_000)
    }
}
