//! The one thread of all tasks that ask endpoints: any number of them, none with a thread of its own.

use super::super::{Job, Mailbox};
use super::openai;
use super::upstream::Upstream;
use moorline_core::gateway::Run;
use smol::Executor;
use smol::channel::{self, Receiver, Sender};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

/// The thread. It ends when this is dropped.
pub(super) struct Runner {
    orders: Sender<Order>,
    executor: Arc<Executor<'static>>,
}

enum Order {
    Begin(Job, Run, Arc<Upstream>),
    Cancel(Job),
    /// Its task has ended.
    Ended(Job),
}

impl Runner {
    pub(super) fn start(mailboxes: Vec<Mailbox>) -> io::Result<Self> {
        // Not bounded here: runs are, by the gateways that begin them.
        let (orders, received) = channel::unbounded();
        let executor = Arc::new(Executor::new());
        let work = work(received, orders.downgrade(), executor.clone(), mailboxes);
        let driver = executor.clone();
        thread::Builder::new()
            .name("agents".into())
            .spawn(move || smol::block_on(driver.run(work)))?;
        Ok(Self { orders, executor })
    }

    pub(super) fn executor(&self) -> Arc<Executor<'static>> {
        self.executor.clone()
    }

    pub(super) fn begin(&self, job: Job, run: Run, upstream: Arc<Upstream>) {
        let _ = self.orders.try_send(Order::Begin(job, run, upstream));
    }

    pub(super) fn cancel(&self, job: Job) {
        let _ = self.orders.try_send(Order::Cancel(job));
    }
}

async fn work(
    received: Receiver<Order>,
    orders: channel::WeakSender<Order>,
    executor: Arc<Executor<'static>>,
    mailboxes: Vec<Mailbox>,
) {
    let mut tasks = BTreeMap::new();
    while let Ok(order) = received.recv().await {
        match order {
            Order::Begin(job, run, upstream) => {
                let (mailbox, orders) = (mailboxes[job.node].clone(), orders.clone());
                let task = executor.spawn(async move {
                    openai::run(&upstream, run, &mailbox, job.id).await;
                    if let Some(orders) = orders.upgrade() {
                        let _ = orders.try_send(Order::Ended(job));
                    }
                });
                tasks.insert(job, task);
            }
            // What a task holds goes with it, and so does its connection.
            Order::Cancel(job) | Order::Ended(job) => drop(tasks.remove(&job)),
        }
    }
}
