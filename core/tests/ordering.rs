//! What leaves in which order: pongs, pings and closes among data, for every way the transport takes
//! bytes.

mod support;
use moorline_core::*;
use support::*;

/// A payload that says what it is and where it stands.
fn data(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + n) as u8).collect()
}

#[test]
fn pongs_keep_their_order_among_replies_while_the_peer_reads() {
    for role in ROLES {
        let mut subject = Subject::open(role, Limits::default());
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for n in 0..200 {
            let ping = format!("ping {n}");
            stream.extend(subject.peer(0x89, ping.as_bytes()));
            expected.push(Wire::pong(ping));
            if n % 3 == 0 {
                stream.extend(subject.peer(0x82, &data(n, n)));
                expected.push(Wire::binary(data(n, n)));
            }
        }
        subject.feed(&stream);
        assert_eq!(subject.frames(), expected);
    }
}

#[test]
fn only_the_latest_pong_waits_for_a_peer_that_does_not_read() {
    for role in ROLES {
        let mut subject = Subject::open(role, Limits::default());
        subject.hears(0x82, &data(0, 1000));
        subject.write(10);
        for n in 0..50 {
            subject.hears(0x89, format!("ping {n}").as_bytes());
        }
        assert_eq!(subject.frames(), [Wire::binary(data(0, 1000)), Wire::pong("ping 49")]);
        subject.hears(0x89, b"again");
        assert_eq!(subject.frames(), [Wire::pong("again")], "once it reads, all are answered");
    }
}

#[test]
fn a_pong_that_came_while_another_was_half_written_is_sent() {
    for role in ROLES {
        let mut subject = Subject::open(role, Limits::default());
        subject.hears(0x82, &data(0, 100));
        subject.write(10);
        subject.hears(0x89, b"first");
        let frame = peer_frame(
            if role == Role::Server { Role::Client } else { Role::Server },
            0x82,
            &data(0, 100),
        )
        .len();
        subject.write(frame - 10 + 3);
        subject.hears(0x89, b"second");
        let expected = [Wire::binary(data(0, 100)), Wire::pong("first"), Wire::pong("second")];
        assert_eq!(subject.frames(), expected);
    }
}

#[test]
fn control_frames_pass_queued_data_at_the_next_frame_boundary() {
    // What is queued: owned and shared, small and large, in every mixture; the transport takes
    // `chop` bytes at a time.
    for role in ROLES {
        for seed in 0..600 {
            let mut rng = Rng(seed);
            let chop = [1, 2, 3, 5, 11, 100, 4096, 65_536, 70_000][rng.below(9)];
            let mut subject = Subject::open_with(role, Limits::default(), quiet);
            let mut sent = Vec::new();
            let sizes: &[usize] = if chop < 100 {
                &[0, 1, 125, 126, 600, 5000]
            } else {
                &[0, 125, 126, 5000, 65_536, 65_537, 150_000]
            };
            for n in 0..1 + rng.below(6) {
                let payload = data(n, sizes[rng.below(sizes.len())]);
                match rng.below(3) {
                    0 => subject.outbox().binary(&payload).unwrap(),
                    _ => subject.outbox().send(&Frame::binary(&payload)).unwrap(),
                }
                sent.push(Wire::binary(&payload));
                if rng.chance(2) {
                    subject.write(chop);
                }
            }
            let mut pings = Vec::new();
            while !subject.outbox().is_empty() {
                if rng.chance(3) && subject.output.len() < 2000 {
                    let ping = format!("{}", pings.len());
                    subject.hears(0x89, ping.as_bytes());
                    pings.push(ping);
                }
                let queued = subject.outbox().queued();
                let taken = subject.write(1 + rng.below(chop));
                assert!(taken > 0);
                assert_eq!(subject.outbox().queued(), queued_after(&mut subject, queued, taken));
            }
            let frames = messages(&subject.frames());
            let (pongs, data): (Vec<_>, Vec<_>) =
                frames.into_iter().partition(|frame| frame.opcode == 10);
            assert!(data == sent, "seed {seed}: data is changed or out of order");
            // Each Pong is one that was asked for. One that stands among the data already may be
            // passed by a later one; none comes twice, and the last is answered.
            let mut numbers: Vec<usize> = pongs
                .iter()
                .map(|pong| String::from_utf8_lossy(&pong.payload).parse().unwrap())
                .collect();
            numbers.sort_unstable();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
            if let Some(last) = pings.len().checked_sub(1) {
                assert!(numbers.contains(&last), "seed {seed}: {numbers:?} without {last}");
            }
        }
    }
}

/// What is queued can only shrink by what was taken, unless a pending Pong is now counted in full.
fn queued_after(subject: &mut Subject, before: usize, taken: usize) -> usize {
    let now = subject.outbox().queued();
    assert!(now + taken >= before, "{before} - {taken} became {now}");
    assert!(now + taken <= before + 2 * 135, "{before} - {taken} became {now}");
    now
}

#[test]
fn a_ping_waits_for_at_most_one_cut_of_a_large_message() {
    for role in ROLES {
        for shared in [false, true] {
            let mut subject = Subject::open_with(role, Limits::default(), quiet);
            let payload = data(1, 1_000_000);
            match shared {
                true => subject.outbox().send(&Frame::binary(&payload)).unwrap(),
                false => subject.outbox().binary(&payload).unwrap(),
            }
            subject.write(70_000);
            subject.hears(0x89, b"now");
            let frames = subject.frames();
            let at = frames.iter().position(|frame| frame.opcode == 10).unwrap();
            assert_eq!(at, 2, "behind the frame that was under way");
            assert!(frames.iter().all(|frame| frame.payload.len() <= Frame::CUT));
            let message: Vec<_> = messages(&frames);
            assert!(message.contains(&Wire::binary(&payload)));
        }
    }
}

#[test]
fn a_pong_passes_megabytes_that_no_write_was_tried_with() {
    for role in ROLES {
        let mut subject = Subject::open_with(role, Limits::default(), quiet);
        subject.outbox().binary(&data(1, 500_000)).unwrap();
        subject.hears(0x89, b"first");
        assert_eq!(subject.frames()[0], Wire::pong("first"));
    }
}

#[test]
fn our_ping_passes_data_at_every_place_of_a_partial_write() {
    for role in ROLES {
        for shared in [false, true] {
            for cut in 0..30 {
                let limits = Limits { drain_within: std::time::Duration::MAX, ..Limits::default() };
                let mut subject = Subject::open_with(role, limits, quiet);
                for n in 0..3 {
                    match shared {
                        true => subject.outbox().send(&Frame::binary(&data(n, 6))).unwrap(),
                        false => subject.outbox().binary(&data(n, 6)).unwrap(),
                    }
                }
                subject.write(cut);
                let blocked = !subject.outbox().is_empty();
                assert_eq!(subject.pass_deadline(), Why::Ping);
                subject.hears(0x89, b"x");
                let frames = subject.frames();
                let size = if role == Role::Client { 12 } else { 8 };
                let behind = if blocked { cut.div_ceil(size) } else { 3 };
                assert_eq!(frames[behind], Wire::ping(), "cut {cut}: {frames:?}");
                assert_eq!(frames[behind + 1], Wire::pong("x"));
                assert_eq!(frames.len(), 5);
            }
        }
    }
}

#[test]
fn a_failure_does_not_wait_behind_megabytes_and_ends_the_frame_under_way() {
    for role in ROLES {
        for shared in [false, true] {
            for written in [0, 1, 5, 9, 10, 11, 14, 15, 65_545, 65_546, 65_550, 100_000, 131_092] {
                let mut subject = Subject::open_with(role, Limits::default(), quiet);
                let payload = data(1, 1_000_000);
                match shared {
                    true => subject.outbox().send(&Frame::binary(&payload)).unwrap(),
                    false => subject.outbox().binary(&payload).unwrap(),
                }
                subject.write(written);
                subject.hears(0x89, b"a pong that is not needed any more");
                subject.hears(0xFF, b"");
                let most = Frame::CUT + 14 + 64;
                assert!(subject.outbox().queued() <= most, "{}", subject.outbox().queued());
                assert!(subject.connection.retained() <= 3 * most);
                let frames = subject.frames();
                assert_eq!(frames.last().unwrap().close_code(), Some(1002), "{written}");
                let sent: Vec<u8> = frames
                    .iter()
                    .filter(|f| f.opcode < 8)
                    .flat_map(|f| f.payload.clone())
                    .collect();
                assert!(payload.starts_with(&sent), "{written}");
            }
        }
    }
}

#[test]
fn a_failure_inside_a_half_written_pong_ends_the_pong_first() {
    for role in ROLES {
        for more in 1..7 {
            let mut subject = Subject::open_with(role, Limits::default(), quiet);
            let header = if role == Role::Client { 6 } else { 2 };
            subject.outbox().binary(b"12345678").unwrap();
            subject.outbox().send(&Frame::binary(&data(0, 9000))).unwrap();
            subject.write(3);
            subject.hears(0x89, b"pong");
            subject.write(header + 8 - 3 + more);
            subject.hears(0xFF, b"");
            while !subject.outbox().is_empty() {
                assert_eq!(subject.write(1), 1);
            }
            let frames = subject.frames();
            assert_eq!(frames[..2], [Wire::binary("12345678"), Wire::pong("pong")]);
            // All of the Pong had left when it is just two bytes of header long.
            assert_eq!(frames.last().unwrap().close_code(), Some(1002), "{more}");
        }
    }
}

#[test]
fn a_close_of_the_application_waits_for_what_is_queued() {
    for role in ROLES {
        let mut subject = Subject::open_with(role, Limits::default(), quiet);
        let payload = data(3, 900_000);
        subject.outbox().send(&Frame::binary(&payload)).unwrap();
        subject.write(1000);
        subject.outbox().close(CloseCode::NORMAL, "done");
        assert_eq!(subject.outbox().text("late"), Err(SendError::NotOpen));
        let frames = messages(&subject.frames());
        let close = Wire::new(8, close_payload(1000, "done"));
        assert!(frames == [Wire::binary(&payload), close]);
    }
}

#[test]
fn the_answer_to_a_close_does_not_wait_behind_megabytes() {
    for role in ROLES {
        let mut subject = Subject::open_with(role, Limits::default(), quiet);
        subject.outbox().binary(&data(3, 900_000)).unwrap();
        subject.write(1000);
        subject.hears(0x88, &close_payload(1001, "gone"));
        let frames = subject.frames();
        assert_eq!(frames.len(), 2, "the frame under way, and the Close");
        assert_eq!(frames[1].close_code(), Some(1001));
    }
}

#[test]
fn the_101_answer_goes_before_every_frame_however_it_is_written() {
    fn greet(event: &Event<'_>, outbox: &mut Outbox) {
        echo(event, outbox);
        if let Event::Open = event {
            outbox.text("welcome").unwrap();
            outbox.send(&Frame::binary(&[1; 5000])).unwrap();
        }
    }
    for chop in [1, 3, 50, 129, 130, 1000] {
        let mut subject = Subject::server(Limits::default(), greet);
        subject.feed(&[REQUEST, &peer_frame(Role::Server, 0x89, b"early")].concat());
        let mut pinged = 0;
        while !subject.outbox().is_empty() {
            subject.write(chop);
            if pinged < 3 {
                pinged += 1;
                subject.hears(0x89, b"ping");
            }
        }
        let output = std::mem::take(&mut subject.output);
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(output.starts_with(b"HTTP/1.1 101 "));
        let frames = parse_frames(Role::Server, &output[end..]);
        assert!(frames.contains(&Wire::text("welcome")));
        assert!(frames.contains(&Wire::binary([1; 5000])));
        assert!(frames.contains(&Wire::pong("early")));
        assert!(frames.contains(&Wire::pong("ping")));
    }
}

#[test]
fn a_lent_buffer_comes_back_when_everything_left_and_stays_while_it_has_not() {
    let mut spare = Vec::with_capacity(10_000);
    let storage = spare.as_ptr();
    let mut subject = Subject::open(Role::Server, Limits::default());
    subject.outbox().lend(&mut spare);
    subject.hears(0x81, b"hello");
    assert_eq!(subject.frames(), [Wire::text("hello")]);
    subject.outbox().reclaim(&mut spare);
    assert_eq!((spare.as_ptr(), spare.capacity()), (storage, 10_000));
    assert_eq!(subject.connection.retained(), 0);

    subject.outbox().lend(&mut spare);
    subject.hears(0x81, b"hello");
    subject.write(3);
    subject.outbox().reclaim(&mut spare);
    assert_eq!(spare.capacity(), 0);
    assert!(subject.connection.retained() > 0);
    assert_eq!(subject.frames(), [Wire::text("hello")]);
    assert_eq!(subject.connection.retained(), 0);
}

#[test]
fn a_lent_buffer_may_go_back_while_a_control_frame_is_half_written() {
    let mut spare = Vec::with_capacity(1000);
    let mut subject = Subject::open(Role::Server, Limits::default());
    subject.outbox().lend(&mut spare);
    subject.hears(0x81, b"hello");
    subject.write(3);
    subject.hears(0x89, b"ping");
    subject.write(4 + 2);
    subject.outbox().reclaim(&mut spare);
    subject.hears(0x81, b"more");
    let expected = [Wire::text("hello"), Wire::pong("ping"), Wire::text("more")];
    assert_eq!(subject.frames(), expected);
}

#[test]
fn few_slices_are_enough() {
    for role in ROLES {
        let mut subject = Subject::open_with(role, Limits::default(), quiet);
        let mut sent = Vec::new();
        for n in 0..40 {
            subject.outbox().send(&Frame::binary(&data(n, 5000))).unwrap();
            subject.outbox().binary(&data(n, 3)).unwrap();
            sent.extend([Wire::binary(data(n, 5000)), Wire::binary(data(n, 3))]);
        }
        let mut output = Vec::new();
        while !subject.outbox().is_empty() {
            let now = subject.now;
            let mut slices = [std::io::IoSlice::new(&[]); 2];
            let outbox = subject.connection.outbox(now);
            let filled = outbox.slices(&mut slices);
            slices[..filled].iter().for_each(|slice| output.extend_from_slice(slice));
            let count = slices[..filled].iter().map(|slice| slice.len()).sum();
            outbox.written(now, count);
        }
        assert!(parse_frames(role, &output) == sent);
    }
}
