//! What the host's command line asks of the process, on a thread of its own.

use super::reload::Reloader;
use crate::jobs::{HostTask, Mailbox};
use crate::signals;
use moorline_core::gateway::{DrainProgress, HostOutcome, HostWork};
use moorline_mio::Handle;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What a loop has to do, as it says itself in each of its turns.
#[derive(Debug, Default)]
pub(super) struct Load {
    draining: AtomicBool,
    connections: AtomicUsize,
    runs: AtomicUsize,
}

impl Load {
    pub(super) fn tell(&self, connections: usize, runs: usize) {
        self.connections.store(connections, Ordering::Relaxed);
        self.runs.store(runs, Ordering::Relaxed);
    }

    pub(super) fn tell_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// Does what the command line wants.
pub(super) struct Operator {
    pub(super) reloader: Arc<Mutex<Reloader>>,
    pub(super) handles: Vec<Handle>,
    pub(super) loads: Vec<Arc<Load>>,
    pub(super) mailboxes: Vec<Mailbox>,
}

impl Operator {
    /// Starts the thread. It ends when nobody can ask any more.
    pub(super) fn start(self, tasks: Receiver<HostTask>) -> io::Result<()> {
        thread::Builder::new().name("operator".into()).spawn(move || {
            for task in tasks {
                let outcome = self.perform(&task.work);
                task.answer(&self.mailboxes, outcome);
                // Behind its answer: loops with nothing under way end before they could take one.
                if let HostWork::Drain { restart } = task.work {
                    signals::stop(&self.handles, restart);
                }
            }
        })?;
        Ok(())
    }

    fn perform(&self, work: &HostWork) -> HostOutcome {
        // A reloader is whole between its calls.
        let reloader = || self.reloader.lock().unwrap_or_else(PoisonError::into_inner);
        match *work {
            HostWork::Reload => reloader().reload(),
            HostWork::Tokens { texts } => reloader().tokens(texts),
            HostWork::RotateToken { now } => reloader().rotate_token(now),
            HostWork::DropToken => reloader().drop_token(),
            HostWork::Drain { restart } => {
                tracing::info!(by = "host", restart, "stopping");
                HostOutcome::Progress(DrainProgress { draining: true, ..self.progress() })
            }
            HostWork::Progress => HostOutcome::Progress(self.progress()),
        }
    }

    fn progress(&self) -> DrainProgress {
        let sum = |of: fn(&Load) -> &AtomicUsize| {
            self.loads.iter().map(|load| of(load).load(Ordering::Relaxed) as u64).sum()
        };
        DrainProgress {
            draining: self.loads.iter().any(|load| load.draining.load(Ordering::Relaxed)),
            connections: sum(|load| &load.connections),
            runs: sum(|load| &load.runs),
        }
    }
}
