//! The message buffer of a loop: who has it, what it costs, and that it always comes back.

mod support;
use moorline_core::*;
use support::*;

/// A connection that hears `bytes` with the loop's buffer.
fn hear(subject: &mut Subject, spare: &mut MessageSpare, bytes: &[u8]) {
    subject.spare = Some(std::mem::take(spare));
    subject.feed(bytes);
    *spare = subject.spare.take().unwrap();
}

fn subject() -> Subject {
    Subject::open_with(Role::Server, Limits { message: 8 << 20, ..Limits::default() }, quiet)
}

/// A masked binary message of `len` bytes in two parts.
fn halves(len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut first = peer_frame(Role::Server, 0x82, &vec![7; len]);
    let second = first.split_off(first.len() / 2);
    (first, second)
}

#[test]
fn the_buffer_is_out_while_a_message_is_open_and_back_when_it_was_handed_out() {
    let (mut subject, mut spare) = (subject(), MessageSpare::default());
    assert_eq!(spare.retained(), 0, "it begins empty");
    let (first, second) = halves(100_000);
    for round in 0..3 {
        hear(&mut subject, &mut spare, &first);
        assert_eq!(spare.retained(), 0);
        assert!(subject.connection.retained() >= 50_000, "round {round}");
        hear(&mut subject, &mut spare, &second);
        assert_eq!(subject.take_events(), [Recorded::Binary(vec![7; 100_000])]);
        assert_eq!(subject.connection.retained(), 0);
        assert!((100_000..110_000).contains(&spare.retained()), "{}", spare.retained());
    }
}

#[test]
fn only_one_connection_holds_more_than_has_arrived() {
    let mut spare = MessageSpare::default();
    let (first, second) = halves(1 << 20);
    let mut others: Vec<_> = (0..10).map(|_| subject()).collect();
    // Each brings a large message and then the beginning of one: many large buffers were made, and all
    // but the one that is lent are gone.
    for subject in &mut others {
        hear(subject, &mut spare, &first);
        hear(subject, &mut spare, &second);
        hear(subject, &mut spare, &first[..20]);
    }
    let held: Vec<_> = others.iter().map(|subject| subject.connection.retained()).collect();
    assert_eq!(held.iter().filter(|held| **held > 1000).count(), 1, "{held:?}");
    assert!(held.iter().sum::<usize>() + spare.retained() <= MessageSpare::MAX + 10 * 1000);
}

#[test]
fn a_connection_that_is_dropped_half_way_takes_nothing_from_the_loop_for_good() {
    let mut spare = MessageSpare::default();
    let (first, second) = halves(100_000);
    let mut lost = subject();
    hear(&mut lost, &mut spare, &first);
    hear(&mut lost, &mut spare, &second);
    hear(&mut lost, &mut spare, &first);
    assert_eq!(spare.retained(), 0, "lent");
    let mut next = subject();
    hear(&mut next, &mut spare, &first);
    drop(lost);
    hear(&mut next, &mut spare, &second);
    assert!(spare.retained() >= 100_000, "the next message brought another");
}

#[test]
fn a_message_that_fails_half_way_gives_the_buffer_back_at_once() {
    let mut spare = MessageSpare::default();
    let (first, second) = halves(100_000);
    let mut good = subject();
    hear(&mut good, &mut spare, &first);
    hear(&mut good, &mut spare, &second);
    let kept = spare.retained();
    let mut bad = subject();
    hear(&mut bad, &mut spare, &peer_frame(Role::Server, 0x01, b"begins well"));
    assert_eq!(spare.retained(), 0);
    hear(&mut bad, &mut spare, &peer_frame(Role::Server, 0x80, b"and then \xff"));
    assert_eq!(bad.closed(), Some(&Recorded::Closed(Cause::Protocol(ProtocolError::InvalidUtf8))));
    bad.flush();
    assert_eq!((spare.retained(), bad.connection.retained()), (kept, 0));
}

#[test]
fn a_buffer_over_the_bound_is_freed_with_its_message() {
    for (len, is_kept) in [(MessageSpare::MAX, true), (MessageSpare::MAX + 1, false)] {
        let (mut subject, mut spare) = (subject(), MessageSpare::default());
        let (first, second) = halves(len);
        hear(&mut subject, &mut spare, &first);
        hear(&mut subject, &mut spare, &second);
        assert_eq!(subject.take_events().len(), 1);
        assert_eq!(spare.retained() > 0, is_kept, "{len} bytes");
        assert_eq!(subject.connection.retained(), 0);
    }
}

#[test]
fn a_buffer_may_come_back_to_another_loop() {
    let (mut here, mut there) = (MessageSpare::default(), MessageSpare::default());
    let (first, second) = halves(100_000);
    let mut moved = subject();
    hear(&mut moved, &mut here, &first);
    hear(&mut moved, &mut here, &second);
    hear(&mut moved, &mut here, &first);
    hear(&mut moved, &mut there, &second);
    assert_eq!(moved.take_events().len(), 2);
    assert!(there.retained() >= 100_000);
    // Nor does the first loop wait for it any longer.
    hear(&mut moved, &mut here, &first);
    hear(&mut moved, &mut here, &second);
    assert!(here.retained() >= 100_000);
}

#[test]
fn nothing_of_a_former_message_shows_in_a_later_one() {
    let mut rng = Rng(11);
    let (mut subject, mut spare) = (subject(), MessageSpare::default());
    for round in 0..300 {
        let len = rng.below(40_000);
        let is_text = rng.chance(2);
        let payload = if is_text { "日ü!".repeat(len / 6).into_bytes() } else { rng.bytes(len) };
        let frame = subject.peer(if is_text { 0x81 } else { 0x82 }, &payload);
        for piece in Split::Random(round).cut(&frame) {
            hear(&mut subject, &mut spare, piece);
        }
        let expected = match is_text {
            true => Recorded::Text(String::from_utf8(payload).unwrap()),
            false => Recorded::Binary(payload),
        };
        assert!(subject.take_events() == [expected], "round {round}");
    }
}
