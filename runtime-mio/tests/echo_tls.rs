//! `moorline echo` by TLS.

#[path = "tls/support.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::certificates::{Authority, Issued};
use support::tunnel::Tunnel;
use support::{Peer, Process};

/// The files of a certificate and its key.
fn files(name: &str, issued: &Issued) -> [PathBuf; 2] {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    fs::write(&cert, issued.certificate_pem()).unwrap();
    fs::write(&key, issued.key_pem()).unwrap();
    [cert, key]
}

fn echo(cert: &Path, key: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(["echo", "--listen", "127.0.0.1:0", "--tls-cert"]).arg(cert);
    command.arg("--tls-key").arg(key);
    command
}

#[test]
fn what_is_sent_by_tls_comes_back() {
    let authority = Authority::new();
    let [cert, key] = files("echo-tls", &authority.issue());
    let server = Process::of(&mut echo(&cert, &key));
    let tunnel = Tunnel::to_server(server.address, Arc::new(authority.client()));
    let mut peer = Peer::connect(tunnel.address);
    peer.send(1, b"there and back");
    assert_eq!(peer.read_frame(), (0x81, b"there and back".to_vec()));
}

#[test]
fn a_key_of_another_certificate_is_refused_before_anybody_is_served() {
    let authority = Authority::new();
    let [cert, _] = files("echo-tls-cert", &authority.issue());
    let [_, key] = files("echo-tls-key", &authority.issue());
    let refused = echo(&cert, &key).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("does not fit the certificate"), "{said}");
    let mut alone = Command::new(env!("CARGO_BIN_EXE_moorline"));
    let alone = alone.args(["echo", "--tls-cert"]).arg(cert).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
}
