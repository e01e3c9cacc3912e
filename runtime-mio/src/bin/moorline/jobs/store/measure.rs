//! How much a commit that is shared saves:
//! `cargo test --release -p moorline-mio --bin moorline -- --ignored --nocapture appends_per_second`.

use super::contract::{Folder, say};
use super::{Store, Task};
use crate::jobs::Job;
use moorline_core::gateway::JobId;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(3);

/// Appends in a second when so many clients each wait for theirs before they send the next.
fn appends_per_second(clients: u64) -> f64 {
    let folder = Folder::new();
    let mut store = Store::open(&folder.0).unwrap();
    let (sender, tasks) = mpsc::channel();
    let send = |client: u64| {
        let work = say(&format!("session {client}"), &"x".repeat(200), 1, None);
        sender
            .send(Task { job: Job { node: 0, id: JobId(client) }, work, since: Instant::now() })
            .unwrap();
    };
    (0..clients).for_each(send);
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        let first = tasks.recv().unwrap();
        for (job, ..) in store.execute(first, &tasks) {
            done += 1;
            send(job.id.0);
        }
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures, and proves nothing"]
fn appends_per_second_alone_and_together() {
    let alone = appends_per_second(1);
    for clients in [1, 8, 64, 512] {
        let rate = appends_per_second(clients);
        println!("{clients:4} clients: {rate:8.0} appends per second, {:.1} times", rate / alone);
    }
}
