//! What the field's conformance suite asks of frames: lengths, pings, reserved bits, opcodes, sizes;
//! and what it is blind to: contents, masking, the form of a length.

mod support;
use moorline_core::*;
use support::suite::*;
use support::*;

const HELLO: &[u8] = b"Hello, world!";
const BYTES: &[u8] = &[0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF];

#[test]
fn messages_of_every_length_form_come_back() {
    for (group, first, byte) in [(1, 0x81, b'*'), (2, 0x82, 0xFE)] {
        for (n, len) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
            let payload = vec![byte; len];
            let echo = Wire::new(first & 0x0F, &payload);
            run(&case(
                format!("1.{group}.{}", n + 1),
                &[(first, &payload)],
                &[echo],
                Ending::Clean,
            ));
        }
        let payload = vec![byte; 65_536];
        let case = case("in chops", &[(first, &payload)], &[], Ending::Clean);
        let case = Case { expect: vec![Wire::new(first & 0x0F, &payload)], ..case };
        for role in ROLES {
            run_case(&case, role, Some(Split::Chops(997)));
        }
    }
}

#[test]
fn pings_are_answered_with_their_payload_and_in_order() {
    let long = [0xFE; 125];
    for (name, payload) in [("2.1", &b""[..]), ("2.2", HELLO), ("2.3", BYTES), ("2.4", &long)] {
        run(&case(name, &[(0x89, payload)], &[Wire::pong(payload)], Ending::Clean));
    }
    let pings: Vec<_> = (0..10).map(|n| format!("payload-{n}")).collect();
    let sends: Vec<_> = pings.iter().map(|ping| (0x89, ping.as_bytes())).collect();
    let pongs: Vec<_> = pings.iter().map(Wire::pong).collect();
    run(&case("2.10", &sends, &pongs, Ending::Clean));
}

#[test]
fn a_ping_of_126_bytes_fails_without_a_pong() {
    run(&case("2.5", &[(0x89, &[0xFE; 126])], &[], Ending::Fails(1002)));
}

#[test]
fn unasked_pongs_change_nothing() {
    let unasked = b"unsolicited pong payload";
    let close = close_payload(1000, "");
    let answered = Ending::Answered(Some(1000));
    run(&case("2.7", &[(0x8A, b""), (0x88, &close)], &[], answered.clone()));
    run(&case("2.8", &[(0x8A, unasked), (0x88, &close)], &[], answered));
    let ping = b"ping payload";
    run(&case("2.9", &[(0x8A, unasked), (0x89, ping)], &[Wire::pong(ping)], Ending::Clean));
}

#[test]
fn reserved_bits_fail_after_what_came_before() {
    let fails = Ending::Fails(1002);
    let echo = [Wire::text(HELLO)];
    run(&case("3.1", &[(0x91, HELLO)], &[], fails.clone()));
    for (name, first) in [("3.2", 0xA1), ("3.3", 0xB1), ("3.4", 0xC1)] {
        let sends = [(0x81, HELLO), (first, HELLO), (0x89, b"")];
        run(&case(name, &sends, &echo, fails.clone()));
    }
    run(&case("3.5", &[(0xD2, BYTES)], &[], fails.clone()));
    run(&case("3.6", &[(0xE2, HELLO)], &[], fails.clone()));
    run(&case("3.6 as its text says", &[(0xE9, HELLO)], &[], fails.clone()));
    run(&case("3.7", &[(0xF8, b"")], &[], fails));
}

#[test]
fn reserved_opcodes_fail_after_what_came_before() {
    let fails = Ending::Fails(1002);
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let first = 0x80 | opcode;
        for payload in [&b""[..], b"reserved opcode payload"] {
            run(&case(format!("4 opcode {opcode}"), &[(first, payload)], &[], fails.clone()));
        }
        for payload in [&b""[..], HELLO] {
            let sends = [(0x81, HELLO), (first, payload), (0x89, b"")];
            let echo = [Wire::text(HELLO)];
            run(&case(format!("4 text, opcode {opcode}"), &sends, &echo, fails.clone()));
        }
    }
}

/// A frame is echoed with its very bytes, which the suite does not compare.
fn large(first: u8, payload: &[u8], role: Role, split: Split) {
    let case = case(
        format!("9 of {}", payload.len()),
        &[(first, payload)],
        &[Wire::new(first & 0x0F, payload)],
        Ending::Clean,
    );
    run_case(&case, role, Some(split));
}

#[test]
fn large_messages_come_back_byte_for_byte() {
    for size in [64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20] {
        let text: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(size).collect();
        let data: Vec<u8> = [0, 0xFE, 0x23, 0xFA, 0xF0].into_iter().cycle().take(size).collect();
        for role in ROLES {
            large(0x81, &text, role, Split::Whole);
            large(0x82, &data, role, Split::Chops(100_000));
        }
    }
}

#[test]
fn a_megabyte_in_chops_comes_back_byte_for_byte() {
    let text: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(1 << 20).collect();
    let mixed = "aé日\u{10FFFF}".repeat((1 << 20) / 10).into_bytes();
    for role in ROLES {
        for chop in [1, 64, 128, 256, 512, 1024, 2048] {
            large(0x81, &text, role, Split::Chops(chop));
            large(0x82, &text, role, Split::Chops(chop + 1));
            large(0x81, &mixed, role, Split::Chops(chop + 2));
        }
    }
}

#[test]
fn four_megabytes_in_fragments_come_back_byte_for_byte() {
    let payload: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(4 << 20).collect();
    let sizes = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
    for (first, size) in [0x01, 0x02].into_iter().flat_map(|first| sizes.map(|size| (first, size)))
    {
        let mut sends: Vec<Sent> = Vec::new();
        for piece in payload.chunks(size) {
            sends.push((if sends.is_empty() { first } else { 0x00 }, piece.to_vec()));
        }
        // The suite ends an exact multiple with an empty frame.
        sends.push((0x80, Vec::new()));
        let expect = vec![Wire::new(first, &payload)];
        let name = format!("9.3 in {size}");
        let case = Case { name, sends, expect, ending: Ending::Clean };
        for role in ROLES {
            run_case(&case, role, Some(Split::Chops(65_536)));
        }
    }
}

#[test]
fn a_thousand_messages_in_lock_step_come_back() {
    for role in ROLES {
        let mut subject = Subject::open(role, suite_limits());
        for size in [0, 16, 64, 256, 1024, 4096] {
            for first in [0x81, 0x82] {
                let payload = vec![b'x'; size];
                for _ in 0..1000 {
                    subject.hears(first, &payload);
                    assert_eq!(subject.frames(), [Wire::new(first & 0x0F, &payload)]);
                    subject.events.clear();
                }
            }
        }
    }
}

#[test]
fn an_unmasked_client_and_a_masked_server_are_refused_at_the_second_byte() {
    for role in ROLES {
        let wrong = if role == Role::Server { None } else { Some([1, 2, 3, 4]) };
        let error = match role {
            Role::Server => ProtocolError::Unmasked,
            Role::Client => ProtocolError::Masked,
        };
        for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8A] {
            for split in Split::ALL {
                let mut subject = Subject::open(role, Limits::default());
                subject.feed_split(&frame(first, wrong, b"")[..2], split);
                assert_eq!(subject.events, [Recorded::Closed(Cause::Protocol(error))]);
                assert_eq!(subject.frames()[0].close_code(), Some(1002));
            }
        }
    }
}

#[test]
fn a_mask_of_zeros_is_a_mask() {
    let mut subject = Subject::open(Role::Server, Limits::default());
    subject.feed(&frame(0x81, Some([0; 4]), b"plain"));
    assert_eq!(subject.frames(), [Wire::text("plain")]);
}

#[test]
fn a_length_that_is_not_minimal_or_has_its_top_bit_set_fails() {
    let short = |len: u16| [&[126][..], &len.to_be_bytes()].concat();
    let long = |len: u64| [&[127][..], &len.to_be_bytes()].concat();
    let mut rows = Vec::new();
    for len in [0, 1, 125] {
        rows.push((short(len), ProtocolError::NonMinimalLength));
    }
    for len in [0, 125, 126, 65_535] {
        rows.push((long(len), ProtocolError::NonMinimalLength));
    }
    for len in [1 << 63, u64::MAX, 1 << 63 | 5] {
        rows.push((long(len), ProtocolError::HugeLength));
    }
    for (mut length, error) in rows {
        for role in ROLES {
            let masked = if role == Role::Server { 0x80 } else { 0 };
            length[0] = length[0] & 0x7F | masked;
            for first in [0x81, 0x82, 0x02] {
                for split in Split::ALL {
                    let mut subject = Subject::open(role, suite_limits());
                    // Without the masking key: the length alone is enough.
                    subject.feed_split(&[&[first], &length[..]].concat(), split);
                    let cause = Recorded::Closed(Cause::Protocol(error));
                    assert_eq!(subject.events, [cause], "{length:?} {split:?}");
                    assert_eq!(subject.frames()[0].close_code(), Some(1002));
                }
            }
        }
    }
}
