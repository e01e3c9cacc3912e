//! What operators should know. The host turns facts into log lines and metrics.

use super::conn::ConnId;
use super::principal::Role;
use super::refusal::Code;
use super::waiting::PairAction;
use crate::event::Initiator;
use crate::frame::CloseCode;
use core::net::SocketAddr;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened. Facts hold no secrets and no message texts; what a peer wrote in them
/// (origins, hosts, user ids, close reasons) is capped, and must be escaped where it is shown.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fact {
    /// An admin closes a connection; how it ended is told when it has.
    SentAway {
        /// The connection.
        conn: ConnId,
        /// Who wanted it.
        by: Arc<str>,
    },
    /// A socket was accepted.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Its other end; [`LOCAL_PEER`](super::LOCAL_PEER), here and in other facts, if it is local.
        peer: SocketAddr,
    },
    /// A trusted proxy named the client: from now on facts have that as the other end.
    Forwarded {
        /// The connection.
        conn: ConnId,
        /// The proxy at its other end.
        proxy: SocketAddr,
        /// The client that it named; port 0 where it told none.
        client: SocketAddr,
    },
    /// A request says for whom it was forwarded, and its peer is none of
    /// [`trusted_proxies`](super::GatewayConfig::trusted_proxies): a proxy that was forgotten there, whose
    /// clients all have its address, or a client that would like to have another one.
    NotBelieved {
        /// The connection.
        conn: ConnId,
        /// Its other end.
        peer: SocketAddr,
    },
    /// The text of a `chat.send` was longer than
    /// [`max_message_chars`](super::GatewayConfig::max_message_chars) and was cut there.
    Truncated {
        /// The user.
        user: Arc<str>,
        /// The characters that were sent.
        chars: usize,
        /// How many of them were kept.
        kept: usize,
    },
    /// A request was answered with an error status before it became a WebSocket.
    Refused {
        /// The connection.
        conn: ConnId,
        /// Its other end.
        peer: SocketAddr,
        /// The HTTP status.
        status: u16,
        /// A fixed set of words.
        why: Why,
        /// The origin or host that was refused, as sent, at most 256 bytes.
        value: Option<String>,
    },
    /// A `connect` succeeded.
    Authenticated {
        /// The connection.
        conn: ConnId,
        /// Its other end.
        peer: SocketAddr,
        /// The user.
        user: Arc<str>,
        /// The role.
        role: Role,
        /// What proved it.
        credential: Credential,
        /// Where that came from.
        source: Source,
    },
    /// A `connect` was refused for its credential, or an upgrade brought a wrong one: a credential that
    /// was found wrong at the upgrade is told once, not at the first `connect` again.
    AuthFailed {
        /// The connection.
        conn: ConnId,
        /// Its other end.
        peer: SocketAddr,
        /// What was offered.
        credential: Credential,
        /// Where it came from.
        source: Source,
        /// The address is locked out for this long.
        locked: Option<Duration>,
    },
    /// A device asks to be let in, or that has ended.
    Pairing {
        /// The device's name.
        sender: Arc<str>,
        /// What happened.
        action: PairAction,
        /// The admin who decided.
        by: Option<Arc<str>>,
    },
    /// A client came back for the events of an earlier connection.
    Resumed {
        /// The connection.
        conn: ConnId,
        /// Events that it had missed, and was sent.
        replayed: usize,
        /// They were not there any more: it started anew.
        gap: bool,
    },
    /// A request was answered `RESOURCE_EXHAUSTED` because its user asks too often.
    RateLimited {
        /// The connection.
        conn: ConnId,
        /// The user.
        user: Arc<str>,
        /// The method.
        method: &'static str,
        /// When it can work again.
        retry_after: Duration,
    },
    /// A message was not a request.
    InvalidFrame {
        /// The connection.
        conn: ConnId,
        /// How many there were.
        strikes: u32,
    },
    /// A request was answered.
    Called {
        /// The connection.
        conn: ConnId,
        /// The method.
        method: &'static str,
        /// The error code, if it was refused.
        error: Option<Code>,
        /// From the request to the answer.
        duration: Duration,
    },
    /// A worker answers for these agents from now on, or for others than before.
    WorkerReady {
        /// The connection.
        conn: ConnId,
        /// The agents' ids.
        agents: Arc<[Arc<str>]>,
        /// Runs that it takes at once.
        concurrency: usize,
    },
    /// A worker is gone.
    WorkerGone {
        /// The connection.
        conn: ConnId,
        /// The agents' ids.
        agents: Arc<[Arc<str>]>,
        /// Runs that it had.
        active: usize,
    },
    /// A run has lost its worker.
    RunLost {
        /// The run.
        run: Arc<str>,
        /// Its agent.
        agent: Arc<str>,
        /// How many workers were given it.
        attempt: u32,
        /// Another one is looked for; otherwise it has failed.
        again: bool,
    },
    /// A run has begun.
    RunStarted {
        /// The run.
        run: Arc<str>,
        /// Its agent.
        agent: Arc<str>,
    },
    /// A run has ended.
    RunEnded {
        /// The run.
        run: Arc<str>,
        /// Its agent.
        agent: Arc<str>,
        /// `completed`, `failed` or `cancelled`.
        state: &'static str,
        /// From its start.
        duration: Duration,
    },
    /// The store refused or failed a job, or did not answer in time.
    StoreFailed {
        /// What it said; a fixed set.
        error: &'static str,
    },
    /// A file was uploaded.
    Uploaded {
        /// The connection.
        conn: ConnId,
        /// The user.
        user: Arc<str>,
        /// Where it is kept.
        path: Arc<str>,
        /// Its size.
        bytes: u64,
        /// From the request on.
        duration: Duration,
    },
    /// A connection has ended: exactly one for each [`Fact::Connected`].
    Closed {
        /// The connection.
        conn: ConnId,
        /// Its other end.
        peer: SocketAddr,
        /// The close code sent or received; [`CloseCode::ABNORMAL`] where none was possible. None if it
        /// never became a WebSocket: an answered page is no Close that is missing.
        code: Option<CloseCode>,
        /// The reason sent or received, or what went wrong.
        reason: Cow<'static, str>,
        /// One word; a fixed set (see [`Cause::name`](crate::Cause::name)). Who does not log in in time
        /// has `handshake-timeout`, too.
        cause: &'static str,
        /// Who ended it.
        initiator: Initiator,
        /// From the accepted socket.
        duration: Duration,
        /// The deadline that passed, if one did.
        deadline: Option<&'static str>,
        /// Who was logged in last.
        user: Option<Arc<str>>,
        /// In which role.
        role: Option<Role>,
        /// Requests that were answered or are still being worked on.
        requests: u64,
        /// How many of them were refused.
        failed: u64,
    },
}

/// Why a request was refused.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// The Host header names somebody else: DNS rebinding.
    Host,
    /// The Origin header names a page that is not allowed.
    Origin,
    /// The browser says that a page of another site asks, and no Origin says which.
    CrossSite,
    /// The gateway has no token, so it serves this host only, and a proxy forwards for somebody else.
    Proxy,
    /// A credential stood in the query string, where logs keep it.
    QueryCredential,
    /// The Authorization header is too long.
    Credential,
    /// The gateway does not know yet what an earlier one left.
    Starting,
    /// The gateway is shutting down.
    Draining,
    /// Too many connections.
    Connections,
    /// Too much is kept in memory for clients.
    Memory,
    /// Too many connections that are not logged in.
    PreAuth,
    /// An upgrade path without an upgrade.
    UpgradeRequired,
    /// A method that the path does not have.
    Method,
    /// More scrapes of the metrics at once than are answered.
    Scrapes,
    /// Metrics for somebody who must not see them.
    Metrics,
    /// No such path.
    NotFound,
    /// Asked for readiness, and not ready.
    NotReady,
    /// An upload without a valid token.
    Unauthorized,
    /// An upload by somebody who may only read.
    Role,
    /// An upload that is too large.
    UploadSize,
    /// Too many uploads at once.
    Uploads,
    /// A user who asks too often.
    RateLimit,
    /// An upload that is not the form or the file that it should be.
    Form,
    /// A file that is too large to be sent.
    FileSize,
    /// The disk or the user's share of it is full, or the disk fails.
    Disk,
    /// A request of the HTTP API that is none, or wants what is not to be had.
    Request,
    /// A request of the HTTP API that is too large.
    RequestSize,
    /// Somebody else's session.
    Forbidden,
    /// The run gave no answer, or what it depends on does not.
    Unavailable,
    /// The run was stopped by somebody else.
    Cancelled,
}

/// A kind of credential.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Credential {
    /// A gateway token.
    Token,
    /// An API key.
    ApiKey,
    /// A JSON Web Token.
    Jwt,
    /// The `sender_id` of a paired device.
    Device,
    /// None was needed on a connection of the host itself.
    Local,
    /// None was offered.
    None,
}

/// Where a credential came from.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The parameters of `connect`.
    Params,
    /// The `Authorization` header of the upgrade request.
    Header,
    /// None was offered.
    Nowhere,
}

impl Credential {
    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Device => "device",
            Self::Local => "local",
            Self::None => "none",
        }
    }
}

impl Source {
    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Header => "header",
            Self::Nowhere => "none",
        }
    }
}
