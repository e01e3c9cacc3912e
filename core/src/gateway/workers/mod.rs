//! Workers: processes that answer for an agent. They connect to the gateway as clients do, in a role of
//! their own, and are given runs.
//!
//! ```text
//!  loop of the session            loop of the worker's connection              worker
//!  run begins ── chooses ─ Offer ─▶ has room ─────────── run.start ──────────▶
//!                         ◀ Taken ──
//!  outcome    ◀──────────── Said ───────────────────────── run.delta … ────────
//!  run ends   ◀──────────── Said ───────────────────────── run.complete ───────  its place is free again
//!  stopped    ────────── Cancel ──▶ ───────────────────── run.cancel ─────────▶
//!  lost       ◀──────────── Gone ─── the connection has ended
//! ```
//!
//! Each fact has one owner. A run is its session's loop's: only that one gives it to a worker, gives it to
//! another when that one is lost, and ends it. A worker's places are its connection's loop's: only that
//! one knows how many are taken, and refuses what comes too much. All loops are told of all workers, so
//! that each can choose.
//!
//! | file | idea |
//! |---|---|
//! | `policy` | what an operator decides about an agent of workers |
//! | `credentials` | who may be a worker of which agents, and what it is told at its login |
//! | `roster` | which workers there are, and which is given the next run |
//! | `joining` | `agent.register`, `agent.drain`, and the end of a worker |
//! | `handing` | runs at their own loop: given, waiting, lost |
//! | `given` | runs at the worker's loop: told to it, stopped |
//! | `transit` | what workers say, on its way between loops |
//! | `saying` | `run.delta` and whatever else a worker says of a run |
//! | `news` | what loops tell each other of this |
//! | `state` | what clients and operators see |

mod credentials;
mod given;
mod handing;
mod joining;
mod news;
mod policy;
mod roster;
mod saying;
mod state;
mod transit;

pub(super) use credentials::Seat;
pub(super) use joining::{drain, register};
pub use news::WorkerNews;
pub use policy::{OnLost, WorkerBackend};
pub(super) use saying::{complete, delta, fail, thinking, tool};

use super::conn::ConnId;
use super::work::JobId;
use given::{Ended, Given};
use handing::Handed;
use roster::Roster;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use transit::Transit;

/// What a node knows of workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    roster: Roster,
    /// Workers of this node so far.
    logins: u64,
    /// Runs of this node that workers answer.
    handed: BTreeMap<JobId, Handed>,
    /// Those of them that wait for a worker, by the agents' ids, the first one first.
    waiting: BTreeMap<Arc<str>, VecDeque<JobId>>,
    /// Runs that workers of this node were given, by the runs' ids, whosever runs they are.
    given: BTreeMap<Arc<str>, Given>,
    /// What is on its way to those of other nodes.
    transit: BTreeMap<Arc<str>, Transit>,
    /// What each worker of this node has ended lately, the newest last.
    ended: BTreeMap<ConnId, VecDeque<(Arc<str>, Ended)>>,
}
