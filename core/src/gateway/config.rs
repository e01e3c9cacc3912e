//! What an operator decides, and what it is made into.

use super::forwarded::{Cidr, ForwardedHeader};
use super::jwt::{JwtKey, JwtKeyError, Verifier};
use super::metrics::MetricsAccess;
use super::origin::{Host, OriginRule};
use super::principal::Role;
use super::site::Site;
use super::static_page::StaticPage;
use super::upload;
use super::workers::WorkerBackend;
use crate::limits::Limits;
use core::net::SocketAddr;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::time::Duration;

/// A text that must not be shown: it has neither `Debug` nor `Display`, so nothing can print it.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a secret that can be printed will be")]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the secret in.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Compares in a time that depends on the lengths only.
    pub(super) fn matches(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// The first 8 hexadecimal digits of its SHA-256: enough to tell which one it is.
    pub(super) fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.0.as_bytes());
        hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// A gateway token and what it grants.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct Token {
    /// What the client must send.
    pub secret: Secret,
    /// The role of who has it. An [`Role::Admin`] becomes [`Role::Owner`] when its user is in
    /// [`GatewayConfig::owner_ids`].
    pub role: Role,
    /// The user it belongs to, if it is bound to one: then a client cannot choose its `user_id`.
    pub user: Option<String>,
}

impl Token {
    /// The usual gateway token: an admin of any user id.
    pub fn admin(secret: Secret) -> Self {
        Self { secret, role: Role::Admin, user: None }
    }
}

/// An agent that users can talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The id in requests and session keys.
    pub id: String,
    /// The name shown to people.
    pub name: String,
    /// What `config.get` shows of the host's way to it: JSON without secrets. Default none.
    pub backend: Option<String>,
}

impl Agent {
    /// An agent of this name.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), backend: None }
    }
}

/// What an operator decides about one gateway. [`GatewayConfig::new`] has the defaults.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Where the listener is bound. On a loopback address no token is needed and the Host header is
    /// checked (DNS rebinding); anywhere else a token must be configured.
    pub listen: SocketAddr,
    /// Whether the listener speaks TLS: then a page of the gateway's own host is `https`, and one of
    /// `http` is somebody else's. Default false: a proxy in front may speak TLS, so either may be its own.
    pub secure: bool,
    /// Valid tokens. More than one: the old and the new during a rotation, or different roles.
    pub tokens: Vec<Token>,
    /// Whose JWTs are believed. Default none.
    ///
    /// With any, ring becomes the process's provider of cryptography for the `jsonwebtoken` crate (its
    /// `CryptoProvider`), for verifying only. A host that signs by that crate installs its own before: it
    /// stays, and verifies here, too.
    pub jwt: Vec<JwtKey>,
    /// Whether whoever has no credential may ask to be let in, for an admin to decide. Default false: on a
    /// gateway that others can reach, anybody could fill the admins' list.
    pub pairing: bool,
    /// Whether devices of the second dialect are let in without asking anybody that come from this host
    /// itself, with a shared secret, and neither through a proxy nor from a page. Default true: whoever has
    /// the secret here could let them in, too. False: each must be approved.
    pub auto_approve_local: bool,
    /// Users that an admin token makes owners. Empty: only the user `system`.
    pub owner_ids: Vec<String>,
    /// Web pages that may connect: `https://chat.example.com`, `http://10.0.0.5:8080`, or every
    /// subdomain, `https://*.example.com`. Pages served from the gateway's own loopback host, or from
    /// the address that the client asks, may always.
    pub allowed_origins: Vec<String>,
    /// Names under which this gateway may be asked (`Host`), such as that of a proxy in front; with
    /// or without a port. Pages of the same origin are then allowed, too. On a loopback listener no
    /// others are answered but those that mean this host; elsewhere, once there is an entry, no other
    /// names are, while addresses always are: a rebound name is a name.
    pub allowed_hosts: Vec<String>,
    /// Proxies whose forwarding header is believed: addresses and ranges such as `10.0.0.0/8`. Then
    /// the client that they name counts in budgets, lock-outs and logs. Default none: anybody can write
    /// a header.
    pub trusted_proxies: Vec<String>,
    /// The header that those proxies write.
    pub forwarded_header: ForwardedHeader,
    /// The agents; the first is the default one. The host answers for those that are not in `workers`.
    pub agents: Vec<Agent>,
    /// The agents that workers answer for, each once. Default none.
    pub workers: Vec<WorkerBackend>,
    /// The version shown to clients.
    pub version: String,
    /// The limits that the host gives to its connections; announced to clients. Their hint names the path
    /// of uploads.
    pub limits: Limits,
    /// Requests per minute and user, weighed by the method's cost. 0, the default, is no limit. Where a
    /// token is not bound to a user, clients choose who they are: then each address has a budget of the
    /// same size besides, or another name would be another budget.
    pub rate_limit_rpm: u32,
    /// Characters of a `chat.send` message; what is longer is cut there. Default 32,000, as in the base
    /// dialect. Higher: prompts that agents refuse or that cost; lower: pasted texts lose their end.
    pub max_message_chars: usize,
    /// Whether `chat.send` to a session key that does not exist creates it for the caller, as the
    /// base dialect does, instead of answering `NOT_FOUND`. Default false: a mistyped key is told.
    pub create_sessions_on_send: bool,
    /// Bytes of the body of a request for a completion (`POST /v1/chat/completions`), which tells a whole
    /// conversation. Default 4 MiB: about a million tokens, more than models read. Higher: that much
    /// memory per request, of which [`Bounds::user_bytes`] has place for few; lower: long conversations
    /// get 413.
    pub max_request_bytes: usize,
    /// Bytes of an uploaded file. Default 50 MiB, as in the base dialect. Higher: disk, and places held
    /// for longer.
    pub max_upload_bytes: usize,
    /// Pages of the host that anybody may read who may ask at all, such as a web page for people. Default
    /// none: then `/` is a short index.
    pub pages: &'static [StaticPage],
    /// Files of the host that anybody may read who may ask at all, such as a web application. Default
    /// none.
    pub site: Option<Site>,
    /// Who may read `/metrics`. Default nobody: it takes a host that counts ([`Work::Metrics`](super::Work)).
    pub metrics: MetricsAccess,
    /// What peers may cost.
    pub bounds: Bounds,
}

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
    /// Requests that a user may make at once before [`GatewayConfig::rate_limit_rpm`] holds.
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

impl GatewayConfig {
    /// The defaults for a listener: no tokens, no origins, one agent `echo`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            secure: false,
            tokens: Vec::new(),
            jwt: Vec::new(),
            pairing: false,
            auto_approve_local: true,
            owner_ids: Vec::new(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            agents: vec![Agent::new("echo", "Echo")],
            workers: Vec::new(),
            version: env!("CARGO_PKG_VERSION").into(),
            limits: Limits { message_hint: upload::HINT, ..Limits::default() },
            rate_limit_rpm: 0,
            max_message_chars: 32_000,
            create_sessions_on_send: false,
            max_request_bytes: 4 * 1024 * 1024,
            max_upload_bytes: 50 * 1024 * 1024,
            pages: &[],
            site: None,
            metrics: MetricsAccess::default(),
            bounds: Bounds::default(),
        }
    }

    /// Whether a gateway can work by this.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        Checked::new(self.clone()).map(|_| ())
    }

    /// Whether this can be an entry of `allowed_origins`.
    ///
    /// # Errors
    /// [`ConfigError::Origin`].
    pub fn check_origin(entry: &str) -> Result<(), ConfigError> {
        origin(entry).map(|_| ())
    }

    /// Whether this can be an entry of `allowed_hosts`.
    ///
    /// # Errors
    /// [`ConfigError::Host`].
    pub fn check_host(entry: &str) -> Result<(), ConfigError> {
        host(entry).map(|_| ())
    }

    /// Whether this can be an entry of `trusted_proxies`.
    ///
    /// # Errors
    /// [`ConfigError::Proxy`].
    pub fn check_proxy(entry: &str) -> Result<(), ConfigError> {
        proxy(entry).map(|_| ())
    }
}

impl fmt::Debug for GatewayConfig {
    /// Tokens are counted, not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("listen", &self.listen)
            .field("tokens", &self.tokens.len())
            .field("jwt", &self.jwt.len())
            .field("allowed_origins", &self.allowed_origins)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("agents", &self.agents)
            .field("workers", &self.workers.len())
            .field("rate_limit_rpm", &self.rate_limit_rpm)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
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

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The listener is not on a loopback address and there is neither a token nor a key for JWTs: anybody
    /// could log in.
    NoToken,
    /// There are trusted proxies and neither a token nor a key for JWTs: everybody whom they forward could
    /// log in.
    NoTokenBehindProxy,
    /// A token is empty: who sends none would have it.
    EmptyToken,
    /// There is no agent, or one without an id, with a `:` in it, or twice the same.
    Agents,
    /// This agent of `workers` is none of `agents`, or is there twice, or its token is empty or a gateway
    /// token.
    Worker(String),
    /// A gateway token has the role of a worker, which says nothing of its agents.
    WorkerToken,
    /// An entry of `allowed_origins` is not an origin.
    Origin(String),
    /// An entry of `allowed_hosts` is not a host.
    Host(String),
    /// An entry of `trusted_proxies` is not a range of addresses.
    Proxy(String),
    /// This path of `pages` is none, or a header of it cannot be written.
    Page(&'static str),
    /// This entry of `jwt`, counted from 0, can verify nothing.
    Jwt(usize, JwtKeyError),
    /// The node's index is not under the count.
    Node,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str(
                "a listener that others can reach needs a token: configure one, or listen on \
                 127.0.0.1",
            ),
            Self::NoTokenBehindProxy => {
                f.write_str("a gateway behind trusted_proxies needs a token: configure one")
            }
            Self::EmptyToken => f.write_str("a token is empty"),
            Self::Agents => f.write_str("agents need different, non-empty ids without a colon"),
            Self::Worker(agent) => write!(
                f,
                "workers of agent {agent:?}: it must be one of the agents, once, and its token neither \
                 empty nor one that clients have"
            ),
            Self::WorkerToken => {
                f.write_str("a gateway token cannot have the role agent: workers have their own")
            }
            Self::Origin(entry) => write!(
                f,
                "allowed_origins: {entry:?} is not an origin such as https://chat.example.com or \
                 https://*.example.com"
            ),
            Self::Host(entry) => write!(f, "allowed_hosts: {entry:?} is not a host name"),
            Self::Proxy(entry) => write!(
                f,
                "trusted_proxies: {entry:?} is not an address or a range such as 10.0.0.0/8, of at \
                 least one bit"
            ),
            Self::Page(path) => write!(f, "pages: {path:?} has a path or a header that is none"),
            Self::Jwt(at, error) => write!(f, "jwt: entry {}: {error}", at + 1),
            Self::Node => f.write_str("the node's index is not under the count"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A gateway token's name: the start of the SHA-256 of its secret, role and user. It is the same at
/// all nodes and after a restart, for as long as the token is the same.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenId(pub(super) [u8; 8]);

impl TokenId {
    fn of(token: &Token) -> Self {
        let mut hash = Sha256::new();
        // Lengths keep texts apart that together are the same.
        for text in [&token.secret.0, token.role.as_str(), token.user.as_deref().unwrap_or("")] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update([u8::from(token.user.is_some())]);
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }

    /// That of a token of agents, whichever these are.
    fn of_worker(token: &Secret) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"worker\0");
        hash.update(token.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// The configuration after its checks.
pub(super) struct Checked {
    pub(super) raw: GatewayConfig,
    pub(super) origins: Vec<OriginRule>,
    pub(super) hosts: Vec<Host>,
    pub(super) proxies: Vec<Cidr>,
    /// What the tokens are called, in their order.
    token_ids: Vec<TokenId>,
    /// The same of the agents' tokens.
    worker_ids: Vec<Option<TokenId>>,
    pub(super) jwt: Vec<Verifier>,
    /// Only this host can reach the listener.
    pub(super) loopback: bool,
}

impl Checked {
    pub(super) fn new(raw: GatewayConfig) -> Result<Self, ConfigError> {
        let loopback = raw.listen.ip().to_canonical().is_loopback();
        let none = raw.tokens.is_empty() && raw.jwt.is_empty();
        if none && !loopback {
            return Err(ConfigError::NoToken);
        }
        if none && !raw.trusted_proxies.is_empty() {
            return Err(ConfigError::NoTokenBehindProxy);
        }
        if raw.tokens.iter().any(|token| token.secret.0.is_empty()) {
            return Err(ConfigError::EmptyToken);
        }
        let fine = |(at, agent): (usize, &Agent)| {
            !agent.id.is_empty()
                && !agent.id.contains(':')
                && raw.agents[..at].iter().all(|other| other.id != agent.id)
        };
        if raw.agents.is_empty() || !raw.agents.iter().enumerate().all(fine) {
            return Err(ConfigError::Agents);
        }
        if raw.tokens.iter().any(|token| token.role == Role::Agent) {
            return Err(ConfigError::WorkerToken);
        }
        for (at, worker) in raw.workers.iter().enumerate() {
            let is_client = |token: &Secret| raw.tokens.iter().any(|t| t.secret.matches(token));
            let is_good = |token: &Secret| !token.0.is_empty() && !is_client(token);
            let is_known = raw.agents.iter().any(|agent| agent.id == worker.agent)
                && raw.workers[..at].iter().all(|other| other.agent != worker.agent);
            if !is_known || !worker.token.as_ref().is_none_or(is_good) {
                return Err(ConfigError::Worker(worker.agent.clone()));
            }
        }
        raw.pages.iter().try_for_each(StaticPage::check)?;
        let origins =
            raw.allowed_origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
        let hosts = raw.allowed_hosts.iter().map(|text| host(text)).collect::<Result<_, _>>()?;
        let proxies =
            raw.trusted_proxies.iter().map(|text| proxy(text)).collect::<Result<_, _>>()?;
        let verifier = |(at, key)| Verifier::new(key).map_err(|why| ConfigError::Jwt(at, why));
        let jwt = raw.jwt.iter().enumerate().map(verifier).collect::<Result<_, _>>()?;
        let token_ids = raw.tokens.iter().map(TokenId::of).collect();
        let worker_id = |worker: &WorkerBackend| worker.token.as_ref().map(TokenId::of_worker);
        let worker_ids = raw.workers.iter().map(worker_id).collect();
        Ok(Self { raw, origins, hosts, proxies, token_ids, worker_ids, jwt, loopback })
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.raw.bounds
    }

    /// The token that this is. All are compared, whichever fits.
    pub(super) fn token(&self, offered: &Secret) -> Option<(TokenId, &Token)> {
        let mut found = None;
        for (id, token) in self.token_ids.iter().zip(&self.raw.tokens) {
            if token.secret.matches(offered) {
                found = Some((*id, token));
            }
        }
        found
    }

    /// The role that a token gives to a user.
    pub(super) fn role_by(&self, token: &Token, user: &str) -> Role {
        match token.role {
            Role::Admin if self.is_owner(user) => Role::Owner,
            role => role,
        }
    }

    /// The token of this name.
    pub(super) fn token_named(&self, id: TokenId) -> Option<&Token> {
        let at = self.token_ids.iter().position(|known| *known == id)?;
        self.raw.tokens.get(at)
    }

    /// The name of the token of agents that this is. All are compared, whichever fits.
    pub(super) fn worker_token(&self, offered: &Secret) -> Option<(TokenId, &Secret)> {
        let mut found = None;
        for (id, worker) in self.worker_ids.iter().zip(&self.raw.workers) {
            let token = worker.token.as_ref().filter(|token| token.matches(offered));
            found = id.zip(token).or(found);
        }
        found
    }

    /// The token of agents of this name.
    pub(super) fn worker_token_named(&self, id: TokenId) -> Option<&Secret> {
        let at = self.worker_ids.iter().position(|known| *known == Some(id))?;
        self.raw.workers.get(at)?.token.as_ref()
    }

    /// The name of an agent's token.
    pub(super) fn worker_token_of(&self, agent: &str) -> Option<TokenId> {
        let at = self.raw.workers.iter().position(|worker| worker.agent == agent)?;
        self.worker_ids.get(at).copied().flatten()
    }

    /// How an agent is answered for, if workers do.
    pub(super) fn worker(&self, agent: &str) -> Option<&WorkerBackend> {
        self.raw.workers.iter().find(|worker| worker.agent == agent)
    }

    /// Whether nobody needs a credential: there is none, and only this host can reach the listener.
    pub(super) fn is_open(&self) -> bool {
        // See `ConfigError::NoToken`.
        self.raw.tokens.is_empty() && self.raw.jwt.is_empty()
    }

    pub(super) fn agent(&self, id: &str) -> Option<&Agent> {
        self.raw.agents.iter().find(|agent| agent.id == id)
    }

    pub(super) fn is_owner(&self, user: &str) -> bool {
        if self.raw.owner_ids.is_empty() {
            user == "system"
        } else {
            self.raw.owner_ids.iter().any(|owner| owner == user)
        }
    }
}

fn origin(text: &str) -> Result<OriginRule, ConfigError> {
    OriginRule::parse(text).ok_or_else(|| ConfigError::Origin(text.into()))
}

fn host(text: &str) -> Result<Host, ConfigError> {
    Host::parse(text).ok_or_else(|| ConfigError::Host(text.into()))
}

fn proxy(text: &str) -> Result<Cidr, ConfigError> {
    Cidr::parse(text).ok_or_else(|| ConfigError::Proxy(text.into()))
}
