//! What the real binary logs of connections: one line for the end of each, whichever way it ends, and one
//! JSON object a line, whatever a peer writes.

#[path = "support/admin.rs"]
mod admin;
mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use support::{exchange, get};
use world::{Client, Gateway, command, folder};

/// A gateway that logs into a file.
fn start(state: &Path, format: &str, level: &str) -> Gateway {
    let errors = File::create(state.join("errors")).unwrap();
    let arguments = ["--log-format", format, "--log-level", level];
    Gateway::of(command(state).args(arguments).stderr(errors))
}

fn lines(state: &Path) -> Vec<String> {
    let log = fs::read(state.join("errors")).unwrap();
    let log = String::from_utf8(log).expect("UTF-8, whatever was sent");
    assert!(log.ends_with('\n'), "the last line is whole");
    // Not `lines`: what else breaks a line for a reader must be escaped.
    log.trim_end_matches('\n').split('\n').map(String::from).collect()
}

fn records(state: &Path) -> Vec<Value> {
    let of = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let records: Vec<Value> = lines(state).iter().map(of).collect();
    assert!(
        records.iter().all(|record| record["message"].is_string() && record["level"].is_string())
    );
    records
}

/// Asks the gateway to stop, and waits until it has.
fn stop(mut gateway: Gateway) {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_raw(gateway.child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert!(gateway.child.wait().unwrap().success());
}

#[test]
fn each_connection_has_one_last_line_whichever_way_it_ends() {
    let state = folder("log-endings");
    let config = "{ limits: { handshake_within_ms: 150, connect_within_ms: 150, ping_every_ms: 200, \
                  pong_within_ms: 150, strikes: 3 } }";
    fs::write(state.join("moorline.json5"), config).unwrap();
    let gateway = start(&state, "json", "debug");
    let address = gateway.address;
    // Before there is a request: a probe, one that says nothing, one that speaks something else.
    drop(TcpStream::connect(address).unwrap());
    assert!(exchange(address, b"").starts_with("HTTP/1.1 408 "));
    exchange(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    // Requests that are answered.
    get(address, "/health", "");
    assert!(
        get(address, "/health", "Origin: https://else.example.com\r\n")
            .starts_with("HTTP/1.1 403 ")
    );
    // WebSockets: whose client leaves, says goodbye, breaks the rules, does not log in, asks for nonsense,
    // falls silent, or is sent away.
    drop(Client::login(address, "leaves").unwrap());
    let mut client = Client::login(address, "goodbye").unwrap();
    client.send_close(1000, "done").unwrap();
    assert_eq!(client.closed().unwrap().0, 1000);
    let mut client = Client::login(address, "rules").unwrap();
    client.send_raw(&support::masked(3, b"")).unwrap();
    assert_eq!(client.closed().unwrap().0, 1002);
    let mut client = Client::login(address, "utf8").unwrap();
    client.send_raw(&support::masked(1, b"\xff")).unwrap();
    assert_eq!(client.closed().unwrap().0, 1007);
    let mut client = Client::login(address, "large").unwrap();
    client.send_raw(b"\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00aaaa").unwrap();
    assert_eq!(client.closed().unwrap().0, 1009);
    let mut client = Client::open(address).unwrap();
    assert_eq!(client.closed().unwrap(), (1008, "handshake timeout".into()));
    let mut client = Client::open(address).unwrap();
    for _ in 0..3 {
        client.send_raw(&support::masked(1, b"{}")).unwrap();
    }
    assert_eq!(client.closed().unwrap().1, "too many invalid frames");
    let mut client = Client::login(address, "silent").unwrap();
    assert_eq!(client.closed().unwrap(), (1008, "keepalive timeout".into()));
    let mut sent = Client::login(address, "sent").unwrap();
    let mut admin = Client::login(address, "system").unwrap();
    let listed = admin.call("connections.list", json!({})).unwrap();
    let of_sent = |each: &&Value| each["user"] == "sent" || each["userId"] == "sent";
    let listed = listed["connections"].as_array().unwrap();
    let conn =
        listed.iter().find(of_sent).unwrap_or_else(|| panic!("{listed:?}"))["connId"].clone();
    admin.call("connections.close", json!({"connId": conn})).unwrap();
    sent.closed().unwrap();
    drop(admin);
    // The last one ends with the gateway.
    let _last = Client::login(address, "last").unwrap();
    stop(gateway);

    let records = records(&state);
    let of = |message: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["message"] == *message).collect()
    };
    assert_eq!(of("stopping")[0]["signal"], "SIGTERM");
    let has_peer = |record: &&Value| record["peer"].as_str().unwrap().starts_with("127.0.0.1:");
    let logins = of("logged in");
    assert!(logins.len() > 5 && logins.iter().all(has_peer));
    let mut lives: BTreeMap<&str, (usize, Vec<&Value>)> = BTreeMap::new();
    for record in &records {
        match (record["message"].as_str().unwrap(), record["conn"].as_str()) {
            ("connected", Some(conn)) => lives.entry(conn).or_default().0 += 1,
            ("closed", Some(conn)) => lives.entry(conn).or_default().1.push(record),
            _ => {}
        }
    }
    for (conn, (begun, ended)) in &lives {
        assert_eq!((*begun, ended.len()), (1, 1), "{conn}: {ended:?}");
        // Without a WebSocket there is no Close, and none that is missing.
        let code = &ended[0]["code"];
        let had_none = ["http", "upgrade"].contains(&ended[0]["cause"].as_str().unwrap());
        assert!(!had_none || code.is_null(), "{}", ended[0]);
        assert!(ended[0]["user"].is_null() || code.is_number(), "{}", ended[0]);
        for member in ["reason", "cause", "initiator", "durationMs", "peer"] {
            assert!(!ended[0][member].is_null(), "{member}: {}", ended[0]);
        }
    }
    let mut causes: Vec<_> =
        lives.values().map(|(_, ended)| ended[0]["cause"].as_str().unwrap()).collect();
    causes.sort_unstable();
    causes.dedup();
    let expected = [
        "eof",
        "handshake-timeout",
        "http",
        "keepalive-timeout",
        "limit",
        "local",
        "peer",
        "protocol",
        "upgrade",
    ];
    assert_eq!(causes, expected);
    let timeout = records.iter().find(|record| record["reason"] == "keepalive timeout").unwrap();
    assert_eq!(timeout["deadline"], "keepalive-timeout");
}

/// What peers write to break lines, to colour terminals, or to say something else than they do.
const HOSTILE: [&str; 8] = [
    "a\nb",
    "a\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{202e}desrever\u{2066}",
    "\u{2028}\u{2029}\u{85}\u{b}\u{c}",
    "\u{0}\u{7f}\u{9b}31m",
    "\"},\"x\":{\"",
    "%0a%1b%ff%fe%00",
];

fn be_hostile(address: SocketAddr) {
    for text in HOSTILE {
        let mut client = Client::open(address).unwrap();
        let _ = client.ask("connect", json!({"token": "t", "user_id": text}));
        let _ = client.ask("connect", json!({"token": text, "user_id": text}));
        let mut client = Client::login(address, "ann").unwrap();
        let _ = client.ask(text, json!({text: text}));
        client.send_close(4000, text).unwrap();
        let _ = client.closed();
        // Some of them are no header, and some are: all must be told in one line.
        for name in ["Origin", "Host", "User-Agent", "X-Forwarded-For", "Authorization", "Cookie"] {
            get(address, "/health", &format!("{name}: {text}\r\n"));
        }
        let target = format!("GET /{text} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        exchange(address, target.as_bytes());
    }
    for raw in [
        &b"Origin: \xff\xfe\x80\r\n"[..],
        b"Host: \xc3\x28\r\n",
        b"Origin: http://\xe2\x80\xae\r\n",
    ] {
        let request = [b"GET /ws HTTP/1.1\r\n", raw, b"\r\n"].concat();
        exchange(address, &request);
    }
    get(address, "/health", &format!("Origin: https://{}\r\n", "a".repeat(1024 * 1024)));
    get(address, "/health", &format!("Origin: https://{}.example.com\r\n", "b".repeat(6000)));
}

#[test]
fn a_line_is_one_json_object_whatever_peers_write() {
    let state = folder("log-hostile");
    let gateway = start(&state, "json", "trace");
    be_hostile(gateway.address);
    stop(gateway);
    let records = records(&state);
    assert!(records.iter().all(|record| record["level"] != "ERROR"), "a peer wrote a line");
    let said = records
        .iter()
        .any(|record| record["reason"].as_str().is_some_and(|r| r.contains("\\u{1b}")));
    assert!(said, "what a peer says at its end is told, escaped");
    for line in lines(&state) {
        assert!(line.len() < 2000, "{} bytes in a line", line.len());
    }
}

#[test]
fn a_line_of_text_has_nothing_that_drives_a_terminal_or_ends_it_early() {
    let state = folder("log-hostile-text");
    let gateway = start(&state, "text", "trace");
    be_hostile(gateway.address);
    stop(gateway);
    for line in lines(&state) {
        assert!(line.starts_with("20") && line.as_bytes()[10] == b'T', "no time begins {line:?}");
        let bad = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}".contains(c);
        assert!(!line.contains(bad), "{line:?}");
        assert!(line.len() < 2000, "{} bytes in a line", line.len());
    }
}

#[test]
fn commands_of_the_host_leave_a_line_for_what_they_change_and_none_for_their_login() {
    let state = folder("log-host");
    let gateway = start(&state, "json", "info");
    admin::text_of(&state, &["devices"]);
    admin::text_of(&state, &["reload"]);
    stop(gateway);
    let records = records(&state);
    let of = |message: &str| records.iter().filter(|record| record["message"] == *message).count();
    assert_eq!((of("logged in"), of("closed"), of("configuration reloaded")), (0, 0, 1));
}

#[test]
fn hundreds_that_are_refused_leave_few_lines_and_their_number() {
    let state = folder("log-folded");
    let gateway = start(&state, "json", "info");
    for _ in 0..500 {
        get(gateway.address, "/health", "Origin: https://else.example.com\r\n");
    }
    stop(gateway);
    let records = records(&state);
    assert!(records.len() < 60, "{} lines", records.len());
    let folded = records.iter().find(|record| record["kind"] == "origin").unwrap();
    assert_eq!(folded["count"], 490, "{folded}");
}
