//! What an operator decides, and what it is made into.

mod bounds;
mod checked;
mod error;
mod token;

pub use bounds::Bounds;
pub(super) use checked::Checked;
pub use error::ConfigError;
pub use token::{Secret, Token, TokenId};

use super::forwarded::ForwardedHeader;
use super::jwt::JwtKey;
use super::metrics::MetricsAccess;
use super::site::Site;
use super::static_page::StaticPage;
use super::upload;
use super::workers::WorkerBackend;
use crate::limits::Limits;
use checked::{host, origin, proxy};
use core::net::SocketAddr;
use std::fmt;

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
