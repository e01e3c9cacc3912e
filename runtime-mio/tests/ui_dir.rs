//! A folder of files at the real gateway: what is sent, what is not to be had, and what slow readers cost.

mod support;
#[path = "support/gateway.rs"]
mod world;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use support::PATIENCE;
use world::{Gateway, command, folder};

const MIB: usize = 1024 * 1024;

const INDEX: &str = "<!doctype html><html><head><title>A page</title></head></html>";

const PAGE: &str = "Accept: text/html,application/xhtml+xml\r\n";

/// A folder with a page, and beside it a file that is nobody's business.
fn site(name: &str) -> (PathBuf, PathBuf) {
    let state = folder(name);
    let root = state.join("ui");
    fs::create_dir_all(root.join("assets")).unwrap();
    fs::write(root.join("index.html"), INDEX).unwrap();
    fs::write(root.join("assets/app-Bx3kZ9aQ.js"), "start()").unwrap();
    fs::write(state.join("secret.txt"), "nobody's business").unwrap();
    (state, root)
}

fn start(state: &Path, root: &Path) -> Gateway {
    Gateway::with(state, &["--ui-dir", root.to_str().unwrap()])
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    stream
}

/// Status, head and body.
fn answer(mut stream: TcpStream) -> (u16, String, Vec<u8>) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = all.split_off(end + 4);
    let head = String::from_utf8(all).unwrap();
    (head[9..12].parse().unwrap(), head, body)
}

fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
    answer(send(address, "GET", path, headers))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(n, _)| *n == name).map(|(_, v)| v)
}

/// Bytes that differ from block to block.
fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn files_have_their_types_and_pages_are_found_under_any_path() {
    let (state, root) = site("ui-types");
    let gateway = start(&state, &root);
    for (name, content_type) in [
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.js.map", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.ico", "image/x-icon"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.unknown", "application/octet-stream"),
        ("A.PNG", "image/png"),
        ("LICENSE", "application/octet-stream"),
        ("empty.css", "text/css; charset=utf-8"),
    ] {
        fs::write(root.join(name), if name == "empty.css" { "" } else { name }).unwrap();
        let (status, head, body) = get(gateway.address, &format!("/{name}"), "");
        assert_eq!((status, header(&head, "Content-Type")), (200, Some(content_type)), "{name}");
        assert_eq!(header(&head, "Cache-Control"), Some("no-cache"));
        assert!(body == if name == "empty.css" { b"" } else { name.as_bytes() }, "{name}");
    }
    let (status, head, page) = get(gateway.address, "/", "");
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&page).contains("<head><base href=\"/\"><title>"));
    for path in ["/chat/main", "/chat/", "/settings?x=1", "/index.html"] {
        let (_, other, body) = get(gateway.address, path, PAGE);
        assert!(other == head && body == page, "{path}: {other}");
    }
    let (status, other, body) = answer(send(gateway.address, "HEAD", "/chat/main", PAGE));
    assert!(status == 200 && other == head && body.is_empty(), "{other}");
    assert_eq!(get(gateway.address, "/chat/main", "Accept: */*\r\n").0, 404);
    let (_, head, _) = get(gateway.address, "/assets/app-Bx3kZ9aQ.js", "");
    assert_eq!(header(&head, "Cache-Control"), Some("public, max-age=31536000, immutable"));
    // What is the gateway's own.
    assert!(get(gateway.address, "/health", PAGE).1.contains("application/json"));
    let (status, _, console) = get(gateway.address, "/console", PAGE);
    assert!(status == 200 && console != page);
    world::Client::login(gateway.address, "ann").unwrap();
}

#[test]
fn what_a_browser_has_is_not_sent_again_until_it_changes() {
    let (state, root) = site("ui-tags");
    fs::write(root.join("a.css"), "body{}").unwrap();
    fs::write(root.join("a.css.br"), "brotli").unwrap();
    let gateway = start(&state, &root);
    let brotli = "Accept-Encoding: gzip, br\r\n";
    let (_, head, body) = get(gateway.address, "/a.css", brotli);
    assert_eq!((header(&head, "Content-Encoding"), &*body), (Some("br"), &b"brotli"[..]));
    assert_eq!(header(&head, "Vary"), Some("Accept-Encoding"));
    let tag = |head: &str| header(head, "ETag").unwrap().to_string();
    let (_, head, body) = get(gateway.address, "/a.css", "");
    assert_eq!((header(&head, "Content-Encoding"), &*body), (None, &b"body{}"[..]));
    let condition = format!("If-None-Match: {}\r\n", tag(&head));
    let (status, not_modified, body) = get(gateway.address, "/a.css", &condition);
    assert_eq!((status, body.len(), tag(&not_modified)), (304, 0, tag(&head)));
    fs::write(root.join("a.css"), "html{}").unwrap();
    let (status, changed, body) = get(gateway.address, "/a.css", &condition);
    assert_eq!((status, &*body), (200, &b"html{}"[..]));
    assert_ne!(tag(&changed), tag(&head));
}

#[test]
fn nothing_outside_the_folder_is_to_be_had() {
    let (state, root) = site("ui-escape");
    symlink("../secret.txt", root.join("linked.txt")).unwrap();
    symlink(state.join("secret.txt"), root.join("absolute.txt")).unwrap();
    symlink("..", root.join("above")).unwrap();
    symlink("index.html", root.join("inside.html")).unwrap();
    fs::write(root.join(".hidden"), "nobody's business").unwrap();
    let gateway = start(&state, &root);
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%2fsecret.txt",
        "/..%252fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/.%2e/secret.txt",
        "//secret.txt",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/%c0%ae%c0%ae/secret.txt",
        "/linked.txt",
        "/absolute.txt",
        "/above/secret.txt",
        "/.hidden",
        "/index.html%00.txt",
        "/assets",
        "/assets/",
    ] {
        let (status, _, body) = get(gateway.address, path, "");
        assert_eq!(status, 404, "{path}");
        assert!(!String::from_utf8_lossy(&body).contains("business"), "{path}");
        // Nor is it there for who asks for a page.
        let (_, _, body) = get(gateway.address, path, PAGE);
        let body = String::from_utf8_lossy(&body);
        assert!(!body.contains("business") && !body.contains("root:"), "{path}");
    }
    assert_eq!(get(gateway.address, "/inside.html", "").0, 200);
    for headers in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(get(gateway.address, "/assets/app-Bx3kZ9aQ.js", headers).0, 403, "{headers}");
    }
}

#[test]
fn a_file_may_be_as_large_as_the_limit_and_no_larger() {
    let (state, root) = site("ui-limit");
    let limit = 16 * MIB;
    fs::write(root.join("fits.bin"), content(limit)).unwrap();
    fs::write(root.join("over.bin"), vec![0; limit + 1]).unwrap();
    let gateway = start(&state, &root);
    let (status, head, body) = get(gateway.address, "/fits.bin", "");
    assert_eq!((status, header(&head, "Content-Length")), (200, Some("16777216")));
    assert!(body == content(limit), "what came is not what is there");
    assert_eq!(get(gateway.address, "/over.bin", "").0, 403);
    let (status, head, body) = answer(send(gateway.address, "HEAD", "/fits.bin", ""));
    assert_eq!((status, header(&head, "Content-Length")), (200, Some("16777216")));
    assert!(body.is_empty());
}

/// VmHWM of a process: the most that was ever resident, in bytes.
fn peak(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn who_does_not_read_costs_little_and_keeps_nobody_waiting() {
    const READERS: usize = 24;
    let (state, root) = site("ui-slow");
    fs::write(root.join("big.bin"), content(16 * MIB)).unwrap();
    let gateway = start(&state, &root);
    get(gateway.address, "/big.bin", "");
    let before = peak(gateway.child.id());
    let mut readers: Vec<_> =
        (0..READERS).map(|_| send(gateway.address, "GET", "/big.bin", "")).collect();
    for reader in &mut readers {
        let mut first = [0; 12];
        reader.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    // The kernel has taken what it takes by the time that somebody else has had all of it.
    assert_eq!(get(gateway.address, "/big.bin", "").2.len(), 16 * MIB);
    assert_eq!(get(gateway.address, "/health", "").0, 200);
    let grown = peak(gateway.child.id()).saturating_sub(before);
    println!("{} KiB more at the peak for {READERS} readers", grown / 1024);
    assert!(grown < 8 * MIB, "{grown} bytes more");
    // One that reads on gets all of it.
    let mut rest = Vec::new();
    readers.swap_remove(0).read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&content(16 * MIB)), "{} bytes", rest.len());
}

#[test]
fn a_folder_that_cannot_be_served_is_told_at_the_start() {
    let (state, root) = site("ui-missing");
    let empty = state.join("empty");
    fs::create_dir(&empty).unwrap();
    for (path, what) in [
        (state.join("gone"), "No such file or directory"),
        (state.join("secret.txt"), "index.html"),
        (empty, "index.html"),
    ] {
        for arguments in [&["serve"][..], &["check-config"]] {
            let mut started = std::process::Command::new(env!("CARGO_BIN_EXE_moorline"));
            started.args(arguments).args([
                "--listen",
                "127.0.0.1:0",
                "--token",
                "t",
                "--state-dir",
            ]);
            let output = started.arg(&state).arg("--ui-dir").arg(&path).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("gateway.ui_dir") && said.contains(what), "{said}");
            assert!(said.contains(path.to_str().unwrap()), "{said}");
        }
    }
    // Where it stands in the file, a path begins beside it.
    fs::write(state.join("moorline.json5"), "{ gateway: { ui_dir: 'ui' } }").unwrap();
    let gateway = Gateway::of(&mut command(&state));
    assert_eq!(get(gateway.address, "/assets/app-Bx3kZ9aQ.js", "").2, b"start()");
    // Files that come and go while it runs.
    fs::remove_file(root.join("index.html")).unwrap();
    assert_eq!(get(gateway.address, "/", PAGE).0, 404);
}
