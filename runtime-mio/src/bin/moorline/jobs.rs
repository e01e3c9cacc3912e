//! What must not run on a loop thread: the store, the agents, the files of uploads, those of a site and
//! the log in memory, each on a thread of its own.

mod agents;
mod logs;
mod media;
mod metrics;
pub(crate) mod site;
mod store;

pub(crate) use agents::{Agents, Endpoint};
pub(crate) use media::{KeptFiles, MediaDir};
pub(crate) use store::Store;

use crate::config::AgentSettings;
use crate::log_tail::LogTail;
use crate::metrics::{JobMetrics, Metrics};
use moorline_core::gateway::{AgentState, BusMessage, HostOutcome, HostWork, JobId, Outcome, Work};
use moorline_mio::Handle;
use smol::channel;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What reaches a loop from other threads.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A job of this loop finished or streamed a piece.
    Outcome(JobId, Outcome),
    /// Another loop says something.
    Bus(BusMessage),
    /// The link to an agent, by its id, is like this now.
    Agent(String, AgentState),
}

/// Outcomes that wait for a loop, from threads and as many from tasks. A store or an agent that is faster than
/// the loop waits, too.
const WAITING: usize = 1024;

/// Where to put things for one loop.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    outcomes: SyncSender<(JobId, Outcome)>,
    /// The same for tasks, which must not block: many share a thread.
    streams: channel::Sender<(JobId, Outcome)>,
    said: Sender<Incoming>,
    /// How much was ever put into `said`.
    count: Arc<AtomicU64>,
    handle: Handle,
}

/// What was put into a [`Mailbox`].
#[derive(Debug)]
pub(crate) struct Inbox {
    outcomes: Receiver<(JobId, Outcome)>,
    streams: channel::Receiver<(JobId, Outcome)>,
    said: Receiver<Incoming>,
    count: Arc<AtomicU64>,
    /// How much was ever taken out of `said`.
    heard: u64,
}

impl Mailbox {
    pub(crate) fn new(handle: Handle) -> (Self, Inbox) {
        let (outcomes, done) = mpsc::sync_channel(WAITING);
        let (streams, streamed) = channel::bounded(WAITING);
        let (say, said) = mpsc::channel();
        let count = Arc::new(AtomicU64::new(0));
        let inbox =
            Inbox { outcomes: done, streams: streamed, said, count: count.clone(), heard: 0 };
        (Self { outcomes, streams, said: say, count, handle }, inbox)
    }

    /// Hands an outcome over; blocks while the loop has many to take. Not to be called on a loop.
    fn hand_over(&self, id: JobId, outcome: Outcome) {
        // It fails when the loop has ended: nobody waits for the answer.
        if self.outcomes.send((id, outcome)).is_ok() {
            self.handle.wake();
        }
    }

    /// Hands an outcome over, unless the loop has many to take: then it is dropped, and whoever waits for
    /// it is told so in time.
    fn offer(&self, id: JobId, outcome: Outcome) {
        if self.outcomes.try_send((id, outcome)).is_ok() {
            self.handle.wake();
        }
    }

    /// The same for tasks: waits while the loop has many to take.
    async fn deliver(&self, id: JobId, outcome: Outcome) {
        if self.streams.send((id, outcome)).await.is_ok() {
            self.handle.wake();
        }
    }

    /// Says something to the loop, from another one: it never blocks, and so is not bounded here but by
    /// what gateways say to each other.
    pub(crate) fn say(&self, message: BusMessage) {
        self.put(Incoming::Bus(message));
    }

    /// Tells the loop how an agent is. That changes seldom.
    fn tell_agent(&self, agent: &str, state: AgentState) {
        self.put(Incoming::Agent(agent.into(), state));
    }

    /// Hands over an outcome that is known at once, on a loop; there is one for each job at most.
    fn answer(&self, id: JobId, outcome: Outcome) {
        self.put(Incoming::Outcome(id, outcome));
    }

    fn put(&self, incoming: Incoming) {
        if self.said.send(incoming).is_ok() {
            // Behind this the sender's own sockets are written: whoever reads there can count on it.
            self.count.fetch_add(1, Ordering::Release);
            self.handle.wake();
        }
    }

    /// Makes the loop look into its inbox again.
    pub(crate) fn wake(&self) {
        self.handle.wake();
    }
}

impl Inbox {
    /// Blocks until there is an outcome or the time is over. Not to be called on a loop.
    pub(crate) fn wait_for_outcome(&self, within: Duration) -> Option<(JobId, Outcome)> {
        self.outcomes.recv_timeout(within).ok()
    }

    /// The next message; other loops' come first, they are the ones that cannot wait.
    pub(crate) fn take(&mut self) -> Option<Incoming> {
        self.hear().or_else(|| {
            let outcome = self.outcomes.try_recv().ok().or_else(|| self.streams.try_recv().ok());
            outcome.map(|(id, outcome)| Incoming::Outcome(id, outcome))
        })
    }

    /// How much was said by now, by other loops above all, that was not taken yet.
    pub(crate) fn unheard(&self) -> u64 {
        // What is being put in at this moment may have been taken before it is counted.
        self.count.load(Ordering::Acquire).saturating_sub(self.heard)
    }

    /// The next thing that was said.
    pub(crate) fn hear(&mut self) -> Option<Incoming> {
        let said = self.said.try_recv().ok()?;
        self.heard += 1;
        Some(said)
    }
}

/// A job of one loop.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    node: usize,
    id: JobId,
}

/// Something that a loop wants of the process around it.
#[derive(Debug)]
pub(crate) struct HostTask {
    job: Job,
    pub(crate) work: HostWork,
}

impl HostTask {
    /// Hands over what came of it. Not to be called on a loop.
    pub(crate) fn answer(&self, mailboxes: &[Mailbox], outcome: HostOutcome) {
        mailboxes[self.job.node].hand_over(self.job.id, Outcome::Host(outcome));
    }
}

/// Executes the work of all loops.
#[derive(Clone)]
pub(crate) struct Jobs {
    store: Sender<store::Task>,
    agents: Agents,
    media: Sender<media::Task>,
    site: Sender<site::Task>,
    logs: Sender<logs::Task>,
    metrics: Sender<Job>,
    counted: Arc<JobMetrics>,
    host: Sender<HostTask>,
}

impl Jobs {
    /// Starts the threads. They end when the last clone of this is dropped; the handles are those of the
    /// ones that must have ended before the state folder is anybody else's.
    pub(crate) fn start(
        mailboxes: &[Mailbox],
        store: Store,
        media: MediaDir,
        log: LogTail,
        metrics: &Arc<Metrics>,
        agents: &[AgentSettings],
        host: Sender<HostTask>,
    ) -> io::Result<(Self, [JoinHandle<()>; 2])> {
        let (store, store_thread) = store::start(store, mailboxes.to_vec(), metrics.jobs())?;
        let (media, media_thread) = media::start(media, mailboxes.to_vec())?;
        let agents = Agents::start(mailboxes, agents)?;
        let site = site::start(mailboxes.to_vec())?;
        let logs = logs::start(log, mailboxes.to_vec())?;
        let counted = metrics.jobs();
        let metrics = metrics::start(metrics.clone(), mailboxes.to_vec())?;
        let jobs = Self { store, agents, media, site, logs, metrics, counted, host };
        Ok((jobs, [store_thread, media_thread]))
    }

    /// The agents, to replace them.
    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Takes on a piece of work of the loop `node`.
    pub(crate) fn begin(&self, node: usize, id: JobId, work: Work) {
        let job = Job { node, id };
        // Sending fails only when a thread has panicked; the gateway's own deadlines tell the users.
        match work {
            Work::Store(work) => {
                self.counted.store.began();
                let _ = self.store.send(store::Task { job, work, since: Instant::now() });
            }
            Work::Media(work) => {
                let _ = self.media.send(media::Task { job, work });
            }
            Work::Site(work) => {
                let _ = self.site.send(site::Task { job, work });
            }
            Work::Logs(query) => {
                let _ = self.logs.send(logs::Task { job, query });
            }
            Work::Metrics => {
                let _ = self.metrics.send(job);
            }
            Work::Host(work) => {
                let _ = self.host.send(HostTask { job, work });
            }
            Work::Run(run) => self.agents.begin(job, run),
        }
    }

    /// Stops a run. Work for the store is short and goes on.
    pub(crate) fn cancel(&self, node: usize, id: JobId) {
        self.agents.cancel(Job { node, id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_mio::Client;
    use smol::future;

    /// A loop that takes nothing makes only its own streams wait: they share a thread with others'.
    #[test]
    fn a_stream_of_a_busy_loop_waits_and_those_of_others_go_on() {
        let handle = || Client::new().expect("a loop").handle();
        let ((busy, mut idle), (free, mut inbox)) =
            (Mailbox::new(handle()), Mailbox::new(handle()));
        let say = |mailbox: Mailbox, count: usize| async move {
            for at in 0..count {
                mailbox.deliver(JobId(1), Outcome::Chunk(at.to_string())).await;
            }
        };
        smol::block_on(async {
            let executor = smol::LocalExecutor::new();
            let waiting = executor.spawn(say(busy, WAITING + 1));
            let other = executor.spawn(say(free, WAITING));
            executor.run(other).await;
            assert!(!waiting.is_finished());
            assert!(matches!(inbox.take(), Some(Incoming::Outcome(JobId(1), _))));
            // When it takes one, the rest of its own comes.
            assert!(idle.take().is_some());
            let late = async {
                smol::Timer::after(Duration::from_secs(30)).await;
                panic!("it still waits");
            };
            executor.run(future::or(waiting, late)).await;
        });
    }
}
