//! Commands that are given a state folder and no URL find the gateway that runs with it, wherever it listens.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/odd_server.rs"]
mod odd_server;
#[path = "support/report.rs"]
mod report;
mod support;

use gateway::folder;
use moorline_core::{Accept, Connection, Event, Limits};
use report::{diagnose, moorline, write};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use support::{PATIENCE, Process};

/// A variable of the gateway's service that no shell has.
const KEY: &str = "KEY_THAT_IS_THE_SERVICES_ALONE";

/// A gateway on some port, with the token of its state folder and a variable of its own.
fn serve(state: &Path, arguments: &[&str]) -> Process {
    let mut command = moorline(&["serve", "--listen", "127.0.0.1:0", "--state-dir"]);
    command.arg(state).args(arguments).env(KEY, "canary-key").env("MOORLINE_LOG_LEVEL", "error");
    Process::of(&mut command)
}

#[test]
fn doctor_finds_nothing_wrong_with_a_gateway_whose_variables_this_shell_has_not() {
    let state = folder("running-variables");
    let backend =
        "{type: 'openai', base_url: 'http://127.0.0.1:9/v1', model: 'm', api_key: {env: 'KEY'}}"
            .replace("KEY", KEY);
    write(&state.join("moorline.json5"), &format!("{{agents: [{{id: 'a', backend: {backend}}}]}}"));
    let gateway = serve(&state, &[]);
    let report = diagnose(&["--state-dir", state.to_str().unwrap()]);
    assert_eq!((report.bad(), report.code), (vec![], 0), "{:#}", json!(report.findings));
    let unset = report.find("config.unset")["about"].as_str().unwrap();
    assert!(unset.starts_with(&format!("agents: the variable {KEY} ")), "{unset}");
    let held = report.find("port.held")["about"].as_str().unwrap();
    assert!(held.starts_with(&format!(
        "port {}: pid {}",
        gateway.address.port(),
        gateway.child.id()
    )));
    assert!(report.has("login.ok") && report.has("tokens.ok") && report.has("state.locked"));
    // Nobody serves by it any more, and this shell could not start one.
    drop(gateway);
    let report = diagnose(&["--state-dir", state.to_str().unwrap()]);
    let invalid = report.find("config.invalid")["about"].as_str().unwrap();
    assert!(invalid.ends_with(&format!("the variable {KEY} is not set")), "{invalid}");
    assert!(report.has("state.unlocked"));
}

#[test]
fn doctor_reads_the_configuration_file_that_the_running_gateway_was_started_with() {
    let (state, etc) = (folder("running-config"), folder("running-config-etc"));
    let file = etc.join("my gateway.json5");
    write(&file, "{gateway: {token: 'canary-of-the-file'}}");
    let gateway = serve(&state, &["--config", file.to_str().unwrap()]);
    let arguments = ["--state-dir", state.to_str().unwrap(), "--token", "canary-of-the-file"];
    let report = diagnose(&arguments);
    assert_eq!((report.bad(), report.code), (vec![], 0), "{:#}", json!(report.findings));
    assert_eq!(report.find("config.ok")["about"], file.to_str().unwrap());
    assert!(report.has("tokens.ok") && report.has("login.ok"));
    drop(gateway);
    let about = diagnose(&arguments).find("config.ok")["about"].to_string();
    assert!(about.contains("no file"), "{about}");
}

#[test]
fn a_token_that_only_the_service_has_is_compared_with_none() {
    let state = folder("running-token");
    write(&state.join("token"), "abc\n");
    let token = format!("{{gateway: {{token: {{env: '{KEY}'}}}}}}");
    write(&state.join("moorline.json5"), &token);
    let _gateway = serve(&state, &[]);
    let report = diagnose(&["--state-dir", state.to_str().unwrap(), "--token", "canary-key"]);
    assert!(report.has("login.ok") && report.has("config.unset"), "{:#}", json!(report.findings));
    assert!(!report.has("tokens.mismatch") && !report.has("tokens.ok"));
    assert!(!json!(report.findings).to_string().contains("canary"));
}

#[test]
fn doctor_goes_where_the_flags_of_the_running_gateway_say_and_by_tls_if_they_do() {
    let state = folder("running-tls");
    odd_server::write_certificate(&state, (2051, 1, 1));
    let at = |name: &str| state.join(name).display().to_string();
    let gateway = serve(&state, &["--tls-cert", &at("cert.pem"), "--tls-key", &at("key.pem")]);
    let folder = state.to_str().unwrap();
    let report = diagnose(&["--state-dir", folder, "--ca", &at("cert.pem")]);
    assert_eq!((report.bad(), report.code), (vec![], 0), "{:#}", json!(report.findings));
    assert!(report.has("tls.ok") && report.has("login.ok"));
    let held = report.find("port.held")["about"].as_str().unwrap();
    assert!(held.starts_with(&format!("port {}: ", gateway.address.port())), "{held}");
    let note = fs::read_to_string(state.join("lock")).unwrap();
    let url = format!("url wss://{}/ws", gateway.address);
    assert!(note.starts_with("pid ") && note.lines().any(|line| line == url), "{note}");
}

#[test]
fn doctor_asks_a_gateway_of_this_machine_by_the_name_that_its_certificate_has() {
    let state = folder("running-name");
    odd_server::write_certificate_for("gw.example.com", &state, (2051, 1, 1));
    let at = |name: &str| state.join(name).display().to_string();
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    let flags = ["--tls-cert", &cert, "--tls-key", &key, "--allow-host", "gw.example.com"];
    let gateway = serve(&state, &flags);
    let report = diagnose(&["--state-dir", state.to_str().unwrap(), "--ca", &cert]);
    assert_eq!((report.bad(), report.code), (vec![], 0), "{:#}", json!(report.findings));
    assert!(report.has("tls.ok") && report.has("login.ok") && report.has("agents.ok"));
    // Whoever names the address has clients that do.
    let url = format!("wss://{}/ws", gateway.address);
    let report = diagnose(&[&url, "--state-dir", state.to_str().unwrap(), "--ca", &cert]);
    assert!(report.has("tls.wrong-name"), "{:#}", json!(report.findings));
}

#[test]
fn probe_chat_and_upload_go_to_the_gateway_of_the_state_folder() {
    let state = folder("running-clients");
    let gateway = serve(&state, &[]);
    let folder = state.to_str().unwrap();
    let stdout = |arguments: &[&str]| {
        let Output { status, stdout, stderr } = moorline(arguments).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    };
    let probed = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&moorline(arguments).output().unwrap().stdout).unwrap()
    };
    let report = probed(&["probe", "--json", "--state-dir", folder]);
    assert_eq!(report["url"], format!("ws://{}/ws", gateway.address));
    assert_eq!(report["ok"], true);
    let mut command = moorline(&["probe", "--quiet"]);
    assert!(command.env("MOORLINE_STATE_DIR", &state).status().unwrap().success());
    write(&state.join("file.txt"), "a file");
    let path = stdout(&["upload", "--state-dir", folder, &format!("{folder}/file.txt")]);
    assert!(path.starts_with("media/"), "{path}");
    let mut command = moorline(&["chat", "--state-dir", folder]);
    let mut chat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut chat.stdin.take().unwrap(), b"hello\n").unwrap();
    let said = chat.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("hello"), "{said:?}");
    // Where one was is no place to go to; then the configuration says where one would be.
    drop(gateway);
    let nobody = odd_server::nobody();
    let file = format!("{{gateway: {{port: {}}}}}", nobody.port());
    write(&state.join("moorline.json5"), &file);
    let report = probed(&["probe", "--json", "--state-dir", folder]);
    assert_eq!(
        (&report["url"], &report["failed"]),
        (&json!(format!("ws://{nobody}/ws")), &json!("tcp"))
    );
}

/// Somebody else's server, which takes WebSockets on and keeps what clients send: heads of requests, and the
/// first message after an upgrade.
fn eavesdropper() -> (SocketAddr, Receiver<String>) {
    let (heard, hears) = mpsc::channel();
    let heard = Mutex::new(heard);
    let address = odd_server::serving(move |stream| {
        let heard = heard.lock().unwrap().clone();
        listen(stream, &heard);
    });
    (address, hears)
}

fn listen(mut stream: TcpStream, heard: &Sender<String>) {
    let mut connection = Connection::server(Arc::new(Limits::default()), Instant::now());
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if buffer.starts_with(b"POST ") {
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            return heard.send(head).unwrap();
        }
        let mut turn = connection.receive(Instant::now(), &mut buffer[..count]);
        while let Some((event, outbox)) = turn.next_event() {
            match event {
                Event::Request(_) => outbox.accept(&Accept::default()).unwrap(),
                Event::Text(text) => return heard.send(text.into()).unwrap(),
                _ => {}
            }
        }
        let mut slices = [IoSlice::new(&[]); 16];
        let outbox = connection.outbox(Instant::now());
        let filled = outbox.slices(&mut slices);
        let written = stream.write_vectored(&slices[..filled]).unwrap();
        outbox.written(Instant::now(), written);
    }
}

#[test]
fn the_token_of_a_folder_is_told_to_nobody_on_loopback_while_no_gateway_runs_with_it() {
    let state = folder("running-withheld");
    write(&state.join("token"), "canary-token\n");
    write(&state.join("file.txt"), "a file");
    let (address, hears) = eavesdropper();
    let (url, path) = (format!("ws://{address}/ws"), state.to_str().unwrap());
    let file = format!("{path}/file.txt");
    let said = |arguments: &[&str]| {
        let arguments = [arguments, &["--state-dir", path]].concat();
        let mut child = moorline(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without having read it.
        let _ = child.stdin.take().unwrap().write_all(b"hello\n");
        let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
        String::from_utf8([stdout, stderr].concat()).unwrap()
    };
    let chat = ["chat", &url, "--give-up-after", "0"];
    let upload = ["upload", "--url", &url, &file];
    let (probe, doctor) = (["probe", &url], ["doctor", &url]);
    let withheld =
        format!("no gateway runs with the state folder {path}, so its token is not sent");
    for arguments in [&chat[..], &upload, &probe, &doctor] {
        let text = said(arguments);
        assert!(text.contains(&withheld), "{arguments:?}: {text}");
    }
    let heard: Vec<_> = hears.try_iter().collect();
    assert!(heard.len() >= 2 && !format!("{heard:?}").contains("canary"), "{heard:?}");
    let _gateway = serve(&state, &[]);
    for arguments in [&chat[..], &upload, &probe] {
        let text = said(arguments);
        assert!(!text.contains(&withheld), "{arguments:?}: {text}");
        let heard = hears.recv_timeout(PATIENCE).unwrap();
        assert!(heard.contains("canary-token"), "{arguments:?}: {heard}");
    }
}

#[test]
fn a_chat_that_waits_for_its_gateway_logs_in_by_the_token_of_the_folder() {
    let state = folder("running-later");
    write(&state.join("token"), "abc\n");
    let (address, path) = (odd_server::nobody().to_string(), state.to_str().unwrap());
    let mut command = moorline(&["chat", &format!("ws://{address}/ws"), "--state-dir", path]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut chat = command.spawn().unwrap();
    let mut typed = chat.stdin.take().unwrap();
    typed.write_all(b"hello\n").unwrap();
    let mut told = String::new();
    BufReader::new(chat.stderr.as_mut().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("nobody answers"), "{told}");
    let mut command = moorline(&["serve", "--listen", &address, "--state-dir", path]);
    let _gateway = Process::of(command.env("MOORLINE_LOG_LEVEL", "error"));
    drop(typed);
    let said = chat.wait_with_output().unwrap();
    assert_eq!((said.stdout, said.status.code()), (b"hello\n".to_vec(), Some(0)));
}
