//! Readable transcripts of whole connections: time, bytes in, bytes out, events.
//!
//! ```text
//! # a comment
//! role server            which end this is, first; `limit NAME VALUE` and `app NAME` may follow
//! at 5s                  time passes, counted from the start; nothing is called
//! > GET / HTTP/1.1\r\n   one read from the peer; lines that follow each other are joined
//! > x 81 85              the same in hex
//! < x 88 02 03 e8        everything that was to be written since it was last asked, joined likewise
//! ! Text hello           the next event
//! do close 1000 bye      the application or the adapter acts: see `act`
//! end shutdown           what the transport is asked to do: stay, shutdown or drop
//! ```
//!
//! Output and events that a transcript does not mention are errors. A client masks with zeros, so
//! that what it writes can be read.

mod support;
use moorline_core::*;
use std::time::Duration;
use support::*;

macro_rules! transcripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            play(include_str!(concat!("transcripts/", stringify!($name), ".txt")));
        }
    )*};
}

transcripts! {
    a_masked_hello_is_echoed
    a_fragmented_message_with_a_ping_inside
    the_peer_closes
    the_application_closes
    a_client_says_hello
    a_client_is_refused_with_a_body
    refusals
    a_request_that_comes_too_slowly
    an_answer_that_comes_too_late
    keep_alive
    a_peer_that_falls_silent
    early_data
    a_deferred_accept
    a_plain_request
    text_that_is_not_utf8
    a_message_that_is_too_big
    a_half_closed_request
}

/// A line's kind, by its first word.
fn kind(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

struct Player {
    subject: Subject,
    limits: Limits,
    app: App,
    role: Role,
    event: usize,
}

fn play(script: &str) {
    let mut player: Option<Player> = None;
    let mut lines = script.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let label = format!("line {}: {line}", number + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut bytes = if matches!(word, ">" | "<") { parse_bytes(rest) } else { Vec::new() };
        while matches!(word, ">" | "<")
            && let Some((_, next)) = lines.next_if(|(_, next)| kind(next) == word)
        {
            bytes.extend(parse_bytes(&next[2..]));
        }
        if word == "role" {
            // A script may hold several connections, one after the other.
            if let Some(player) = &mut player {
                player.nothing_is_left(&label);
            }
            player = Some(Player::new(rest));
            continue;
        }
        let player = player.as_mut().expect("a role comes first");
        match word {
            "app" => player.set_app(rest),
            "limit" => player.set_limit(rest),
            "<" => {
                let output = player.subject.take_output();
                let (output, bytes) = (output.escape_ascii(), bytes.escape_ascii());
                assert_eq!(output.to_string(), bytes.to_string(), "{label}");
            }
            "!" => {
                let event = player.subject.events.get(player.event).map(ToString::to_string);
                assert_eq!(event.as_deref(), Some(rest), "{label}");
                player.event += 1;
            }
            "end" => {
                player.subject.flush();
                let end = match player.subject.end() {
                    End::Stay => "stay",
                    End::ShutdownWrite => "shutdown",
                    End::Drop => "drop",
                };
                assert_eq!(end, rest, "{label}");
            }
            _ => {
                player.nothing_is_left(&label);
                match word {
                    ">" => player.subject.feed(&bytes),
                    "at" => player.subject.now = player.subject.start + parse_time(rest),
                    "do" => player.act(rest),
                    _ => panic!("{label}"),
                }
            }
        }
    }
    player.expect("a role").nothing_is_left("the end");
}

impl Player {
    fn new(role: &str) -> Self {
        let role = if role == "server" { Role::Server } else { Role::Client };
        let limits = Limits { ping_every: Duration::MAX, ..Limits::default() };
        let subject = subject(role, limits.clone(), echo);
        Self { subject, limits, app: echo, role, event: 0 }
    }

    fn set_app(&mut self, name: &str) {
        self.app = match name {
            "echo" => echo,
            "quiet" => quiet,
            "silent" => silent,
            _ => panic!("app {name}"),
        };
        self.subject.app = self.app;
    }

    fn set_limit(&mut self, rest: &str) {
        let (name, value) = rest.split_once(' ').expect("a name and a value");
        let limits = &mut self.limits;
        match name {
            "ping_every" => limits.ping_every = parse_time(value),
            "pong_within" => limits.pong_within = parse_time(value),
            "handshake_within" => limits.handshake_within = parse_time(value),
            "close_within" => limits.close_within = parse_time(value),
            "head" => limits.head = value.parse().unwrap(),
            "target" => limits.target = value.parse().unwrap(),
            "message" => limits.message = value.parse().unwrap(),
            _ => panic!("limit {name}"),
        }
        self.subject = subject(self.role, self.limits.clone(), self.app);
    }

    fn act(&mut self, what: &str) {
        let subject = &mut self.subject;
        let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let now = subject.now;
        match verb {
            "accept" => subject.connection.accept(now, &Accept::default()).unwrap(),
            "respond" => {
                let answer = Response::text(first.parse().unwrap(), second);
                subject.connection.respond(now, &answer).unwrap();
            }
            "text" => subject.outbox().text(rest).unwrap(),
            "close" => subject.connection.close(now, CloseCode(first.parse().unwrap()), second),
            "eof" => subject.eof(),
            "wake" => subject.wake(),
            _ => panic!("do {what}"),
        }
    }

    fn nothing_is_left(&mut self, label: &str) {
        let output = self.subject.take_output();
        assert_eq!(output.escape_ascii().to_string(), "", "output before {label}");
        let left: Vec<_> =
            self.subject.events[self.event..].iter().map(ToString::to_string).collect();
        assert!(left.is_empty(), "events before {label}: {left:?}");
    }
}

fn subject(role: Role, limits: Limits, app: App) -> Subject {
    match role {
        Role::Server => Subject::server(limits, app),
        Role::Client => {
            let request = ClientRequest::new("localhost", "/ws").expect("a request");
            Subject::client_for(request, limits, Box::new(NoEntropy), app)
        }
    }
}

fn parse_time(text: &str) -> Duration {
    if let Some(millis) = text.strip_suffix("ms") {
        Duration::from_millis(millis.parse().unwrap())
    } else {
        Duration::from_secs(text.strip_suffix('s').expect("s or ms").parse().unwrap())
    }
}

fn parse_bytes(text: &str) -> Vec<u8> {
    if let Some(digits) = text.strip_prefix("x ") {
        return suite::hex(digits);
    }
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escape") {
            b'r' => b'\r',
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("escape {}", other.escape_ascii()),
        });
    }
    bytes
}
