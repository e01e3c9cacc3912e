//! What the field's conformance suite asks of text: valid text comes back, invalid text fails with
//! 1007 at its first wrong byte.

mod support;
use moorline_core::*;
use support::suite::*;
use support::*;

/// As one frame, and as frames of one byte each.
fn check(name: &str, payload: &[u8], valid: bool) {
    let ending = if valid { Ending::Clean } else { Ending::Fails(1007) };
    let expect = if valid { vec![Wire::text(payload)] } else { Vec::new() };
    assert_eq!(std::str::from_utf8(payload).is_ok(), valid, "{name}: {payload:x?}");
    run(&case(name, &[(0x81, payload)], &expect, ending.clone()));
    let mut sends: Vec<Sent> = payload.iter().map(|byte| (0x00, vec![*byte])).collect();
    if let Some(first) = sends.first_mut() {
        first.0 = 0x01;
        sends.push((0x80, Vec::new()));
        run(&Case { name: format!("{name} in bytes"), sends, expect, ending });
    }
}

fn all(name: &str, payloads: &[&str], valid: bool) {
    for digits in payloads {
        check(name, &hex(digits), valid);
    }
}

const KOSME: &str = "cebae1bdb9cf83cebcceb5";

#[test]
fn valid_text_comes_back() {
    let long = "48656c6c6f2dc2b540c39fc3b6c3a4c3bcc3a0c3a12d5554462d382121";
    all("6.2", &[long, KOSME], true);
    let bytes = hex(long);
    let sends = [(0x01, &bytes[..15]), (0x80, &bytes[15..])];
    run(&case("6.2.2", &sends, &[Wire::text(&bytes)], Ending::Clean));
    for inner in ["24", "c2a2", "e282ac", "f0a4ada2"] {
        check("6.5", &[b"hello", &hex(inner)[..], b"world"].concat(), true);
    }
    all("6.7", &["00", "c280", "e0a080", "f0908080"], true);
    all("6.9", &["7f", "dfbf", "efbfbf", "f48fbfbf"], true);
    all("6.11", &["ed9fbf", "ee8080", "efbfbd", "f48fbfbf"], true);
    for last in 0xB9..=0xBF {
        check("6.23", &[0xEF, 0xBF, last], true);
    }
}

#[test]
fn noncharacters_are_valid() {
    all("6.22", &["efbfbe", "efbfbf"], true);
    let mut count = 2;
    for lead in 0xF0..=0xF4 {
        for second in [0x8F, 0x9F, 0xAF, 0xBF] {
            let overlong = lead == 0xF0 && second == 0x8F;
            let beyond = lead == 0xF4 && second != 0x8F;
            if !overlong && !beyond {
                check("6.22", &[lead, second, 0xBF, 0xBE], true);
                check("6.22", &[lead, second, 0xBF, 0xBF], true);
                count += 2;
            }
        }
    }
    assert_eq!(count, 34);
}

#[test]
fn a_prefix_is_valid_only_at_a_code_point() {
    let word = hex(KOSME);
    for len in 1..=word.len() {
        check("6.6", &word[..len], [2, 5, 7, 9, 11].contains(&len));
    }
}

#[test]
fn sequences_of_five_and_six_bytes_are_invalid() {
    all("6.8", &["f888808080", "fc8480808080"], false);
    all("6.10", &["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf", "f4908080"], false);
}

#[test]
fn lonely_continuation_bytes_are_invalid() {
    let lone = ["80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"];
    all("6.12", &lone, false);
    check("6.12.8", &(0x80..=0xBE).collect::<Vec<u8>>(), false);
}

#[test]
fn lonely_start_bytes_are_invalid() {
    for range in [0xC0..=0xDE, 0xE0..=0xEE, 0xF0..=0xF6, 0xF8..=0xFA, 0xFC..=0xFC] {
        let joined: Vec<u8> = range.flat_map(|byte| [byte, 0x20]).collect();
        check("6.13", &joined, false);
    }
}

#[test]
fn sequences_without_their_last_byte_are_invalid() {
    let cut = [
        "c0",
        "e080",
        "f08080",
        "f8808080",
        "fc80808080",
        "df",
        "efbf",
        "f7bfbf",
        "fbbfbfbf",
        "fdbfbfbfbf",
    ];
    all("6.14", &cut, false);
    check("6.15", &hex(&cut.concat()), false);
    all("6.16", &["fe", "ff", "fefeffff"], false);
}

#[test]
fn overlong_forms_are_invalid() {
    all("6.17", &["c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"], false);
    all("6.18", &["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"], false);
    all("6.19", &["c080", "e08080", "f0808080", "f880808080", "fc8080808080"], false);
}

#[test]
fn surrogates_are_invalid_alone_and_in_pairs() {
    all("6.20", &["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"], false);
    for first in ["eda080", "edadbf", "edae80", "edafbf"] {
        for second in ["edb080", "edbfbf"] {
            check("6.21", &hex(&[first, second].concat()), false);
        }
    }
    check("6.3", &hex(&[KOSME, "eda080", "656469746564"].concat()), false);
}

/// Feeds byte after byte and says behind which one the connection failed.
fn fails_at(role: Role, bytes: &[u8]) -> Option<usize> {
    let mut subject = Subject::open(role, suite_limits());
    for (at, byte) in bytes.iter().enumerate() {
        subject.feed(&[*byte]);
        if let Some(closed) = subject.closed() {
            let cause = Cause::Protocol(ProtocolError::InvalidUtf8);
            assert_eq!(*closed, Recorded::Closed(cause));
            assert_eq!(subject.frames()[0].close_code(), Some(1007));
            return Some(at);
        }
    }
    None
}

#[test]
fn text_fails_at_its_first_wrong_byte_while_the_frame_is_still_arriving() {
    let good = hex(KOSME);
    // What is wrong, and which of its bytes proves it.
    for (wrong, at) in [
        ("f4908080", 1),
        ("eda080", 1),
        ("ff", 0),
        ("80", 0),
        ("c0af", 0),
        ("e080af", 1),
        ("f08080af", 1),
        ("f5808080", 0),
        ("e28228", 2),
        ("f0a4ad41", 3),
    ] {
        let payload = [&good[..], &hex(wrong), b"edited"].concat();
        for role in ROLES {
            let whole = peer_frame(role, 0x81, &payload);
            let header = whole.len() - payload.len();
            assert_eq!(fails_at(role, &whole), Some(header + good.len() + at), "{wrong}");
            // The same in two frames, cut before, inside and behind the sequence.
            for cut in good.len()..good.len() + wrong.len() / 2 {
                let first = peer_frame(role, 0x01, &payload[..cut]);
                let second = peer_frame(role, 0x80, &payload[cut..]);
                let proof = good.len() + at;
                let header = first.len() - cut;
                let expected = if proof < cut { header + proof } else { 2 * header + proof };
                let found = fails_at(role, &[first, second].concat());
                assert_eq!(found, Some(expected), "{wrong} cut at {cut}");
            }
        }
    }
}

#[test]
fn three_parts_fail_with_the_second_one() {
    let (p1, p2, p3) = (hex(KOSME), hex("f4908080"), b"edited");
    for role in ROLES {
        let payload = [&p1[..], &p2, p3].concat();
        let one = peer_frame(role, 0x01, &payload);
        let start = one.len() - payload.len();
        for cuts in [[start + 11, start + 15], [start + 12, start + 13]] {
            let mut subject = Subject::open(role, suite_limits());
            subject.feed(&one[..cuts[0]]);
            subject.advance(SECOND);
            assert_eq!(subject.closed(), None, "still up after the first part");
            subject.feed(&one[cuts[0]..cuts[1]]);
            assert!(subject.closed().is_some(), "failed before the third part");
        }
    }
}

#[test]
fn a_text_that_ends_inside_a_code_point_fails_with_its_last_frame() {
    for role in ROLES {
        let open = peer_frame(role, 0x01, b"abc\xe2\x82");
        assert_eq!(fails_at(role, &open), None);
        let end = peer_frame(role, 0x80, b"");
        assert_eq!(fails_at(role, &[&open[..], &end].concat()), Some(open.len() + end.len() - 1));
    }
}

#[test]
fn binary_messages_are_not_text() {
    run(&case("binary", &[(0x82, b"\xff\xc0")], &[Wire::binary(b"\xff\xc0")], Ending::Clean));
    let sends = [(0x02, &b"\xed"[..]), (0x80, b"\xa0\x80")];
    run(&case("fragments", &sends, &[Wire::binary(b"\xed\xa0\x80")], Ending::Clean));
}
