//! The gateway's policy as a second pure machine: who may connect, log in and call what; sessions,
//! runs and events; nodes that work as one.
//!
//! ```text
//!   connections ── connected, handle ──▶ ┌─────────┐ ──▶ answers, straight into the outbox
//!   jobs ───────── handle_result ──────▶ │ Gateway │ ──▶ poll_action: Send, Close, Start, Cancel,
//!   other nodes ── handle_message ─────▶ │         │                  Publish, Note
//!   the clock ──── handle_deadline ────▶ └─────────┘ ──▶ deadline
//! ```
//!
//! A host owns the sockets, says when an outbox has been emptied, and does three things after every turn of a connection and after every
//! other call, in this order: it takes all actions with [`Gateway::poll_action`] until there is none,
//! it writes what the outboxes hold, and it arms one timer for [`Gateway::deadline`]. Taking the
//! actions before anything else happens keeps the events of a connection in their order.
//!
//! ```no_run
//! use moorline_core::gateway::*;
//! use moorline_core::*;
//! use std::time::Instant;
//!
//! /// The part of a host that has nothing to do with sockets.
//! trait Host {
//!     fn outbox(&mut self, conn: ConnId) -> Option<&mut Outbox>;
//!     fn start(&mut self, job: JobId, work: Work);
//!     fn cancel(&mut self, job: JobId);
//!     fn publish(&mut self, to: Route, message: BusMessage);
//!     fn note(&mut self, fact: Fact);
//! }
//!
//! fn act(gateway: &mut Gateway, host: &mut impl Host) {
//!     while let Some(action) = gateway.poll_action() {
//!         match action {
//!             Action::Send { to, frame } => {
//!                 if let Some(outbox) = host.outbox(to) {
//!                     deliver(outbox, &frame);
//!                 }
//!             }
//!             Action::Close { conn, code, reason } => {
//!                 // A host that keeps the whole connection uses `Connection::close`, which also
//!                 // ends what is still an HTTP request.
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     outbox.close(code, &reason);
//!                 }
//!             }
//!             Action::GiveUp { conn } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     outbox.give_up();
//!                 }
//!             }
//!             Action::Respond { conn, answer } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     answer.write(outbox);
//!                 }
//!             }
//!             Action::Body { conn, piece } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     // It fails when the connection has ended, which the gateway is told.
//!                     let _ = outbox.body(piece);
//!                 }
//!             }
//!             Action::EndBody { conn } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     let _ = outbox.end_body();
//!                 }
//!             }
//!             Action::HoldBody { conn, hold } => {
//!                 if let Some(outbox) = host.outbox(conn) {
//!                     outbox.hold_body(hold);
//!                 }
//!             }
//!             Action::Start { job, work } => host.start(job, work),
//!             Action::Cancel { job } => host.cancel(job),
//!             Action::Publish { to, message } => host.publish(to, message),
//!             Action::Note(fact) => host.note(fact),
//!         }
//!     }
//! }
//!
//! fn turn(gateway: &mut Gateway, host: &mut impl Host, conn: ConnId, mut turn: Turn<'_>, now: Instant) {
//!     while let Some((event, outbox)) = turn.next_event() {
//!         gateway.handle(now, conn, event, outbox);
//!     }
//!     act(gateway, host);
//! }
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `machine` `action` `timer` | the gateway itself: what comes in, what the host must do, and when |
//! | `http` `static_page` `origin` `cors` `forwarded` `budget` | what is asked before there is a WebSocket |
//! | `upload` `multipart` `media_name` `media_ledger` | files that come before a message names them |
//! | `site` `download` | files that go to browsers |
//! | `dispatch` `intake` `params` `methods` | messages as requests, by one table of methods |
//! | `login` `authenticate` `principal` `proof` `client` `rate` `failures` | who it is, what they may do, how often |
//! | `api_keys` `revocations` `jwt` `pairing` `waiting` `device_pair` `wall_clock` | credentials that come and go while it runs |
//! | `agents` `agent_work` `agent_state` `breaker` | who answers, what they tell, and whether they can be reached |
//! | `chat` `sessions` `session` `change` `inject` `runs` `idempotency` | conversations |
//! | `workers` | agents that other processes answer for |
//! | `jobs` `work` `request` `record` `memory` | what needs I/O, and a store in memory |
//! | `link` `ring` `resume` | what a login owns beyond its socket: events that wait for a client |
//! | `local` `host` `host_work` | connections of the host itself, and what only they may ask |
//! | `load` `drain` `saved_link` | the beginning and the end, and what goes from one gateway to the next |
//! | `bus` `presence` `connections` | many nodes, and who is connected to them |
//! | `tick` | a sign of life for those who do not see Pings |
//! | `logs` `log_ring` | what the process logs, for admins elsewhere |
//! | `config` `reconfigure` `effective` | what an operator decides, decides anew, and can see |
//! | `retained` | how much of all that may be in memory |
//! | `metrics` `stats` | numbers about it, and who may read them |
//! | `send` `json` `refusal` `fact` | what leaves |
//! | `openai_api` | conversations for clients of the HTTP API of OpenAI |
//! | `openclaw` | the second dialect |

mod action;
mod agent_state;
mod agent_work;
mod agents;
mod api_keys;
mod authenticate;
mod bounded;
mod breaker;
mod budget;
mod bus;
mod call;
mod change;
mod chat;
mod client;
mod config;
mod conn;
mod connections;
mod cors;
mod device_pair;
mod dispatch;
mod download;
mod drain;
mod echo;
mod effective;
mod fact;
mod failures;
mod forwarded;
mod host;
mod host_work;
mod http;
mod idempotency;
mod inject;
mod intake;
mod jobs;
mod json;
mod jwt;
mod late;
mod link;
mod load;
mod local;
mod log_ring;
mod login;
mod logs;
mod machine;
mod media_ledger;
mod media_name;
mod memory;
mod methods;
mod metrics;
mod multipart;
mod openai_api;
mod openclaw;
mod origin;
mod pairing;
mod params;
mod presence;
mod principal;
mod proof;
mod rate;
mod reconfigure;
mod record;
mod refusal;
mod request;
mod resume;
mod retained;
mod revocations;
mod ring;
mod runs;
mod saved_link;
mod send;
mod session;
mod sessions;
mod site;
mod static_page;
mod stats;
mod system;
mod tick;
mod timer;
mod upload;
mod waiting;
mod wall_clock;
mod work;
mod workers;

#[cfg(test)]
#[path = "../../tests/support/epoch.rs"]
mod epoch;

pub use action::Action;
pub use agent_state::{AgentLink, AgentState, Model};
pub use agent_work::{
    MAX_ARGUMENTS, MAX_RESULT, Progress, Retrying, RunFailure, StopReason, ToolCall, ToolResult,
};
pub use api_keys::ApiKey;
pub use breaker::{Breaker, BreakerConfig, BreakerState, CallEnd, Permit};
pub use budget::Crowd;
pub use bus::{Answer, BusMessage, CallId, Node, NodeId, Route};
pub use change::Change;
pub use config::{Agent, Bounds, ConfigError, GatewayConfig, Secret, Token, TokenId};
pub use conn::ConnId;
pub use device_pair::Decision;
pub use drain::Drain;
pub use echo::echo_chunks;
pub use fact::{Credential, Fact, Source, Why};
pub use failures::Guess;
pub use forwarded::ForwardedHeader;
pub use host::{host_methods, host_methods_markdown};
pub use host_work::{DrainProgress, HostOutcome, HostToken, HostWork, Misconfigured, Reloaded};
pub use http::HttpAnswer;
pub use jwt::{JwtAlg, JwtKey, JwtKeyError, JwtKeyId};
pub use link::LinkId;
pub use local::LOCAL_PEER;
pub use log_ring::{LogLevel, LogLine, LogPage, LogQuery, LogRing};
pub use machine::Gateway;
pub use media_ledger::{MediaLedger, MediaRoom, NoRoom};
pub use memory::{MemoryBounds, MemoryStore};
pub use methods::{Method, methods, methods_markdown};
pub use metrics::MetricsAccess;
pub use openclaw::{
    Change as DeviceChange, DeviceNews, DeviceRequest, NodeNews, NodeOnline, NodeOp, NodePairing,
    NodeRequest, OpenClawMethod, PairedDevice, PeerRole, Seen, openclaw_methods,
    openclaw_methods_markdown,
};
pub use pairing::{Device, PairRequest};
pub use params::Param;
pub use presence::Entry;
pub use principal::{Principal, Role};
pub use proof::Proof;
pub use rate::Payers;
pub use record::{Record, RecordKind};
pub use refusal::Code;
pub use request::{Fingerprint, Known, Mark, RunEnd};
pub use resume::{Claim, Resumed};
pub use revocations::Revocation;
pub use ring::Event as LinkEvent;
pub use send::deliver;
pub use session::{Op, Send};
pub use site::Site;
pub use static_page::StaticPage;
pub use stats::{Phases, Stats, Tally};
pub use waiting::PairAction;
pub use work::{
    Author, Exposition, FileVersion, JobId, LISTED_CHARS, Listed, MediaOutcome, MediaWork, Message,
    NewSession, Outcome, Run, SessionFilter, SessionInfo, SiteOutcome, SiteWork, StoreError,
    StoreOutcome, StoreWork, Usage, Work,
};

pub use workers::{OnLost, WorkerBackend, WorkerNews};

use timer::Timer;

/// The protocol that is spoken.
const PROTOCOL: u64 = 3;
