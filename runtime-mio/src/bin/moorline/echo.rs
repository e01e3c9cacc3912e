//! `moorline echo`: a bare WebSocket echo server.

use crate::cli::EchoArgs;
use crate::config::Identity;
use crate::failure::Failure;
use crate::peer_text::PeerText;
use crate::server_tls::{self, ServerTls};
use crate::{environment, log, open_files, port_holder, signals};
use moorline_core::{Accept, Cause, Deflate, Event, Limits, Outbox, RequestHead, Response};
use moorline_mio::{ConnId, Handler, Peer, Server, ServerOptions};
use std::collections::HashMap;
use std::io;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

pub(crate) fn run(args: &EchoArgs) -> Result<(), Failure> {
    let level = environment::text("MOORLINE_LOG_LEVEL")?.unwrap_or_else(|| "info".into());
    let _log = log::init(args.log_format, &level)?;
    let identity = identity(args)?;
    let tls = identity.as_ref().map(|identity| Ok(ServerTls::new()?.options(identity)));
    let tls = tls.transpose();
    let tls = tls.map_err(|error: rustls::Error| Failure::Runtime(format!("TLS: {error}")))?;
    open_files::raise_limit();
    let options = ServerOptions {
        loops: usize::from(args.loops),
        limits: limits(args.max_message, args.deflate),
        tls,
        ..ServerOptions::default()
    };
    let server = Server::bind(args.listen, options)
        .map_err(|error| port_holder::explain_bind(args.listen, &error))?;
    signals::stop_on_signal(server.handles())?;
    identity.iter().for_each(server_tls::announce);
    let mut out = io::stdout();
    // A closed stdout is no reason not to serve.
    let scheme = if identity.is_some() { "wss" } else { "ws" };
    let _ = writeln!(out, "moorline echo listening on {scheme}://{}/", server.local_addr());
    let _ = out.flush();
    let counters = server.handles();
    server.run(|_, _| Echo::default())?;
    let (reads, writes) = counters
        .iter()
        .map(|handle| handle.counters())
        .fold((0, 0), |(reads, writes), counters| {
            (reads + counters.reads, writes + counters.writes)
        });
    tracing::info!(reads, writes, "stopped");
    Ok(())
}

/// Who the server is to its clients, where it speaks TLS.
fn identity(args: &EchoArgs) -> Result<Option<Identity>, Failure> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let read = Identity::read(cert, key, SystemTime::now());
    read.map(Some).map_err(|what| Failure::Config(format!("tls: {what}")))
}

/// Conformance suites send megabytes in tiny pieces for minutes; only the message size is a limit.
pub(crate) fn limits(max_message: u32, deflate: bool) -> Limits {
    Limits {
        // Whatever its size: this is what a suite wants to see.
        deflate: deflate.then(|| Deflate { threshold: 1, ..Deflate::default() }),
        message: max_message,
        fragments: u32::MAX,
        outbox: max_message.saturating_mul(2).saturating_add(1 << 20),
        message_within: Duration::from_secs(3600),
        ..Limits::default()
    }
}

/// Only what a closing line needs, and only while somebody would read it: an idle connection of an
/// echo server costs what the core and the loop need.
#[derive(Debug, Default)]
struct Echo {
    opened: HashMap<ConnId, (Instant, Peer)>,
}

impl Handler for Echo {
    fn opened(&mut self, now: Instant, id: ConnId, peer: Peer) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.opened.insert(id, (now, peer));
        }
    }

    fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        let sent = match event {
            Event::Request(head) => return answer(&head, outbox),
            Event::Text(text) => outbox.text(text),
            Event::Binary(data) => outbox.binary(data),
            Event::Closed(cause) => return self.closed(now, id, cause),
            _ => Ok(()),
        };
        if sent.is_err() {
            outbox.give_up();
        }
    }

    fn accept_failed(&mut self, error: &io::Error) {
        tracing::warn!(%error, "cannot accept connections for now");
    }
}

impl Echo {
    fn closed(&mut self, now: Instant, id: ConnId, cause: Cause<'_>) {
        let opened = self.opened.remove(&id);
        let reason = match cause {
            Cause::Peer(_, reason) => reason.to_string(),
            other => other.to_string(),
        };
        tracing::debug!(
            conn = id.0,
            peer = opened.map(|(_, peer)| peer.to_string()),
            code = cause.close_code().0,
            reason = PeerText(&reason).to_string(),
            cause = cause.name(),
            durationMs = opened.map(|(at, _)| now.duration_since(at).as_millis() as u64),
            "closed"
        );
    }
}

fn answer(head: &RequestHead<'_>, outbox: &mut Outbox) {
    let answered = if head.is_upgrade() {
        outbox.accept(&Accept::default())
    } else {
        let missing: Vec<_> = head.missing_for_upgrade().collect();
        let body = format!("this is a WebSocket server; missing: {}\n", missing.join(", "));
        outbox.respond(&Response::text(426, &body))
    };
    debug_assert!(answered.is_ok(), "a request is answered once");
}
