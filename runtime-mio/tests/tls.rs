//! `moorline serve` by TLS: handshakes good and bad, reloads, and what is said about them.

#[path = "tls/support.rs"]
mod support;

use moorline_mio::rustls::pki_types::ServerName;
use moorline_mio::rustls::{
    self, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned,
};
use rcgen::date_time_ymd;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use support::certificates::{Authority, Issued};
use support::{PATIENCE, masked, request};

/// A running gateway with certificates in its state folder.
struct Gateway {
    child: Child,
    address: SocketAddr,
    /// What it said on stdout.
    said: String,
    log: Receiver<Value>,
    folder: PathBuf,
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Gateway {
    fn start(name: &str, issued: &Issued, more: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        put(&folder, issued);
        let mut child = Command::new(env!("CARGO_BIN_EXE_moorline"))
            .args(["serve", "--listen", "127.0.0.1:0", "--token", "t", "--log-format", "json"])
            .args(["--log-level", "debug", "--state-dir"])
            .arg(&folder)
            .arg("--tls-cert")
            .arg(folder.join("cert.pem"))
            .arg("--tls-key")
            .arg(folder.join("key.pem"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("\ntry: ") {
            assert_ne!(out.read_line(&mut said).unwrap(), 0, "{said}");
        }
        let first = said.lines().next().unwrap();
        let address = first.rsplit_once("wss://").expect(&said).1.trim_end_matches("/ws");
        Self { address: address.parse().unwrap(), child, said, log, folder }
    }

    /// The next line with this message.
    fn line(&self, message: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {message:?}"));
            if line["message"] == message {
                return line;
            }
        }
    }

    fn reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// The reason of the next handshake that fails.
    fn failed(&self) -> String {
        let line = self.line("TLS handshake failed");
        assert_eq!(line["cause"], "tls", "{line}");
        line["reason"].as_str().unwrap().to_string()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn put(folder: &Path, issued: &Issued) {
    std::fs::write(folder.join("cert.pem"), issued.certificate_pem()).unwrap();
    let key = folder.join("key.pem");
    std::fs::write(&key, issued.key_pem()).unwrap();
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn shake(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(config.clone(), name).unwrap();
    let mut socket = tcp(address);
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

fn head(stream: &mut impl io::Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn upgrade(stream: &mut Stream) {
    stream.write_all(&request("")).unwrap();
    let head = head(stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

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
    assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0);

    let mut stream = shake(address, &Arc::new(authority.client())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
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
    assert_eq!(hanging[0].read(&mut [0; 8]).unwrap_or(0), 0, "the oldest");
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
