//! The client over real sockets: phases and their times, what refusals say, and dropped futures.

mod support;

use moorline_core::{Accept, Cause, CloseCode, Event, Limits, Outbox, Response};
use moorline_smol::{
    Client, ConnectCause, ConnectError, Message, Phase, ServeOptions, Timeouts, Unsent, connect,
    drive,
};
use rustix::net::listen;
use smol::{block_on, future};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;
use support::{Running, nobody};

const SHORT: Duration = Duration::from_millis(40);

fn client(address: SocketAddr) -> Client {
    Client::new(&format!("ws://{address}/")).unwrap()
}

fn error_of(client: &Client) -> ConnectError {
    block_on(client.connect()).expect_err("nobody is there")
}

#[test]
fn messages_of_both_kinds_come_back_and_the_close_is_clean() {
    let server = Running::echo(Limits::default());
    block_on(async {
        let mut socket = connect(&server.url()).await.unwrap();
        socket.send("hello").await.unwrap();
        socket.send(vec![1, 2, 3]).await.unwrap();
        assert_eq!(socket.next().await, Some(Ok(Message::from("hello"))));
        assert_eq!(socket.next().await, Some(Ok(Message::from(vec![1, 2, 3]))));
        let closed = socket.close(CloseCode::NORMAL, "bye").await;
        assert_eq!(closed.cause(), Cause::Local(CloseCode::NORMAL));
        assert_eq!(socket.next().await, None);
        assert!(matches!(socket.try_send("late"), Err(Unsent::Closed(_))));
    });
}

#[test]
fn the_peers_close_ends_the_messages_and_an_abrupt_end_is_an_error_once() {
    let server = Running::start(ServeOptions::default(), |_| {
        |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
            Event::Open => {
                outbox.text("first").unwrap();
                outbox.close(CloseCode::RESTART, "back soon");
            }
            _ => {}
        }
    });
    block_on(async {
        let mut socket = connect(&server.url()).await.unwrap();
        assert_eq!(socket.next().await, Some(Ok("first".into())));
        assert_eq!(socket.next().await, None);
        let closed = socket.ending().unwrap();
        assert_eq!((closed.code(), closed.reason()), (CloseCode::RESTART, "back soon"));
        assert!(closed.is_clean());
    });
    let limits = Limits { message: 10, ..Limits::default() };
    let server = Running::echo(Limits::default());
    block_on(async {
        let mut socket = client(server.address).limits(limits).connect().await.unwrap();
        socket.send("more than ten bytes").await.unwrap();
        let error = socket.next().await.unwrap().unwrap_err();
        assert!(matches!(error.cause(), Cause::Limit(_)) && !error.is_clean());
        assert_eq!(socket.next().await, None);
        assert_eq!(socket.closed().await, error);
    });
}

#[test]
fn headers_and_subprotocols_are_offered_and_the_choice_is_known() {
    let server = Running::start(ServeOptions::default(), |_| {
        |event: Event<'_>, outbox: &mut Outbox| {
            if let Event::Request(head) = event {
                assert_eq!(head.target(), "/ws?a=b");
                assert_eq!(head.header_str("Authorization"), Some("Bearer secret"));
                assert_eq!(head.subprotocols().collect::<Vec<_>>(), ["v2", "v1"]);
                let accept = Accept { subprotocol: Some("v1"), ..Accept::default() };
                outbox.accept(&accept).unwrap();
            }
        }
    });
    let client = Client::new(&format!("ws://{}/ws?a=b", server.address)).unwrap();
    let client = client.header("Authorization", "Bearer secret").unwrap();
    let client = client.subprotocol("v2").unwrap().subprotocol("v1").unwrap();
    assert!(!format!("{client:?}").contains("secret"));
    let socket = block_on(client.connect()).unwrap();
    assert_eq!(socket.subprotocol(), Some("v1"));
}

#[test]
fn a_refusal_is_told_with_status_headers_and_body() {
    let server = Running::start(ServeOptions::default(), |_| {
        |event: Event<'_>, outbox: &mut Outbox| {
            if let Event::Request(_) = event {
                let headers = &[("Retry-After", "7")];
                let body = b"come back later";
                outbox.respond(&Response { status: 503, headers, body }).unwrap();
            }
        }
    });
    let error = error_of(&client(server.address));
    assert_eq!(error.phase, Phase::Upgrade);
    assert_eq!(error.to_string(), "upgrade: HTTP 503: come back later");
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.status, refusal.body.as_slice()), (503, &b"come back later"[..]));
    let after = refusal.retry_after(std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anything_is_done() {
    for url in ["http://a", "ws://", "nonsense"] {
        assert_eq!(Client::new(url).unwrap_err().phase, Phase::Setup);
    }
    let client = Client::new("ws://127.0.0.1:1/").unwrap();
    assert_eq!(client.clone().header("Host", "b").unwrap_err().phase, Phase::Setup);
    assert_eq!(client.subprotocol("two words").unwrap_err().phase, Phase::Setup);
}

#[test]
fn nobody_listening_is_an_error_of_the_tcp_phase() {
    let (_port, address) = nobody();
    let error = error_of(&client(address));
    assert_eq!(error.phase, Phase::Tcp);
    assert!(matches!(error.cause, ConnectCause::Io(_)), "{error}");
}

#[test]
fn a_listener_that_never_accepts_is_a_timeout_of_the_tcp_phase() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // With the shortest queue the kernel soon answers no more.
    listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, SHORT) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue has no end");
    }
    let timeouts = Timeouts { tcp: SHORT, ..Timeouts::default() };
    let error = error_of(&client(address).timeouts(timeouts));
    assert_eq!((error.phase, error.is_timeout()), (Phase::Tcp, true), "{error}");
}

#[test]
fn a_listener_that_never_answers_is_a_timeout_of_the_phase_that_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let timeouts = Timeouts { tls: SHORT, upgrade: SHORT, ..Timeouts::default() };
    let error = error_of(&client(address).timeouts(timeouts));
    assert_eq!((error.phase, error.is_timeout()), (Phase::Upgrade, true), "{error}");
    let secure = Client::new(&format!("wss://{address}/")).unwrap().timeouts(timeouts);
    let error = error_of(&secure);
    assert_eq!((error.phase, error.is_timeout()), (Phase::Tls, true), "{error}");
}

#[test]
fn a_server_that_hangs_up_or_is_none_is_told_as_such() {
    for (answer, expected) in [
        (&b""[..], "upgrade: the transport ended without a Close"),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "upgrade: the server's 101 answer is wrong: not an HTTP response",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut raw = support::Peer::server(stream);
            raw.read_head();
            raw.send_raw(answer);
        });
        assert_eq!(error_of(&client(address)).to_string(), expected);
        thread.join().unwrap();
    }
}

#[test]
fn dropping_next_and_send_at_any_point_loses_no_message() {
    let server = Running::echo(Limits::default());
    block_on(async {
        let mut socket = connect(&server.url()).await.unwrap();
        let sender = socket.sender();
        let sending = async {
            for number in 0..2_000 {
                sender.send(number.to_string()).await.unwrap();
                future::yield_now().await;
            }
            future::pending().await
        };
        let receiving = async {
            let mut dropped = 0;
            for number in 0..2_000 {
                let message = loop {
                    // The future is dropped whenever it is not ready at once.
                    match future::poll_once(socket.next()).await {
                        Some(message) => break message.unwrap().unwrap(),
                        None => dropped += 1,
                    }
                    future::yield_now().await;
                };
                assert_eq!(message, Message::from(number.to_string()));
            }
            dropped
        };
        assert!(future::or(sending, receiving).await > 0, "something was dropped");
    });
}

#[test]
fn dropping_the_socket_closes_with_1001_behind_what_was_sent() {
    let (told, heard) = mpsc::channel();
    let server = Running::start(ServeOptions::default(), move |_| {
        let told = told.clone();
        move |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
            Event::Text(text) => told.send(text.to_string()).unwrap(),
            Event::Closed(cause) => told.send(cause.to_string()).unwrap(),
            _ => {}
        }
    });
    block_on(async {
        let socket = connect(&server.url()).await.unwrap();
        socket.send("last words").await.unwrap();
    });
    assert_eq!(heard.recv().as_deref(), Ok("last words"));
    assert_eq!(heard.recv().as_deref(), Ok("the peer closed with 1001"));
}

#[test]
fn dropping_connect_gives_the_connection_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(listener.local_addr().unwrap());
    let accepting = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut raw = support::Peer::server(stream);
        raw.read_head();
        raw
    });
    let mut raw = block_on(async {
        let mut connecting = Box::pin(client.connect());
        loop {
            assert!(future::poll_once(&mut connecting).await.is_none(), "nobody answered");
            if accepting.is_finished() {
                break accepting.join().unwrap();
            }
            smol::Timer::after(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(raw.read_rest_of_any_kind(), b"", "the transport ended");
}

#[test]
fn a_client_that_takes_no_messages_stops_reading_and_loses_none() {
    let server = Running::start(ServeOptions::default(), |incoming| {
        let sender = incoming.sender();
        move |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
            Event::Open => {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    block_on(async {
                        for number in 0..1_000_u32 {
                            let mut data = vec![0; 20_000];
                            data[..4].copy_from_slice(&number.to_be_bytes());
                            sender.send(data).await.unwrap();
                        }
                    });
                });
            }
            _ => {}
        }
    });
    block_on(async {
        let mut socket = client(server.address).inbox(10_000).connect().await.unwrap();
        smol::Timer::after(Duration::from_millis(50)).await;
        for number in 0..1_000_u32 {
            let message = socket.next().await.unwrap().unwrap();
            assert_eq!(message.as_bytes()[..4], number.to_be_bytes());
        }
    });
}

#[test]
fn borrowed_events_come_through_dial_and_drive() {
    let server = Running::echo(Limits::default());
    let mut heard = Vec::new();
    block_on(async {
        let (stream, connection) = client(server.address).dial().await.unwrap();
        assert_eq!(stream.tcp().peer_addr().unwrap(), server.address);
        let handler = |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Open => outbox.text("borrowed").unwrap(),
            Event::Text(text) => {
                heard.push(text.to_string());
                outbox.close(CloseCode::NORMAL, "");
            }
            Event::Closed(cause) => heard.push(cause.to_string()),
            _ => {}
        };
        drive(stream, connection, handler).await;
    });
    assert_eq!(heard, ["borrowed", "closed here with 1000"]);
}

#[test]
fn the_connection_answers_pings_while_the_application_is_busy() {
    let limits = Limits {
        ping_every: Duration::from_millis(20),
        pong_within: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = Running::echo(limits);
    block_on(async {
        let mut socket = connect(&server.url()).await.unwrap();
        // A tool call that takes its time, on this very thread.
        std::thread::sleep(Duration::from_millis(800));
        socket.send("still here").await.unwrap();
        assert_eq!(socket.next().await, Some(Ok("still here".into())));
    });
}
