//! The agreement on extensions, with peers that say anything.

use crate::input::Input;
use crate::offers::{Extension, Terms, elements};
use crate::run::{ANSWER, REQUEST, client, drain_output, epoch, server};
use moorline_core::{Accept, Cause, Connection, Deflate, Event, Limits, UpgradeError};

/// Any offers to a server: the answer is one line of legal characters and may be given to the first
/// offer that can be accepted; offers with unknown, repeated or bad parameters are as good as none, and so
/// is a list that breaks the grammar;
/// when our own client's offer is taken, it accepts the answer and messages pass.
///
/// The input: our settings, our client's, then header values (or a recipe for them).
pub fn extension_offers(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(512)]);
    let (settings, clients) = (input.byte(), input.byte());
    let (limits, client_limits) = (limits(settings), limits(clients));
    let mut values = values(input, settings & 0x80 != 0);
    let mut peer = client(&client_limits);
    let mut request = Vec::new();
    drain_output(&mut peer, &mut request);
    if clients & 0x80 != 0 {
        let request = String::from_utf8(request).expect("a head is text");
        values.push(header(&request, NAME).expect("an offer").into());
    }

    let mut connection = server(&limits);
    let mut bytes = with_headers(REQUEST, &values);
    let mut turn = connection.receive(epoch(), &mut bytes);
    while let Some((event, outbox)) = turn.next_event() {
        match event {
            Event::Request(_) => outbox.accept(&Accept::default()).expect("an upgrade"),
            Event::Open => {}
            Event::Closed(Cause::Upgrade(error)) => {
                let is_text = values.iter().all(|value| is_field_value(value));
                return assert!(!is_text, "refused: {error:?}");
            }
            event => panic!("{event:?}"),
        }
    }
    let mut output = Vec::new();
    drain_output(&mut connection, &mut output);
    let head = String::from_utf8(output.clone()).expect("legal characters");
    let answer = header(&head, NAME).map(|value| {
        assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{value}");
        match &elements(value.as_bytes())[..] {
            [Some(extension)] => Terms::of(extension).expect("a right answer"),
            other => panic!("{other:?}"),
        }
    });

    let config = limits.deflate.as_ref().expect("it compresses");
    let all: Vec<_> = values.iter().flat_map(|value| elements(value)).collect();
    let mut offers = all.iter().flatten().filter_map(acceptable);
    if let Some(answer) = answer {
        let fits = |offer: Terms| answer.answers(&offer) && keeps(&answer, &offer, config);
        assert!(!all.contains(&None), "the list breaks the grammar: {all:?}");
        assert!(offers.next().is_some_and(fits), "{answer:?} to {all:?}");
    } else {
        assert!(all.contains(&None) || offers.next().is_none(), "declined: {all:?}");
    }
    let is_own = all.len() == 1 && clients & 0x80 != 0;
    if is_own {
        assert!(answer.is_some(), "our own offer was declined");
        let mut turn = peer.receive(epoch(), &mut output);
        assert_eq!(turn.next_event().map(|(event, _)| event), Some(Event::Open));
        assert_eq!(turn.next_event().map(|(event, _)| event), None);
        let text = "a text that is long enough to be worth it; ".repeat(100);
        for _ in 0..2 {
            pass(&mut peer, &mut connection, &text);
            pass(&mut connection, &mut peer, &text);
        }
    }
}

/// Any answer to a client's offer: it opens just when the answer is right for what was offered, and
/// understands compressed messages just when compression was agreed on.
///
/// The input: our settings, then header values (or a recipe for them).
pub fn extension_answers(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(512)]);
    let settings = input.byte();
    let limits = limits(settings);
    let values = values(input, settings & 0x80 != 0);
    let mut connection = client(&limits);
    drain_output(&mut connection, &mut Vec::new());
    let mut bytes = with_headers(ANSWER, &values);
    let mut turn = connection.receive(epoch(), &mut bytes);
    let is_open = match turn.next_event() {
        Some((Event::Open, _)) => true,
        Some((Event::Closed(Cause::Upgrade(UpgradeError::Answer(_))), _)) => false,
        other => panic!("{other:?}"),
    };
    assert!(turn.next_event().is_none());

    let config = limits.deflate.as_ref().expect("it compresses");
    let all: Vec<_> = values.iter().flat_map(|value| elements(value)).collect();
    let agreed = match &all[..] {
        [] => None,
        [Some(extension)] => {
            Some(Terms::of(extension).filter(|terms| terms.answers(&offer(config))))
        }
        _ => Some(None),
    };
    let is_text = values.iter().all(|value| is_field_value(value));
    assert_eq!(is_open, is_text && agreed != Some(None), "{all:?}");
    if is_open {
        let mut hello = *b"\xC1\x07\xF2\x48\xCD\xC9\xC9\x07\x00";
        let mut turn = connection.receive(epoch(), &mut hello);
        let event = turn.next_event().map(|(event, _)| event);
        assert_eq!(event == Some(Event::Text("Hello")), agreed.is_some(), "{event:?}");
    }
}

const NAME: &str = "Sec-WebSocket-Extensions";

fn limits(settings: u8) -> Limits {
    let no_context_takeover = settings & 1 != 0;
    let window_bits = 15 - (settings >> 1) % 7;
    let deflate = Deflate { no_context_takeover, window_bits, threshold: 1, ..Deflate::default() };
    Limits { deflate: Some(deflate), ..Limits::default() }
}

/// What our client offers.
fn offer(config: &Deflate) -> Terms {
    Terms {
        server_alone: config.no_context_takeover,
        client_alone: config.no_context_takeover,
        server_bits: Some(config.window_bits).filter(|bits| *bits < 15),
        client_bits: Some(None),
    }
}

/// An offer that our server can accept: zlib cannot write a window of 8 bits.
fn acceptable(extension: &Extension) -> Option<Terms> {
    Terms::of(extension).filter(|terms| terms.server_bits != Some(8))
}

/// Whether an answer keeps to our settings as far as the offer lets it.
fn keeps(answer: &Terms, offer: &Terms, config: &Deflate) -> bool {
    let client_bits = answer.client_bits.flatten().unwrap_or(15);
    answer.server_bits.unwrap_or(15) <= config.window_bits
        && (offer.client_bits.is_none() || client_bits <= config.window_bits)
        && (!config.no_context_takeover || answer.server_alone && answer.client_alone)
}

/// At most four header values: raw lines, or words that belong there.
fn values(mut input: Input<'_>, is_recipe: bool) -> Vec<Vec<u8>> {
    const WORDS: [&str; 24] = [
        "permessage-deflate",
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
        ";",
        ", ",
        "=",
        "; ",
        "8",
        "9",
        "10",
        "15",
        "16",
        "=12",
        "\"",
        "\"11\"",
        "\\",
        " ",
        "x-other",
        "permessage-deflate; ",
        ", permessage-deflate; client_max_window_bits; ",
        "Permessage-Deflate",
        "\n",
    ];
    let mut bytes = Vec::new();
    if is_recipe {
        while !input.is_empty() {
            bytes.extend_from_slice(WORDS[usize::from(input.byte()) % WORDS.len()].as_bytes());
        }
    } else {
        bytes.extend_from_slice(input.rest());
    }
    bytes
        .split(|byte| *byte == b'\n')
        .take(4)
        .filter(|line| !line.is_empty())
        .map(Vec::from)
        .collect()
}

/// A head with these values in headers of their own.
fn with_headers(head: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = head[..head.len() - 2].to_vec();
    for value in values {
        bytes.extend_from_slice(&[NAME.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    [&bytes[..], b"\r\n"].concat()
}

/// RFC 9110 section 5.5: what may stand in a header value.
fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7F)
}

/// The value of a header that is there at most once.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let first = lines.next();
    assert!(lines.next().is_none(), "{name} came twice");
    first
}

fn pass(from: &mut Connection, to: &mut Connection, text: &str) {
    from.outbox(epoch()).text(text).expect("it is open");
    let mut wire = Vec::new();
    drain_output(from, &mut wire);
    let mut turn = to.receive(epoch(), &mut wire);
    let mut heard = None;
    while let Some((event, _)) = turn.next_event() {
        match event {
            // A server tells that it is open with the first bytes.
            Event::Open => {}
            Event::Text(text) => heard = Some(text.to_owned()),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(heard.as_deref(), Some(text));
}
