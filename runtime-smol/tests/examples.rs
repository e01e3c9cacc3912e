//! Every example, run as a user would.

mod support;

use moorline_core::{Accept, Event, Outbox};
use moorline_smol::ServeOptions;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once, mpsc};
use std::time::SystemTime;
use support::{Peer, Running};

/// A started example, killed when dropped.
struct Example(Child);

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let child = Command::new(path_of(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        lines_of(self.0.stdout.take().unwrap())
    }

    /// Waits until it says this on its standard error.
    fn wait_for_note(&mut self, part: &str) {
        let found = lines_of(self.0.stderr.take().unwrap()).find(|line| line.contains(part));
        assert!(found.is_some(), "it never says {part}");
    }

    fn type_line(&mut self, line: &str) {
        let input = self.0.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    }
}

/// A line that does not come is a failure.
fn lines_of(output: impl Read + Send + 'static) -> impl Iterator<Item = String> {
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let _ = told.send(line.unwrap());
        }
    });
    std::iter::from_fn(move || match heard.recv_timeout(support::PATIENCE) {
        Ok(line) => Some(line),
        Err(mpsc::RecvTimeoutError::Disconnected) => None,
        Err(timeout) => panic!("the example prints nothing: {timeout}"),
    })
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `cargo test` builds the examples beside the tests; when only this test was asked for, it does so
/// itself.
fn path_of(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(name);
    BUILD.call_once(|| {
        if !is_fresh(&path) {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--examples", "--package", env!("CARGO_PKG_NAME")]);
            build.arg("--target-dir").arg(profile.parent().unwrap());
            build.current_dir(env!("CARGO_MANIFEST_DIR"));
            build
                .args(["--profile", if profile.ends_with("release") { "release" } else { "test" }]);
            assert!(build.status().unwrap().success());
        }
    });
    path
}

/// Whether it was built after every change of what it is built from.
fn is_fresh(path: &Path) -> bool {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources =
        ["src", "examples", "../core/src"].map(|folder| latest_change(&package.join(folder)));
    let built = path.metadata().and_then(|found| found.modified());
    built.is_ok_and(|built| sources.iter().all(|changed| *changed <= built))
}

fn latest_change(folder: &Path) -> SystemTime {
    let changes = folder.read_dir().unwrap().map(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => latest_change(&entry.path()),
            false => entry.metadata().unwrap().modified().unwrap(),
        }
    });
    changes.max().unwrap()
}

fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("ws://").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

#[test]
fn the_echo_servers_answer_and_close() {
    for name in ["echo", "embed_epoll", "embed_tokio"] {
        let mut server = Example::start(name, &["127.0.0.1:0"]);
        let address = address_in(&server.lines().next().unwrap());
        let mut other = Peer::connect(address);
        let mut client = Peer::connect(address);
        client.send(1, b"hello");
        assert_eq!(client.read_message(), b"hello", "{name}");
        let large = vec![7; 300_000];
        client.send(2, &large);
        assert!(client.read_message() == large, "{name}");
        client.send(9, b"p");
        assert_eq!(client.read_frame(), (0x8A, b"p".to_vec()), "{name}");
        client.send(8, &[3, 0xE8]);
        assert_eq!(client.read_frame(), (0x88, vec![3, 0xE8]), "{name}");
        assert_eq!(client.read_rest(), b"", "{name} ends the transport");
        other.send(1, b"still here");
        assert_eq!(other.read_message(), b"still here", "{name}");
    }
}

#[test]
fn the_echo_server_stops_with_its_input() {
    let mut server = Example::start("echo", &["127.0.0.1:0"]);
    let address = address_in(&server.lines().next().unwrap());
    let mut client = Peer::connect(address);
    server.type_line("");
    drop(server.0.stdin.take());
    let (first, payload) = client.read_frame();
    assert_eq!((first, &payload[2..]), (0x88, &b"going away"[..]));
    client.send(8, &payload[..2]);
    assert_eq!(client.read_rest(), b"");
    drop(client);
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn the_conformance_client_runs_every_case_as_an_echo() {
    // A fuzzing server of three cases: it sends, and tells what came back.
    let (told, heard) = mpsc::channel();
    let server = Running::start(ServeOptions::default(), move |_| {
        let (told, mut target) = (told.clone(), String::new());
        move |event: Event<'_>, outbox: &mut Outbox| match event {
            Event::Request(head) => {
                target = head.target().into();
                outbox.accept(&Accept::default()).unwrap();
            }
            Event::Open => {
                told.send(target.clone()).unwrap();
                match target.as_str() {
                    "/getCaseCount" => outbox.text("3").unwrap(),
                    "/runCase?case=1&agent=me" => outbox.text("one").unwrap(),
                    "/runCase?case=2&agent=me" => outbox.binary(&[2; 100_000]).unwrap(),
                    _ => outbox.close(moorline_core::CloseCode::NORMAL, ""),
                }
            }
            Event::Text(text) => {
                told.send(text.into()).unwrap();
                outbox.close(moorline_core::CloseCode::NORMAL, "");
            }
            Event::Binary(data) => {
                told.send(format!("{} bytes", data.len())).unwrap();
                outbox.close(moorline_core::CloseCode::NORMAL, "");
            }
            _ => {}
        }
    });
    let base = format!("ws://{}/", server.address);
    let mut client = Example::start("conformance_client", &[&base, "me"]);
    assert_eq!(client.lines().last().as_deref(), Some("ran 3 cases"));
    assert!(client.0.wait().unwrap().success());
    let heard: Vec<_> = heard.try_iter().collect();
    let expected = [
        "/getCaseCount",
        "/runCase?case=1&agent=me",
        "one",
        "/runCase?case=2&agent=me",
        "100000 bytes",
        "/runCase?case=3&agent=me",
        "/updateReports?agent=me",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn what_one_types_all_in_the_chat_see_and_a_restart_loses_nobody() {
    let mut server = Example::start("chat", &["serve", "127.0.0.1:0"]);
    let address = address_in(&server.lines().next().unwrap());
    let url = |name: &str| format!("ws://{address}/{name}");
    let mut ann = Example::start("chat", &[&url("ann")]);
    let ann_sees = Mutex::new(ann.lines());
    let see = |line: &str| {
        let found = ann_sees.lock().unwrap().by_ref().find(|seen| seen == line);
        assert_eq!(found.as_deref(), Some(line));
    };
    see("* ann is here");
    let mut bob = Example::start("chat", &[&url("bob")]);
    see("* bob is here");
    bob.type_line("hello \u{1b}[31mred");
    see("bob: hello \\u{1b}[31mred");
    drop(server);
    ann.wait_for_note("next attempt");
    bob.wait_for_note("next attempt");
    // Typed while nobody listens: it is sent when the server is back.
    ann.type_line("is anybody there?");
    let _server = Example::start("chat", &["serve", &address.to_string()]);
    see("ann: is anybody there?");
    bob.type_line("yes");
    see("bob: yes");
    drop(bob.0.stdin.take());
    assert!(bob.0.wait().unwrap().success());
    see("* bob has left");
}
