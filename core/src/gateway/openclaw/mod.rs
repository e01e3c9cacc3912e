//! The dialect of OpenClaw's clients: command line, terminal, editors, page and nodes, of protocols 3 and 4.
//!
//! A connection whose `connect` names a range of protocols speaks it. It has frames, methods, scopes,
//! error codes and events of its own; sessions, runs, logins, limits and endings are the gateway's, the
//! same for every dialect.
//!
//! ```text
//!  request ──▶ dispatch ──▶ methods ──▶ chat, agents, … ──▶ what every dialect asks of a session
//!  answer  ◀── answers  ◀──────────────────────────────────────── answered in the base dialect
//!  event   ◀── events   ◀───────────────────────────────────────────── told in the base dialect
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `connect` `credentials` `joining` `hello` `peer` | a login, what it is answered with, and what is known of who has logged in |
//! | `connect_params` `client_info` | what a client says and shows when it connects |
//! | `device_proof` | whether a device is the one that it says |
//! | `devices` `device_request` `paired_device` `device_tokens` | which devices were let in, and for what |
//! | `device_methods` `device_jobs` `device_news` | who decides about them, the store, and who is told |
//! | `scopes` | what a connection may do, as a set of words |
//! | `dispatch` `methods` `method_params` `schema` `table` | a message as a request: one table of methods, and what parameters may be |
//! | `chat` `attachments` `commands` `history` | talking to agents, and what was said |
//! | `sessions` `browse` `session_row` `session_key` | sessions: found, shown, changed, and what they are called |
//! | `nodes` `node_connections` `node_surface` `node_pairing` | nodes: which are there, and what of each was approved |
//! | `node_methods` `node_invoke` `node_invokes` `node_reports` | nodes: seen, decided about, told what to do, and what they say |
//! | `agents` `config` `health` `logs` `presence` `wake` `nothing` | the gateway itself, and what it does not have |
//! | `answers` `events` `run_events` `said` `work_events` `session_events` | what leaves |

mod agents;
mod answers;
mod attachments;
mod browse;
mod chat;
mod client_info;
mod commands;
mod config;
mod connect;
mod connect_params;
mod credentials;
mod device_jobs;
mod device_methods;
mod device_news;
mod device_proof;
mod device_request;
mod device_tokens;
mod devices;
mod dispatch;
mod events;
mod health;
mod hello;
mod history;
mod joining;
mod logs;
mod method_params;
mod methods;
mod node_connections;
mod node_invoke;
mod node_invokes;
mod node_methods;
mod node_pairing;
mod node_reports;
mod node_surface;
mod nodes;
mod nothing;
mod paired_device;
mod peer;
mod presence;
mod run_events;
mod said;
mod schema;
mod scopes;
mod session_events;
mod session_key;
mod session_row;
mod sessions;
mod table;
mod wake;
mod work_events;

pub(super) use answers::{Then, code};
pub(super) use browse::Browse;
pub(super) use connect::is_connect;
pub use connect_params::PeerRole;
pub(super) use device_jobs::DeviceJob;
pub(super) use device_news::{AUTH_CHANGED, DEVICE_REMOVED, NOT_VALID};
pub use device_news::{Change, DeviceNews};
pub use device_request::DeviceRequest;
pub(super) use devices::{Devices, Write};
pub(super) use events::{Audience, OpenClaw, message_cost, write_next};
pub(super) use joining::Joining;
pub use node_connections::{NodeNews, NodeOnline};
pub(super) use node_methods::NodeJob;
pub use node_methods::NodeOp;
pub use node_pairing::{NodePairing, NodeRequest};
pub use paired_device::{PairedDevice, Seen};
pub(super) use peer::{Peer, View};
pub(super) use presence::Shown;
pub(super) use scopes::Scopes;
pub(super) use session_key::{canonical, main_of, may_begin};
pub use table::{OpenClawMethod, openclaw_methods, openclaw_methods_markdown};
