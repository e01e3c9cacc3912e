//! What loops tell each other of workers and of the runs that they have.

use super::super::Gateway;
use super::super::bus::{BusMessage, NodeId, Route};
use super::super::conn::ConnId;
use super::super::send::Cx;
use super::super::work::{JobId, Run};
use super::given::Taking;
use super::roster::Worker;
use super::saying::Said;
use std::sync::Arc;

/// Something about a worker, or about a run that it has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkerNews {
    /// A worker of the sender has come, or is another than it was.
    There {
        /// The sender.
        from: NodeId,
        /// Its connection.
        conn: ConnId,
        /// What it is.
        worker: Worker,
    },
    /// It is gone, and what it had with it.
    Gone {
        /// The sender.
        from: NodeId,
        /// Its connection.
        conn: ConnId,
    },
    /// Has your worker room for this run of mine?
    Offer {
        /// The sender.
        from: NodeId,
        /// The worker's connection.
        conn: ConnId,
        /// Which worker on it is meant.
        login: u64,
        /// What the run is at the sender.
        job: JobId,
        /// What the worker is told.
        run: Arc<Run>,
        /// How many workers were offered it, this one included.
        attempt: u32,
    },
    /// The answer.
    Answered {
        /// The sender.
        from: NodeId,
        /// The worker's connection.
        conn: ConnId,
        /// That of the offer.
        job: JobId,
        /// That of the offer.
        attempt: u32,
        /// What came of it.
        taking: Taking,
    },
    /// My worker says this of your run.
    Said {
        /// The sender.
        from: NodeId,
        /// The worker's connection.
        conn: ConnId,
        /// What the run is at the receiver.
        job: JobId,
        /// The run.
        run: Arc<str>,
        /// What it says.
        said: Said,
    },
    /// So many of those have been taken, or were of a run that is over: they count no more.
    Heard {
        /// The run.
        run: Arc<str>,
        /// How many.
        count: usize,
    },
    /// My run needs your worker no more.
    Cancel {
        /// The sender.
        from: NodeId,
        /// The worker's connection.
        conn: ConnId,
        /// The run.
        run: Arc<str>,
        /// One word.
        why: &'static str,
    },
}

impl Gateway {
    /// Another loop has news.
    pub(in crate::gateway) fn worker_news(&mut self, cx: &mut Cx<'_>, news: WorkerNews) {
        match news {
            WorkerNews::There { from, conn, worker } => {
                let agents = worker.agents.clone();
                self.workers.roster.learn((from, conn), worker);
                self.serve_waiting(cx, &agents);
            }
            WorkerNews::Gone { from, conn } => self.worker_gone(cx, (from, conn)),
            WorkerNews::Offer { from, conn, login, job, run, attempt } => {
                let taking = self.take_run(cx, (from, job), (conn, login), &run, attempt);
                let own = self.node.id();
                let news = WorkerNews::Answered { from: own, conn, job, attempt, taking };
                self.tell_loop(from, news);
            }
            WorkerNews::Answered { from, conn, job, attempt, taking } => {
                self.offer_answered(cx, (from, conn), (job, attempt), taking);
            }
            WorkerNews::Said { from, conn, job, run, said } => {
                self.worker_said(cx, (from, conn), (job, &run), said);
            }
            WorkerNews::Heard { run, count } => self.worker_heard(&run, count),
            WorkerNews::Cancel { from, conn, run, why } => {
                self.cancel_given(cx, (from, conn), &run, why);
            }
        }
    }

    pub(super) fn publish_worker(&mut self, news: WorkerNews) {
        self.publish(Route::Others, BusMessage::Workers { news });
    }

    /// A loop has begun anew: it has no workers and no runs, and does not know those of the others.
    pub(in crate::gateway) fn tell_workers(&mut self, cx: &mut Cx<'_>, to: NodeId) {
        let own = self.node.id();
        self.cancel_given_of(cx, to);
        for (at, _) in self.workers.roster.of_node(to) {
            self.workers.roster.forget(at);
        }
        self.workers_lost(cx, |(node, _)| node == to);
        for ((_, conn), worker) in self.workers.roster.of_node(own) {
            self.tell_loop(to, WorkerNews::There { from: own, conn, worker });
        }
    }
}
