//! The binary under a service manager: what it tells it, and the socket that it takes from it. A datagram
//! socket and a shell play the manager.

#[path = "support/gateway.rs"]
mod gateway;
mod support;

use gateway::{Client, Gateway, command, folder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::PATIENCE;

/// The manager's ear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(test: &str) -> Self {
        // Not below the build's folder: the path of a socket has 108 bytes at most.
        let path = std::env::temp_dir().join(format!("moorline-{}-{test}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn start(&self, command: &mut Command) -> Gateway {
        Gateway::of(command.env("NOTIFY_SOCKET", &self.path).stderr(Stdio::inherit()))
    }

    /// The next thing it is told, but for what feeds the watchdog.
    fn told(&self) -> Vec<String> {
        loop {
            let lines = self.heard();
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }

    fn heard(&self) -> Vec<String> {
        let mut text = [0; 4096];
        let count = self.socket.recv(&mut text).unwrap();
        String::from_utf8(text[..count].to_vec()).unwrap().lines().map(str::to_string).collect()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn signal(gateway: &Gateway, signal: Signal) {
    kill_process(Pid::from_child(&gateway.child), signal).unwrap();
}

/// Runs a command with the sockets that a manager has: the first is its standard input, and so are all
/// others.
fn handed(state: &Path, socket: OwnedFd, count: usize) -> Command {
    let gateway = command(state);
    let mut command = Command::new("sh");
    let script = "exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";
    command
        .args(["-c", script, "sh"])
        .arg(gateway.get_program())
        .args(gateway.get_args())
        .env("LISTEN_FDS", count.to_string())
        .env("MOORLINE_LOG_LEVEL", "error")
        .stdin(socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn the_manager_is_told_of_the_start_of_reloads_good_and_bad_and_of_the_end() {
    let state = folder("service_manager_states");
    let manager = Manager::new("states");
    let mut gateway = manager.start(&mut command(&state));
    let serving = format!("STATUS=Serving on {}", gateway.address);
    assert_eq!(manager.told(), ["READY=1", &serving]);

    signal(&gateway, Signal::HUP);
    let [reloading, monotonic] = manager.told().try_into().unwrap();
    assert_eq!(reloading, "RELOADING=1");
    assert!(monotonic.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(manager.told(), ["READY=1", &serving]);

    std::fs::write(state.join("moorline.json5"), "{ gateway: { prot: 1 } }").unwrap();
    signal(&gateway, Signal::HUP);
    assert_eq!(manager.told()[0], "RELOADING=1");
    let [ready, status] = manager.told().try_into().unwrap();
    assert_eq!(ready, "READY=1");
    assert!(status.contains("refused"), "{status}");

    signal(&gateway, Signal::TERM);
    assert_eq!(manager.told()[0], "STOPPING=1");
    assert!(gateway.child.wait().unwrap().success());
}

#[test]
fn the_watchdog_is_fed_while_all_loops_turn_though_nobody_is_connected() {
    let state = folder("service_manager_watchdog");
    let manager = Manager::new("watchdog");
    let mut command = command(&state);
    command.args(["--loops", "3"]).env("WATCHDOG_USEC", "200000");
    let _gateway = manager.start(&mut command);
    assert_eq!(manager.heard()[0], "READY=1");
    for _ in 0..5 {
        assert_eq!(manager.heard(), ["WATCHDOG=1"]);
    }
}

#[test]
fn a_socket_that_is_handed_over_is_served_by_all_loops_and_keeps_who_comes_during_a_restart() {
    let state = folder("service_manager_socket");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = || {
        let socket = listener.try_clone().unwrap().into();
        let mut command = handed(&state, socket, 1);
        Gateway::ready(command.args(["--loops", "2"]).stderr(Stdio::inherit()).spawn().unwrap())
    };
    let mut gateway = start();
    assert_eq!(gateway.address, address);
    for user in ["ada", "bob", "cleo"] {
        let mut client = Client::login(address, user).unwrap();
        client.call("chat.send", json!({"message": "hello"})).unwrap();
    }
    signal(&gateway, Signal::USR2);
    assert!(gateway.child.wait().unwrap().success());

    let mut early = TcpStream::connect(address).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    early
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let _gateway = start();
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_is_no_socket_to_listen_on_is_refused_with_what_to_change() {
    let state = folder("service_manager_refused");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (socket, count, text) in [
        (OwnedFd::from(connection), 1, "Accept=no"),
        (file.into(), 1, "no TCP socket"),
        (listener.into(), 2, "2 sockets"),
    ] {
        let Output { status, stderr, .. } = handed(&state, socket, count).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let moorline = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_moorline")).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let help = moorline(&["--help"]);
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_string())
        .filter(|command| command != "help")
        .collect();
    assert!(commands.len() > 5, "{help}");
    let dir = folder("manual");
    moorline(&["man", "--dir", dir.to_str().unwrap()]);
    let page = moorline(&["man"]);
    assert!(page.contains(".TH moorline 1") && page.contains("SIGHUP"), "{page}");
    let bash = moorline(&["completions", "bash"]);
    for command in commands {
        assert!(page.contains(&command.replace('-', "\\-")), "{command}: {page}");
        assert!(bash.contains(&command), "{command}");
        let own = std::fs::read_to_string(dir.join(format!("moorline-{command}.1"))).unwrap();
        assert!(own.contains("NAME"), "{own}");
    }
}

/// The lines of a file beside the documentation that begin with a word, without it.
fn lines_of(file: &str, word: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_string).collect()
}

#[test]
fn the_unit_and_the_image_start_it_with_settings_that_there_are() {
    let [start] = lines_of("moorline.service", "ExecStart=").try_into().unwrap();
    let arguments: Vec<_> = start.split_whitespace().collect();
    let ["/usr/local/bin/moorline", "serve", options @ ..] = &arguments[..] else {
        panic!("{start}")
    };
    let folder = folder("service_manager_units");
    let check = |options: &[&str], variable: &str| {
        let (name, value) = variable.split_once('=').unwrap();
        // A folder of the machine that it is for.
        let value = if name == "MOORLINE_STATE_DIR" { folder.to_str().unwrap() } else { value };
        let output = Command::new(env!("CARGO_BIN_EXE_moorline"))
            .arg("check-config")
            .args(options)
            .env(name, value)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{variable}: {stderr}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains(name) && stdout.contains(value), "{variable}: {stdout}");
    };
    for variable in lines_of("moorline.service", "Environment=") {
        check(options, &variable);
    }
    let [variables] = lines_of("Dockerfile", "ENV ").try_into().unwrap();
    for variable in variables.split_whitespace() {
        check(&[], variable);
    }
    assert_eq!(lines_of("moorline.service", "RestartPreventExitStatus="), ["2 78"]);
    for (argument, code) in [("--no-such-option", 2), ("--config=/no/such/file", 78)] {
        let output = Command::new(env!("CARGO_BIN_EXE_moorline"))
            .args(["serve", "--state-dir"])
            .arg(&folder)
            .arg(argument)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{argument}");
    }
}
