//! A peer that does not read: how it is given up, and what it can still learn.

mod support;
use moorline_core::*;
use std::time::Duration;
use support::*;

const TOLD: Recorded = Recorded::Closed(Cause::Overflow);

/// An open connection with a megabyte queued, of which the transport took a little and then no more.
fn stuck(role: Role) -> Subject {
    let mut subject = Subject::open_with(role, Limits::default(), quiet);
    for _ in 0..15 {
        subject.outbox().binary(&[7; 64 * 1024]).unwrap();
    }
    subject.write(1000);
    subject.refuse_write();
    subject.take_output();
    subject
}

#[test]
fn giving_up_drops_what_is_queued_and_the_reader_that_wakes_up_learns_why() {
    for role in ROLES {
        let mut subject = stuck(role);
        subject.outbox().give_up();
        assert_eq!(subject.outbox().text("late"), Err(SendError::NotOpen));
        assert!(subject.outbox().queued() < 70_000, "the frame under way and the Close");
        // Outside a turn: the next one, due at once, tells it.
        assert_eq!(subject.connection.wants().wake_at, Some(subject.now));
        subject.wake();
        assert_eq!(subject.events, [TOLD]);
        // A long nap is not too long for the Close.
        subject.advance(Duration::from_secs(30));
        subject.wake();
        assert_eq!(subject.end(), End::Stay);
        subject.flush();
        let output = subject.take_output();
        assert!(output.windows(13).any(|bytes| bytes == b"slow consumer") || role == Role::Client);
        assert_eq!(subject.end(), End::ShutdownWrite);
        assert_eq!(subject.events, [TOLD], "told once");
    }
}

#[test]
fn a_reader_that_never_wakes_up_is_dropped() {
    let mut subject = stuck(Role::Server);
    subject.outbox().give_up();
    subject.wake();
    assert_eq!(subject.pass_deadline(), Why::Close);
    assert_eq!((subject.end(), subject.connection.retained()), (End::Drop, 0));
    assert_eq!(subject.events, [TOLD]);
}

#[test]
fn it_can_be_given_up_inside_a_turn_and_what_follows_is_not_read() {
    fn give_up(event: &Event<'_>, outbox: &mut Outbox) {
        quiet(event, outbox);
        if let Event::Text(_) = event {
            outbox.give_up();
        }
    }
    let mut subject = Subject::open_with(Role::Server, Limits::default(), give_up);
    let two = [subject.peer(0x81, b"one"), subject.peer(0x81, b"two")].concat();
    subject.feed(&two);
    assert_eq!(subject.events, [Recorded::Text("one".into()), TOLD]);
    subject.flush();
    assert_eq!(subject.frames()[0].close_code(), Some(1008));
    subject.eof();
    assert_eq!((subject.end(), subject.events.len()), (End::Drop, 2));
}

#[test]
fn who_stops_the_server_does_not_wait_for_it() {
    let mut subject = stuck(Role::Server);
    subject.outbox().give_up();
    subject.wake();
    subject.connection.close(subject.now, CloseCode::GOING_AWAY, "going away");
    let left = subject.connection.deadline().map(|(at, _)| at - subject.now);
    assert_eq!(left, Some(Limits::default().close_within));
}

#[test]
fn an_end_of_file_after_giving_up_is_still_that_ending() {
    let mut subject = stuck(Role::Server);
    subject.outbox().give_up();
    subject.eof();
    assert_eq!((subject.end(), subject.take_events()), (End::Drop, vec![TOLD]));
}
