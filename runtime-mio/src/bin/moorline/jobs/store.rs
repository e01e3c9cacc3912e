//! The store's thread. Sessions live in memory.

use super::{Job, Mailbox};
use moorline_core::gateway::{MemoryStore, Outcome, StoreWork};
use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) work: StoreWork,
}

pub(super) fn start(mailboxes: Vec<Mailbox>) -> io::Result<Sender<Task>> {
    let (sender, tasks) = mpsc::channel::<Task>();
    thread::Builder::new().name("store".into()).spawn(move || {
        let mut store = MemoryStore::default();
        for Task { job, work } in tasks {
            let outcome = store.execute(work);
            mailboxes[job.node].hand_over(job.id, Outcome::Store(outcome));
        }
    })?;
    Ok(sender)
}
