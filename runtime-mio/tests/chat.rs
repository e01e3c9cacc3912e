//! `moorline chat` where no person sits at it: in scripts, what went wrong has to be in its exit code, and it
//! has to come to an end.

#[path = "support/gateway.rs"]
mod gateway;
mod support;

use gateway::{Gateway, folder};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn chat(url: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(["chat", url, "--token", "t"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a chat in which this was typed says on its standard output and error, and its exit code.
fn told(url: &str, arguments: &[&str], typed: &str) -> (String, String, i32) {
    let mut child = chat(url, arguments);
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

/// A gateway at this address.
fn gateway_at(state: &Path, address: &str) -> Gateway {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(["serve", "--listen", address, "--token", "t", "--state-dir"]).arg(state);
    Gateway::of(command.env("MOORLINE_LOG_LEVEL", "error"))
}

#[test]
fn lines_are_answered_in_their_order() {
    let gateway = Gateway::start(&folder("chat-lines"));
    let url = format!("ws://{}/ws", gateway.address);
    let (out, err, code) = told(&url, &[], "one\n\ntwo words\n/quit\nthree\n");
    assert_eq!((out.as_str(), code), ("one\ntwo words\n", 0), "{err}");
}

#[test]
fn a_line_that_is_not_answered_is_in_the_exit_code() {
    let gateway = Gateway::start(&folder("chat-unanswered"));
    let url = format!("ws://{}/ws", gateway.address);
    let (out, err, code) = told(&url, &["--agent", "nobody"], "one\ntwo\n");
    assert_eq!((out.as_str(), code), ("", 1), "{err}");
    assert_eq!(err.matches("not answered: NOT_FOUND: ").count(), 2, "{err}");
    assert!(err.ends_with("moorline: 2 lines were not answered\n"), "{err}");
}

#[test]
fn who_finds_nobody_for_too_long_gives_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    drop(listener);
    let (out, err, code) = told(&url, &["--give-up-after", "1"], "one\n");
    assert_eq!((out.as_str(), code), ("", 1), "{err}");
    assert!(err.contains("moorline: nobody answers at 127.0.0.1:"), "{err}");
    assert!(err.ends_with("; given up after 1 s, 1 line was not answered\n"), "{err}");
}

#[test]
fn a_gateway_that_was_killed_and_comes_back_is_talked_to_on() {
    let state = folder("chat-restart");
    let mut gateway = gateway_at(&state, "127.0.0.1:0");
    let address = gateway.address.to_string();
    let mut child = chat(&format!("ws://{address}/ws"), &[]);
    let (mut typed, mut shown) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut say = |line: &str| {
        typed.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        shown.read_line(&mut answer).unwrap();
        assert_eq!(answer, line);
    };
    say("before\n");
    gateway.kill();
    let _gateway = gateway_at(&state, &address);
    say("and after\n");
    drop(typed);
    assert!(child.wait().unwrap().success());
}
