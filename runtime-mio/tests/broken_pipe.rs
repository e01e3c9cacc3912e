//! Commands whose reader has enough end without a word.

#[path = "support/admin.rs"]
mod admin;
mod support;
#[path = "support/gateway.rs"]
mod world;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};
use world::{Client, Gateway, folder};

/// As shells name it: killed by SIGPIPE.
const UNREAD: Option<i32> = Some(141);

/// Whether it has ended as it should, without a word.
fn ended(mut child: Child, what: &str) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (UNREAD, ""), "{what}");
}

/// A command whose stdout is a pipe that nobody has at its other end from the beginning.
fn unread(state: &Path, arguments: &[&str]) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = admin::open(state, arguments).stdout(writer).spawn().unwrap();
    ended(child, &arguments.join(" "));
}

/// A gateway that logs something.
fn start(state: &Path) -> Gateway {
    let mut command = world::command(state);
    Gateway::of(command.env("MOORLINE_LOG_LEVEL", "debug").stderr(Stdio::null()))
}

#[test]
fn commands_whose_reader_has_gone_end_quietly() {
    let state = folder("broken-pipe");
    let gateway = start(&state);
    let url = format!("ws://{}/ws", gateway.address);
    for arguments in [
        &["check-config"][..],
        &["check-config", "--json"],
        &["doctor", &url],
        &["doctor", "--json", &url],
        &["logs"],
        &["connections"],
        &["connections", "--json"],
        &["token"],
        &["reload"],
    ] {
        unread(&state, arguments);
    }
    for arguments in [&["explain", "1006"][..], &["completions", "bash"], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_moorline"));
        let child = command.args(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        ended(child, &arguments.join(" "));
    }
}

#[test]
fn who_follows_the_log_ends_with_its_reader() {
    let state = folder("broken-pipe-follow");
    let gateway = start(&state);
    let mut child = admin::open(&state, &["logs", "--follow"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'));
    // The reader is gone; what is logged from here on has none.
    drop(Client::login(gateway.address, "ann").unwrap());
    ended(child, "logs --follow");
}
