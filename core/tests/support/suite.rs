//! A case of the field's conformance suite: what the tester sends, what must come back, how it ends.

use super::*;

/// How a case ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The tester closes with 1000 after the last event, and gets 1000 back.
    Clean,
    /// The tester's bytes hold a Close; the answer carries this code, or none.
    Answered(Option<u16>),
    /// The connection fails with this code.
    Fails(u16),
}

/// One row of a table. `sends` are the tester's frames as bytes.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub sends: Vec<Sent>,
    pub expect: Vec<Wire>,
    pub ending: Ending,
}

/// A frame of the tester: its first byte and its payload.
pub type Sent = (u8, Vec<u8>);

pub fn case(name: impl Into<String>, sends: &[(u8, &[u8])], expect: &[Wire], end: Ending) -> Case {
    Case {
        name: name.into(),
        sends: sends.iter().map(|(first, payload)| (*first, payload.to_vec())).collect(),
        expect: expect.to_vec(),
        ending: end,
    }
}

/// Limits for an echo that stands before the suite.
pub fn suite_limits() -> Limits {
    Limits {
        message: 16 << 20,
        fragments: u32::MAX,
        outbox: 64 << 20,
        outbox_pause: 64 << 20,
        ..Limits::default()
    }
}

/// Runs a case in both roles and every split, per frame first.
pub fn run(case: &Case) {
    for role in ROLES {
        run_case(case, role, None);
        for split in Split::ALL {
            run_case(case, role, Some(split));
        }
    }
}

/// `None` sends frame by frame.
pub fn run_case(case: &Case, role: Role, split: Option<Split>) {
    let label = format!("{} as {role:?}, {split:?}", case.name);
    let mut subject = Subject::open(role, suite_limits());
    let frames: Vec<_> =
        case.sends.iter().map(|(first, payload)| subject.peer(*first, payload)).collect();
    match split {
        Some(split) => subject.feed_split(&frames.concat(), split),
        None => frames.iter().for_each(|frame| subject.feed(frame)),
    }
    let mut sent = subject.frames();
    if case.ending == Ending::Clean {
        assert_eq!(subject.closed(), None, "{label}");
        assert_eq!(messages(&sent), case.expect, "{label}");
        subject.hears(0x88, &close_payload(1000, ""));
        sent = subject.frames();
        assert_eq!(sent.len(), 1, "{label}");
        assert_eq!(sent[0].close_code(), Some(1000), "{label}");
        assert_eq!(subject.closed(), Some(&Recorded::PeerClosed(1000, String::new())), "{label}");
        ends_clean(&mut subject, &label);
        return;
    }
    let close = sent.pop().unwrap_or_else(|| panic!("no Close: {label}"));
    assert_eq!(messages(&sent), case.expect, "{label}");
    match case.ending {
        Ending::Fails(code) => {
            assert_eq!(close.close_code(), Some(code), "{label}");
            assert!(matches!(subject.closed(), Some(Recorded::Closed(_))), "{label}");
            assert_eq!(subject.end(), End::ShutdownWrite, "{label}");
            subject.hears(0x88, &close_payload(1000, ""));
            subject.eof();
            assert_eq!(subject.end(), End::Drop, "{label}");
        }
        _ => {
            let Ending::Answered(code) = case.ending else { unreachable!() };
            assert_eq!(close.close_code(), code, "{label}");
            assert!(matches!(subject.closed(), Some(Recorded::PeerClosed(..))), "{label}");
            ends_clean(&mut subject, &label);
        }
    }
}

/// After a clean close the server ends the transport first (RFC 6455 section 7.1.1).
pub fn ends_clean(subject: &mut Subject, label: &str) {
    let expected = if subject.role == Role::Server { End::ShutdownWrite } else { End::Stay };
    assert_eq!(subject.end(), expected, "{label}");
    assert_eq!(subject.take_output(), b"", "{label}");
    subject.eof();
    assert_eq!(subject.end(), End::Drop, "{label}");
    assert_eq!(subject.connection.retained(), 0, "{label}");
}

/// Bytes from hex digits.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
