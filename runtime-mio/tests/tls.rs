//! `moorline serve` by TLS: handshakes good and bad, reloads, and what is said about them.

#[path = "tls/gateway.rs"]
mod gateway;
#[path = "tls/support.rs"]
mod support;

use gateway::{Gateway, Stream, head, put, scrape, shake, tcp, upgrade};
use moorline_mio::rustls::{self, ClientConfig, HandshakeKind, ProtocolVersion};
use rcgen::date_time_ymd;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::certificates::Authority;
use support::{PATIENCE, assert_ended, masked, request};

/// Asks something that is answered before a login, too.
fn is_alive(stream: &mut Stream) -> bool {
    let ping = masked(9, b"there?");
    stream.write_all(&ping).unwrap();
    loop {
        let mut header = [0; 2];
        if stream.read_exact(&mut header).is_err() {
            return false;
        }
        let len = match header[1] {
            126 => {
                let mut len = [0; 2];
                stream.read_exact(&mut len).unwrap();
                usize::from(u16::from_be_bytes(len))
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).unwrap();
        if header[0] == 0x8A {
            return payload == b"there?";
        }
    }
}

#[test]
fn both_versions_are_spoken_and_what_is_printed_says_so() {
    let authority = Authority::new();
    let gateway = Gateway::start("versions", &authority.issue(), &[]);
    let address = gateway.address;
    assert!(gateway.said.contains(&format!("\npage: https://{address}/\n")), "{}", gateway.said);
    assert!(gateway.said.contains(&format!("chat wss://{address}/ws")), "{}", gateway.said);
    for (version, told) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut config = authority.client_of(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut stream = shake(address, &Arc::new(config)).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(told));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        upgrade(&mut stream);
        assert!(is_alive(&mut stream));
    }
}

#[test]
fn a_session_is_resumed_after_a_reload_too() {
    let authority = Authority::new();
    let gateway = Gateway::start("resumed", &authority.issue(), &["--loops", "2"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(authority.client_of(&[version]));
        let kind = || {
            let mut stream = shake(gateway.address, &config).unwrap();
            // The tickets of TLS 1.3 come with the first answer.
            upgrade(&mut stream);
            stream.conn.handshake_kind()
        };
        assert_eq!(kind(), Some(HandshakeKind::Full));
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
        put(&gateway.folder, &authority.issue());
        gateway.reload();
        gateway.line("configuration reloaded");
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn a_failed_handshake_has_a_line_with_its_reason() {
    let authority = Authority::new();
    let gateway =
        Gateway::start("reasons", &authority.issue(), &["--config", &config_with_deadline(300)]);
    let address = gateway.address;

    let elsewhere = Arc::new(Authority::new().client());
    assert!(shake(address, &elsewhere).is_err());
    assert_eq!(gateway.failed(), "certificate-refused");

    let mut h2 = authority.client();
    h2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(shake(address, &Arc::new(h2)).is_err());
    assert_eq!(gateway.failed(), "application-protocol");

    // The hello of a client that has nothing newer than TLS 1.1, with one cipher.
    let old = [&[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2][..], &[7; 32], &[0, 0, 2, 0xC0, 0x13, 1, 0]]
        .concat();
    let mut client = tcp(address);
    client.write_all(&old).unwrap();
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).unwrap();
    // A fatal alert, `handshake_failure` (RFC 8446 section 6).
    assert_eq!(alert[5..], [2, 40], "{alert:?}");
    assert_eq!(gateway.failed(), "version");

    let mut client = tcp(address);
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{answer}");
    assert!(body.contains("TLS") && body.contains("wss://"), "{body}");
    assert_eq!(gateway.failed(), "not-tls");

    drop(tcp(address));
    assert_eq!(gateway.failed(), "left");

    // A hello of which the rest never comes, in records as large as there may be.
    let mut client = tcp(address);
    for _ in 0..2 {
        client.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0xFF, 0xFF]).unwrap();
        client.write_all(&vec![0; 16 * 1024 - 4]).unwrap();
    }
    assert_eq!(gateway.failed(), "oversized");

    let began = Instant::now();
    let mut silent = tcp(address);
    assert_eq!(gateway.failed(), "timeout");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_ended(&mut silent);

    let told = scrape(address, &Arc::new(authority.client()));
    let counted: Vec<_> =
        told.lines().filter_map(|line| line.strip_prefix(FAILURES)).map(String::from).collect();
    let reasons = [
        "application-protocol",
        "certificate-refused",
        "left",
        "not-tls",
        "oversized",
        "timeout",
        "version",
    ];
    assert_eq!(counted, reasons.map(|reason| format!("{{reason=\"{reason}\"}} 1")), "{told}");
}

#[test]
fn connections_in_their_handshake_are_a_phase_of_the_metrics() {
    let authority = Authority::new();
    let gateway = Gateway::start("phase", &authority.issue(), &["--loops", "1"]);
    let config = Arc::new(authority.client());
    let told = |count: u32| {
        let told = scrape(gateway.address, &config);
        let line = format!("moorline_connections{{phase=\"tls\"}} {count}.0\n");
        assert!(told.contains(&line), "{line} in\n{told}");
    };
    told(0);
    // They are accepted before who scrapes.
    let silent: Vec<_> = (0..3).map(|_| tcp(gateway.address)).collect();
    told(3);
    drop(silent);
    for _ in 0..3 {
        assert_eq!(gateway.failed(), "left");
    }
    told(0);
}

const FAILURES: &str = "moorline_tls_handshake_failures_total";

/// A configuration file with a deadline for handshakes, in milliseconds.
fn config_with_deadline(millis: u32) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("deadline-{millis}.json5"));
    let text = format!("{{ limits: {{ tls_handshake_within_ms: {millis} }} }}");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn clients_that_hang_in_their_handshake_do_not_delay_a_good_one() {
    let authority = Authority::new();
    let gateway = Gateway::start("hanging", &authority.issue(), &[]);
    let config = Arc::new(authority.client());
    // Some say nothing, some half of a hello.
    let mut hanging: Vec<_> = (0..400).map(|_| tcp(gateway.address)).collect();
    for socket in hanging.iter_mut().step_by(2) {
        socket.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
    }
    let began = Instant::now();
    let mut stream = shake(gateway.address, &config).unwrap();
    upgrade(&mut stream);
    assert!(is_alive(&mut stream));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}: none of them timed out",
        began.elapsed()
    );
    drop(hanging);
}

#[test]
fn more_handshakes_than_there_may_be_end_the_oldest() {
    let authority = Authority::new();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls").join("crowded.json5");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "{ limits: { tls_handshakes: 3, tls_handshake_within_ms: 60000 } }")
        .unwrap();
    let path = path.display().to_string();
    let gateway = Gateway::start("crowded", &authority.issue(), &["--config", &path]);
    let config = Arc::new(authority.client());
    let mut hanging: Vec<_> = (0..3).map(|_| tcp(gateway.address)).collect();
    for _ in 0..3 {
        // Each needs a place and gives it back.
        let mut stream = shake(gateway.address, &config).unwrap();
        upgrade(&mut stream);
    }
    assert_eq!(gateway.failed(), "crowded");
    // The oldest.
    assert_ended(&mut hanging[0]);
    for still in &hanging[1..] {
        still.set_nonblocking(true).unwrap();
        let kind = (&mut &*still).read(&mut [0; 8]).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock);
    }
}

#[test]
fn certificates_are_reloaded_while_clients_stay_and_bad_ones_are_not() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(), authority.issue());
    let gateway = Gateway::start("reload", &first, &[]);
    let config = Arc::new(authority.client());
    let shown = |config: &Arc<ClientConfig>| {
        // Without what it remembers: a resumed session shows no certificate.
        let mut fresh = (**config).clone();
        fresh.resumption = rustls::client::Resumption::disabled();
        let stream = shake(gateway.address, &Arc::new(fresh)).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut stays = shake(gateway.address, &config).unwrap();
    upgrade(&mut stays);
    let refused = |what: &str| {
        gateway.reload();
        let line = gateway.line("configuration not reloaded: nothing has changed");
        let problem = line["problem"].as_str().unwrap();
        assert!(problem.contains(what), "{problem}");
        assert_eq!(shown(&config), first.certificate);
    };
    let (cert, key) = (gateway.folder.join("cert.pem"), gateway.folder.join("key.pem"));
    for round in 0..5 {
        // The certificate alone is half of a renewal.
        std::fs::write(&cert, second.certificate_pem()).unwrap();
        refused("does not fit");
        std::fs::write(&cert, "").unwrap();
        refused("cert.pem is empty");
        std::fs::remove_file(&key).unwrap();
        std::fs::write(&cert, first.certificate_pem()).unwrap();
        refused("cannot read");
        put(&gateway.folder, &second);
        gateway.reload();
        gateway.line("configuration reloaded");
        assert_eq!(shown(&config), second.certificate, "round {round}");
        put(&gateway.folder, &first);
        gateway.reload();
        gateway.line("configuration reloaded");
        assert_eq!(shown(&config), first.certificate, "round {round}");
        assert!(is_alive(&mut stays));
    }

    // An expired one is taken, with a warning.
    put(&gateway.folder, &authority.issue_with(|it| it.not_after = date_time_ymd(2020, 1, 2)));
    gateway.reload();
    let line = loop {
        let line = gateway.log.recv_timeout(PATIENCE).unwrap();
        if line["level"] == "WARN" {
            break line;
        }
    };
    assert!(line["message"].as_str().unwrap().contains("has expired"), "{line}");
    gateway.line("configuration reloaded");
    // Who resumes a session has seen the certificate of its beginning.
    assert!(shake(gateway.address, &Arc::new(authority.client())).is_err());
    assert!(is_alive(&mut stays));
}

#[test]
fn an_end_is_told_from_a_cut() {
    let authority = Authority::new();
    let gateway = Gateway::start("truncated", &authority.issue(), &[]);
    let config = Arc::new(authority.client());
    let mut cut = shake(gateway.address, &config).unwrap();
    upgrade(&mut cut);
    drop(cut);
    assert_eq!(gateway.line("closed")["cause"], "truncated");

    let mut ended = shake(gateway.address, &config).unwrap();
    upgrade(&mut ended);
    ended.conn.send_close_notify();
    ended.flush().unwrap();
    let mut rest = Vec::new();
    ended.read_to_end(&mut rest).expect("the gateway's end is announced, too");
    assert_eq!(gateway.line("closed")["cause"], "eof");
}

#[test]
fn the_terminal_client_talks_by_tls_and_says_what_is_wrong_with_a_certificate() {
    let authority = Authority::new();
    let gateway = Gateway::start("chat", &authority.issue(), &[]);
    let (good, other) = (gateway.folder.join("ca.pem"), gateway.folder.join("other.pem"));
    std::fs::write(&good, authority.pem()).unwrap();
    std::fs::write(&other, Authority::new().pem()).unwrap();
    let chat = |scheme: &str, ca: &Path| {
        let url = format!("{scheme}://{}/ws", gateway.address);
        let mut child = Command::new(env!("CARGO_BIN_EXE_moorline"))
            .args(["chat", &url, "--token", "t", "--ca"])
            .arg(ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have left already.
        let _ = child.stdin.take().unwrap().write_all(b"hello there\n");
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (fine, out, err) = chat("wss", &good);
    assert!(fine && out.contains("hello there"), "{out}{err}");
    let (fine, _, err) = chat("wss", &other);
    assert!(!fine && err.contains("not believed"), "{err}");
    // Without TLS the gateway says what it wants.
    let (fine, _, err) = chat("ws", &good);
    assert!(!fine && err.contains("this port speaks TLS"), "{err}");
}

#[test]
fn pages_of_the_gateways_own_host_are_https() {
    let authority = Authority::new();
    let gateway = Gateway::start("origin", &authority.issue(), &[]);
    let config = Arc::new(authority.client());
    let port = gateway.address.port();
    for (scheme, status) in [("https", "101"), ("http", "403")] {
        let mut stream = shake(gateway.address, &config).unwrap();
        let host = format!("localhost:{port}");
        let request =
            String::from_utf8(request(&format!("Origin: {scheme}://{host}\r\n"))).unwrap();
        let request = request.replace("Host: localhost\r\n", &format!("Host: {host}\r\n"));
        stream.write_all(request.as_bytes()).unwrap();
        let head = head(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{scheme}: {head}");
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused_at_the_start() {
    let authority = Authority::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls").join("refused");
    std::fs::create_dir_all(&folder).unwrap();
    put(&folder, &authority.issue());
    std::fs::write(folder.join("key.pem"), authority.issue().key_pem()).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    for command in ["serve", "check-config"] {
        let run = |flags: &[(&str, &Path)]| {
            let mut run = Command::new(env!("CARGO_BIN_EXE_moorline"));
            run.args([command, "--listen", "127.0.0.1:0", "--state-dir"]).arg(&folder);
            for (flag, path) in flags {
                run.arg(flag).arg(path);
            }
            let output = run.output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, said) = run(&[("--tls-cert", &cert), ("--tls-key", &key)]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("does not fit the certificate in"), "{said}");
        let (code, said) = run(&[("--tls-cert", &cert)]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("tls.cert needs tls.key beside it"), "{said}");
    }
}
