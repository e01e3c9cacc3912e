//! The thread that reads the log in memory for clients. It is never long at work, but outcomes may have to
//! wait for a loop, which a loop itself must not.

use super::{Job, Mailbox};
use crate::log_tail::LogTail;
use moorline_core::gateway::{LogQuery, Outcome};
use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) query: LogQuery,
}

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(tail: LogTail, mailboxes: Vec<Mailbox>) -> io::Result<Sender<Task>> {
    let (sender, tasks) = mpsc::channel::<Task>();
    thread::Builder::new().name("logs".into()).spawn(move || {
        for Task { job, query } in tasks {
            mailboxes[job.node].hand_over(job.id, Outcome::Logs(tail.read(query)));
        }
    })?;
    Ok(sender)
}
