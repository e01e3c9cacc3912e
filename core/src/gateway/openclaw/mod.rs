//! The dialect of OpenClaw's clients: command line, terminal, editors, page and nodes, of protocols 3 and 4.
//!
//! A connection whose `connect` names a range of protocols speaks it. It has frames, methods, scopes, error codes and events of
//! its own; sessions, runs, logins, limits and endings are the gateway's, the same for every dialect.
//!
//! ```text
//!  request ──▶ dispatch ──▶ methods ──▶ chat, sessions, … ──▶ what every dialect asks of a session
//!  answer  ◀── answers  ◀───────────────────────────────────────── answered in the base dialect
//!  event   ◀── events   ◀──────────────────────────────────────────── told in the base dialect
//! ```

mod agents;
mod answers;
mod chat;
mod connect;
mod connect_params;
mod device_proof;
mod dispatch;
mod events;
mod hello;
mod history;
mod methods;
mod peer;
mod schema;
mod scopes;
mod session_key;
mod system;

pub(super) use answers::{Then, code};
pub(super) use connect::is_connect;
pub(super) use events::{OpenClaw, write_next};
pub(super) use peer::{Peer, View};
