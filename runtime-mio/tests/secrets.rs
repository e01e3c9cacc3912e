//! A run of the real binary in which every secret is a canary, at the level that logs the most: none of them
//! is found in anything that it writes or tells but where it belongs.

mod support;
#[path = "support/gateway.rs"]
mod world;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{exchange, get};
use world::{Client, Gateway, folder};

/// What all secrets of these tests have in them that are chosen here.
const CANARY: &str = "c4nary-7f3e";

/// Where a secret may come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    File,
    FileBeside,
    Variable,
    Flag,
}

fn canary(what: &str) -> String {
    format!("{CANARY}-{what}-0123456789abcdef0123456789")
}

/// Files of a gateway: what it says is kept in them.
struct Run {
    state: PathBuf,
    config: PathBuf,
    errors: PathBuf,
    /// Secrets that the gateway itself has made.
    made: Vec<String>,
    /// What it told, by what it is.
    told: Vec<(&'static str, String)>,
}

impl Run {
    fn new(name: &str) -> Self {
        let state = folder(name);
        let (config, errors) = (state.join("moorline.json5"), state.join("errors"));
        Self { state, config, errors, made: Vec::new(), told: Vec::new() }
    }

    fn write_config(&self, text: &str) {
        fs::write(&self.config, text).unwrap();
        fs::set_permissions(&self.config, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, subcommand: &str, place: Place, token: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
        command.args([subcommand, "--listen", "127.0.0.1:0", "--log-level", "trace"]);
        command.args(["--log-format", "json", "--state-dir"]).arg(&self.state);
        command.env("MY_SECRET", canary("jwt-key")).env("MY_API_KEY", canary("agent-key"));
        match place {
            Place::File | Place::FileBeside => {}
            Place::Variable => drop(command.env("MOORLINE_GATEWAY_TOKEN", token)),
            Place::Flag => drop(command.args(["--token", token])),
        }
        command.stdin(Stdio::null());
        command
    }

    /// Looks for canaries in everything.
    fn check(mut self) {
        self.told.push(("log", fs::read_to_string(&self.errors).unwrap()));
        let log = &self.told.last().unwrap().1;
        assert!(
            log.contains("\"message\":\"logged in\"") && log.contains("login refused"),
            "{log}"
        );
        for line in log.lines() {
            let record: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert!(record["level"].is_string() && record["timestamp"].is_string(), "{line}");
        }
        for (what, text) in &self.told {
            let at = text.find(CANARY).or_else(|| {
                self.made.iter().filter(|secret| secret.len() >= 16).find_map(|s| text.find(&**s))
            });
            if let Some(at) = at {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                panic!("{what} has a secret: {}", &text[from..text.floor_char_boundary(at + 80)]);
            }
        }
    }
}

/// Something that looks like a JWT, and is none of anybody's.
fn jwt() -> String {
    // {"alg":"HS256"} and {"sub":"ann"}, in base64url.
    format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.{CANARY}")
}

fn openclaw(auth: &Value) -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": 4, "auth": auth, "scopes": ["operator.read"],
        "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
    })
}

/// Logs in by everything there is, good and bad, in both dialects, and asks for all that tells of the
/// gateway.
fn everything(run: &mut Run, address: SocketAddr, token: &str) {
    let mut admin = Client::open(address).unwrap();
    let hello = admin.call("connect", json!({"token": token, "user_id": "system"})).unwrap();
    run.made.push(hello["resume"]["token"].as_str().unwrap().into());
    let key = admin.call("api_keys.create", json!({"name": "k", "role": "admin"})).unwrap();
    let key = key["key"].as_str().unwrap().to_string();
    run.made.push(key.clone());
    for (good, params) in [
        (true, json!({"token": key})),
        (false, json!({"token": canary("wrong")})),
        (false, json!({"token": format!("mlk_{CANARY}_{CANARY}")})),
        (false, json!({"token": jwt()})),
        (false, json!({"token": [canary("list")]})),
        (false, json!({"token": canary(&"long".repeat(2000))})),
        (false, json!({"token": canary("nul\u{0}\n\u{1b}[2J")})),
        (true, openclaw(&json!({"token": token}))),
        (true, openclaw(&json!({"password": token}))),
        (true, openclaw(&json!({"token": key}))),
        (false, openclaw(&json!({"token": canary("oc"), "password": canary("oc-password")}))),
        (false, openclaw(&json!({"deviceToken": canary("oc-device")}))),
        (false, openclaw(&json!({"bootstrapToken": canary("oc-bootstrap")}))),
        (false, openclaw(&json!({"secret": canary("oc-unknown-member")}))),
    ] {
        let mut client = Client::open(address).unwrap();
        let answer = client.ask("connect", params).unwrap();
        assert_eq!(answer["ok"], good, "{answer}");
        if good {
            // A secret in a place where none belongs.
            client.ask("health", json!({"token": canary("misplaced")})).unwrap();
            client.ask("chat.send", json!({"message": 1, "key": canary("misplaced")})).unwrap();
        }
    }
    // Resumed by a link's token, and by one that nobody has.
    let mut client = Client::open(address).unwrap();
    let hello = client.call("connect", json!({"token": token, "user_id": "system"})).unwrap();
    run.made.push(hello["resume"]["token"].as_str().unwrap().into());
    for resume in [hello["resume"]["token"].clone(), canary("resume").into()] {
        let mut client = Client::open(address).unwrap();
        let resume = json!({"token": resume, "lastSeq": 0});
        let params = json!({"token": token, "user_id": "system", "resume": resume});
        let _ = client.ask("connect", params);
    }
    let mut client = Client::open(address).unwrap();
    let _ = client.ask("connect", json!({"sender_id": canary("sender"), "user_id": "x"}));
    for target in [
        format!("/ws?token={}", canary("query")),
        format!("/?a=1&%74oken={}", canary("escaped-query")),
        format!("/metrics?access_token={}", canary("query")),
        format!("/{}/x", canary("path")),
    ] {
        get(address, &target, "");
        let headers = format!(
            "Authorization: Bearer {}\r\nCookie: a={}\r\n",
            canary("header"),
            canary("cookie")
        );
        get(address, &target, &headers);
        get(address, "/metrics", &headers);
    }
    let upload = |token: &str| {
        format!(
            "POST /api/media/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"
        )
    };
    assert!(exchange(address, upload(token)).starts_with("HTTP/1.1 200 "));
    assert!(exchange(address, upload(&canary("upload"))).starts_with("HTTP/1.1 4"));
    // An agent that is reached by a secret, or would be if anybody were there.
    let run_of = admin.ask("chat.send", json!({"message": "a", "agentId": "model"})).unwrap();
    assert_eq!(run_of["error"]["code"], "UNAVAILABLE", "{run_of}");
    let _ = admin.ask("tokens.revoke", json!({"token": canary("unknown-token")}));
    run.told
        .push(("metrics", get(address, "/metrics", &format!("Authorization: Bearer {token}\r\n"))));
    let config = admin.call("config.get", json!({})).unwrap();
    run.told.push(("config.get", config.to_string()));
    let log = admin.call("logs.tail", json!({"limit": 5000})).unwrap();
    assert!(log["lines"].as_array().unwrap().len() > 50, "{log}");
    run.told.push(("logs.tail", log.to_string()));
}

/// Reads the configuration again, and waits until the log says what came of it.
fn reload(run: &Run, gateway: &Gateway, said: &str) {
    let pid = Pid::from_raw(gateway.child.id() as i32).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let until = Instant::now() + support::PATIENCE;
    while !fs::read_to_string(&run.errors).unwrap().contains(said) {
        assert!(Instant::now() < until, "the log does not say {said:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn config(token: &str) -> String {
    format!(
        "{{ gateway: {{ {token} pairing: true, jwt: [{{ alg: 'HS256', key: {{ env: 'MY_SECRET' }}, \
         iss: 'https://id.example.com', aud: 'moorline' }}] }}, \
         agents: [{{ id: 'echo' }}, {{ id: 'model', backend: {{ type: 'openai', \
         base_url: 'http://127.0.0.1:1', model: 'm', api_key: {{ env: 'MY_API_KEY' }} }} }}] }}"
    )
}

fn check_config(run: &mut Run, place: Place, token: &str) {
    for json in [false, true] {
        let mut command = run.command("check-config", place, token);
        if json {
            command.arg("--json");
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        run.told.push(("check-config", String::from_utf8_lossy(&text).into_owned()));
    }
}

fn run(place: Place) {
    let mut run = Run::new(&format!("secrets-{place:?}"));
    let token = canary("token");
    let line = match place {
        Place::File => format!("token: '{token}',"),
        Place::FileBeside => "token: { file: 'my-token' },".into(),
        Place::Variable | Place::Flag => String::new(),
    };
    fs::write(run.state.join("my-token"), format!("{token}\n")).unwrap();
    fs::set_permissions(run.state.join("my-token"), fs::Permissions::from_mode(0o600)).unwrap();
    run.write_config(&config(&line));
    check_config(&mut run, place, &token);
    let mut command = run.command("serve", place, &token);
    command.stderr(File::create(&run.errors).unwrap());
    let mut gateway = Gateway::of(&mut command);
    everything(&mut run, gateway.address, &token);
    // One that is good, and some in which secrets stand where they should not.
    run.write_config(&config(&line).replace("pairing: true", "pairing: false"));
    reload(&run, &gateway, "configuration reloaded");
    for (wrong, said) in [
        (format!("{{ gateway: {{ token: ['{}'] }} }}", canary("in-list")), "gateway.token"),
        (format!("{{ gateway: {{ tokens: '{}' }} }}", canary("no-list")), "gateway.tokens"),
        (format!("{{ loops: '{}' }}", canary("loops")), "loops"),
        (format!("{{ gateway: {{ token: '{}' ", canary("cut-off")), "not reloaded"),
    ] {
        run.write_config(&wrong);
        reload(&run, &gateway, said);
        check_config(&mut run, place, &token);
    }
    everything(&mut run, gateway.address, &token);
    gateway.kill();
    run.check();
}

#[test]
fn a_token_in_the_configuration_and_all_others_are_told_nowhere() {
    run(Place::File);
}

#[test]
fn a_token_in_a_file_of_its_own_is_told_nowhere() {
    run(Place::FileBeside);
}

#[test]
fn a_token_in_a_variable_is_told_nowhere() {
    run(Place::Variable);
}

#[test]
fn a_token_on_the_command_line_is_told_nowhere() {
    run(Place::Flag);
}

/// The one that a gateway makes is said once, where the operator is, and kept.
#[test]
fn a_token_that_was_made_is_told_on_the_first_output_only() {
    let state = folder("secrets-made");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-level", "trace", "--state-dir"]);
        command
            .arg(&state)
            .stdin(Stdio::null())
            .stderr(File::create(state.join("errors")).unwrap());
        let mut child =
            command.stdout(File::create(state.join("output")).unwrap()).spawn().unwrap();
        let until = Instant::now() + support::PATIENCE;
        while !read(&state, "output").contains("try: ") {
            assert!(Instant::now() < until, "{}", read(&state, "errors"));
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        (read(&state, "output"), read(&state, "errors"))
    };
    let (output, errors) = start();
    let token = read(&state, "token").trim().to_string();
    assert!(token.len() == 64 && output.contains(&token), "{output}");
    assert!(!errors.contains(&token), "{errors}");
    let (output, errors) = start();
    assert!(!output.contains(&token) && !errors.contains(&token), "{output} {errors}");
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}
