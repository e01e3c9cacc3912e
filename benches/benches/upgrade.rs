//! The opening handshake of a server: a browser's request to an answer, in one read or one byte a
//! read.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moorline_benches::REQUEST;
use moorline_core::{Accept, Connection, Event, Limits};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn upgrade(criterion: &mut Criterion) {
    let now = Instant::now();
    let limits = Arc::new(Limits::default());
    let mut group = criterion.benchmark_group("upgrade");
    group
        .throughput(Throughput::ElementsAndBytes { elements: 1, bytes: REQUEST.len() as u64 })
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for (name, piece) in [("whole", REQUEST.len()), ("byte-by-byte", 1)] {
        let mut bytes = REQUEST.to_vec();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut server = Connection::server(limits.clone(), now);
                for piece in bytes.chunks_mut(piece) {
                    let mut turn = server.receive(now, piece);
                    while let Some((event, outbox)) = turn.next_event() {
                        if let Event::Request(head) = event {
                            black_box(head.header("Origin"));
                            outbox.accept(&Accept::default()).expect("an upgrade");
                        }
                    }
                }
                assert!(server.outbox(now).is_open());
                black_box(server);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, upgrade);
criterion_main!(benches);
