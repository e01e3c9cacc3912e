//! What the field's conformance suite asks of permessage-deflate: message sizes, fragment sizes, kinds
//! of data and parameters, in both roles. The echo is compared byte by byte.
#![cfg(feature = "deflate")]

mod support;
use moorline_core::*;
use support::deflate::*;
use support::suite::suite_limits;
use support::*;

/// Length of a message in characters, and of a frame in compressed bytes (0: one frame).
const ROWS: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1024, 0),
    (4096, 0),
    (8192, 0),
    (16_384, 0),
    (32_768, 0),
    (65_536, 0),
    (131_072, 0),
    (8192, 256),
    (16_384, 256),
    (32_768, 256),
    (65_536, 256),
    (131_072, 256),
    (131_072, 1024),
    (131_072, 4096),
    (131_072, 32_768),
];

/// Characters of a row. The suite sends 1000 messages of every length; so do the short rows here, the
/// long ones at least two, for the second one is the first that can refer to what went before.
const CHARACTERS: usize = 32 * 1024;

/// A file whose slices are sent.
struct Data {
    name: &'static str,
    opcode: u8,
    bytes: Vec<u8>,
    /// Where its characters begin, and its end.
    starts: Vec<usize>,
}

impl Data {
    fn text(name: &'static str, text: String) -> Self {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { name, opcode: 1, bytes: text.into_bytes(), starts }
    }

    fn binary(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, opcode: 2, starts: (0..=bytes.len()).collect(), bytes }
    }

    /// The next `len` characters, from the start again when the end is reached.
    fn slice(&self, at: &mut usize, len: usize) -> Vec<u8> {
        let characters = self.starts.len() - 1;
        let mut slice = Vec::new();
        let mut left = len;
        while left > 0 {
            let end = (*at + left).min(characters);
            slice.extend_from_slice(&self.bytes[self.starts[*at]..self.starts[end]]);
            left -= end - *at;
            *at = end % characters;
        }
        slice
    }
}

fn json() -> Data {
    let mut rng = Rng(121);
    let mut text = String::new();
    while text.len() < 194_056 {
        text += &format!(
            "{{\"id\":{},\"name\":\"user {}\",\"active\":{},\"score\":{}.{}}},\n",
            rng.below(1 << 30),
            rng.below(500),
            rng.chance(2),
            rng.below(100),
            rng.below(1000),
        );
    }
    text.truncate(194_056);
    Data::text("12.1, JSON", text)
}

fn bitmap() -> Data {
    let mut rng = Rng(122);
    let pixel = |at: usize| ((at % 512 / 4 + at / 512 / 3) as u8).wrapping_add(rng.below(4) as u8);
    Data::binary("12.2, a greyscale bitmap", (0..263_222).map(pixel).collect())
}

const WORDS: [&str; 12] = [
    "Straße", "und", "der", "größte", "Übermut", "ist", "nicht", "wahr", "hören", "die", "Bäume",
    "zu",
];

fn plain() -> Data {
    let mut rng = Rng(123);
    let mut bytes = Vec::new();
    while bytes.len() < 222_218 {
        // Latin-1: not UTF-8, so it can only be binary.
        bytes.extend(WORDS[rng.below(12)].chars().map(|c| c as u32 as u8));
        bytes.push(if rng.chance(9) { b'\n' } else { b' ' });
    }
    bytes.truncate(222_218);
    Data::binary("12.3, German text as binary", bytes)
}

fn html() -> Data {
    let mut rng = Rng(124);
    let mut text = String::new();
    while text.len() < 263_647 {
        let (tag, word) = (["p", "td", "li", "span"][rng.below(4)], WORDS[rng.below(12)]);
        text +=
            &format!("<{tag} class=\"c{}\">{word} – €{}</{tag}>\n", rng.below(40), rng.below(999));
    }
    Data::text("12.4, HTML", text)
}

fn pdf() -> Data {
    Data::binary("12.5, a PDF", Rng(125).bytes(1_042_328))
}

fn limits() -> Limits {
    let deflate = Deflate { threshold: 1, ..Deflate::default() };
    Limits { deflate: Some(deflate), ..suite_limits() }
}

/// Every row of a table, in lock-step.
fn run(data: &Data, role: Role, wanted: &str, split: Split) {
    let mut at = 0;
    for (row, (len, fragment)) in ROWS.into_iter().enumerate() {
        let label = format!("{}.{} as {role:?}, {wanted}, {split:?}", data.name, row + 1);
        let (mut subject, mut peer) = open_deflate(role, limits(), echo, wanted);
        let count = (CHARACTERS / len).clamp(2, 1000);
        // Large messages take thousands of reads too, but not hundreds of thousands.
        let split =
            if len > CHARACTERS && split == Split::Chops(1) { Split::Chops(61) } else { split };
        for _ in 0..count {
            let payload = data.slice(&mut at, len);
            let wire = peer.frames(data.opcode, &payload, fragment);
            subject.feed_split(&wire, split);
            let output = subject.take_output();
            let echoed = peer.read(&output);
            assert!(echoed == [Wire::new(data.opcode, &payload)], "{label}");
            subject.events.clear();
        }
        subject.hears(0x88, &close_payload(1000, ""));
        assert_eq!(subject.frames()[0].close_code(), Some(1000), "{label}");
    }
}

/// The suite's tester lets every message of its own stand alone when it is the client, and keeps its
/// context as a server; keeping it as a client is ours.
const OFFER: &str = "permessage-deflate; client_no_context_takeover; client_max_window_bits";

fn run_everywhere(data: &Data) {
    for split in [Split::Whole, Split::Chops(1), Split::Random(12)] {
        run(data, Role::Server, OFFER, split);
        run(data, Role::Client, "permessage-deflate", split);
    }
    run(data, Role::Server, "permessage-deflate", Split::Whole);
}

#[test]
fn json_comes_back() {
    run_everywhere(&json());
}

#[test]
fn a_bitmap_comes_back() {
    run_everywhere(&bitmap());
}

#[test]
fn binary_words_come_back() {
    run_everywhere(&plain());
}

#[test]
fn html_with_its_umlauts_comes_back() {
    run_everywhere(&html());
}

#[test]
fn what_cannot_be_compressed_comes_back() {
    run_everywhere(&pdf());
}

/// What the tester offers as a client, what a server of default settings answers, and what the tester
/// asks a client for as a server.
const PARAMETERS: [(&str, &str, &str, &str); 7] = [
    ("13.1", "", "", ""),
    (
        "13.2",
        "server_no_context_takeover",
        "server_no_context_takeover",
        "client_no_context_takeover",
    ),
    ("13.3", "server_max_window_bits=9", "server_max_window_bits=9", "client_max_window_bits=9"),
    ("13.4", "server_max_window_bits=15", "", "client_max_window_bits=15"),
    (
        "13.5",
        "server_no_context_takeover; server_max_window_bits=9",
        "server_no_context_takeover; server_max_window_bits=9",
        "client_no_context_takeover; client_max_window_bits=9",
    ),
    (
        "13.6",
        "server_no_context_takeover; server_max_window_bits=15",
        "server_no_context_takeover",
        "client_no_context_takeover; client_max_window_bits=15",
    ),
    (
        "13.7",
        "server_no_context_takeover; server_max_window_bits=9, \
         permessage-deflate; server_no_context_takeover, permessage-deflate",
        "server_no_context_takeover; server_max_window_bits=9",
        "client_no_context_takeover; client_max_window_bits=9",
    ),
];

fn with(params: &str) -> String {
    let join = if params.is_empty() { "" } else { "; " };
    format!("permessage-deflate{join}{params}")
}

#[test]
fn every_combination_of_parameters_is_kept_by_a_server() {
    let data = json();
    for (name, offered, answered, _) in PARAMETERS {
        let common = "client_no_context_takeover; client_max_window_bits";
        let offer: Vec<_> =
            with(offered).split(", ").map(|one| format!("{one}; {common}")).collect();
        let offer = offer.join(", ");
        let mut server = Subject::server(limits(), echo);
        let line = format!("Sec-WebSocket-Extensions: {offer}\r\n\r\n");
        server.feed(&[&REQUEST[..REQUEST.len() - 2], line.as_bytes()].concat());
        let head = String::from_utf8(server.take_output()).unwrap();
        let answer = extensions(&head).unwrap_or_default();
        let mut params: Vec<_> = answer.split("; ").skip(1).collect();
        let mut expected: Vec<_> = answered.split("; ").filter(|param| !param.is_empty()).collect();
        expected.push("client_no_context_takeover");
        params.sort_unstable();
        expected.sort_unstable();
        assert_eq!(params, expected, "{name}");
        for split in [Split::Whole, Split::Chops(1), Split::Random(13)] {
            run(&data, Role::Server, &offer, split);
        }
    }
}

#[test]
fn every_combination_of_parameters_is_kept_by_a_client() {
    let data = json();
    for (_, _, _, asked) in PARAMETERS {
        for split in [Split::Whole, Split::Chops(1), Split::Random(13)] {
            run(&data, Role::Client, &with(asked), split);
        }
    }
}
