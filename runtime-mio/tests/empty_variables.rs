//! A variable that is set to nothing counts as not set, whatever command reads it.

#[path = "support/gateway.rs"]
mod gateway;
mod support;

use gateway::{Gateway, folder};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Those that commands read, but for the settings of the gateway.
const VARIABLES: [&str; 6] = [
    "MOORLINE_TOKEN",
    "MOORLINE_STATE_DIR",
    "MOORLINE_CONFIG",
    "MOORLINE_LOG_LEVEL",
    "MOORLINE_GATEWAY_TOKEN",
    "USER",
];

/// The program with these variables set to nothing, and with nothing else that the machine has set. Its
/// state folder is `home/moorline`, unless it is told another.
fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.env_clear().env("XDG_STATE_HOME", home).args(arguments);
    command.envs(VARIABLES.map(|name| (name, "")));
    command
}

/// What a command says on its standard output and error, and its exit code.
fn told(home: &Path, arguments: &[&str], typed: &str) -> (String, String, i32) {
    let mut command = command(home, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn every_command_takes_an_empty_variable_for_none() {
    let home = folder("empty-variables");
    let log = home.join("log");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let mut serve = command(&home, &serve);
    let gateway = Gateway::of(serve.stderr(fs::File::create(&log).unwrap()));
    let url = format!("ws://{}/ws", gateway.address);
    let token = fs::read_to_string(home.join("moorline/token")).unwrap();
    let file = home.join("note.txt");
    fs::write(&file, "a note").unwrap();
    let file = file.to_str().unwrap();
    // Whom or what each command finds without what the variables could have told it.
    for (arguments, typed, expected) in [
        (&["chat", &url][..], "hello\n", "hello"),
        (&["upload", "--url", &url, file], "", "media/"),
        (&["probe", &url, "--json"], "", r#""role": "admin""#),
        (&["doctor", &url, "--json"], "", r#""id": "login.ok""#),
        (&["check-config"], "", "default"),
        (&["devices"], "", "Nobody asks"),
        (&["connections"], "", "Nobody is connected"),
        (&["sessions"], "", " me "),
        (&["agents"], "", "echo"),
        (&["token", "show"], "", token.trim()),
        (&["logs"], "", "serving"),
        (&["reload"], "", "nothing has changed"),
        (&["drain"], "", "the gateway has ended"),
    ] {
        let (out, err, code) = told(&home, arguments, typed);
        // Of the doctor it is what a gateway without TLS on a loaded machine deserves.
        assert!(code == 0 || arguments[0] == "doctor", "{arguments:?}: {code}: {out}{err}");
        assert!(out.contains(expected), "{arguments:?}: {out}{err}");
        assert!(!err.contains("MOORLINE_"), "{arguments:?}: {err}");
    }
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("stopped") && !log.contains("MOORLINE_"), "{log}");
}

#[test]
fn the_echo_server_logs_what_it_does_by_default() {
    let home = folder("empty-variables-echo");
    let log = home.join("log");
    let mut echo = command(&home, &["echo", "--listen", "127.0.0.1:0"]);
    let mut echo = support::Process::of(echo.stderr(fs::File::create(&log).unwrap()));
    kill_process(Pid::from_child(&echo.child), Signal::TERM).unwrap();
    echo.child.wait().unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn an_empty_flag_is_a_mistake_and_told_as_one() {
    let home = folder("empty-flags");
    for arguments in [
        &["chat"][..],
        &["upload", "note.txt"],
        &["probe"],
        &["doctor"],
        &["serve"],
        &["connections"],
    ] {
        for flag in ["--token", "--state-dir"] {
            if (arguments[0], flag) == ("connections", "--token") {
                continue;
            }
            let (out, err, code) = told(&home, &[arguments, &[flag, ""]].concat(), "");
            // What the configuration may not hold is 78, however it came there.
            let expected = if (arguments[0], flag) == ("serve", "--token") { 78 } else { 2 };
            assert_eq!(code, expected, "{arguments:?} {flag}: {out}{err}");
        }
    }
}
