//! `moorline doctor`: each trouble is made, found, and named by its id.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/odd_server.rs"]
mod odd_server;
#[path = "support/report.rs"]
mod report;
mod support;

use gateway::{Client, Gateway, folder};
use report::{diagnose, doctor, of, write};
use serde_json::json;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn ws(address: SocketAddr) -> String {
    format!("ws://{address}/ws")
}

/// A gateway with a token of its own in the state folder.
fn with_own_token(state: &Path) -> support::Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--state-dir"]).arg(state);
    support::Process::of(command.env("MOORLINE_LOG_LEVEL", "info").stderr(Stdio::null()))
}

#[test]
fn a_gateway_that_is_well_has_no_bad_finding_and_exit_code_0() {
    let state = folder("doctor-well");
    let gateway = with_own_token(&state);
    let report = diagnose(&[&ws(gateway.address), "--state-dir", state.to_str().unwrap()]);
    assert_eq!((report.bad(), report.code), (vec![], 0));
    for id in [
        "config.ok",
        "state.ok",
        "database.ok",
        "tokens.ok",
        "files.ok",
        "network.ok",
        "upgrade.ok",
        "clock.ok",
        "login.ok",
        "ping.ok",
        "forwarded.ok",
        "loops.none",
    ] {
        assert_eq!(report.find(id)["severity"], "ok");
    }
    let pid = gateway.child.id().to_string();
    let held = report.find("port.held")["about"].as_str().unwrap();
    assert!(held.contains(&format!("pid {pid}, user ")) && held.contains("moorline"), "{held}");
    let locked = report.find("state.locked")["about"].as_str().unwrap();
    assert!(locked.contains(&format!("held by pid {pid}, user ")), "{locked}");
    assert_eq!(locked.matches(&pid).count(), 1, "{locked}");
    let token = fs::read_to_string(state.join("token")).unwrap();
    assert!(!json!(report.findings).to_string().contains(token.trim()));
}

#[test]
fn without_a_url_the_configured_gateway_is_looked_at() {
    let state = folder("doctor-configured");
    let gateway = Gateway::start(&state);
    let port = gateway.address.port();
    write(&state.join("moorline.json5"), &format!("{{gateway: {{port: {port}}}}}"));
    let report = diagnose(&["--state-dir", state.to_str().unwrap(), "--token", "t"]);
    assert!(report.has("login.ok") && report.has("config.ok"), "{:#}", json!(report.findings));
    drop(gateway);
    let report = diagnose(&["--state-dir", state.to_str().unwrap()]);
    assert_eq!(report.code, 2);
    let fix = report.find("port.free")["fix"].as_str().unwrap();
    assert_eq!(fix, format!("moorline serve --listen 127.0.0.1:{port}"));
    assert!(report.has("network.refused") && report.has("state.unlocked"));
}

#[test]
fn tokens_that_do_not_match_are_told_by_their_fingerprints() {
    let state = folder("doctor-tokens");
    write(&state.join("token"), "abc\n");
    write(&state.join("moorline.json5"), "{gateway: {token: 'canary-configured'}}");
    let mut command =
        doctor(&[&ws(odd_server::nobody()), "--state-dir", state.to_str().unwrap(), "--json"]);
    let report = of(command.env("MOORLINE_TOKEN", "canary-client"));
    let told: Vec<_> =
        report.findings.iter().filter(|one| one["id"] == "tokens.mismatch").collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0]["about"].as_str().unwrap().contains("sha256:ba7816bf"));
    assert_eq!(told[1]["fix"], "unset MOORLINE_TOKEN");
    assert!(!json!(report.findings).to_string().contains("canary"));
    assert!(!report.has("config.warning"), "the client's variable is no mistake");
}

#[test]
fn what_is_wrong_with_folder_configuration_and_database_is_found() {
    let state = folder("doctor-state");
    write(&state.join("token"), "abc\n");
    fs::set_permissions(state.join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    write(&state.join("moorline.json5"), "{gateway: {prot: 1}}");
    write(
        &state.join("moorline.db"),
        "this is no database, but long enough to be looked at as if it were one",
    );
    let report = diagnose(&[&ws(odd_server::nobody()), "--state-dir", state.to_str().unwrap()]);
    let open = report.find("state.open-to-others");
    assert_eq!(open["fix"], format!("chmod 600 {}/token", state.display()));
    assert!(report.has("database.damaged"), "{:#}", json!(report.findings));
    let invalid = report.find("config.invalid")["about"].as_str().unwrap();
    assert!(invalid.contains("prot"), "{invalid}");
    let gone = state.join("none");
    let report = diagnose(&[&ws(odd_server::nobody()), "--state-dir", gone.to_str().unwrap()]);
    assert!(report.has("state.missing") && report.has("tokens.none") && !gone.exists());
}

#[test]
fn a_database_that_is_written_to_is_read_meanwhile_and_harms_no_writer() {
    let state = folder("doctor-database");
    let gateway = Gateway::start(&state);
    let mut client = Client::login(gateway.address, "me").unwrap();
    client.call("chat.send", json!({"message": "hello", "ack": true})).unwrap();
    let url = ws(gateway.address);
    let report = diagnose(&[&url, "--state-dir", state.to_str().unwrap(), "--token", "t"]);
    let about = report.find("database.ok")["about"].as_str().unwrap();
    assert!(about.contains(": 1 sessions"), "{about}");
    client.call("chat.send", json!({"message": "again", "ack": true})).unwrap();
}

#[test]
fn answers_of_proxies_are_told_apart() {
    let answer = |status: &str, headers: &str, body: &str| {
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        ws(odd_server::answering(head + body))
    };
    let nginx = "Server: nginx/1.22.1\r\n";
    let lacks =
        "this is a WebSocket endpoint; the request lacks: Upgrade: websocket, Connection: Upgrade.";
    let busy = "Retry-After: 5\r\n";
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let bare = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n";
    let cases = [
        (
            answer("426 Upgrade Required", nginx, lacks),
            "proxy.upgrade-header-missing",
            "proxy_set_header Upgrade $http_upgrade;",
        ),
        (
            answer("426 Upgrade Required", "Server: Apache\r\n", lacks),
            "proxy.upgrade-header-missing",
            "upgrade=websocket",
        ),
        (
            answer("400 Bad Request", nginx, "malformed request: an upgrade needs HTTP/1.1"),
            "proxy.http-1.0",
            "proxy_http_version 1.1;",
        ),
        (
            answer(
                "400 Bad Request",
                nginx,
                "<h1>The plain HTTP request was sent to HTTPS port</h1>",
            ),
            "proxy.plain-to-tls",
            "moorline doctor wss://127.0.0.1:",
        ),
        (
            answer(
                "400 Bad Request",
                nginx,
                "this is a TLS handshake, but the listener speaks plain HTTP",
            ),
            "proxy.tls-to-plain",
            "http://",
        ),
        (
            answer(
                "400 Bad request",
                "",
                "<h1>400 Bad request</h1>\nYour browser sent an invalid request.",
            ),
            "proxy.bad-request",
            "Upgrade",
        ),
        (
            answer("502 Bad Gateway", nginx, "<h1>502 Bad Gateway</h1>"),
            "proxy.bad-gateway",
            "proxy_pass http://",
        ),
        (
            answer(
                "503 Service Unavailable",
                "",
                "<h1>503</h1>\nNo server is available to handle this request.",
            ),
            "proxy.no-server",
            "upstream",
        ),
        (
            answer("504 Gateway Time-out", nginx, "<h1>504 Gateway Time-out</h1>"),
            "proxy.timeout",
            "proxy_pass",
        ),
        (answer("503 Service Unavailable", busy, "too many connections"), "gateway.busy", "/ready"),
        (
            answer("522 ", "Server: cloudflare\r\nCF-RAY: 1\r\n", "error code: 522"),
            "proxy.cloudflare",
            "past Cloudflare",
        ),
        (
            answer("302 Found", "Location: https://sso.example/login?next=/ws\r\n", ""),
            "proxy.login-page",
            "login",
        ),
        (
            answer("301 Moved", "Location: https://chat.example/ws\r\n", ""),
            "proxy.redirect",
            "moorline doctor wss://chat.example/ws",
        ),
        (
            answer("401 Unauthorized", "WWW-Authenticate: Basic\r\n", ""),
            "proxy.login-page",
            "login",
        ),
        (answer("200 OK", "", "<form><h1>Sign in</h1></form>"), "proxy.login-page", "login"),
        (answer("200 OK", "", "<h1>Welcome to nginx!</h1>"), "proxy.page-instead", "/ws"),
        (
            answer("200 OK", nginx, "{\"service\":\"moorline\",\"status\":\"ok\"}"),
            "proxy.upgrade-dropped",
            "Upgrade",
        ),
        (answer("404 Not Found", nginx, "<h1>404 Not Found</h1>"), "proxy.no-route", "location"),
        (answer("404 Not Found", nginx, "no such page\n"), "proxy.upgrade-dropped", "Upgrade"),
        (answer("429 Too Many Requests", nginx, ""), "proxy.rate-limit", "rate limit"),
        (
            answer(
                "403 Forbidden",
                nginx,
                "this gateway has no token, so it serves its own host only",
            ),
            "gateway.no-token-behind-proxy",
            "TOKEN",
        ),
        (
            answer(
                "403 Forbidden",
                nginx,
                "host chat.example is not this gateway's; to be asked under that name, allow it with --allow-host chat.example\n",
            ),
            "gateway.host-refused",
            "--allow-host chat.example",
        ),
        (answer("418 I'm a teapot", "", ""), "proxy.other-answer", "moorline explain 418"),
        (ws(odd_server::answering(wrong)), "proxy.accept-key", "caching"),
        (ws(odd_server::answering(bare)), "proxy.answer-headers", "Upgrade"),
        (ws(odd_server::answering("SSH-2.0-OpenSSH_9.2\r\n")), "proxy.not-http", "wss://"),
        (ws(odd_server::serving(drop)), "proxy.cut", "wss://"),
        (ws(odd_server::silent()), "proxy.timeout", "--timeout"),
        (ws(odd_server::nobody()), "network.refused", "moorline serve"),
        ("ws://no-such-host.invalid/ws".into(), "network.lookup", "getent hosts"),
    ];
    let state = folder("doctor-proxies");
    for (url, id, fix) in cases {
        let report = diagnose(&[&url, "--timeout", "1", "--state-dir", state.to_str().unwrap()]);
        let found = report.find(id);
        assert_eq!((&found["severity"], report.code), (&json!("error"), 2), "{found}");
        assert!(found["fix"].as_str().unwrap().contains(fix), "{found}");
        let others = report.bad().into_iter().filter(|other| *other != id && *other != "port.free");
        assert_eq!(others.count(), 0, "{:#}", json!(report.findings));
    }
}

#[test]
fn certificates_are_judged() {
    let state = folder("doctor-tls");
    let state = state.to_str().unwrap();
    let page = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    for (names, year, id) in [
        (["127.0.0.1"], 2051, "tls.ok"),
        (["127.0.0.1"], 2021, "tls.expired"),
        (["other.example"], 2051, "tls.wrong-name"),
    ] {
        let (address, pem) = odd_server::answering_by_tls(&names, (year, 1, 1), page);
        let ca = format!("{state}/{id}.pem");
        fs::write(&ca, pem).unwrap();
        let url = format!("wss://{address}/ws");
        let report = diagnose(&[&url, "--ca", &ca, "--state-dir", state]);
        assert!(report.has(id), "{id}: {:#}", json!(report.findings));
        if id == "tls.ok" {
            let report = diagnose(&[&url, "--state-dir", state]);
            assert!(report.has("tls.untrusted"), "{:#}", json!(report.findings));
            let plain = diagnose(&[
                &url.replace("wss://", "ws://"),
                "--timeout",
                "2",
                "--state-dir",
                state,
            ]);
            assert!(
                plain.has("proxy.not-http") || plain.has("proxy.cut"),
                "{:#}",
                json!(plain.findings)
            );
        }
    }
    let plain = odd_server::answering(page);
    let report = diagnose(&[&format!("wss://{plain}/ws"), "--timeout", "2", "--state-dir", state]);
    assert!(report.has("tls.not-tls") || report.has("tls.failed"), "{:#}", json!(report.findings));
}

#[test]
fn origins_and_hosts_are_tried_and_the_line_that_allows_them_is_told() {
    let state = folder("doctor-origins");
    let gateway = Gateway::with(&state, &["--allow-origin", "https://*.example.com"]);
    let report = diagnose(&[
        &ws(gateway.address),
        "--token",
        "t",
        "--state-dir",
        state.to_str().unwrap(),
        "--origin",
        "https://chat.example.com",
        "--origin",
        "https://evil.example",
        "--host",
        "localhost",
        "--host",
        "chat.example.com",
    ]);
    let allowed = report.find("origin.allowed")["about"].as_str().unwrap();
    assert!(allowed.contains("https://chat.example.com"), "{allowed}");
    let refused = report.find("origin.refused");
    assert_eq!(refused["fix"], "moorline serve --allow-origin https://evil.example");
    assert!(report.has("host.allowed"));
    assert_eq!(report.find("host.refused")["fix"], "moorline serve --allow-host chat.example.com");
}

#[test]
fn a_wrong_token_and_another_server_are_told() {
    let state = folder("doctor-login");
    let gateway = Gateway::start(&state);
    let state = state.to_str().unwrap();
    let report = diagnose(&[&ws(gateway.address), "--token", "wrong", "--state-dir", state]);
    assert!(report.find("login.refused")["about"].as_str().unwrap().starts_with("UNAUTHORIZED"));
    let report = diagnose(&[&ws(gateway.address), "--state-dir", state]);
    assert!(report.has("login.not-tried") && !report.has("loops.none"));
    let echo = support::Process::echo();
    let report = diagnose(&[&ws(echo.address), "--state-dir", state]);
    assert!(report.has("gateway.other"), "{:#}", json!(report.findings));
}

#[test]
fn who_comes_back_again_and_again_is_named_with_the_cause() {
    let state = folder("doctor-loops");
    let gateway = with_own_token(&state);
    for _ in 0..6 {
        let mut client = Client::open(gateway.address).unwrap();
        let answer = client.ask("connect", json!({"token": "wrong", "user_id": "me"})).unwrap();
        assert_eq!(answer["ok"], false);
    }
    let report = diagnose(&[&ws(gateway.address), "--state-dir", state.to_str().unwrap()]);
    let found = report.find("loops.refused-logins");
    let about = found["about"].as_str().unwrap();
    assert!(about.starts_with("6 times 127.0.0.1: wrong token from params"), "{about}");
    assert_eq!(report.code, 1, "a warning");
}

/// What stands between a client and the gateway, and cuts after so much silence; `None` forgets instead.
fn cutting(gateway: SocketAddr, after: Duration, speaks: bool) -> SocketAddr {
    odd_server::serving(move |client| {
        let server = std::net::TcpStream::connect(gateway).unwrap();
        let deaf = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let heard = std::sync::Arc::new(std::sync::Mutex::new(std::time::Instant::now()));
        let both = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
        for (mut from, mut to) in both {
            let (deaf, heard) = (deaf.clone(), heard.clone());
            from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                loop {
                    let silent = heard.lock().unwrap().elapsed() >= after;
                    if silent && speaks {
                        let _ = to.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                    if silent {
                        deaf.store(true, std::sync::atomic::Ordering::SeqCst);
                    }
                    match from.read(&mut bytes) {
                        Ok(0) => return,
                        Ok(count) if !deaf.load(std::sync::atomic::Ordering::SeqCst) => {
                            *heard.lock().unwrap() = std::time::Instant::now();
                            if std::io::Write::write_all(&mut to, &bytes[..count]).is_err() {
                                return;
                            }
                        }
                        _ => {}
                    }
                }
            });
        }
    })
}

#[test]
fn an_idle_limit_on_the_way_is_measured_whether_it_speaks_or_not() {
    let state = folder("doctor-idle");
    let gateway = Gateway::with(&state, &["--log-level", "info"]);
    let state = state.to_str().unwrap();
    for speaks in [true, false] {
        let way = cutting(gateway.address, Duration::from_millis(1500), speaks);
        let report =
            diagnose(&[&ws(way), "--token", "t", "--state-dir", state, "--measure-idle=5"]);
        let found = report.find("idle.cut");
        let about = found["about"].as_str().unwrap();
        let number =
            |text: &str| text.split(' ').find_map(|word| word.parse::<f64>().ok()).unwrap();
        let after = number(about.split("cuts after").nth(1).unwrap());
        assert!((0.9..3.0).contains(&after), "{about}");
        assert!(found["fix"].as_str().unwrap().contains("proxy_read_timeout 75s"), "{found}");
        // What was cut for that is nobody's loop, neither now nor when it is looked for later.
        let after = diagnose(&[&ws(gateway.address), "--token", "t", "--state-dir", state]);
        assert!(after.has("loops.none"), "{:#}", json!(after.findings));
    }
}

#[test]
fn a_way_that_holds_until_the_gateways_ping_holds_for_good() {
    let state = folder("doctor-held");
    write(&state.join("moorline.json5"), "{limits: {ping_every_ms: 1000, pong_within_ms: 5000}}");
    let gateway = Gateway::start(&state);
    let state = state.to_str().unwrap();
    let url = ws(gateway.address);
    let report = diagnose(&[&url, "--token", "t", "--state-dir", state, "--measure-idle"]);
    let about = report.find("idle.held")["about"].as_str().unwrap();
    assert!(about.contains("to the gateway's Ping"), "{about}");
    let report = diagnose(&[&url, "--state-dir", state, "--measure-idle=1"]);
    assert!(report.has("idle.untested"), "there is no token");
}

#[test]
fn text_has_no_colours_where_no_terminal_is_and_one_line_for_each_fix() {
    let state = folder("doctor-text");
    let url = ws(odd_server::nobody());
    let Output { status, stdout, .. } =
        doctor(&[&url, "--state-dir", state.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("error   network.refused "), "{text}");
    assert!(text.contains("fix: moorline serve --listen "), "{text}");
    assert!(text.trim_end().ends_with(": 1 error, 1 warning"), "{text}");
}

/// A gateway with TLS by these files.
fn by_tls(state: &Path) -> support::Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    let (cert, key) = (state.join("cert.pem"), state.join("key.pem"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--token", "t", "--state-dir"]).arg(state);
    command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    let mut child = command
        .env("MOORLINE_LOG_LEVEL", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).unwrap();
    let address = ready.trim().rsplit_once("wss://").expect(&ready).1.split('/').next().unwrap();
    support::Process { child, address: address.parse().unwrap() }
}

#[test]
fn a_certificate_that_was_renewed_and_not_reloaded_is_told() {
    let state = folder("doctor-tls-file");
    odd_server::write_certificate(&state, (2051, 1, 1));
    let gateway = by_tls(&state);
    let at = |name: &str| state.join(name).display().to_string();
    write(
        &state.join("moorline.json5"),
        &format!("{{tls: {{cert: '{}', key: '{}'}}}}", at("cert.pem"), at("key.pem")),
    );
    let url = format!("wss://{}/ws", gateway.address);
    // Without TLS its port says itself what is wrong.
    let plain = url.replace("wss://", "ws://");
    let report = diagnose(&[&plain, "--state-dir", state.to_str().unwrap()]);
    let fix = &report.find("proxy.plain-to-tls")["fix"];
    assert_eq!(fix, &format!("moorline doctor {url}"));
    assert!(!report.has("proxy.bad-request"));
    let (ca, folder) = (at("first.pem"), state.to_str().unwrap());
    fs::copy(at("cert.pem"), &ca).unwrap();
    let arguments = [&url, "--token", "t", "--ca", &ca, "--state-dir", folder];
    let report = diagnose(&arguments);
    assert!(report.has("tls.file-ok") && report.has("tls.ok"), "{:#}", json!(report.findings));
    assert!(report.has("login.ok") && !report.has("tls.file-not-shown"));
    odd_server::write_certificate(&state, (2052, 1, 1));
    assert_eq!(diagnose(&arguments).find("tls.file-not-shown")["fix"], "moorline reload");
    fs::write(at("cert.pem"), "damaged").unwrap();
    assert!(diagnose(&arguments).has("tls.file-unusable"));
}
