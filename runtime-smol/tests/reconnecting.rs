//! Coming back, against servers that follow a script. Pauses and verdicts as such are tested beside
//! their code, without a socket.

mod support;

use moorline_core::{Accept, CloseCode, Connection, Event, Limits, Outbox, Response};
use moorline_smol::{
    Client, Ending, Message, Pace, ReconnectOptions, Reconnecting, State, Tcp, Unsent, Update,
    Verdict, drive, judge,
};
use smol::{Async, block_on, future};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{PATIENCE, nobody};

/// What a server does with one connection.
#[derive(Debug, Copy, Clone)]
enum Step {
    /// Opens it and cuts it without a Close.
    Cut,
    /// Answers the request with this status and `Retry-After`.
    Refuse(u16, &'static str),
    /// Opens it, sends this text if there is one, and closes.
    Close(&'static str, u16, &'static str),
    /// Opens it and tells what comes, until the client closes.
    Listen,
}

/// A server that takes one step per connection, in order, and what it has heard.
fn script(steps: &'static [Step]) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        block_on(async {
            for step in steps {
                let (stream, _) = listener.accept().await.unwrap();
                let (cut, was_cut) = smol::channel::bounded::<()>(1);
                let told = told.clone();
                let handler = move |event: Event<'_>, outbox: &mut Outbox| match (event, step) {
                    (Event::Request(_), Step::Refuse(status, after)) => {
                        let headers = &[("Retry-After", *after)];
                        outbox.respond(&Response { status: *status, headers, body: b"" }).unwrap();
                    }
                    (Event::Request(_), _) => outbox.accept(&Accept::default()).unwrap(),
                    (Event::Open, Step::Cut) => cut.try_send(()).unwrap(),
                    (Event::Open, Step::Close(text, code, reason)) => {
                        if !text.is_empty() {
                            outbox.text(text).unwrap();
                        }
                        outbox.close(CloseCode(*code), reason);
                    }
                    (Event::Text(text), _) => told.send(text.to_string()).unwrap(),
                    (Event::Closed(cause), Step::Listen) => told.send(cause.to_string()).unwrap(),
                    _ => {}
                };
                let connection = Connection::server(Arc::new(Limits::default()), Instant::now());
                let driving = drive(Tcp::from(stream), connection, handler);
                let cut = async {
                    if was_cut.recv().await.is_err() {
                        future::pending::<()>().await;
                    }
                };
                future::or(cut, driving).await;
            }
        });
    });
    (address, heard)
}

/// Pauses of milliseconds; where one is to be seen, it is long enough that a busy machine does not replace
/// its state by the next one.
fn quick() -> ReconnectOptions {
    let pace = Pace {
        first: Duration::from_millis(4),
        longest: Duration::from_millis(16),
        later: Duration::from_millis(300),
        ..Pace::default()
    };
    ReconnectOptions { pace, ..ReconnectOptions::default() }
}

fn start(address: SocketAddr, options: ReconnectOptions) -> Reconnecting {
    Reconnecting::new(Client::new(&format!("ws://{address}/")).unwrap(), options)
}

async fn next(link: &Reconnecting) -> Update {
    let patience = async {
        smol::Timer::after(PATIENCE).await;
        panic!("nothing happens");
    };
    future::or(link.next(), patience).await.expect("it goes on")
}

/// The pause of the next `Waiting`, and why.
async fn next_pause(link: &Reconnecting) -> (Duration, Ending) {
    loop {
        match next(link).await {
            Update::State(State::Waiting { pause, why, .. }) => return (pause, why),
            Update::State(State::Closed { why }) => panic!("closed for good: {why}"),
            _ => {}
        }
    }
}

async fn until_open(link: &Reconnecting) {
    while !matches!(next(link).await, Update::State(State::Open { .. })) {}
}

/// The ending for good.
async fn closed(link: &Reconnecting) -> Ending {
    loop {
        if let Update::State(State::Closed { why }) = next(link).await {
            assert!(link.next().await.is_none());
            return why;
        }
    }
}

#[test]
fn a_lost_connection_is_replaced_and_what_waited_is_sent() {
    let (address, heard) = script(&[Step::Cut, Step::Cut, Step::Listen]);
    let (told, endings) = mpsc::channel();
    let judging = move |ending: &Ending| {
        // Who asked is gone when the link is closed.
        let _ = told.send(ending.to_string());
        judge(ending)
    };
    let link = start(address, ReconnectOptions { judge: Arc::new(judging), ..quick() });
    for _ in 0..2 {
        let why = endings.recv_timeout(PATIENCE);
        assert_eq!(why.as_deref(), Ok("the transport ended without a Close"));
    }
    link.try_send("kept").unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("kept"));
    block_on(link.send("and more")).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("and more"));
    link.close(CloseCode::NORMAL, "");
    assert!(matches!(link.try_send("late"), Err(Unsent::Closed(_))));
    assert_eq!(block_on(closed(&link)).to_string(), "closed here with 1000");
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("the peer closed with 1000"));
}

#[test]
fn retry_after_of_a_503_is_obeyed() {
    let (address, _heard) = script(&[Step::Refuse(503, "1"), Step::Refuse(429, "0"), Step::Listen]);
    let link = start(address, quick());
    block_on(async {
        let (pause, why) = next_pause(&link).await;
        assert!(why.to_string().contains("HTTP 503"), "{why}");
        assert!(pause > Duration::from_millis(990) && pause <= Duration::from_millis(1016));
        let began = Instant::now();
        let (pause, why) = next_pause(&link).await;
        assert!(began.elapsed() >= Duration::from_millis(900), "it came back too early");
        assert!(why.to_string().contains("HTTP 429"), "{why}");
        assert!(pause >= Duration::from_millis(300), "without a time of its own: later");
        until_open(&link).await;
    });
}

#[test]
fn a_401_ends_it_for_good_and_says_why() {
    let (address, _heard) = script(&[Step::Refuse(401, "")]);
    let link = start(address, quick());
    block_on(async {
        assert_eq!(closed(&link).await.to_string(), "upgrade: HTTP 401");
        assert!(matches!(link.try_send("late"), Err(Unsent::Closed(_))));
        assert!(matches!(link.send("late").await, Err(Unsent::Closed(_))));
    });
}

#[test]
fn a_restart_is_waited_for_as_long_as_the_server_said() {
    const SHUTDOWN: &str = r#"{"event":"shutdown","payload":{"restartExpectedMs":400}}"#;
    let (address, _heard) = script(&[
        Step::Close(SHUTDOWN, 1012, "restart"),
        Step::Close("", 1012, "restart"),
        Step::Close("", 1013, r#"{"retryAfterMs":400}"#),
        Step::Listen,
    ]);
    let link = start(address, quick());
    let millis = Duration::from_millis;
    block_on(async {
        // The time runs from when it was said.
        let (pause, _) = next_pause(&link).await;
        assert!(pause > millis(100) && pause <= millis(416), "{pause:?}");
        let (pause, _) = next_pause(&link).await;
        assert!(pause >= millis(300) && pause <= millis(316), "no time was given: {pause:?}");
        let (pause, _) = next_pause(&link).await;
        assert!(pause > millis(300) && pause <= millis(416), "{pause:?}");
        until_open(&link).await;
    });
}

#[test]
fn the_verdict_can_be_changed() {
    let (address, _heard) = script(&[Step::Close("", 4401, "token expired")]);
    let judging = |ending: &Ending| match ending {
        Ending::Closed(closed) if closed.code().0 == 4401 => Verdict::Stop,
        other => judge(other),
    };
    let link = start(address, ReconnectOptions { judge: Arc::new(judging), ..quick() });
    let why = block_on(closed(&link));
    assert_eq!(why.to_string(), "the peer closed with 4401: token expired");
}

#[test]
fn the_hello_comes_first_on_every_connection() {
    let (address, heard) = script(&[Step::Listen]);
    let hello = || vec![Message::from("login")];
    let link = start(address, ReconnectOptions { hello: Arc::new(hello), ..quick() });
    block_on(link.send("question")).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("login"));
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("question"));
}

#[test]
fn the_queue_is_bounded_in_bytes_and_a_waiting_send_may_be_dropped() {
    // Nobody listens: everything stays in the queue.
    let (_port, address) = nobody();
    let link = start(address, ReconnectOptions { queue: 10, ..quick() });
    link.try_send("12345").unwrap();
    link.try_send("67890").unwrap();
    assert_eq!(link.queued(), 10);
    assert_eq!(link.try_send("x"), Err(Unsent::Full("x".into())));
    assert!(block_on(future::poll_once(link.send("x"))).is_none());
    assert_eq!(link.queued(), 10);
    link.close(CloseCode::NORMAL, "");
    assert_eq!(block_on(closed(&link)).to_string(), "closed here with 1000");
}

#[test]
fn states_that_nobody_takes_do_not_pile_up() {
    let (_port, address) = nobody();
    let options = ReconnectOptions {
        pace: Pace { longest: Duration::from_millis(1), ..quick().pace },
        ..quick()
    };
    let link = start(address, options);
    block_on(async {
        // Many attempts later there is one state to take.
        smol::Timer::after(Duration::from_millis(100)).await;
        link.close(CloseCode::NORMAL, "");
        while !matches!(link.state(), State::Closed { .. }) {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        assert!(matches!(link.next().await, Some(Update::State(State::Closed { .. }))));
        assert!(link.next().await.is_none());
    });
}

#[test]
fn dropping_it_closes_the_connection() {
    let (address, heard) = script(&[Step::Listen]);
    let link = start(address, quick());
    block_on(until_open(&link));
    drop(link);
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("the peer closed with 1001"));
}
