//! Sending: a batch of messages is queued, leaves in one write, and the buffer goes back to the loop.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moorline_benches::{Kind, open_server};
use moorline_core::{Connection, Frame, Limits};
use std::hint::black_box;
use std::io::IoSlice;
use std::time::{Duration, Instant};

fn text(criterion: &mut Criterion) {
    const MESSAGES: usize = 16;
    let now = Instant::now();
    for (name, len) in
        [("16B", 16), ("125B", 125), ("1KiB", 1024), ("16KiB", 16 << 10), ("64KiB", 64 << 10)]
    {
        let payload = String::from_utf8(Kind::Ascii.payload(len)).expect("ASCII");
        let mut server = open_server(Limits { outbox: 16 << 20, ..Limits::default() }, now);
        let mut spare = Vec::new();
        let mut group = criterion.benchmark_group("send/text");
        group
            .throughput(Throughput::ElementsAndBytes {
                elements: MESSAGES as u64,
                bytes: (MESSAGES * len) as u64,
            })
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(500));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let outbox = server.outbox(now);
                outbox.lend(&mut spare);
                for _ in 0..MESSAGES {
                    outbox.text(black_box(&payload)).expect("room");
                }
                write(&mut server, now);
                server.outbox(now).reclaim(&mut spare);
            });
        });
        group.finish();
    }
}

/// One message for 100 connections: encoded once and shared, or encoded for each.
fn broadcast(criterion: &mut Criterion) {
    const CONNECTIONS: usize = 100;
    let now = Instant::now();
    for (name, len) in [("125B", 125), ("1KiB", 1024), ("16KiB", 16 << 10)] {
        let payload = String::from_utf8(Kind::Ascii.payload(len)).expect("ASCII");
        let mut servers: Vec<_> =
            (0..CONNECTIONS).map(|_| open_server(Limits::default(), now)).collect();
        let mut group = criterion.benchmark_group(format!("send/broadcast/{name}"));
        group
            .throughput(Throughput::Elements(CONNECTIONS as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(500));
        group.bench_function("shared", |bencher| {
            bencher.iter(|| {
                let frame = Frame::text(black_box(&payload));
                for server in &mut servers {
                    server.outbox(now).send(&frame).expect("room");
                    write(server, now);
                }
            });
        });
        group.bench_function("each", |bencher| {
            bencher.iter(|| {
                for server in &mut servers {
                    server.outbox(now).text(black_box(&payload)).expect("room");
                    write(server, now);
                }
            });
        });
        group.finish();
    }
}

/// A kernel that takes everything and copies nothing.
fn write(server: &mut Connection, now: Instant) {
    let outbox = server.outbox(now);
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = outbox.slices(&mut slices);
    let count = slices[..filled].iter().map(|slice| slice.len()).sum();
    black_box(&slices);
    server.outbox(now).written(now, count);
}

criterion_group!(benches, text, broadcast);
criterion_main!(benches);
