//! The timers of 100,000 connections: what a received message costs, beside a map ordered by time.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moorline_core::Wheel;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 100_000;

fn wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    let start = Instant::now();
    let deadline = Duration::from_secs(25);
    let spread = |key: usize| Duration::from_micros(250) * key as u32;

    // A loop arms after every turn of a connection; the deadline has moved later.
    group.throughput(Throughput::Elements(1000));
    let mut wheel = Wheel::new(start);
    for key in 0..CONNECTIONS {
        wheel.arm(key, start + spread(key));
    }
    let mut now = start;
    group.bench_function("rearm", |bencher| {
        bencher.iter(|| {
            for turn in 0..1000 {
                now += Duration::from_micros(1);
                wheel.arm(black_box(turn * 7919 % CONNECTIONS), now + deadline);
            }
        });
    });

    let mut times: Vec<Instant> = (0..CONNECTIONS).map(|key| start + spread(key)).collect();
    let mut map: BTreeSet<(Instant, usize)> = times.iter().copied().zip(0..).collect();
    let mut now = start;
    group.bench_function("rearm-ordered-map", |bencher| {
        bencher.iter(|| {
            for turn in 0..1000 {
                now += Duration::from_micros(1);
                let key = black_box(turn * 7919 % CONNECTIONS);
                map.remove(&(times[key], key));
                times[key] = now + deadline;
                map.insert((times[key], key));
            }
        });
    });

    // Every entry fires and is armed again: 25 s of virtual time in turns of 10 ms.
    group.throughput(Throughput::Elements(CONNECTIONS as u64));
    let mut wheel = Wheel::new(start);
    for key in 0..CONNECTIONS {
        wheel.arm(key, start + spread(key));
    }
    let (mut now, mut due) = (start, Vec::new());
    group.bench_function("fire-and-rearm", |bencher| {
        bencher.iter(|| {
            for _ in 0..2500 {
                now += Duration::from_millis(10);
                wheel.expired(now, &mut due);
                for key in due.drain(..) {
                    wheel.arm(key, now + deadline);
                }
                black_box(wheel.next());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, wheel);
criterion_main!(benches);
