//! What one end sends, the other receives.

mod support;
use moorline_core::*;
use support::pair::Pair;
use support::*;

fn limits() -> Limits {
    Limits { message: 1 << 20, fragments: 1 << 20, ..Limits::default() }
}

/// A message of a kind and size that crosses the edges.
fn message(rng: &mut Rng) -> Recorded {
    let size = match rng.below(8) {
        0 => 0,
        1 => [1, 125, 126, 127, 65_535, 65_536, 65_537][rng.below(7)],
        2 => rng.below(200_000),
        _ => rng.below(2000),
    };
    if rng.chance(2) {
        let text = ["ascii ", "κόσμε ", "🍌", "日本語"][rng.below(4)];
        Recorded::Text(text.repeat(size / text.len()))
    } else {
        Recorded::Binary(rng.bytes(size))
    }
}

/// Sends it in one of the ways there are.
fn send(outbox: &mut Outbox, message: &Recorded, rng: &mut Rng) -> Result<(), SendError> {
    match (message, rng.below(2)) {
        (Recorded::Text(text), 0) => outbox.text(text),
        (Recorded::Text(text), _) => outbox.send(&Frame::text(text)),
        (Recorded::Binary(data), 0) => outbox.binary(data),
        (Recorded::Binary(data), _) => outbox.send(&Frame::binary(data)),
        (other, _) => panic!("not a message: {other}"),
    }
}

fn only_messages(events: &[Recorded]) -> Vec<&Recorded> {
    events.iter().filter(|event| matches!(event, Recorded::Text(_) | Recorded::Binary(_))).collect()
}

/// Compares without printing megabytes.
fn same(received: &[Recorded], sent: &[Recorded], seed: u64) {
    let received = only_messages(received);
    assert_eq!(received.len(), sent.len(), "seed {seed}");
    for (at, (received, sent)) in received.iter().zip(sent).enumerate() {
        assert!(*received == sent, "seed {seed}: message {at} differs");
    }
}

#[test]
fn the_handshake_opens_both_ends_in_any_split() {
    for split in Split::ALL {
        let mut pair = Pair::new(&Limits::default(), echo, echo);
        while pair.carry(Role::Client, 37, split) + pair.carry(Role::Server, 11, split) > 0 {}
        assert_eq!(pair.client.events, [Recorded::Open]);
        assert_eq!(pair.server.events[1..], [Recorded::Open]);
        assert_eq!(pair.client.connection.retained() + pair.server.connection.retained(), 0);
    }
}

#[test]
fn messages_arrive_whole_and_in_order_both_ways_at_once() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut pair = Pair::open(&limits(), quiet, quiet);
        let mut sent = [Vec::new(), Vec::new()];
        for _ in 0..60 {
            for (side, role) in ROLES.into_iter().enumerate() {
                if rng.chance(2) {
                    let message = message(&mut rng);
                    if send(pair.side(role).outbox(), &message, &mut rng).is_ok() {
                        sent[side].push(message);
                    }
                }
                if rng.chance(2) {
                    // The writer takes what it can, sometimes nothing.
                    let most = [0, 1, 10, 1000, 60_000, 1 << 20][rng.below(6)];
                    let split = if most > 10_000 {
                        Split::Chops(1 + rng.below(9000))
                    } else {
                        Split::Random(rng.next())
                    };
                    pair.carry(role, most, split);
                }
            }
        }
        pair.settle();
        same(&pair.client.events, &sent[0], seed);
        same(&pair.server.events, &sent[1], seed);
        assert_eq!(pair.client.connection.retained() + pair.server.connection.retained(), 0);
    }
}

#[test]
fn echoes_come_back_under_backpressure_without_losing_one() {
    for seed in 0..30 {
        let mut rng = Rng(seed);
        let limits = Limits { outbox_pause: 20_000, ..limits() };
        let mut pair = Pair::open(&limits, quiet, echo);
        let mut sent = Vec::new();
        let mut rounds = 0;
        while sent.len() < 60 || rounds < 200 {
            rounds += 1;
            let small = Recorded::Binary(rng.bytes(1 + sent.len() * 40));
            if sent.len() < 60 && send(pair.client.outbox(), &small, &mut rng).is_ok() {
                sent.push(small);
            }
            // The server is read from only while it wants to be.
            if pair.server.connection.wants().read {
                pair.carry(Role::Client, 1 + rng.below(3000), Split::Whole);
            }
            pair.carry(Role::Server, rng.below(2500), Split::Whole);
        }
        pair.settle();
        same(&pair.client.events, &sent, seed);
    }
}

#[test]
fn pings_among_large_messages_are_answered_while_those_are_under_way() {
    for role in ROLES {
        let other = if role == Role::Server { Role::Client } else { Role::Server };
        let mut pair = Pair::open(&limits(), quiet, quiet);
        let large: Vec<u8> = Rng(1).bytes(800_000);
        pair.side(role).outbox().binary(&large).unwrap();
        pair.carry(role, 100_000, Split::Chops(1000));
        // The sender hears a Ping in the middle; its Pong passes the rest of the message.
        let ping = peer_frame(role, 0x89, b"quick");
        pair.side(role).feed(&ping);
        pair.carry(role, 2 * Frame::CUT, Split::Chops(999));
        assert_eq!(pair.side(other).events.last(), Some(&Recorded::Pong(b"quick".to_vec())));
        pair.settle();
        assert!(pair.side(other).events.contains(&Recorded::Binary(large)));
    }
}

#[test]
fn a_broadcast_reaches_every_connection_in_its_own_pace() {
    let frame = Frame::text(&"to all of you ".repeat(20_000));
    let mut pairs: Vec<_> = (0..10).map(|_| Pair::open(&limits(), quiet, quiet)).collect();
    for (n, pair) in pairs.iter_mut().enumerate() {
        pair.server.outbox().text("before").unwrap();
        pair.server.outbox().send(&frame).unwrap();
        pair.server.outbox().text("behind").unwrap();
        while pair.carry(Role::Server, 1 + n * 5000, Split::Whole) > 0 {
            if n == 0 && pair.client.events.len() == 1 {
                break;
            }
        }
        pair.settle();
        let texts = only_messages(&pair.client.events);
        assert_eq!(texts.len(), 3);
        assert!(*texts[1] == Recorded::Text("to all of you ".repeat(20_000)));
    }
}

#[test]
fn a_close_from_either_end_is_clean_and_behind_what_was_sent() {
    for role in ROLES {
        for most in [1, 100, usize::MAX] {
            let other = if role == Role::Server { Role::Client } else { Role::Server };
            let mut pair = Pair::open(&limits(), quiet, quiet);
            pair.side(role).outbox().binary(&[7; 3000]).unwrap();
            pair.side(role).outbox().close(CloseCode::GOING_AWAY, "later");
            while pair.carry(role, most, Split::Whole) + pair.carry(other, most, Split::Whole) > 0 {
            }
            let local = Recorded::Closed(Cause::Local(CloseCode::GOING_AWAY));
            assert_eq!(pair.side(role).closed(), Some(&local));
            let peer = Recorded::PeerClosed(1001, "later".into());
            assert_eq!(pair.side(other).events, [Recorded::Binary(vec![7; 3000]), peer]);
            assert_eq!(pair.server.end(), End::ShutdownWrite, "the server ends the transport");
            assert_eq!(pair.client.end(), End::Stay);
            pair.client.eof();
            assert_eq!(pair.client.end(), End::Drop);
            pair.server.eof();
            assert_eq!(pair.server.end(), End::Drop);
        }
    }
}

#[test]
fn both_ends_may_close_at_once() {
    let mut pair = Pair::open(&limits(), quiet, quiet);
    pair.client.outbox().close(CloseCode::NORMAL, "client");
    pair.server.outbox().close(CloseCode::GOING_AWAY, "server");
    pair.settle();
    let local = |code| Recorded::Closed(Cause::Local(code));
    assert_eq!(pair.client.events, [local(CloseCode::NORMAL)]);
    assert_eq!(pair.server.events, [local(CloseCode::GOING_AWAY)]);
}

#[test]
fn an_idle_pair_stays_alive_for_a_virtual_day() {
    let mut pair = Pair::open(&Limits::default(), quiet, quiet);
    let day = 24 * 60 * 60 * SECOND;
    let mut pings = 0;
    while pair.client.now - pair.client.start < day {
        let (_, why) = pair.pass_deadline();
        assert_eq!(why, Why::Ping);
        pair.advance(20 * MS);
        pair.settle();
        pings += 1;
        assert!(pair.client.closed().is_none() && pair.server.closed().is_none());
    }
    // One every 25 s at the most, from whichever end is silent longer.
    assert!((3000..8000).contains(&pings), "{pings} pings");
    assert_eq!(pair.client.connection.retained() + pair.server.connection.retained(), 0);
}

#[test]
fn a_cut_wire_is_noticed_by_both_ends_within_a_minute() {
    let mut pair = Pair::open(&Limits::default(), quiet, quiet);
    for role in ROLES {
        let subject = pair.side(role);
        while subject.closed().is_none() {
            subject.pass_deadline();
            subject.flush();
        }
        assert!(subject.now - subject.start <= 60 * SECOND);
        assert_eq!(subject.events.last(), Some(&Recorded::Closed(Cause::Timeout(Why::Pong))));
    }
}
