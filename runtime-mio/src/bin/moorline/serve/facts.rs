//! Facts become log lines: the gateway knows what happened, this decides how loud it is.

use super::folding::Kind;
use crate::peer_text::PeerText;
use moorline_core::Initiator;
use moorline_core::gateway::{ConnId, Fact, LOCAL_PEER, Why};
use moorline_mio::TlsFailure;
use std::fmt;
use std::net::SocketAddr;
use tracing::{debug, info, warn};

/// Logs what was folded since the last time.
pub(super) fn log_folded(node: usize, folded: Vec<(Kind, u64)>) {
    for ((line, kind), count) in folded {
        info!(node, kind, count, "{count} more within a minute: {line}");
    }
}

/// What the line of a failed handshake says.
pub(super) const HANDSHAKE_FAILED: &str = "TLS handshake failed";

/// Logs a connection that ended before the gateway heard of it.
pub(super) fn log_handshake(
    node: usize,
    conn: moorline_mio::ConnId,
    peer: Option<moorline_mio::Peer>,
    failure: &TlsFailure,
) {
    let conn = format!("{node}-{}", ConnId(conn.0));
    let peer = peer.map(tracing::field::display);
    let (reason, detail) = (failure.reason(), PeerText(&failure.to_string()).to_string());
    // Whoever looks whether the port is open leaves so.
    if *failure == TlsFailure::Left {
        debug!(conn, peer, cause = "tls", reason, detail, "{HANDSHAKE_FAILED}");
    } else {
        info!(conn, peer, cause = "tls", reason, detail, "{HANDSHAKE_FAILED}");
    }
}

/// Logs a fact of the gateway `node`. A connection has the name that clients are told as its `connId`:
/// its number alone is that of another connection at every other node.
pub(super) fn log(node: usize, fact: &Fact) {
    let name = |conn: &ConnId| format!("{node}-{conn}");
    match fact {
        Fact::Connected { conn, peer } => {
            debug!(conn = name(conn), peer = %At(*peer), "connected");
        }
        Fact::SentAway { conn, by } => {
            info!(conn = name(conn), by = PeerText(by).to_string(), "sent away");
        }
        Fact::NotBelieved { conn, peer } => {
            info!(conn = name(conn), peer = %At(*peer), "forwarding header not believed");
        }
        Fact::Forwarded { conn, proxy, client } => {
            debug!(conn = name(conn), %proxy, %client, "forwarded");
        }
        Fact::Truncated { user, chars, kept } => {
            warn!(user = PeerText(user).to_string(), chars, kept, "message cut");
        }
        Fact::Refused { conn, peer, status, why, value } => {
            let value = value.as_deref().map(|value| PeerText(value).to_string());
            info!(
                conn = name(conn),
                peer = %At(*peer),
                status,
                why = why_word(*why),
                value,
                "refused"
            );
        }
        Fact::Authenticated { conn, peer, user, role, credential, source } => {
            macro_rules! logged_in {
                ($level:ident) => {
                    $level!(
                        conn = name(conn),
                        peer = %At(*peer),
                        user = PeerText(user).to_string(),
                        role = role.as_str(),
                        credential = credential.as_str(),
                        source = source.as_str(),
                        "logged in"
                    )
                };
            }
            // Each of the host's commands does so; what it changes has a line of its own.
            if *peer == LOCAL_PEER { logged_in!(debug) } else { logged_in!(info) }
        }
        Fact::AuthFailed { conn, peer, credential, source, locked } => warn!(
            conn = name(conn),
            peer = %At(*peer),
            credential = credential.as_str(),
            source = source.as_str(),
            lockedMs = locked.map(|locked| locked.as_millis() as u64),
            "login refused"
        ),
        Fact::Pairing { sender, action, by } => info!(
            device = %sender,
            action = action.as_str(),
            by = by.as_deref().map(|by| PeerText(by).to_string()),
            "pairing"
        ),
        Fact::Resumed { conn, replayed, gap } => {
            info!(conn = name(conn), replayed, gap, "resumed");
        }
        Fact::RateLimited { conn, user, method, retry_after } => debug!(
            conn = name(conn),
            user = PeerText(user).to_string(),
            method,
            retryAfterMs = retry_after.as_millis() as u64,
            "rate limited"
        ),
        Fact::InvalidFrame { conn, strikes } => debug!(conn = name(conn), strikes, "invalid frame"),
        Fact::Called { conn, method, error, duration } => debug!(
            conn = name(conn),
            method,
            error = error.map(|error| error.as_str()),
            tookMs = duration.as_millis() as u64,
            "called"
        ),
        Fact::WorkerReady { conn, agents, concurrency } => {
            info!(conn = name(conn), agents = agents.join(", "), concurrency, "a worker is ready");
        }
        Fact::WorkerGone { conn, agents, active: 0 } => {
            info!(conn = name(conn), agents = agents.join(", "), "a worker is gone");
        }
        Fact::WorkerGone { conn, agents, active } => {
            warn!(
                conn = name(conn),
                agents = agents.join(", "),
                active,
                "a worker is gone in the middle of its runs"
            );
        }
        Fact::RunLost { run, agent, attempt, again } => {
            warn!(%run, %agent, attempt, again, "a run has lost its worker");
        }
        Fact::RunStarted { run, agent } => debug!(%run, %agent, "run started"),
        Fact::RunEnded { run, agent, state, duration } => {
            debug!(%run, %agent, state, tookMs = duration.as_millis() as u64, "run ended");
        }
        Fact::Uploaded { conn, user, path, bytes, duration } => info!(
            conn = name(conn),
            user = PeerText(user).to_string(),
            %path,
            bytes,
            tookMs = duration.as_millis() as u64,
            "uploaded"
        ),
        Fact::StoreFailed { error } => warn!(error, "the store failed"),
        Fact::Closed {
            conn,
            peer,
            code,
            reason,
            cause,
            initiator,
            duration,
            deadline,
            user,
            role,
            requests,
            failed,
        } => {
            macro_rules! closed {
                ($level:ident) => {
                    $level!(
                        conn = name(conn),
                        peer = %At(*peer),
                        code = code.map(|code| code.0),
                        reason = PeerText(reason).to_string(),
                        cause,
                        initiator = initiator_word(*initiator),
                        durationMs = duration.as_millis() as u64,
                        deadline,
                        user = user.as_deref().map(|user| PeerText(user).to_string()),
                        role = role.map(|role| role.as_str()),
                        requests,
                        failed,
                        "closed"
                    )
                };
            }
            // Probes ask for /health every few seconds, and refusals have a line of their own, as has what the
            // host's commands change.
            if *cause == "http" || *peer == LOCAL_PEER { closed!(debug) } else { closed!(info) }
        }
        other => info!(?other, "a fact without words"),
    }
}

/// The other end of a connection, in a word if it has no address.
struct At(SocketAddr);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == LOCAL_PEER { f.write_str("local") } else { self.0.fmt(f) }
    }
}

pub(crate) fn why_word(why: Why) -> &'static str {
    match why {
        Why::Host => "host",
        Why::Origin => "origin",
        Why::CrossSite => "cross-site",
        Why::Proxy => "proxy",
        Why::QueryCredential => "query-credential",
        Why::Credential => "credential",
        Why::Draining => "draining",
        Why::Starting => "starting",
        Why::Connections => "connections",
        Why::Memory => "memory",
        Why::PreAuth => "pre-auth",
        Why::UpgradeRequired => "upgrade-required",
        Why::Method => "method",
        Why::Scrapes => "scrapes",
        Why::Metrics => "metrics",
        Why::NotFound => "not-found",
        Why::NotReady => "not-ready",
        Why::Unauthorized => "unauthorized",
        Why::Role => "role",
        Why::UploadSize => "upload-size",
        Why::Uploads => "uploads",
        Why::FileSize => "file-size",
        Why::RateLimit => "rate-limit",
        Why::Form => "form",
        Why::Disk => "disk",
        Why::Request => "request",
        Why::RequestSize => "request-size",
        Why::Forbidden => "forbidden",
        Why::Unavailable => "unavailable",
        Why::Cancelled => "cancelled",
        _ => "other",
    }
}

pub(crate) fn initiator_word(initiator: Initiator) -> &'static str {
    match initiator {
        Initiator::Peer => "peer",
        Initiator::Local => "local",
        Initiator::Clock => "clock",
    }
}
