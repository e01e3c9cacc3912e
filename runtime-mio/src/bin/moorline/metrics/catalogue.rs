//! Every metric there is: docs/metrics.md has the same table.

use Kind::{Counter, Gauge, Histogram};

/// A metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// Its name without what its type adds (`_total`).
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The names of its labels.
    pub(super) labels: &'static [&'static str],
    /// What it tells.
    pub(super) help: &'static str,
}

/// What a metric is.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order in which they are written.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    CONNECTIONS = Gauge "moorline_connections" ["phase"] "Sockets, by how far they are: tls (the handshake is under way), head (the request is awaited or answered), connect (a WebSocket that is not logged in), open, closing.";
    PRE_AUTH = Gauge "moorline_pre_auth_connections" [] "Places of those who are not logged in that are taken, of limits.pre_auth.";
    ACCEPTS = Counter "moorline_accepts" [] "Sockets that were accepted, and whose TLS handshake is done where there is one.";
    HANDSHAKES_FAILED = Counter "moorline_tls_handshake_failures" ["reason"] "TLS handshakes that came to nothing, by the reasons of docs/tls.md.";
    ACCEPT_FAILURES = Counter "moorline_accept_failures" ["reason"] "Sockets that could not be accepted: files (no file descriptor was left), memory or other.";
    REFUSED = Counter "moorline_refused_requests" ["status", "reason"] "HTTP requests that were refused, upgrades included.";
    CLOSED = Counter "moorline_connections_closed" ["code", "cause", "initiator"] "Connections that have ended. The code is none where there was no WebSocket, as for pages; codes of applications are 3xxx and 4xxx, those that nobody has defined other.";
    CONNECTION_DURATION = Histogram "moorline_connection_duration_seconds" [] "How long WebSockets lasted whose users had logged in.";
    LOGINS = Counter "moorline_logins" ["credential", "result"] "Logins: ok, refused, or locked while an address is locked out.";
    LOCK_OUTS = Counter "moorline_lock_outs" [] "Times that an address was locked out for guessing, at each loop that had a guess of it.";
    REQUESTS = Counter "moorline_requests" ["method", "code"] "Requests that were answered, by method and code: ok, or that of the error.";
    REQUEST_DURATION = Histogram "moorline_request_duration_seconds" ["method"] "From a request to its answer.";
    INVALID_FRAMES = Counter "moorline_invalid_messages" [] "Messages that were no request, and logins that were refused: what is counted by limits.strikes.";
    RATE_LIMITED = Counter "moorline_rate_limited_requests" ["method"] "Requests and uploads of users who asked too often.";
    MESSAGES = Counter "moorline_messages" ["direction"] "WebSocket messages, in and out.";
    FRAMES = Counter "moorline_frames" ["direction"] "WebSocket frames, in and out, control frames included.";
    BYTES = Counter "moorline_socket_bytes" ["direction"] "Bytes that were read from sockets (in) and written to them (out); with TLS as they were encrypted, handshakes included.";
    CALLS = Counter "moorline_socket_calls" ["call"] "Calls of the system to read from sockets and to write to them.";
    OUTBOX = Gauge "moorline_outbox_bytes" [] "Bytes that are queued for clients.";
    OUTBOX_STALLED = Gauge "moorline_outbox_stalled_seconds" [] "The longest time for which a client has taken nothing of what is queued for it.";
    SLOW_CONSUMERS = Counter "moorline_slow_consumers" [] "Connections that were ended because the client did not read.";
    LEFT_OUT = Counter "moorline_unsent_events" ["fate"] "Events that were never sent as they were: merged into one that waited, told_again (a later one tells the whole text), or lost.";
    LAGGED = Counter "moorline_lagged_events" [] "Times that a client was told that it has missed events.";
    ROUND_TRIP = Histogram "moorline_ping_round_trip_seconds" [] "From a Ping of the gateway to the Pong.";
    LINKS = Gauge "moorline_links" ["state"] "Logins whose events are kept: attached to a connection, or detached, waiting for their client.";
    RESUMES = Counter "moorline_resumes" ["result"] "Clients that came back for their events: resumed, or gap where those were gone.";
    REPLAYED = Counter "moorline_replayed_events" [] "Events that clients had missed and were sent when they came back.";
    LOOP_TURN = Histogram "moorline_loop_turn_seconds" ["loop"] "How long a turn of an event loop took: what becomes ready meanwhile waits for so long.";
    LOOP_STALLED = Gauge "moorline_loop_stalled_seconds" ["loop"] "For how long the loop has been in its present turn; 0 while it waits.";
    LOOP_ANSWERED = Gauge "moorline_loop_answered" ["loop"] "Whether the loop gave its numbers for this scrape in time; if not, its gauges are those of an earlier one.";
    LIVE_SESSIONS = Gauge "moorline_live_sessions" [] "Sessions with something going on.";
    RUNS_STARTED = Counter "moorline_runs_started" ["agent"] "Runs that have begun. Agents that are not configured any more are other.";
    RUNS = Counter "moorline_runs" ["agent", "state"] "Runs that have ended.";
    RUN_DURATION = Histogram "moorline_run_duration_seconds" ["agent"] "From the beginning of a run to its end.";
    AGENTS = Gauge "moorline_agent_state" ["agent", "state"] "Whether an agent can be reached, by its circuit breaker, or for one of workers whether one is ready: 1 for what it is of up (closed, ready), refused (it answers that the key, the path or the model is wrong), trying (half-open) and down (open, none ready), 0 for the others.";
    CUT = Counter "moorline_cut_messages" [] "Messages to agents that were longer than gateway.max_message_chars.";
    PAIRINGS = Counter "moorline_pairings" ["action"] "What happened to devices that ask to be let in.";
    STORE_DURATION = Histogram "moorline_store_work_duration_seconds" [] "From a work for the store to its outcome, the wait included.";
    STORE_QUEUE = Gauge "moorline_store_queue" [] "Works for the store without an outcome.";
    STORE_FAILURES = Counter "moorline_store_failures" ["error"] "Works that the store refused or failed, or did not do in time.";
    UPLOADS_NOW = Gauge "moorline_uploads_under_way" [] "Uploads that are under way.";
    UPLOADS = Counter "moorline_uploads" [] "Files that were uploaded.";
    UPLOADED = Counter "moorline_uploaded_bytes" [] "Their bytes.";
    KEPT_FILES = Gauge "moorline_kept_files" [] "Uploaded files that are kept, of all users, those on their way included.";
    KEPT_BYTES = Gauge "moorline_kept_bytes" [] "Their bytes.";
    DOWNLOADS_NOW = Gauge "moorline_downloads_under_way" [] "Files of gateway.ui_dir on their way to clients.";
    RETAINED = Gauge "moorline_retained_bytes" ["budget"] "What is kept in memory: for users (all of it but uploads and idempotency keys), for links of these (events), for uploads on their way to the disk, for idempotency keys.";
    RETAINED_LIMIT = Gauge "moorline_retained_limit_bytes" ["budget"] "How much that may be, of all loops together.";
    READY = Gauge "moorline_ready" [] "Whether every loop is ready, as /ready says.";
    FOLDED = Counter "moorline_log_folded_lines" ["line", "kind"] "Log lines that were counted instead of written, because there were many of their kind.";
    LOG_DROPPED = Counter "moorline_log_dropped_lines" [] "Log lines that nobody took.";
    BUILD = Gauge "moorline_build_info" ["version"] "What is running; always 1.";
    PROCESS_START = Gauge "process_start_time_seconds" [] "When the process began, in seconds since 1970.";
    PROCESS_CPU = Counter "process_cpu_seconds" [] "Processor time, of the program and of the system for it.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" [] "Memory that the process has.";
    PROCESS_FILES = Gauge "process_open_fds" [] "Open files, sockets included.";
    PROCESS_FILES_LIMIT = Gauge "process_max_fds" [] "How many there may be.";
}

impl Metric {
    /// The name in samples and queries, and in the docs; of a histogram without `_bucket` and the like.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let suffix = match self.kind {
            Counter => "_total",
            Gauge | Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_have_their_units() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Metric { name, kind, help, .. } in ALL {
            assert!(name.starts_with("moorline_") || name.starts_with("process_"), "{name}");
            assert!(!name.ends_with("_total"), "{name}");
            assert!(*kind != Histogram || name.ends_with("_seconds"), "{name}");
            assert!(help.ends_with('.') && !help.contains('|'), "{name}: {help}");
        }
    }

    #[test]
    fn the_docs_have_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("docs/metrics.md");
        let mut table =
            String::from("| name | type | labels | what it tells |\n|---|---|---|---|\n");
        for metric in ALL {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = match metric.kind {
                Counter => "counter",
                Gauge => "gauge",
                Histogram => "histogram",
            };
            table += &format!(
                "| `{}` | {kind} | {} | {} |\n",
                metric.full_name(),
                labels.join(", "),
                metric.help
            );
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let (begin, end) = ("<!-- metrics -->\n", "<!-- end -->");
            let (before, rest) = page.split_once(begin).expect("a mark");
            let (_, after) = rest.split_once(end).expect("a mark");
            std::fs::write(path, format!("{before}{begin}{table}{end}{after}")).expect("written");
        } else {
            assert!(page.contains(&table), "docs/metrics.md needs this table:\n{table}");
        }
    }
}
