//! What `/metrics` tells: loops and threads count in cells of their own, and a scrape adds them up.
//!
//! ```text
//!   facts ──▶ Recorder ─▶ cells of the loop ┐
//!   turns ──▶                               ├─▶ Exposition ──▶ text
//!   a scrape asks: stats, outboxes ─────────┤   (its own thread)
//!   jobs: store, files, log, process ───────┘
//! ```
//!
//! A loop that is busy does not hold a scrape up: what it counts is there without it, and of its gauges the
//! latest ones are told.

mod catalogue;
mod cells;
mod exposition;
mod loops;
mod process;
mod words;

pub(crate) use loops::{Recorder, Snapshot};

use crate::jobs::KeptFiles;
use cells::{Histogram, SHORT};
use exposition::Exposition;
use loops::{Asking, LoopMetrics};
use moorline_core::gateway::Agent;
use moorline_mio::Handle;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing_appender::non_blocking::ErrorCounter;

/// What is written: OpenMetrics 1.0.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a scrape waits for loops: a turn takes less than a millisecond, unless something is wrong.
const PATIENCE: Duration = Duration::from_millis(250);

/// All that is counted in this process.
#[derive(Debug)]
pub(crate) struct Metrics {
    loops: Vec<Arc<LoopMetrics>>,
    handles: Vec<Handle>,
    asking: Arc<Asking>,
    jobs: Arc<JobMetrics>,
    kept: Arc<KeptFiles>,
    log: ErrorCounter,
    started: SystemTime,
}

/// What the threads for jobs count.
#[derive(Debug)]
pub(crate) struct JobMetrics {
    pub(crate) store: StoreMetrics,
}

/// What is known of works for the store.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    begun: AtomicU64,
    ended: AtomicU64,
    duration: Histogram,
}

impl StoreMetrics {
    pub(crate) fn began(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, took: Duration) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.duration.observe(took);
    }

    fn waiting(&self) -> u64 {
        // In this order: what ends in between was begun before.
        let ended = self.ended.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire).saturating_sub(ended)
    }
}

impl JobMetrics {
    pub(crate) fn new() -> Self {
        let store = StoreMetrics {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            duration: Histogram::new(SHORT),
        };
        Self { store }
    }
}

impl Metrics {
    /// For these loops.
    pub(crate) fn new(handles: Vec<Handle>, log: ErrorCounter, kept: Arc<KeptFiles>) -> Self {
        Self {
            loops: handles.iter().map(|_| Arc::new(LoopMetrics::new())).collect(),
            handles,
            asking: Arc::default(),
            jobs: Arc::new(JobMetrics::new()),
            kept,
            log,
            started: SystemTime::now(),
        }
    }

    /// The end of one loop.
    pub(crate) fn recorder(&self, index: usize, agents: &[Agent]) -> Recorder {
        Recorder::new(self.loops[index].clone(), self.asking.clone(), agents)
    }

    pub(crate) fn jobs(&self) -> Arc<JobMetrics> {
        self.jobs.clone()
    }

    /// Asks the loops how they are, and writes all of it. To be called on one thread only, which no loop
    /// waits for.
    pub(crate) fn scrape(self: &Arc<Self>) -> String {
        let scrape = self.asking.begin();
        for handle in &self.handles {
            handle.wake();
        }
        let until = Instant::now() + PATIENCE;
        while self.loops.iter().any(|each| !each.has_answered(scrape)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exposition { metrics: self.clone(), scrape }));
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn start_seconds(&self) -> f64 {
        self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_mio::{Server, ServerOptions};
    use tracing_appender::non_blocking::NonBlocking;

    fn metrics() -> (Server, Arc<Metrics>) {
        let options = ServerOptions { loops: 2, ..ServerOptions::default() };
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let (log, _guard) = NonBlocking::new(std::io::sink());
        let metrics = Arc::new(Metrics::new(server.handles(), log.error_counter(), Arc::default()));
        (server, metrics)
    }

    #[test]
    fn a_loop_that_is_busy_does_not_hold_a_scrape_up() {
        // These loops do not run at all.
        let (_server, metrics) = metrics();
        let mut one = metrics.recorder(0, &[]);
        one.accept_failed("files");
        one.answer(Snapshot { outbox_bytes: 7, ..Snapshot::default() });
        let text = metrics.scrape();
        for line in [
            "moorline_loop_answered{loop=\"0\"} 0.0\n",
            "moorline_accept_failures_total{reason=\"files\"} 1\n",
            "moorline_outbox_bytes 7.0\n",
            "moorline_ready 0.0\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_of_the_catalogue_is_written() {
        let (_server, metrics) = metrics();
        let text = metrics.scrape();
        for metric in catalogue::ALL {
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)));
        }
        assert_eq!(text.matches("# TYPE ").count(), catalogue::ALL.len());
    }

    #[test]
    fn agents_of_the_configuration_have_their_names_and_all_others_one() {
        use moorline_core::gateway::Fact;
        let (_server, metrics) = metrics();
        let agent = |id: &str| Agent::new(id, "x");
        let mut recorder = metrics.recorder(0, &[agent("one \"q\"")]);
        let run = |agent: &str| Fact::RunStarted { run: "r".into(), agent: agent.into() };
        for id in ["one \"q\"", "two", "three"] {
            recorder.count(&run(id));
        }
        recorder.set_agents(&[agent("two")]);
        recorder.count(&run("two"));
        let text = metrics.scrape();
        for line in [
            "moorline_runs_started_total{agent=\"one \\\"q\\\"\"} 1\n",
            "moorline_runs_started_total{agent=\"other\"} 2\n",
            "moorline_runs_started_total{agent=\"two\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_docs_name_no_metric_that_does_not_exist() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("docs/metrics.md");
        let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named = words.filter(|word| {
            ["moorline_", "process_"].iter().any(|start| word.starts_with(start) && word != start)
        });
        let known: Vec<_> = catalogue::ALL.iter().map(catalogue::Metric::full_name).collect();
        for word in named {
            assert!(known.iter().any(|name| name == word), "{word}");
        }
    }
}
