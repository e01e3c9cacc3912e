//! Facts become log lines: the gateway knows what happened, this decides how loud it is.

use crate::peer_text::PeerText;
use moorline_core::gateway::Fact;
use tracing::{debug, info, warn};

pub(super) fn log(fact: &Fact) {
    match fact {
        Fact::Connected { conn, peer } => debug!(conn = conn.0, %peer, "connected"),
        Fact::Refused { conn, peer, status, why, value } => {
            let value = value.as_deref().map(|value| PeerText(value).to_string());
            info!(conn = conn.0, %peer, status, ?why, value, "refused");
        }
        Fact::Authenticated { conn, user, role, credential, source } => info!(
            conn = conn.0,
            user = %PeerText(user),
            role = role.as_str(),
            credential = credential.as_str(),
            source = source.as_str(),
            "logged in"
        ),
        Fact::AuthFailed { conn, peer, credential, source, locked } => warn!(
            conn = conn.0,
            %peer,
            credential = credential.as_str(),
            source = source.as_str(),
            lockedMs = locked.map(|locked| locked.as_millis() as u64),
            "login refused"
        ),
        Fact::RateLimited { conn, user, method, retry_after } => debug!(
            conn = conn.0,
            user = %PeerText(user),
            method,
            retryAfterMs = retry_after.as_millis() as u64,
            "rate limited"
        ),
        Fact::InvalidFrame { conn, strikes } => debug!(conn = conn.0, strikes, "invalid frame"),
        Fact::Called { conn, method, error, duration } => debug!(
            conn = conn.0,
            method,
            error = error.map(|error| error.as_str()),
            tookMs = duration.as_millis() as u64,
            "called"
        ),
        Fact::RunStarted { run, agent } => debug!(%run, %agent, "run started"),
        Fact::RunEnded { run, agent, state, duration } => {
            debug!(%run, %agent, state, tookMs = duration.as_millis() as u64, "run ended");
        }
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
                        conn = conn.0,
                        %peer,
                        code = code.0,
                        reason = %PeerText(reason),
                        cause,
                        initiator = ?initiator,
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
            // Probes ask for /health every few seconds, and refusals have a line of their own.
            if *cause == "http" { closed!(debug) } else { closed!(info) }
        }
        other => info!(?other, "a fact without words"),
    }
}
