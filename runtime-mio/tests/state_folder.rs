//! What is found in the state folder at the start: another gateway, damage, or nothing that can be used.

mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use world::{Client, Gateway, command, folder, refused};

/// Says something a number of times; gives the session.
fn talk(state: &Path, times: usize) -> String {
    let mut gateway = Gateway::start(state);
    let mut client = Client::login(gateway.address, "ann").unwrap();
    let mut params = json!({"message": "hello", "ack": false});
    for _ in 0..times {
        let answer = client.call("chat.send", params.clone()).unwrap();
        params["sessionKey"] = answer["sessionKey"].clone();
    }
    gateway.kill();
    params["sessionKey"].as_str().unwrap().to_string()
}

/// How many messages a session has now.
fn count(state: &Path, session: &str) -> usize {
    let gateway = Gateway::start(state);
    Client::login(gateway.address, "ann").unwrap().history(session).unwrap().len()
}

/// Lets the gateway end in order, which puts everything from the log into the database.
fn stop(mut gateway: Gateway) {
    let pid = gateway.child.id().to_string();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_gateway_is_told_who_has_the_folder_and_the_first_goes_on() {
    let state = folder("second");
    let file = state.join("moorline.json5");
    fs::write(&file, "{}").unwrap();
    let gateway = Gateway::start(&state);
    let (code, said) = refused(&state);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("in use by another gateway:\n"), "{said}");
    assert!(said.contains("choose another folder with --state-dir"), "{said}");
    names_the_owner(&said, &gateway, &file.display().to_string());
    let mut client = Client::login(gateway.address, "ann").unwrap();
    client.call("chat.send", json!({"message": "hello", "ack": true})).unwrap();
    drop(gateway);
    // A lock does not outlive its owner.
    drop(Gateway::start(&state));
}

/// Who it is, since when and by which file; and no token.
fn names_the_owner(said: &str, gateway: &Gateway, config: &str) {
    let row = |key: &str| {
        let found = said.lines().find_map(|line| line.trim_start().strip_prefix(key));
        found.unwrap_or_else(|| panic!("no {key} in {said}")).trim()
    };
    assert_eq!(row("pid "), gateway.child.id().to_string());
    assert!(!row("user ").is_empty());
    assert!(row("command ").contains("serve --listen 127.0.0.1:0 --token ***"), "{said}");
    assert!(row("started ").ends_with(" GMT"), "{said}");
    assert_eq!(row("config "), config);
}

#[test]
fn a_second_gateway_is_told_who_has_the_port() {
    let (state, other) = (folder("port-first"), folder("port-second"));
    let gateway = Gateway::start(&state);
    let start = |address: SocketAddr| {
        let (address, program) = (address.to_string(), env!("CARGO_BIN_EXE_moorline"));
        let mut command = std::process::Command::new(program);
        command.args(["serve", "--listen", &address, "--state-dir"]).arg(&other);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = start(gateway.address);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("is in use; it is held by\n"), "{said}");
    names_the_owner(&said, &gateway, "none");
    // Of another program only its file is not known.
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, said) = start(holder.local_addr().unwrap());
    assert!(said.contains(&format!("  pid      {}\n", std::process::id())), "{said}");
    assert!(said.contains("  started  ") && !said.contains("  config "), "{said}");
}

#[test]
fn what_was_said_is_there_after_a_kill_and_is_not_with_ephemeral() {
    let state = folder("kept");
    let session = talk(&state, 3);
    assert_eq!(count(&state, &session), 6);
    let state = folder("ephemeral");
    let mut child = command(&state).arg("--ephemeral").spawn().unwrap();
    // It announces itself when everything is open that it opens.
    let mut line = String::new();
    let out = child.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    assert!(!state.join("moorline.db").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_damaged_database_is_refused_with_what_to_do_and_left_as_it_is() {
    let state = folder("torn");
    talk(&state, 3);
    stop(Gateway::start(&state));
    let path = state.join("moorline.db");
    let whole = fs::read(&path).unwrap();
    assert!(!state.join("moorline.db-wal").exists());
    let mut flipped = whole.clone();
    flipped[4096..4200].fill(0xA5);
    for damaged in [&b""[..], &whole[..50], &whole[..whole.len() / 2], &flipped, b"not a database"]
    {
        fs::write(&path, damaged).unwrap();
        let (code, said) = refused(&state);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(path.to_str().unwrap()), "where: {said}");
        assert!(said.contains("Put back a copy"), "what to do: {said}");
        assert!(fs::read(&path).unwrap() == damaged, "it was touched");
    }
    fs::write(&path, &whole).unwrap();
    drop(Gateway::start(&state));
}

#[test]
fn a_log_whose_end_is_torn_loses_that_end_only() {
    let state = folder("log");
    let session = talk(&state, 6);
    let path = state.join("moorline.db-wal");
    let whole = fs::read(&path).unwrap();
    let database = fs::read(state.join("moorline.db")).unwrap();
    let mut before = 12;
    // From all of it with rubbish behind, to nothing.
    for eighths in (0..=8).rev() {
        let mut torn = whole[..whole.len() * eighths / 8].to_vec();
        if eighths == 8 {
            torn.extend_from_slice(&[0xA5; 3000]);
        }
        fs::write(state.join("moorline.db"), &database).unwrap();
        fs::write(&path, &torn).unwrap();
        let _ = fs::remove_file(state.join("moorline.db-shm"));
        let gateway = Gateway::start(&state);
        let mut client = Client::login(gateway.address, "ann").unwrap();
        let id = client.request("chat.history", json!({"sessionKey": session})).unwrap();
        let (answered, answer) = client.answer().unwrap();
        assert_eq!(answered, id);
        let left = answer["payload"]["messages"].as_array().map_or(0, Vec::len);
        assert!(left <= before && (eighths < 8 || left == 12), "{eighths}: {left} of {before}");
        before = left;
    }
    assert_eq!(before, 0, "nothing of the log was there at the end");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let state = folder("readonly");
    let mut command = command(&state);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o555)).unwrap();
    // Nothing is forbidden to root, so whoever is root tries it as nobody.
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        command.uid(65_534).gid(65_534);
    }
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains(state.to_str().unwrap()) && said.contains("denied"), "{said}");
            assert!(said.contains("choose another with --state-dir"), "what to do: {said}");
        }
        // Nobody may not even reach the program where it was built.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
}
