//! The store's thread. Whatever waits is executed in one transaction and committed once: the price of a
//! commit, which is the disk's, is shared by all who wait for it. On a busy machine with two cores whose
//! disk takes 6 ms for a commit that was 180 appends per second for one client who waits, 1,400 for 8,
//! 7,700 for 64 and 23,000 for 512.

mod browse;
mod file;
mod records;
mod requests;
mod schema;
mod sessions;
mod sqlite;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod trouble;

use super::{Job, Mailbox};
use crate::failure::Failure;
use crate::metrics::JobMetrics;
use moorline_core::gateway::{MemoryStore, Outcome, StoreOutcome, StoreWork};
use sqlite::SqliteStore;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) work: StoreWork,
    pub(super) since: Instant,
}

/// Where sessions, idempotency keys and records are kept.
#[derive(Debug)]
pub(crate) struct Store(Kind);

#[derive(Debug)]
enum Kind {
    Memory(Box<MemoryStore>),
    File(Box<SqliteStore>),
}

/// Works of one transaction. More share a commit, and wait for each other.
const BATCH: usize = 512;

/// Bytes of messages that a transaction reads before it ends: its outcomes are held until then.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

impl Store {
    /// Keeps nothing when the process ends.
    pub(crate) fn memory() -> Self {
        Self(Kind::Memory(Box::default()))
    }

    /// Keeps everything in the database of a state folder.
    ///
    /// # Errors
    /// It cannot be used: the text says which file, why, and what to do.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Failure> {
        SqliteStore::open(state_dir).map(|store| Self(Kind::File(Box::new(store))))
    }

    /// Executes the first task and those that are there by then; gives what came of each, once all of
    /// it is durable.
    fn execute(
        &mut self,
        first: Task,
        tasks: &Receiver<Task>,
    ) -> Vec<(Job, Instant, StoreOutcome)> {
        match &mut self.0 {
            Kind::Memory(store) => vec![(first.job, first.since, store.execute(first.work))],
            Kind::File(store) => {
                let mut batch = store.begin();
                let mut jobs = Vec::new();
                let mut next = Some(first);
                while let Some(Task { job, work, since }) = next {
                    jobs.push((job, since));
                    store.execute(&mut batch, work);
                    let room = jobs.len() < BATCH && batch.bytes() < BATCH_BYTES;
                    next = if room { tasks.try_recv().ok() } else { None };
                }
                let done = jobs.into_iter().zip(store.commit(batch));
                done.map(|((job, since), outcome)| (job, since, outcome)).collect()
            }
        }
    }
}

/// Starts the thread. It ends when the last sender is dropped and all is done.
pub(super) fn start(
    mut store: Store,
    mailboxes: Vec<Mailbox>,
    counted: Arc<JobMetrics>,
) -> io::Result<(Sender<Task>, JoinHandle<()>)> {
    let (sender, tasks) = mpsc::channel::<Task>();
    let thread = thread::Builder::new().name("store".into()).spawn(move || {
        while let Ok(first) = tasks.recv() {
            for (job, since, outcome) in store.execute(first, &tasks) {
                counted.store.ended(since.elapsed());
                mailboxes[job.node].hand_over(job.id, Outcome::Store(outcome));
            }
        }
    })?;
    Ok((sender, thread))
}
