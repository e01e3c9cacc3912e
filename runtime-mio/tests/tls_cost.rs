//! What TLS costs, measured: run it with `--release -- --ignored --nocapture`. docs/tls.md has what came of it.

#[path = "../../core/tests/support/counting.rs"]
#[allow(dead_code)]
mod counting;
#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/support.rs"]
mod support;

use moorline_core::{Event, Limits, Outbox};
use moorline_mio::rustls::ClientConfig;
use moorline_mio::rustls::client::Resumption;
use moorline_mio::{ConnId, Counters, Handler, ServerOptions, TlsOptions};
use peer::TlsPeer;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::certificates::Authority;
use support::{Echo, Peer, Running, masked};

/// How long each is measured at a time, and how often: what is compared has its turns one after the other,
/// because a shared machine is not as fast at all times.
const TURN: Duration = Duration::from_millis(500);
const TURNS: usize = 6;

/// An echo that tells what its loop has used.
struct Metered(Arc<Used>);

#[derive(Default)]
struct Used {
    /// Of the processor's time, in nanoseconds.
    time: AtomicU64,
    allocations: AtomicU64,
}

impl Handler for Metered {
    fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        Echo.event(now, id, event, outbox);
    }

    fn turned(&mut self, _took: Duration) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        self.0.time.store(nanos, Ordering::Relaxed);
        self.0.allocations.store(counting::CALLS.get() as u64, Ordering::Relaxed);
    }
}

/// A server and what it has used.
struct Subject {
    server: Running,
    used: Arc<Used>,
}

impl Subject {
    fn new(tls: Option<TlsOptions>) -> Self {
        let (message, outbox) = (2 << 20, 8 << 20);
        let limits = Limits { message, outbox, outbox_pause: outbox, ..Limits::default() };
        let options = ServerOptions { tls, limits, ..ServerOptions::default() };
        let used = Arc::new(Used::default());
        let server = Running::start(options, {
            let used = used.clone();
            move || Metered(used.clone())
        });
        Self { server, used }
    }
}

/// What came of doing something again and again.
#[derive(Default)]
struct Cost {
    count: u64,
    cpu_nanos: u64,
    allocations: u64,
    /// Calls of the system on sockets.
    calls: u64,
}

impl Cost {
    fn measure(&mut self, subject: &Subject, mut act: impl FnMut() -> u64) {
        let used = || {
            let Used { time, allocations } = &*subject.used;
            let Counters { reads, writes, .. } = subject.server.handles[0].counters();
            let relaxed = Ordering::Relaxed;
            (time.load(relaxed), allocations.load(relaxed), reads + writes)
        };
        let (began, before) = (Instant::now(), used());
        while began.elapsed() < TURN {
            self.count += act();
        }
        let after = used();
        self.cpu_nanos += after.0 - before.0;
        self.allocations += after.1 - before.1;
        self.calls += after.2 - before.2;
    }

    /// Of the server's thread, for each.
    fn cpu_micros(&self) -> f64 {
        self.cpu_nanos as f64 / 1000.0 / self.count as f64
    }

    fn row(&self, what: &str, than: &Self) {
        let each = |cost: &Self, of: u64| of as f64 / cost.count as f64;
        println!(
            "| {what} | {:.2} | {:.2} | {:.1} | {:.0} | {:.2} | {:.2} | {:.1} |",
            than.cpu_micros(),
            self.cpu_micros(),
            self.cpu_micros() / than.cpu_micros(),
            1e6 / self.cpu_micros(),
            each(than, than.calls),
            each(self, self.calls),
            each(self, self.allocations),
        );
    }
}

#[test]
#[ignore = "it measures, and proves nothing"]
fn what_tls_costs_beside_plain_connections_is_printed() {
    let authority = Authority::new();
    let plain = Subject::new(None);
    let secure = Subject::new(Some(TlsOptions::new(Arc::new(authority.issue().server()))));
    let config = Arc::new(authority.client());
    println!(
        "| processor time of a loop | plain, µs | TLS, µs | ratio | by TLS in a second | calls, plain | calls, TLS | allocations, TLS |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (size, batch) in [(32, 1), (32, 64), (1024, 64), (64 * 1024, 1), (1 << 20, 1)] {
        let frames = masked(2, &vec![7; size]).repeat(batch);
        let (mut without, mut with) = (Cost::default(), Cost::default());
        let mut open = Peer::connect(plain.server.address);
        let mut sealed = TlsPeer::connect(secure.server.address, &config);
        for _ in 0..TURNS {
            without.measure(&plain, || {
                open.send_raw(&frames);
                (0..batch).for_each(|_| assert_eq!(open.read_message().len(), size));
                batch as u64
            });
            with.measure(&secure, || {
                std::io::Write::write_all(&mut sealed.stream, &frames).unwrap();
                (0..batch).for_each(|_| assert_eq!(sealed.read_message().len(), size));
                batch as u64
            });
        }
        with.row(&format!("{size} bytes and back, {batch} at once"), &without);
    }
    let mut full = (*config).clone();
    full.resumption = Resumption::disabled();
    let kinds = [("full", full), ("resumed", authority.client())];
    let connect = |config: &Arc<ClientConfig>| {
        // By its end at the latest the client has what it resumes by.
        let mut peer = TlsPeer::connect(secure.server.address, config);
        peer.send(1, b"there?");
        peer.read_message();
    };
    let mut costs: Vec<_> =
        kinds.into_iter().map(|(name, config)| (name, Arc::new(config), Cost::default())).collect();
    let mut without = Cost::default();
    for _ in 0..TURNS {
        without.measure(&plain, || {
            let mut peer = Peer::connect(plain.server.address);
            peer.send(1, b"there?");
            peer.read_message();
            1
        });
        for (_, config, cost) in &mut costs {
            cost.measure(&secure, || {
                connect(config);
                1
            });
        }
    }
    for (name, _, cost) in &costs {
        cost.row(&format!("connect, upgrade, one echo; handshake {name}"), &without);
    }
}
