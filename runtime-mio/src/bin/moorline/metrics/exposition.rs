//! The text of a scrape: what all loops have counted, added up.

use super::catalogue::{self as names, Kind, Metric};
use super::cells::{Counter, Family, Histogram, Times};
use super::loops::{AgentName, LoopMetrics, Snapshot};
use super::{Metrics, process};
use moorline_core::gateway::{AgentLink, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// One scrape.
#[derive(Debug)]
pub(super) struct Exposition {
    pub(super) metrics: Arc<Metrics>,
    pub(super) scrape: u64,
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshots: Vec<_> =
            self.metrics.loops.iter().map(|each| each.snapshot(self.scrape)).collect();
        let mut out = Writer { encoder, loops: &self.metrics.loops };
        self.connections(&mut out, &snapshots)?;
        self.requests(&mut out, &snapshots)?;
        self.sockets(&mut out, &snapshots)?;
        self.events(&mut out, &snapshots)?;
        self.event_loops(&mut out, &snapshots)?;
        self.work(&mut out, &snapshots)?;
        self.memory(&mut out, &snapshots)?;
        self.process(&mut out, &snapshots)
    }
}

type Snapshots = [(Snapshot, bool)];

/// Adds up what each loop has of something.
fn sum(snapshots: &Snapshots, of: impl Fn(&Stats) -> u64) -> u64 {
    snapshots.iter().map(|(snapshot, _)| of(&snapshot.stats)).sum()
}

fn sum_of(snapshots: &Snapshots, of: impl Fn(&Stats) -> usize) -> f64 {
    sum(snapshots, |stats| of(stats) as u64) as f64
}

impl Exposition {
    fn connections(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        let handshakes: usize = snapshots.iter().map(|(snapshot, _)| snapshot.handshakes).sum();
        out.gauges(
            &names::CONNECTIONS,
            &[
                (["tls"], handshakes as f64),
                (["head"], sum_of(snapshots, |stats| stats.phases.head)),
                (["connect"], sum_of(snapshots, |stats| stats.phases.connect)),
                (["open"], sum_of(snapshots, |stats| stats.phases.open)),
                (["closing"], sum_of(snapshots, |stats| stats.phases.closing)),
            ],
        )?;
        // Each knows of all.
        let pre_auth = snapshots.iter().map(|(snapshot, _)| snapshot.stats.pre_auth).max();
        out.gauge(&names::PRE_AUTH, pre_auth.unwrap_or_default() as f64)?;
        out.counter_of(&names::ACCEPTS, |each| &each.accepts)?;
        out.counters(&names::HANDSHAKES_FAILED, |each| &each.handshakes_failed)?;
        out.counters(&names::ACCEPT_FAILURES, |each| &each.accept_failures)?;
        out.counters(&names::REFUSED, |each| &each.refused)?;
        out.counters(&names::CLOSED, |each| &each.closed)?;
        out.histogram(&names::CONNECTION_DURATION, |each| &each.connection_duration)?;
        out.counters(&names::LOGINS, |each| &each.logins)?;
        out.counter(&names::LOCK_OUTS, sum(snapshots, |stats| stats.tally.lock_outs))
    }

    fn requests(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        let mut requests = out.totals(|each| &each.requests);
        let unknown = sum(snapshots, |stats| stats.tally.unknown_methods);
        requests.insert(["unknown", "INVALID_REQUEST"], unknown);
        out.counts(&names::REQUESTS, &requests)?;
        out.histograms(&names::REQUEST_DURATION, |each| &each.request_duration)?;
        out.counter_of(&names::INVALID_FRAMES, |each| &each.invalid)?;
        out.counters(&names::RATE_LIMITED, |each| &each.rate_limited)
    }

    fn sockets(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        let handles = self.metrics.handles.iter().map(|handle| handle.counters());
        let sockets: Vec<_> = handles.collect();
        let messages = [
            (["in"], sum(snapshots, |stats| stats.tally.messages_in)),
            (["out"], sum(snapshots, |stats| stats.tally.messages_out)),
        ];
        out.counts(&names::MESSAGES, &messages.into())?;
        let frames = [
            (["in"], sockets.iter().map(|each| each.frames_received).sum()),
            (["out"], sockets.iter().map(|each| each.frames_sent).sum()),
        ];
        out.counts(&names::FRAMES, &frames.into())?;
        let bytes = [
            (["in"], sockets.iter().map(|each| each.bytes_read).sum()),
            (["out"], sockets.iter().map(|each| each.bytes_written).sum()),
        ];
        out.counts(&names::BYTES, &bytes.into())?;
        let calls = [
            (["read"], sockets.iter().map(|each| each.reads).sum()),
            (["write"], sockets.iter().map(|each| each.writes).sum()),
        ];
        out.counts(&names::CALLS, &calls.into())?;
        let bytes: u64 = snapshots.iter().map(|(snapshot, _)| snapshot.outbox_bytes).sum();
        out.gauge(&names::OUTBOX, bytes as f64)?;
        let stalled = snapshots.iter().map(|(snapshot, _)| snapshot.stalled).max();
        out.gauge(&names::OUTBOX_STALLED, stalled.unwrap_or_default().as_secs_f64())?;
        out.counter_of(&names::SLOW_CONSUMERS, |each| &each.slow_consumers)
    }

    fn events(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        let fates = [
            (["merged"], sum(snapshots, |stats| stats.tally.events_merged)),
            (["told_again"], sum(snapshots, |stats| stats.tally.events_told_again)),
            (["lost"], sum(snapshots, |stats| stats.tally.events_lost)),
        ];
        out.counts(&names::LEFT_OUT, &fates.into())?;
        out.counter(&names::LAGGED, sum(snapshots, |stats| stats.tally.lagged))?;
        out.histogram(&names::ROUND_TRIP, |each| &each.round_trip)?;
        let attached = |stats: &Stats| stats.links.saturating_sub(stats.detached_links);
        out.gauges(
            &names::LINKS,
            &[
                (["attached"], sum_of(snapshots, attached)),
                (["detached"], sum_of(snapshots, |stats| stats.detached_links)),
            ],
        )?;
        let resumes = [
            (["resumed"], out.total(|each| &each.resumed)),
            (["gap"], out.total(|each| &each.gaps)),
        ];
        out.counts(&names::RESUMES, &resumes.into())?;
        out.counter_of(&names::REPLAYED, |each| &each.replayed)
    }

    fn event_loops(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        let numbers: Vec<String> = (0..snapshots.len()).map(|index| index.to_string()).collect();
        let turns = numbers.iter().zip(&self.metrics.loops).map(|(number, each)| {
            let mut times = Times::default();
            times.add(&each.turn);
            ([number.as_str()], times)
        });
        out.times(&names::LOOP_TURN, &turns.collect())?;
        let busy = self.metrics.handles.iter().map(|handle| handle.busy_for().unwrap_or_default());
        let busy = numbers
            .iter()
            .zip(busy)
            .map(|(number, busy): (_, Duration)| ([number.as_str()], busy.as_secs_f64()));
        out.gauges(&names::LOOP_STALLED, &busy.collect::<Vec<_>>())?;
        let answered = numbers
            .iter()
            .zip(snapshots)
            .map(|(number, (_, answered))| ([number.as_str()], f64::from(u8::from(*answered))));
        out.gauges(&names::LOOP_ANSWERED, &answered.collect::<Vec<_>>())
    }

    fn work(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        out.gauge(&names::LIVE_SESSIONS, sum_of(snapshots, |stats| stats.live_sessions))?;
        out.counters(&names::RUNS_STARTED, |each| &each.runs_started)?;
        out.counters(&names::RUNS, |each| &each.runs)?;
        out.histograms(&names::RUN_DURATION, |each| &each.run_duration)?;
        // All loops are told the same, and one that is late may not know yet.
        let agents = snapshots.first().map_or(&[][..], |(snapshot, _)| &snapshot.agents);
        let states = agents.iter().flat_map(|(agent, is)| {
            AgentLink::ALL
                .map(|link| ([agent.as_str(), link.as_str()], f64::from(u8::from(link == *is))))
        });
        out.gauges(&names::AGENTS, &states.collect::<Vec<_>>())?;
        out.counter_of(&names::CUT, |each| &each.cut)?;
        out.counters(&names::PAIRINGS, |each| &each.pairings)?;
        let store = &self.metrics.jobs.store;
        let mut times = Times::default();
        times.add(&store.duration);
        out.times::<[&str; 0]>(&names::STORE_DURATION, &[([], times)].into())?;
        out.gauge(&names::STORE_QUEUE, store.waiting() as f64)?;
        out.counters(&names::STORE_FAILURES, |each| &each.store_failures)?;
        out.gauge(&names::UPLOADS_NOW, sum_of(snapshots, |stats| stats.uploads))?;
        out.counter_of(&names::UPLOADS, |each| &each.uploads)?;
        out.counter_of(&names::UPLOADED, |each| &each.uploaded_bytes)?;
        let kept = &self.metrics.kept;
        out.gauge(&names::KEPT_FILES, kept.files.load(Relaxed) as f64)?;
        out.gauge(&names::KEPT_BYTES, kept.bytes.load(Relaxed) as f64)?;
        out.gauge(&names::DOWNLOADS_NOW, sum_of(snapshots, |stats| stats.downloads))
    }

    fn memory(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        out.gauges(
            &names::RETAINED,
            &[
                (["users"], sum_of(snapshots, |stats| stats.user_bytes)),
                (["links"], sum_of(snapshots, |stats| stats.link_bytes)),
                (["uploads"], sum_of(snapshots, |stats| stats.upload_bytes)),
                (["idempotency"], sum_of(snapshots, |stats| stats.idempotency_bytes)),
            ],
        )?;
        out.gauges(
            &names::RETAINED_LIMIT,
            &[
                (["users"], sum_of(snapshots, |stats| stats.user_bytes_limit)),
                (["links"], sum_of(snapshots, |stats| stats.link_bytes_limit)),
                (["idempotency"], sum_of(snapshots, |stats| stats.idempotency_bytes_limit)),
            ],
        )
    }

    fn process(&self, out: &mut Writer<'_, '_>, snapshots: &Snapshots) -> fmt::Result {
        let ready = snapshots.iter().all(|(snapshot, answered)| *answered && snapshot.stats.ready);
        out.gauge(&names::READY, f64::from(u8::from(ready)))?;
        out.counters(&names::FOLDED, |each| &each.folded)?;
        out.counter(&names::LOG_DROPPED, self.metrics.log.dropped_lines() as u64)?;
        out.gauges(&names::BUILD, &[([env!("CARGO_PKG_VERSION")], 1.0)])?;
        out.gauge(&names::PROCESS_START, self.metrics.start_seconds())?;
        out.describe(&names::PROCESS_CPU)?
            .encode_counter::<NoLabelSet, _, f64>(&process::cpu_seconds(), None)?;
        out.maybe_gauge(&names::PROCESS_MEMORY, process::resident_bytes())?;
        out.maybe_gauge(&names::PROCESS_FILES, process::open_files())?;
        out.maybe_gauge(&names::PROCESS_FILES_LIMIT, process::open_files_limit())
    }
}

/// The values of a metric's labels.
trait Labels {
    fn values(&self) -> Vec<&str>;
}

impl<const N: usize> Labels for [&str; N] {
    fn values(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Labels for [AgentName; 1] {
    fn values(&self) -> Vec<&str> {
        vec![self[0].as_str()]
    }
}

impl Labels for (AgentName, &str) {
    fn values(&self) -> Vec<&str> {
        vec![self.0.as_str(), self.1]
    }
}

/// Writes metrics, as the catalogue has them.
struct Writer<'e, 'm> {
    encoder: DescriptorEncoder<'e>,
    loops: &'m [Arc<LoopMetrics>],
}

impl Writer<'_, '_> {
    fn describe(&mut self, metric: &'static Metric) -> Result<MetricEncoder<'_>, fmt::Error> {
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        self.encoder.encode_descriptor(metric.name, metric.help, None, kind)
    }

    fn gauge(&mut self, metric: &'static Metric, value: f64) -> fmt::Result {
        self.gauges(metric, &[([], value)])
    }

    /// One of which the system may tell nothing.
    fn maybe_gauge(&mut self, metric: &'static Metric, value: Option<u64>) -> fmt::Result {
        let values: Vec<_> = value.into_iter().map(|value| ([], value as f64)).collect();
        self.gauges::<[&str; 0]>(metric, &values)
    }

    fn gauges<L: Labels>(&mut self, metric: &'static Metric, values: &[(L, f64)]) -> fmt::Result {
        let mut encoder = self.describe(metric)?;
        for (labels, value) in values {
            with(&mut encoder, metric, labels, |encoder| encoder.encode_gauge(value))?;
        }
        Ok(())
    }

    fn counter(&mut self, metric: &'static Metric, value: u64) -> fmt::Result {
        self.counts::<[&str; 0]>(metric, &[([], value)].into())
    }

    fn counter_of(
        &mut self,
        metric: &'static Metric,
        of: impl Fn(&LoopMetrics) -> &Counter,
    ) -> fmt::Result {
        let value = self.total(of);
        self.counter(metric, value)
    }

    fn counters<L: Labels + Ord + Clone>(
        &mut self,
        metric: &'static Metric,
        of: impl Fn(&LoopMetrics) -> &Family<L, Counter>,
    ) -> fmt::Result {
        let totals = self.totals(of);
        self.counts(metric, &totals)
    }

    fn counts<L: Labels + Ord>(
        &mut self,
        metric: &'static Metric,
        values: &BTreeMap<L, u64>,
    ) -> fmt::Result {
        let mut encoder = self.describe(metric)?;
        for (labels, value) in values {
            with(&mut encoder, metric, labels, |encoder| {
                encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
            })?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        metric: &'static Metric,
        of: impl Fn(&LoopMetrics) -> &Histogram,
    ) -> fmt::Result {
        let mut times = Times::default();
        for each in self.loops {
            times.add(of(each));
        }
        self.times::<[&str; 0]>(metric, &[([], times)].into())
    }

    fn histograms<L: Labels + Ord + Clone>(
        &mut self,
        metric: &'static Metric,
        of: impl Fn(&LoopMetrics) -> &Family<L, Histogram>,
    ) -> fmt::Result {
        let mut all: BTreeMap<L, Times> = BTreeMap::new();
        for each in self.loops {
            for (labels, histogram) in of(each).cells() {
                all.entry(labels).or_default().add(&histogram);
            }
        }
        self.times(metric, &all)
    }

    fn times<L: Labels + Ord>(
        &mut self,
        metric: &'static Metric,
        values: &BTreeMap<L, Times>,
    ) -> fmt::Result {
        let mut encoder = self.describe(metric)?;
        for (labels, Times { sum, count, buckets }) in values {
            with(&mut encoder, metric, labels, |encoder| {
                encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            })?;
        }
        Ok(())
    }

    fn total(&self, of: impl Fn(&LoopMetrics) -> &Counter) -> u64 {
        self.loops.iter().map(|each| of(each).value()).sum()
    }

    fn totals<L: Ord + Clone>(
        &self,
        of: impl Fn(&LoopMetrics) -> &Family<L, Counter>,
    ) -> BTreeMap<L, u64> {
        let mut totals = BTreeMap::new();
        for each in self.loops {
            for (labels, counter) in of(each).cells() {
                *totals.entry(labels).or_default() += counter.value();
            }
        }
        totals
    }
}

impl Debug for Writer<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Writes a value with its labels.
fn with(
    encoder: &mut MetricEncoder<'_>,
    metric: &Metric,
    labels: &impl Labels,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    let values = labels.values();
    debug_assert_eq!(values.len(), metric.labels.len(), "{}", metric.name);
    if values.is_empty() {
        return write(encoder);
    }
    let labels: Vec<_> = metric.labels.iter().copied().zip(values).collect();
    write(&mut encoder.encode_family(&labels)?)
}
