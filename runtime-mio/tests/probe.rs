//! `moorline probe` against the real gateway and against what may stand in its place.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/odd_server.rs"]
mod odd_server;
mod support;

use gateway::{Gateway, folder};
use serde_json::Value;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

/// A command with no settings of the machine it runs on.
fn probe(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MOORLINE_") {
            command.env_remove(name);
        }
    }
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe-nothing");
    command.env("MOORLINE_STATE_DIR", nowhere);
    command.args(["probe", url]).args(arguments).output().unwrap()
}

fn ws(address: SocketAddr) -> String {
    format!("ws://{address}/ws")
}

/// The report, and the exit code.
fn report(url: &str, arguments: &[&str]) -> (Value, i32) {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
    let Output { status, stdout, stderr } = probe(url, &arguments);
    let report = serde_json::from_slice(&stdout);
    (
        report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))),
        status.code().unwrap(),
    )
}

fn stage<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap()
}

fn outcomes(report: &Value) -> Vec<&str> {
    let stages = report["stages"].as_array().unwrap();
    stages.iter().map(|stage| stage["outcome"].as_str().unwrap()).collect()
}

#[test]
fn every_stage_of_a_good_gateway_passes_with_its_time() {
    let gateway = Gateway::start(&folder("probe-good"));
    let (report, code) = report(&ws(gateway.address), &["--token", "t"]);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report:#}");
    assert_eq!(outcomes(&report), ["ok", "ok", "not tried", "ok", "ok", "ok", "ok"]);
    let names: Vec<_> = report["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["lookup", "tcp", "tls", "upgrade", "connect", "ping", "close"]);
    let mut sum = 0.0;
    for stage in report["stages"].as_array().unwrap() {
        sum += stage["tookMs"].as_f64().unwrap();
    }
    assert!(sum > 0.0 && sum <= report["tookMs"].as_f64().unwrap() + 0.01, "{report:#}");
    let connect = &stage(&report, "connect")["facts"];
    assert_eq!((&connect["challenged"], &connect["role"]), (&true.into(), &"admin".into()));
    assert_eq!(connect["policy"]["pingIntervalMs"], 25_000);
    let pinged = stage(&report, "ping")["facts"]["roundTripMs"].as_f64().unwrap();
    assert!(pinged > 0.0 && pinged < 5000.0);
    assert_eq!(stage(&report, "close")["facts"]["code"], 1000);
}

#[test]
fn without_a_token_the_challenge_is_told_and_the_login_is_not_tried() {
    let gateway = Gateway::start(&folder("probe-anonymous"));
    for arguments in [&[][..], &["--token", "t", "--no-login"]] {
        let (report, code) = report(&ws(gateway.address), arguments);
        assert_eq!(code, 0, "{report:#}");
        let connect = stage(&report, "connect");
        assert_eq!(connect["outcome"], "not tried");
        assert_eq!(connect["facts"]["challenged"], true);
        assert_eq!(stage(&report, "ping")["outcome"], "ok");
        assert_eq!(stage(&report, "close")["outcome"], "ok");
    }
}

#[test]
fn a_wrong_token_fails_the_login_and_is_not_repeated() {
    let gateway = Gateway::start(&folder("probe-token"));
    let (report, code) = report(&ws(gateway.address), &["--token", "wrong-canary"]);
    assert_eq!((code, &report["failed"]), (14, &"connect".into()));
    assert_eq!(stage(&report, "connect")["facts"]["error"]["code"], "UNAUTHORIZED");
    assert_eq!(stage(&report, "ping")["outcome"], "not tried");
    assert!(!report.to_string().contains("canary"));
}

#[test]
fn the_token_of_the_local_state_folder_is_found() {
    let state = folder("probe-state");
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--state-dir"]).arg(&state);
    let gateway = support::Process::of(command.env("MOORLINE_LOG_LEVEL", "error"));
    let (report, code) = report(&ws(gateway.address), &["--state-dir", state.to_str().unwrap()]);
    assert_eq!((code, &stage(&report, "connect")["outcome"]), (0, &"ok".into()), "{report:#}");
}

#[test]
fn text_is_one_line_for_each_stage_and_quiet_is_silent_when_all_is_well() {
    let gateway = Gateway::start(&folder("probe-text"));
    let Output { status, stdout, stderr } = probe(&ws(gateway.address), &["--token", "t"]);
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success() && stderr.is_empty());
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.starts_with("lookup   ok ") && text.contains("\nok in "), "{text}");
    assert!(!text.contains('\u{1b}'));
    let Output { status, stdout, stderr } =
        probe(&ws(gateway.address), &["--token", "t", "--quiet"]);
    assert!(status.success() && stdout.is_empty() && stderr.is_empty());
}

#[test]
fn each_stage_that_fails_has_its_exit_code_and_says_why() {
    let (nobody, silent) = (odd_server::nobody(), odd_server::silent());
    let gone = odd_server::serving(drop);
    let page = "HTTP/1.1 502 Bad Gateway\r\nServer: nginx/1.22.1\r\nContent-Length: 36\r\n\r\n\
                <html><h1>502 Bad Gateway</h1></html>";
    let other = odd_server::answering("SSH-2.0-OpenSSH_9.2\r\n");
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let cases = [
        ("ws://no-such-host.invalid/ws".into(), 10, "lookup", "no-such-host.invalid"),
        (ws(nobody), 11, "tcp", "refused"),
        (format!("wss://{silent}/ws"), 12, "tls", "took too long"),
        (ws(silent), 13, "upgrade", "no answer in time"),
        (ws(gone), 13, "upgrade", "cut without an answer"),
        (
            ws(odd_server::answering(page)),
            13,
            "upgrade",
            "HTTP 502 from nginx/1.22.1: 502 Bad Gateway",
        ),
        (ws(other), 13, "upgrade", "not HTTP"),
        (ws(odd_server::answering(wrong)), 13, "upgrade", "does not match the key"),
    ];
    for (url, code, name, why) in cases {
        let (report, status) = report(&url, &["--timeout", "1"]);
        assert_eq!((status, &report["failed"]), (code, &name.into()), "{url}: {report:#}");
        let about = stage(&report, name)["about"].as_str().unwrap();
        assert!(about.contains(why), "{url}: {about}");
        let Output { status, stdout, stderr } = probe(&url, &["--timeout", "1", "--quiet"]);
        assert_eq!((status.code(), stdout.len()), (Some(code), 0));
        assert!(String::from_utf8(stderr).unwrap().contains(why));
    }
}

#[test]
fn a_certificate_is_shown_and_one_that_is_not_believed_is_refused() {
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let until = (2051, 1, 1);
    let (address, pem) = odd_server::answering_by_tls(&["localhost", "127.0.0.1"], until, answer);
    let ca = folder("probe-tls").join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let url = format!("wss://{address}/ws");
    let (refused, code) = report(&url, &[]);
    assert_eq!((code, &refused["failed"]), (12, &"tls".into()), "{refused:#}");
    let (report, code) = report(&url, &["--ca", ca.to_str().unwrap()]);
    let facts = &stage(&report, "tls")["facts"];
    assert_eq!(code, 13, "the answer is a 404: {report:#}");
    assert_eq!(facts["names"], serde_json::json!(["localhost", "127.0.0.1"]));
    assert_eq!(
        (&facts["version"], &facts["until"]),
        (&"TLS 1.3".into(), &"Sun, 01 Jan 2051 00:00:00 GMT".into())
    );
    assert!(facts["daysLeft"].as_i64().unwrap() > 1000);
}

#[test]
fn a_url_that_is_none_is_a_configuration_error() {
    for url in ["http://localhost", "localhost:18790", "ws://"] {
        assert_eq!(probe(url, &[]).status.code(), Some(78), "{url}");
    }
    let missing = probe("wss://localhost", &["--ca", "/no/such/file"]);
    assert_eq!(missing.status.code(), Some(78));
}

#[test]
fn a_ping_without_a_pong_is_a_failure() {
    // It upgrades as it should, and then says nothing any more.
    let deaf = odd_server::serving(|mut stream| {
        odd_server::accept(&mut stream);
        while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    });
    let (report, code) = report(&ws(deaf), &["--timeout", "3"]);
    assert_eq!((code, &report["failed"]), (15, &"ping".into()), "{report:#}");
    assert_eq!(stage(&report, "upgrade")["outcome"], "ok");
}
