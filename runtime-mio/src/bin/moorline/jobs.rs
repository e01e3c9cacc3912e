//! What must not run on a loop thread: the store and the agents, each on a thread of its own.

mod echo_agent;
mod store;

use moorline_core::gateway::{BusMessage, JobId, Outcome, Work};
use moorline_mio::Handle;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};

/// What reaches a loop from other threads.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A job of this loop finished or streamed a piece.
    Outcome(JobId, Outcome),
    /// Another loop says something.
    Bus(BusMessage),
}

/// Where to put things for one loop. Answers of the store are bounded by the jobs a gateway starts.
/// Pieces of answers and messages of other loops have no bound here: a loop takes all that waits in
/// every turn, so they pile up only while it is stuck.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Incoming>,
    handle: Handle,
}

impl Mailbox {
    pub(crate) fn new(handle: Handle) -> (Self, Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, handle }, receiver)
    }

    /// Puts it there and wakes the loop.
    pub(crate) fn put(&self, incoming: Incoming) {
        // It fails when the loop has ended: nobody waits for the answer.
        if self.sender.send(incoming).is_ok() {
            self.handle.wake();
        }
    }
}

/// A job of one loop.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    node: usize,
    id: JobId,
}

/// Executes the work of all loops.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    store: Sender<store::Task>,
    agent: Sender<echo_agent::Task>,
}

impl Jobs {
    /// Starts the threads. They end when the last clone of this is dropped.
    pub(crate) fn start(mailboxes: &[Mailbox]) -> io::Result<Self> {
        Ok(Self {
            store: store::start(mailboxes.to_vec())?,
            agent: echo_agent::start(mailboxes.to_vec())?,
        })
    }

    /// Takes on a piece of work of the loop `node`.
    pub(crate) fn begin(&self, node: usize, id: JobId, work: Work) {
        let job = Job { node, id };
        // Sending fails only when a thread has panicked; the gateway's own deadlines tell the users.
        match work {
            Work::Store(work) => {
                let _ = self.store.send(store::Task { job, work });
            }
            Work::Run(run) => {
                let _ = self.agent.send(echo_agent::Task::Start(job, run));
            }
        }
    }

    /// Stops a run. Work for the store is short and goes on.
    pub(crate) fn cancel(&self, node: usize, id: JobId) {
        let _ = self.agent.send(echo_agent::Task::Cancel(Job { node, id }));
    }
}
