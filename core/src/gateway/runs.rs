//! Runs: an agent's work on one turn. They belong to sessions; sockets come and go.
//!
//! ```text
//! text -> durable -> (queued, while another runs) -> context read -> agent works -> answer durable
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `turn` | something a user said that an agent shall answer |
//! | `queue` | turns until their runs begin |
//! | `course` | a run from its beginning to its last word |
//! | `told` | what an agent tells besides its answer |
//! | `ending` | how runs end |
//! | `stop` | runs and turns that are stopped |
//! | `known` | turns whose request the store has seen before |
//! | `wait` | who waits for the end of a run |
//! | `audience` | who hears of runs, and the events |
//! | `status` | which runs are under way |

mod audience;
mod course;
mod ending;
mod known;
mod queue;
mod status;
mod stop;
mod told;
mod turn;
mod wait;

use super::retained::Held;
use super::ring::RunName;
use super::work::JobId;
use ending::Ending;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(super) use turn::Turn;
pub(super) use wait::{WaitId, Waits};

/// A session with something going on. It lives at its home node only, and not longer than that.
pub(super) struct Live {
    pub(super) owner: Arc<str>,
    pub(super) agent: Arc<str>,
    run: Option<RunState>,
    queue: VecDeque<Turn>,
    /// Bytes of texts that wait or are being made durable.
    waiting_bytes: usize,
    /// Turns whose text is being made durable.
    appending: usize,
    /// So many of those, the first ones, will not run: their session was deleted or reset since.
    dismissed: usize,
}

impl Live {
    /// Whether this run is under way or waits here.
    fn has_run(&self, run: &str) -> bool {
        self.run.as_ref().is_some_and(|state| *state.turn.run == *run)
            || self.queue.iter().any(|turn| *turn.run == *run)
    }

    /// A turn has come from the store; says whether it was dismissed. They come in their order.
    fn take_appended(&mut self) -> bool {
        self.appending -= 1;
        let dismissed = self.dismissed > 0;
        self.dismissed -= usize::from(dismissed);
        dismissed
    }
}

struct RunState {
    turn: Turn,
    stage: Stage,
    job: JobId,
    since: Instant,
    name: Arc<RunName>,
    /// The number of the run's last event.
    seq: u64,
    /// What it has said so far, for who comes later.
    text: String,
    held: Held,
    /// Bytes of its thoughts so far, which are not kept.
    thought: u64,
    /// Bytes of everything that it has told besides its answer.
    told_bytes: usize,
    /// The tool that it waits for.
    tool: Option<Box<str>>,
    /// How often it has used one.
    calls: u64,
}

#[derive(Debug, Copy, Clone, PartialEq)]
enum Stage {
    Context,
    Working,
    Saving,
}
