//! Reading frames: a server takes a client's masked messages, one event each, and answers nothing.
//!
//! Every reader gets the same bytes from the same transport and checks that each message has its
//! length. `copy` is the transport alone, into our read buffer again and again; `copy-whole` into a buffer
//! that takes the whole batch, as the peers' buffers do.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt as _;
use moorline_benches::{Batch, Endless, Kind, SIZES, open_server};
use moorline_core::{Connection, Event, Limits, MessageSpare};
use std::hint::black_box;
use std::io::{self, Read as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn read(criterion: &mut Criterion) {
    for kind in Kind::ALL {
        for (name, len) in SIZES {
            let batch = Batch::new(kind, len);
            let mut group = criterion.benchmark_group(format!("read/{}/{name}", kind.name()));
            group
                .throughput(Throughput::ElementsAndBytes {
                    elements: batch.frames as u64,
                    bytes: (batch.frames * len) as u64,
                })
                .sample_size(20)
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_millis(800));
            moorline(&mut group, &batch, len);
            tungstenite(&mut group, &batch, len);
            tokio_websockets(&mut group, &batch, len);
            fastwebsockets(&mut group, &batch, len);
            copy(&mut group, "copy", &batch, Connection::READ_BUFFER);
            copy(&mut group, "copy-whole", &batch, batch.bytes.len());
            group.finish();
        }
    }
}

/// The adapters' loop: read into the buffer that all connections share, drain the turn. A message is
/// borrowed, from there or from the message buffer that they share too.
fn moorline(group: &mut BenchmarkGroup<'_, WallTime>, batch: &Batch, len: usize) {
    let now = Instant::now();
    let mut server = open_server(Limits { message: 16 << 20, ..Limits::default() }, now);
    let mut transport = Endless::new(batch);
    let mut buffer = vec![0; Connection::READ_BUFFER];
    let mut spare = MessageSpare::default();
    group.bench_function("moorline", |bencher| {
        bencher.iter(|| {
            let mut frames = 0;
            while frames < batch.frames {
                let count = transport.read(&mut buffer).expect("endless");
                let mut turn = server.receive_with(now, &mut buffer[..count], &mut spare);
                while let Some((event, _)) = turn.next_event() {
                    let size = match event {
                        Event::Text(text) => black_box(text).len(),
                        Event::Binary(data) => black_box(data).len(),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(size, len);
                    frames += 1;
                }
            }
        });
    });
}

/// `WebSocket::read`: text is validated; a message is a `Bytes` cut from the connection's buffer.
fn tungstenite(group: &mut BenchmarkGroup<'_, WallTime>, batch: &Batch, len: usize) {
    use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
    // Faster here than its default of 128 KiB.
    let config = WebSocketConfig::default().read_buffer_size(Connection::READ_BUFFER);
    let mut socket = WebSocket::from_raw_socket(Endless::new(batch), Role::Server, Some(config));
    group.bench_function("tungstenite", |bencher| {
        bencher.iter(|| {
            for _ in 0..batch.frames {
                let message = socket.read().expect("a message");
                assert_eq!(message.len(), len);
                black_box(&message);
            }
        });
    });
}

/// The `Stream` of a server: text is validated; a message is a `BytesMut` cut from the connection's
/// buffer.
fn tokio_websockets(group: &mut BenchmarkGroup<'_, WallTime>, batch: &Batch, len: usize) {
    let mut socket = tokio_websockets::ServerBuilder::new().serve(Async(Endless::new(batch)));
    group.bench_function("tokio-websockets", |bencher| {
        bencher.iter(|| {
            for _ in 0..batch.frames {
                let message = ready(socket.next()).expect("endless").expect("a message");
                assert_eq!(message.as_payload().len(), len);
                black_box(&message);
            }
        });
    });
}

/// `FragmentCollector::read_frame`, which alone gives whole messages: text is validated; a payload
/// is a `BytesMut` cut from the connection's buffer.
fn fastwebsockets(group: &mut BenchmarkGroup<'_, WallTime>, batch: &Batch, len: usize) {
    use fastwebsockets::{FragmentCollector, Role, WebSocket};
    let socket = WebSocket::after_handshake(Async(Endless::new(batch)), Role::Server);
    let mut socket = FragmentCollector::new(socket);
    group.bench_function("fastwebsockets", |bencher| {
        bencher.iter(|| {
            for _ in 0..batch.frames {
                let frame = ready(socket.read_frame()).expect("a message");
                assert_eq!(frame.payload.len(), len);
                black_box(&frame.payload);
            }
        });
    });
}

fn copy(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, batch: &Batch, size: usize) {
    let mut transport = Endless::new(batch);
    let mut buffer = vec![0; size];
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut left = batch.bytes.len();
            while left > 0 {
                left -= transport.read(&mut buffer).expect("endless");
                black_box(&mut buffer);
            }
        });
    });
}

/// The transport never waits, so nothing that reads from it does.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the transport is always ready"),
    }
}

struct Async(Endless);

impl AsyncRead for Async {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(self.0.play(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Async {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
