//! What the field's conformance suite asks of the closing handshake, and the codes it leaves out.

mod support;
use moorline_core::*;
use support::suite::*;
use support::*;

const HELLO: &[u8] = b"Hello World!";

fn code(code: u16) -> Vec<u8> {
    close_payload(code, "")
}

#[test]
fn a_close_after_an_echo_is_clean() {
    run(&case("7.1.1", &[(0x81, HELLO)], &[Wire::text(HELLO)], Ending::Clean));
}

#[test]
fn what_follows_a_close_is_ignored() {
    let close = code(1000);
    let ending = Ending::Answered(Some(1000));
    for (name, after) in [
        ("7.1.2", (0x88, &b""[..])),
        ("7.1.3", (0x89, b"")),
        ("7.1.4", (0x81, HELLO)),
        ("a bad frame", (0xFF, HELLO)),
        ("bad text", (0x81, b"\xff")),
    ] {
        run(&case(name, &[(0x88, &close), after], &[], ending.clone()));
    }
    let inside = [(0x01, &b"fragment1"[..]), (0x88, &close), (0x80, b"fragment2")];
    run(&case("7.1.5", &inside, &[], ending));
}

#[test]
fn a_close_behind_a_large_message_is_answered() {
    let large = vec![b'x'; 256 << 10];
    for role in ROLES {
        let mut subject = Subject::open(role, suite_limits());
        let frames = [(0x81, &large[..]), (0x81, HELLO), (0x88, &code(1000)), (0x89, b"")];
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(first, data)| subject.peer(*first, data)).collect();
        subject.feed(&bytes);
        let frames = subject.frames();
        assert_eq!(frames.last().and_then(Wire::close_code), Some(1000));
    }
}

#[test]
fn every_valid_payload_gets_its_own_code_back() {
    run(&case("7.3.1", &[(0x88, b"")], &[], Ending::Answered(None)));
    let long = "*".repeat(123);
    for (name, reason) in [("7.3.3", ""), ("7.3.4", "Hello World!"), ("7.3.5", &long)] {
        let payload = close_payload(1000, reason);
        run(&case(name, &[(0x88, &payload)], &[], Ending::Answered(Some(1000))));
    }
    for value in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        let ending = Ending::Answered(Some(value));
        run(&case(format!("7.7 {value}"), &[(0x88, &code(value))], &[], ending));
    }
}

#[test]
fn payloads_that_may_not_be_fail() {
    run(&case("7.3.2", &[(0x88, b"a")], &[], Ending::Fails(1002)));
    let long = close_payload(1000, &"*".repeat(124));
    run(&case("7.3.6", &[(0x88, &long)], &[], Ending::Fails(1002)));
    let bad = [&code(1000)[..], &hex("cebae1bdb9cf83cebcceb5eda080656469746564")].concat();
    run(&case("7.5.1", &[(0x88, &bad)], &[], Ending::Fails(1007)));
    for value in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let case = case(format!("7.9 {value}"), &[(0x88, &code(value))], &[], Ending::Fails(1002));
        run(&case);
    }
}

#[test]
fn all_codes_up_to_5000_are_answered_as_the_registry_has_them() {
    for value in 0..=5000 {
        let role = ROLES[usize::from(value % 2)];
        let mut subject = Subject::open(role, Limits::default());
        subject.hears(0x88, &code(value));
        let valid = matches!(value, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let (answer, cause) = if valid {
            (value, Recorded::PeerClosed(value, String::new()))
        } else {
            let error = ProtocolError::InvalidCloseCode(value);
            (1002, Recorded::Closed(Cause::Protocol(error)))
        };
        assert_eq!(subject.events, [cause]);
        assert_eq!(subject.frames()[0].close_code(), Some(answer));
    }
}

#[test]
fn the_reason_reaches_the_application() {
    for role in ROLES {
        for split in Split::ALL {
            let mut subject = Subject::open(role, Limits::default());
            let frame = subject.peer(0x88, &close_payload(4001, "später ☂"));
            subject.feed_split(&frame, split);
            assert_eq!(subject.events, [Recorded::PeerClosed(4001, "später ☂".into())]);
        }
    }
}
