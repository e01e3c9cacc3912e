//! What only the adapter of mio has: several loops, their counters, and waking them.

mod support;

use moorline_core::{Accept, Event, Limits, Outbox};
use moorline_mio::{ConnId, Connections, Handler, Server, ServerOptions};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use support::{Peer, Running, Runtime as _, Subject, masked};

#[test]
fn everything_read_at_once_is_answered_with_one_write() {
    let mut server = Running::echo(1, Limits::default());
    let mut clients: Vec<_> = (0..16).map(|_| Peer::connect(server.address)).collect();
    let batch: Vec<u8> = (0..32).flat_map(|_| masked(1, b"twenty bytes of text")).collect();
    let rounds = 20;
    for _ in 0..rounds {
        for client in &mut clients {
            // One segment of 832 bytes: it arrives as one readiness event.
            client.send_raw(&batch);
        }
        for client in &mut clients {
            for _ in 0..32 {
                assert_eq!(client.read_message(), b"twenty bytes of text");
            }
        }
    }
    drop(clients);
    server.stop();
    let counters = server.handles[0].counters();
    // A read answers at most once; a loaded machine may deliver a batch in two reads.
    assert!(counters.writes <= counters.reads, "{counters:?}");
    let batches = 16 * (rounds + 1);
    assert!(counters.writes < batches * 2, "{counters:?} for {batches} batches of 32 messages");
}

#[test]
fn loops_share_one_port_but_a_second_server_is_refused() {
    let server = Running::echo(3, Limits::default());
    for loops in [1, 3] {
        let options = ServerOptions { loops, ..ServerOptions::default() };
        let error = Server::bind(server.address, options).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
    // The kernel spreads connections by their ports: enough of them reach every loop.
    let _clients: Vec<_> = (0..60).map(|_| Peer::connect(server.address)).collect();
    let counts: Vec<_> =
        server.handles.iter().map(|handle| handle.counters().connections).collect();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_client_that_nobody_answers_is_told_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (told, heard) = mpsc::channel();
    let app = move |event: Event<'_>, _: &mut Outbox| {
        if let Event::Closed(cause) = event {
            told.send(cause.name()).unwrap();
        }
    };
    Subject::run_client(address, Limits::default(), Box::new(app));
    assert_eq!(heard.iter().collect::<Vec<_>>(), ["eof"]);
}

#[test]
fn another_thread_wakes_the_loop_and_reaches_every_connection() {
    struct Broadcast(Arc<Mutex<Option<String>>>);
    impl Handler for Broadcast {
        fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
            if let Event::Request(_) = event {
                outbox.accept(&Accept::default()).unwrap();
            }
        }
        fn turn(&mut self, _: Instant, connections: &mut Connections<'_>) {
            if let Some(text) = self.0.lock().unwrap().take() {
                let frame = moorline_core::Frame::text(&text);
                let ids: Vec<_> = connections.ids().collect();
                for id in ids {
                    connections.outbox(id).unwrap().send(&frame).unwrap();
                }
            }
        }
    }
    let news = Arc::new(Mutex::new(None));
    let handler = {
        let news = news.clone();
        move || Broadcast(news.clone())
    };
    let server = Running::start(ServerOptions::default(), handler);
    let mut clients: Vec<_> = (0..5).map(|_| Peer::connect(server.address)).collect();
    *news.lock().unwrap() = Some("hear ye".into());
    server.handles[0].wake();
    for client in &mut clients {
        assert_eq!(client.read_message(), b"hear ye");
    }
}
