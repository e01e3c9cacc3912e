//! Sending from other tasks: backpressure that is seen, order, and nothing lost by dropped futures.

mod support;

use moorline_core::{Accept, CloseCode, Event, Frame, Limits, Outbox};
use moorline_smol::{Message, Sender, ServeOptions, Unsent};
use smol::future;
use std::sync::mpsc;
use std::time::Instant;
use support::{Peer, Running};

fn accept(event: Event<'_>, outbox: &mut Outbox) {
    if let Event::Request(_) = event {
        outbox.accept(&Accept::default()).unwrap();
    }
}

/// A server that hands out the senders of its connections.
fn server_of_senders(limits: Limits) -> (Running, mpsc::Receiver<Sender>) {
    let (told, senders) = mpsc::channel();
    let options = ServeOptions { limits, ..ServeOptions::default() };
    let server = Running::start(options, move |incoming| {
        told.send(incoming.sender()).unwrap();
        accept
    });
    (server, senders)
}

#[test]
fn messages_of_another_thread_arrive_in_order() {
    let (server, senders) = server_of_senders(Limits::default());
    let mut client = Peer::connect(server.address);
    let sender = senders.recv().unwrap();
    let sending = std::thread::spawn(move || {
        smol::block_on(async {
            for number in 0..10_000 {
                sender.send(format!("number {number}")).await.unwrap();
            }
            sender.close(CloseCode::NORMAL, "done");
            assert!(matches!(sender.try_send("late"), Err(Unsent::Closed(_))));
        });
    });
    for number in 0..10_000 {
        assert_eq!(client.read_message(), format!("number {number}").as_bytes());
    }
    let (first, payload) = client.read_frame();
    assert_eq!((first, &payload[2..]), (0x88, &b"done"[..]), "the Close comes behind everything");
    sending.join().unwrap();
}

#[test]
fn what_is_sent_during_the_handshake_leaves_when_it_is_done() {
    let (server, senders) = server_of_senders(Limits::default());
    let mut client = Peer::tcp(server.address);
    let sender = senders.recv().unwrap();
    sender.try_send("early").unwrap();
    client.upgrade();
    assert_eq!(client.read_message(), b"early");
}

#[test]
fn a_peer_that_does_not_read_makes_senders_wait_and_the_message_is_given_back() {
    let limits = Limits { outbox_pause: 16 * 1024, ..Limits::default() };
    let (server, senders) = server_of_senders(limits);
    let mut client = Peer::connect(server.address);
    let sender = senders.recv().unwrap();
    let piece = "x".repeat(8 * 1024);
    let mut sent = 0;
    let refused = loop {
        // The kernel takes megabytes; what is over that must be refused.
        match sender.try_send(piece.as_str()) {
            Ok(()) => sent += 1,
            Err(Unsent::Full(message)) => {
                // Either it is truly full, or the connection's task has not looked yet.
                let ready = async {
                    sender.ready().await;
                    true
                };
                let patience = async {
                    smol::Timer::after(std::time::Duration::from_millis(200)).await;
                    false
                };
                if !smol::block_on(future::or(ready, patience)) {
                    break message;
                }
            }
            Err(closed) => panic!("{closed}"),
        }
        assert!(sent < 100_000, "backpressure is not seen");
    };
    assert_eq!(refused, Message::from(piece.as_str()));
    assert!(sender.try_send_frame(&Frame::text("no")).is_err());
    // A waiting send goes on as soon as the peer reads, and nothing is lost or doubled.
    let waiting = std::thread::spawn(move || smol::block_on(sender.send("the end")));
    for _ in 0..sent {
        assert!(client.read_message() == piece.as_bytes());
    }
    assert_eq!(client.read_message(), b"the end");
    waiting.join().unwrap().unwrap();
}

#[test]
fn dropping_a_waiting_send_loses_its_message_and_nothing_else() {
    let limits = Limits { outbox_pause: 4, ..Limits::default() };
    let (server, senders) = server_of_senders(limits);
    let mut client = Peer::tcp(server.address);
    let sender = senders.recv().unwrap();
    // Before the handshake nothing leaves, so the second one has no room.
    smol::block_on(async {
        sender.send("first").await.unwrap();
        assert!(future::poll_once(sender.send("dropped")).await.is_none());
        assert!(future::poll_once(sender.ready()).await.is_none());
    });
    client.upgrade();
    assert_eq!(client.read_message(), b"first");
    smol::block_on(sender.send("second")).unwrap();
    assert_eq!(client.read_message(), b"second");
}

#[test]
fn senders_learn_that_the_connection_has_ended() {
    let (server, senders) = server_of_senders(Limits { outbox_pause: 4, ..Limits::default() });
    let client = Peer::tcp(server.address);
    let sender = senders.recv().unwrap();
    sender.try_send("in the way").unwrap();
    let waiting = std::thread::spawn({
        let sender = sender.clone();
        move || smol::block_on(sender.send("never sent"))
    });
    drop(client);
    let unsent = waiting.join().unwrap().unwrap_err();
    assert_eq!(unsent, Unsent::Closed("never sent".into()));
    smol::block_on(sender.closed());
    assert!(sender.is_closed());
    assert!(matches!(sender.try_send("late"), Err(Unsent::Closed(_))));
}

#[test]
fn a_frame_encoded_once_reaches_every_connection() {
    let (server, senders) = server_of_senders(Limits::default());
    let mut clients: Vec<_> = (0..5).map(|_| Peer::connect(server.address)).collect();
    let frame = Frame::binary(&[7; 100_000]);
    for sender in senders.iter().take(5) {
        sender.try_send_frame(&frame).unwrap();
    }
    for client in &mut clients {
        assert!(client.read_message() == [7; 100_000]);
    }
}

#[test]
fn another_task_may_answer_the_request() {
    let (told, asked) = mpsc::channel();
    let server = Running::start(ServeOptions::default(), move |incoming| {
        let (told, sender) = (told.clone(), incoming.sender());
        move |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Request(head) => told.send((head.path().to_string(), sender.clone())).unwrap(),
            Event::Open => outbox.text("open").unwrap(),
            _ => {}
        }
    });
    let address = server.address;
    let client = std::thread::spawn(move || Peer::connect(address));
    let (path, sender) = asked.recv().unwrap();
    assert_eq!(path, "/");
    sender.call(|outbox| outbox.accept(&Accept::default()).unwrap()).unwrap();
    let mut client = client.join().unwrap();
    assert_eq!(client.read_message(), b"open");
}

#[test]
fn sending_does_not_wait_for_the_timer() {
    let (server, senders) = server_of_senders(Limits::default());
    let mut client = Peer::connect(server.address);
    let sender = senders.recv().unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        sender.try_send("at once").unwrap();
        assert_eq!(client.read_message(), b"at once");
    }
    assert!(began.elapsed() < Limits::default().ping_every / 2);
}
