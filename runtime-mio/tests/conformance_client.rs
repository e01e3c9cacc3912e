//! `moorline conformance-client` before a small suite of our own, and before what is none.

#[path = "tls/certificates.rs"]
mod certificates;
mod support;

use certificates::Authority;
use moorline_core::{Accept, CloseCode, Deflate, Event, Limits, Outbox, Response};
use moorline_mio::{ConnId, Handler, ServerOptions, TlsOptions};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;
use support::Running;

/// A fuzzing server of four cases: it sends, and tells what it was asked for and what came back.
struct Suite {
    targets: HashMap<ConnId, String>,
    told: Sender<String>,
}

/// The size of the largest message of the field's suite.
const LARGE: usize = 16 << 20;

/// It does not compress: what does so a hundredfold is refused as a bomb.
fn large() -> Vec<u8> {
    (0..LARGE as u32).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 19) as u8).collect()
}

impl Suite {
    fn start(tls: Option<TlsOptions>) -> (Running, Receiver<String>) {
        let (told, heard) = mpsc::channel();
        let limits = Limits {
            message: 2 * LARGE as u32,
            outbox: 2 * LARGE as u32,
            deflate: Some(Deflate::default()),
            ..Limits::default()
        };
        let options = ServerOptions { limits, tls, ..ServerOptions::default() };
        let server =
            Running::start(options, move || Self { targets: HashMap::new(), told: told.clone() });
        (server, heard)
    }

    fn begin(&mut self, id: ConnId, outbox: &mut Outbox) {
        match self.targets[&id].as_str() {
            "/getCaseCount" => outbox.text("4").unwrap(),
            "/runCase?case=1&agent=me" => outbox.text("one").unwrap(),
            "/runCase?case=2&agent=me" => outbox.binary(&large()).unwrap(),
            // A case that ends badly is no reason to stop.
            "/runCase?case=3&agent=me" => outbox.close(CloseCode::PROTOCOL, ""),
            "/runCase?case=4&agent=me" => {
                outbox.text("first").unwrap();
                outbox.text("second").unwrap();
            }
            _ => outbox.close(CloseCode::NORMAL, ""),
        }
    }
}

impl Handler for Suite {
    fn event(&mut self, _: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        match event {
            Event::Request(head) => {
                let offer = head.header("sec-websocket-extensions").unwrap_or_default();
                let offer = String::from_utf8_lossy(offer);
                self.told.send(format!("{} [{offer}]", head.target())).unwrap();
                self.targets.insert(id, head.target().into());
                outbox.accept(&Accept::default()).unwrap();
            }
            Event::Open => self.begin(id, outbox),
            Event::Text(text) => {
                self.told.send(text.into()).unwrap();
                if text != "first" {
                    outbox.close(CloseCode::NORMAL, "");
                }
            }
            Event::Binary(data) => {
                let is_whole = data == large();
                self.told.send(if is_whole { "all of it" } else { "damaged" }.into()).unwrap();
                outbox.close(CloseCode::NORMAL, "");
            }
            _ => {}
        }
    }
}

fn client(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moorline"))
        .arg("conformance-client")
        .args(arguments)
        .output()
        .unwrap()
}

/// Its exit code, and what it says on its standard error.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = client(arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// What a suite hears of a client with these options, each request with this offer.
fn assert_runs(options: &[&str], offer: &str) {
    let (server, heard) = Suite::start(None);
    assert_hears(&heard, &format!("ws://{}/", server.address), options, offer);
}

fn assert_hears(heard: &Receiver<String>, url: &str, options: &[&str], offer: &str) {
    let mut arguments = vec![url, "--agent", "me"];
    arguments.extend(options);
    let output = client(&arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "ran 4 cases as me\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    let expected = [
        format!("/getCaseCount [{offer}]"),
        format!("/runCase?case=1&agent=me [{offer}]"),
        "one".into(),
        format!("/runCase?case=2&agent=me [{offer}]"),
        "all of it".into(),
        format!("/runCase?case=3&agent=me [{offer}]"),
        format!("/runCase?case=4&agent=me [{offer}]"),
        "first".into(),
        "second".into(),
        format!("/updateReports?agent=me [{offer}]"),
    ];
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn every_case_is_run_as_an_echo_and_then_the_reports_are_asked_for() {
    assert_runs(&[], "");
}

#[test]
fn compression_is_offered_with_and_without_a_context() {
    assert_runs(&["--deflate"], "permessage-deflate; client_max_window_bits");
    assert_runs(
        &["--deflate", "--no-context-takeover"],
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         client_max_window_bits",
    );
}

#[test]
fn a_suite_behind_tls_is_run_once_its_authority_is_believed() {
    let authority = Authority::new();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-client-ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let tls = TlsOptions::new(Arc::new(authority.issue().server()));
    let (server, heard) = Suite::start(Some(tls));
    let url = format!("wss://localhost:{}/", server.address.port());
    let (code, said) = failure(&[&url]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("asking for the number of cases: the certificate is of an"), "{said}");
    let options = ["--ca", file.to_str().unwrap(), "--deflate"];
    assert_hears(&heard, &url, &options, "permessage-deflate; client_max_window_bits");
}

#[test]
fn a_suite_that_does_not_speak_tls_is_said_to_be_none_of_wss() {
    let (server, _) = Suite::start(None);
    let (code, said) = failure(&[&format!("wss://{}/", server.address)]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not speak TLS here: is it ws:// instead?"), "{said}");
}

/// A server that answers requests for cases with this status, or whose count is this text.
struct Broken(Result<&'static str, u16>);

impl Handler for Broken {
    fn event(&mut self, _: Instant, _: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        match (event, self.0) {
            (Event::Request(head), Err(status)) if head.target().starts_with("/runCase") => {
                outbox.respond(&Response::text(status, "no\n")).unwrap();
            }
            (Event::Request(_), _) => outbox.accept(&Accept::default()).unwrap(),
            (Event::Open, Ok("")) => outbox.close(CloseCode::NORMAL, ""),
            (Event::Open, count) => outbox.text(count.unwrap_or("3")).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn what_is_no_suite_is_said_with_the_step_that_showed_it() {
    for (broken, why) in [
        (Ok("hello \u{1b}[31m"), r#"asking for the number of cases: "hello \u{1b}[31m" is not"#),
        (Ok(""), "asking for the number of cases: the peer closed with 1000, but no number came"),
        (Err(404), "case 1: the server answered 404 instead of 101"),
    ] {
        let server = Running::start(ServerOptions::default(), move || Broken(broken));
        let (code, said) = failure(&[&format!("ws://{}", server.address)]);
        assert_eq!(code, 1, "{said}");
        assert!(said.starts_with(&format!("moorline: {why}")), "{said}");
    }
}

#[test]
fn a_suite_that_is_not_there_is_exit_1() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (code, said) = failure(&[&format!("ws://{address}")]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("nobody answers at {address}")), "{said}");
}

#[test]
fn a_url_that_cannot_be_dialled_is_exit_78_and_a_wrong_option_exit_2() {
    for url in ["http://127.0.0.1", "ws://", "wss://", "ws://127.0.0.1:9001/?case=1"] {
        let (code, said) = failure(&[url]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(url), "{said}");
    }
    for arguments in [
        &["ws://127.0.0.1", "--agent", "two words"][..],
        &["ws://127.0.0.1", "--no-context-takeover"],
        &[],
    ] {
        let (code, said) = failure(arguments);
        assert_eq!(code, 2, "{said}");
    }
}
