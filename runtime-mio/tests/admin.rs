//! The host's command line and the gateway that runs, both the real binary: what it shows and decides, and
//! who may not.
#![cfg(target_os = "linux")]

#[path = "support/admin.rs"]
mod admin;
mod support;
#[path = "support/gateway.rs"]
mod world;

use admin::{Told, json_of, moorline, open, text_of};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use world::{Client, Gateway, folder};

/// A gateway that lets nobody in without asking.
fn asking(name: &str) -> (std::path::PathBuf, Gateway) {
    let state = folder(name);
    let text = "{gateway: {pairing: true, auto_approve_local: false}}";
    fs::write(state.join("moorline.json5"), text).unwrap();
    let gateway = Gateway::start(&state);
    (state, gateway)
}

/// A browser that asks to be let in, and is told its secret.
fn ask(gateway: &Gateway) -> (Client, Value) {
    let mut client = Client::open(gateway.address).unwrap();
    let waits = client.call("connect", json!({"user_id": "ann"})).unwrap();
    assert_eq!(waits["status"], "pending_pairing", "{waits}");
    (client, waits)
}

#[test]
fn the_only_device_that_asks_is_let_in_without_being_named_and_sent_away_again() {
    let (state, gateway) = asking("admin-base");
    assert_eq!(
        moorline(&state, &["devices", "approve"]),
        Told::failed(1, "moorline: nobody asks to be let in\n")
    );
    let (mut client, waits) = ask(&gateway);
    let list = json_of(&state, &["devices", "--json"]);
    assert_eq!(list["pending"][0]["code"], waits["pairing_code"], "{list}");
    assert_eq!(list["pending"][0]["dialect"], "moorline");
    let said = text_of(&state, &["devices", "approve"]);
    assert!(said.starts_with("approved: d-") && said.ends_with("(browser, user ann)\n"), "{said}");
    let paired = client.event("device.pair.resolved").unwrap();
    assert_eq!(paired["action"], "approved", "{paired}");
    let params = json!({"sender_id": waits["sender_id"], "user_id": "ann"});
    let hello = client.call("connect", params.clone()).unwrap();
    assert_eq!((&hello["role"], &hello["user_id"]), (&json!("operator"), &json!("ann")));
    let list = json_of(&state, &["devices", "list", "--json"]);
    assert_eq!((&list["pending"], &list["paired"][0]["pairedBy"]), (&json!([]), &json!("host")));
    let name = list["paired"][0]["senderId"].as_str().unwrap();
    let said = moorline(&state, &["devices", "rotate", name]);
    assert!(said.code == 1 && said.stderr.contains("no token"), "{said:?}");
    text_of(&state, &["devices", "remove", &name[..6]]);
    assert_eq!(client.closed().unwrap(), (1008, "revoked".into()));
    let mut again = Client::open(gateway.address).unwrap();
    assert_ne!(again.ask("connect", params).unwrap()["payload"]["type"], "hello-ok");
}

#[test]
fn of_several_that_ask_one_must_be_named() {
    let (state, gateway) = asking("admin-several");
    let (_one, first) = ask(&gateway);
    let (_two, second) = ask(&gateway);
    let said = moorline(&state, &["devices", "approve"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("several ask"), "{said:?}");
    for code in [&first, &second].map(|waits| waits["pairing_code"].as_str().unwrap()) {
        assert!(said.stdout.contains(code), "{said:?}");
    }
    let code = second["pairing_code"].as_str().unwrap().to_lowercase();
    assert!(text_of(&state, &["devices", "reject", &code]).starts_with("rejected: "));
    let left = json_of(&state, &["devices", "--json"]);
    assert_eq!(left["pending"].as_array().unwrap().len(), 1);
    assert_eq!(left["pending"][0]["code"], first["pairing_code"]);
}

/// What a device of OpenClaw's dialect says, signed by its key.
fn keyed(key: &Ed25519KeyPair, challenge: &Value, auth: &str, secret: &str) -> Value {
    let public = key.public_key().as_ref();
    let id: String = Sha256::digest(public).iter().map(|byte| format!("{byte:02x}")).collect();
    let (nonce, ts) = (challenge["nonce"].as_str().unwrap(), &challenge["ts"]);
    let text = format!("v3|{id}|cli|cli|operator|operator.read|{ts}|{secret}|{nonce}|linux|");
    json!({
        "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read"],
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
        "auth": {auth: secret},
        "device": {
            "id": id, "publicKey": BASE64.encode(public), "nonce": nonce, "signedAt": ts,
            "signature": BASE64.encode(key.sign(text.as_bytes())),
        },
    })
}

#[test]
fn a_device_of_openclaw_is_let_in_its_token_rotated_and_itself_removed() {
    let (state, gateway) = asking("admin-openclaw");
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let connect = |auth: &str, secret: &str| {
        let mut client = Client::open(gateway.address).unwrap();
        let challenge = client.event("connect.challenge").unwrap();
        let answer = client.ask("connect", keyed(&key, &challenge, auth, secret)).unwrap();
        (client, answer)
    };
    let (_, refused) = connect("token", "t");
    assert_eq!(refused["error"]["details"]["code"], "PAIRING_REQUIRED", "{refused}");
    let request = refused["error"]["details"]["requestId"].as_str().unwrap();
    let list = text_of(&state, &["devices"]);
    assert!(list.contains(request) && list.contains("openclaw"), "{list}");
    let said = text_of(&state, &["devices", "approve", &request[..8]]);
    assert!(said.starts_with("approved: ") && said.contains("cli on linux"), "{said}");
    let (mut client, hello) = connect("token", "t");
    assert_eq!(hello["ok"], true, "{hello}");
    let token = hello["payload"]["auth"]["deviceToken"].as_str().unwrap();
    assert!(text_of(&state, &["devices"]).contains("yes"), "it is connected");

    let device = json_of(&state, &["devices", "--json"])["paired"][0]["deviceId"].take();
    let device = device.as_str().unwrap();
    let (mut by_token, hello) = connect("deviceToken", token);
    assert_eq!(hello["ok"], true, "{hello}");
    assert!(text_of(&state, &["devices", "rotate", device]).contains("rotated: "));
    assert_eq!(by_token.closed().unwrap().0, 4001);
    let (_, refused) = connect("deviceToken", token);
    assert_eq!(refused["ok"], false, "{refused}");
    text_of(&state, &["devices", "remove", &device[..10]]);
    assert_eq!(client.closed().unwrap(), (4001, "device removed".into()));
}

#[test]
fn connections_sessions_agents_and_logs_are_those_of_the_gateway_that_runs() {
    let state = folder("admin-lists");
    let gateway = Gateway::with(&state, &["--log-level", "info"]);
    assert_eq!(text_of(&state, &["connections"]), "Nobody is connected.\n");
    let mut ann = Client::login(gateway.address, "ann").unwrap();
    let answer = ann.call("chat.send", json!({"message": "good\u{1b}morning"})).unwrap();
    let key = answer["sessionKey"].as_str().unwrap();
    let sessions = text_of(&state, &["sessions"]);
    assert!(sessions.contains(key) && sessions.contains("ann"), "{sessions}");
    let shown = text_of(&state, &["sessions", "show", key]);
    assert!(shown.contains("user (") && shown.contains("good\\u{1b}morning"), "{shown}");
    let whole = json_of(&state, &["sessions", "show", key, "--json"]);
    assert_eq!(whole["messages"].as_array().unwrap().len(), 2, "{whole}");
    text_of(&state, &["sessions", "delete", key]);
    let said = moorline(&state, &["sessions", "show", key]);
    assert!(said.code == 1 && said.stderr.contains("NOT_FOUND"), "{said:?}");

    let list = json_of(&state, &["connections", "--json"]);
    let ours = list["connections"].as_array().unwrap();
    assert_eq!(ours.len(), 1, "the command itself is not among them: {list}");
    let name = ours[0]["connId"].as_str().unwrap();
    let said = text_of(&state, &["connections", "close", name, "--reason", "enough"]);
    assert_eq!(said, format!("closed: {name}\n"));
    assert_eq!(ann.closed().unwrap(), (1008, "enough".into()));

    assert!(text_of(&state, &["agents"]).contains("echo"));
    let logs = text_of(&state, &["logs"]);
    assert!(logs.contains("sent away") && logs.contains("by=\"host\""), "{logs}");
    let line = text_of(&state, &["logs", "--json", "-n", "1"]);
    assert!(serde_json::from_str::<Value>(&line).unwrap()["level"].is_string(), "{line}");
}

#[test]
fn the_socket_is_for_its_user_alone_and_gone_after_the_end() {
    let state = folder("admin-mode");
    let gateway = Gateway::start(&state);
    let socket = state.join("admin.sock");
    let file = fs::metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    // Only root can be somebody else.
    if std::os::unix::fs::MetadataExt::uid(&file) == 0 {
        let mut other = open(&state, &["devices"]);
        match other.uid(65_534).gid(65_534).output() {
            Ok(output) => {
                let said = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains("permission denied") && said.contains("(uid 0)"), "{said}");
            }
            // They may not even reach the program where it was built.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
    }
    stop(gateway);
    assert!(!socket.exists());
    nobody_runs(&state);
}

#[test]
fn what_a_killed_gateway_left_is_told_apart_and_in_nobodys_way() {
    let state = folder("admin-killed");
    let mut gateway = Gateway::start(&state);
    gateway.kill();
    assert!(state.join("admin.sock").exists());
    nobody_runs(&state);
    let gateway = Gateway::start(&state);
    text_of(&state, &["devices"]);
    let (code, _) = world::refused(&state);
    assert_eq!(code, Some(78), "the folder has its gateway");
    text_of(&state, &["devices"]);
    stop(gateway);
}

#[test]
fn a_folder_may_be_deeper_than_the_path_of_a_socket_and_its_gateway_ephemeral() {
    let state = folder("admin-deep").join("a-folder-below-it/".repeat(8));
    fs::create_dir_all(&state).unwrap();
    let _gateway = Gateway::with(&state, &["--ephemeral"]);
    assert!(text_of(&state, &["agents"]).contains("echo"));
}

#[test]
fn a_gateway_that_cannot_have_its_socket_runs_without_and_is_told_of() {
    let state = folder("admin-blocked");
    fs::write(state.join("admin.sock"), "somebody's").unwrap();
    let gateway = Gateway::start(&state);
    Client::login(gateway.address, "ann").unwrap();
    let said = moorline(&state, &["devices"]);
    let pid = format!("process {} has the state folder", gateway.child.id());
    assert!(said.code == 1 && said.stderr.contains(&pid), "{said:?}");
    assert_eq!(fs::read_to_string(state.join("admin.sock")).unwrap(), "somebody's");
}

/// Somebody at the socket of a state folder who does this with each request.
fn instead_of_a_gateway(state: &Path, answer: impl Fn(UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(state.join("admin.sock")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            answer(stream);
        }
    });
}

#[test]
fn a_gateway_that_takes_no_more_connections_is_told_as_it_says_it() {
    for (name, answer, said) in [
        (
            "admin-full",
            "HTTP/1.1 503 Full\r\nContent-Length: 5\r\n\r\nfull\n",
            "the gateway did not take the connection: HTTP 503: full",
        ),
        ("admin-other", "SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
        ("admin-gone", "", "the connection was cut without an answer"),
    ] {
        let state = folder(name);
        instead_of_a_gateway(&state, |mut stream| stream.write_all(answer.as_bytes()).unwrap());
        let told = moorline(&state, &["connections"]);
        assert!(told.code == 1 && told.stderr.contains(said), "{told:?}");
    }
}

/// Ends it in order.
fn stop(mut gateway: Gateway) {
    let pid = rustix::process::Pid::from_child(&gateway.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(gateway.child.wait().unwrap().success());
}

fn nobody_runs(state: &Path) {
    let said = moorline(state, &["devices"]);
    assert_eq!(said.code, 1, "{said:?}");
    let wanted = format!("no gateway runs with the state folder {}", state.display());
    assert!(said.stderr.contains(&wanted), "{said:?}");
    assert!(said.stderr.contains("moorline serve --state-dir"), "how to start one: {said:?}");
}
