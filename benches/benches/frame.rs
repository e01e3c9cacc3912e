//! The parts of reading: masking, and UTF-8 that arrives in pieces.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moorline_benches::{Kind, SIZES};
use moorline_core::frame::{Utf8Stream, mask};
use std::hint::black_box;
use std::time::Duration;

fn masking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for (name, len) in SIZES {
        // Six bytes of header stand before a short payload.
        let mut data = vec![0x5A; len + 6];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| mask::apply(black_box([1, 2, 3, 4]), black_box(&mut data[6..])));
        });
    }
    group.finish();
}

/// 64 KiB in pieces, appended to a buffer that is large enough; `whole` is the check alone.
fn utf8_stream(criterion: &mut Criterion) {
    const LEN: usize = 64 * 1024;
    let mut group = criterion.benchmark_group("utf8_stream");
    group
        .throughput(Throughput::Bytes(LEN as u64))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for kind in [Kind::Ascii, Kind::Mixed] {
        let data = kind.payload(LEN);
        let mut text = String::with_capacity(LEN);
        for (name, piece) in [("pieces-of-100B", 100), ("pieces-of-4KiB", 4096)] {
            group.bench_function(format!("{}/{name}", kind.name()), |bencher| {
                bencher.iter(|| {
                    text.clear();
                    let mut stream = Utf8Stream::default();
                    for piece in data.chunks(piece) {
                        stream.push(&mut text, piece).expect("UTF-8");
                    }
                    stream.finish().expect("UTF-8");
                    black_box(&text);
                });
            });
        }
        group.bench_function(format!("{}/whole", kind.name()), |bencher| {
            bencher.iter(|| simdutf8::basic::from_utf8(black_box(&data)).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, masking, utf8_stream);
criterion_main!(benches);
