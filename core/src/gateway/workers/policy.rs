//! What an operator decides about an agent that workers answer for.

use super::super::config::Secret;
use std::time::Duration;

/// An agent that workers answer for. [`WorkerBackend::new`] has the defaults.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct WorkerBackend {
    /// The agent's id.
    pub agent: String,
    /// What its workers log in with. Agents may have the same; none of the gateway tokens may be it.
    /// `None`: only by API keys of the role `agent`.
    pub token: Option<Secret>,
    /// What becomes of a run whose worker is lost.
    pub on_lost: OnLost,
    /// Workers that are given one run at most, one after the other. Default 3: a run that kills its workers
    /// must not kill all of them. 1 is as [`OnLost::Fail`].
    pub attempts: u32,
    /// How long a run may wait for a worker, when there is none or all have enough to do. Default 10 s: a
    /// worker that is started anew is back by then. Zero: it fails at once. Higher: users look longer at
    /// nothing when no worker comes.
    pub wait: Duration,
    /// Runs of each loop that may wait. Default 64. More fail at once.
    pub waiting: usize,
}

impl WorkerBackend {
    /// The defaults for an agent.
    pub fn new(agent: impl Into<String>, token: Option<Secret>) -> Self {
        Self {
            agent: agent.into(),
            token,
            on_lost: OnLost::default(),
            attempts: 3,
            wait: Duration::from_secs(10),
            waiting: 64,
        }
    }
}

/// What becomes of a run whose worker is lost: its connection has ended, or it did not answer Pings.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub enum OnLost {
    /// It fails. The default: nobody but the agent knows whether its work can be begun twice.
    #[default]
    Fail,
    /// Another worker is given it, unless it has told its user something already: nobody sees an answer
    /// begin twice.
    Requeue,
}

impl OnLost {
    /// The word of the configuration file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Requeue => "requeue",
        }
    }
}
