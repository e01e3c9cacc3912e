//! The thread that writes what was counted. It may wait for loops, which a loop must not.

use super::{Job, Mailbox};
use crate::metrics::{CONTENT_TYPE, Metrics};
use moorline_core::gateway::{Exposition, Outcome};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(metrics: Arc<Metrics>, mailboxes: Vec<Mailbox>) -> io::Result<Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new().name("metrics".into()).spawn(move || {
        while let Ok(first) = jobs.recv() {
            // Who asks at the same moment is told the same.
            let asked: Vec<_> = std::iter::once(first).chain(jobs.try_iter()).collect();
            let body = bytes::Bytes::from(metrics.scrape());
            for Job { node, id } in asked {
                let text = Exposition { content_type: CONTENT_TYPE, body: body.clone() };
                mailboxes[node].offer(id, Outcome::Metrics(text));
            }
        }
    })?;
    Ok(sender)
}
