//! Files that are sent to the real gateway: they end up on its disk and never in its memory.

#[path = "support/odd_server.rs"]
mod odd_server;
mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::PATIENCE;
use world::{Client, Gateway, folder};

const MIB: usize = 1024 * 1024;

/// What the process may need in memory for an upload, whatever its size: the window, and what a first
/// request brings in.
const RESIDENT: u64 = 8 * MIB as u64;

const FORM: &str = "Content-Type: multipart/form-data; boundary=xyz\r\n";

fn head(length: usize, headers: &str) -> String {
    format!(
        "POST /api/media/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything up to the end of the connection: head and body.
fn answer(mut stream: TcpStream) -> (String, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    (head.into(), body.into())
}

/// The path in a good answer.
fn path(state: &Path, (head, body): (String, String)) -> PathBuf {
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}\n{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    state.join(body["path"].as_str().unwrap())
}

/// All files below the folder of uploads.
fn kept(state: &Path) -> Vec<PathBuf> {
    let users = fs::read_dir(state.join("media")).unwrap().map(|user| user.unwrap().path());
    users.flat_map(|user| fs::read_dir(user).unwrap().map(|file| file.unwrap().path())).collect()
}

/// VmHWM of a process: the most that was ever resident, in bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes that differ from block to block.
fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn a_large_file_is_on_the_disk_and_was_never_in_memory() {
    let state = folder("upload-large");
    let gateway = Gateway::start(&state);
    // What a first upload brings in is not the file's.
    let mut stream = connect(gateway.address);
    stream.write_all(&[head(5, "").as_bytes(), b"hello"].concat()).unwrap();
    let small = path(&state, answer(stream));
    assert_eq!(fs::read(&small).unwrap(), b"hello");
    assert_eq!(fs::metadata(&small).unwrap().permissions().mode() & 0o777, 0o600);

    let before = peak(gateway.child.id());
    let file = content(24 * MIB);
    let start =
        "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let end = "\r\n--xyz--\r\n";
    let length = start.len() + file.len() + end.len();
    let mut stream = connect(gateway.address);
    stream.write_all(&[head(length, FORM).as_bytes(), start.as_bytes()].concat()).unwrap();
    stream.write_all(&file).unwrap();
    stream.write_all(end.as_bytes()).unwrap();
    let large = path(&state, answer(stream));
    let grown = peak(gateway.child.id()) - before;
    println!("{} KiB more at the peak for an upload of 24 MiB", grown / 1024);
    assert!(grown < RESIDENT, "{grown} bytes more");
    assert!(large.extension().is_some_and(|extension| extension == "bin"));
    assert!(fs::read(&large).unwrap() == file, "what came is not what was sent");
    assert_eq!(kept(&state).len(), 2);
}

#[test]
fn curl_waits_to_be_told_to_go_on_and_other_connections_are_served_meanwhile() {
    let state = folder("upload-expect");
    let gateway = Gateway::start(&state);
    let mut stream = connect(gateway.address);
    let file = content(300_000);
    stream.write_all(head(file.len(), "Expect: 100-continue\r\n").as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(told, *b"HTTP/1.1 100 Continue\r\n\r\n");
    let (first, second) = file.split_at(100_000);
    stream.write_all(first).unwrap();
    let mut client = world::Client::login(gateway.address, "ann").unwrap();
    client.call("health", json!({})).unwrap();
    stream.write_all(second).unwrap();
    assert!(fs::read(path(&state, answer(stream))).unwrap() == file);
    // Who is refused is not asked for the body.
    let mut stream = connect(gateway.address);
    let refused = head(5, "Expect: 100-continue\r\n").replace("Bearer t", "Bearer wrong");
    stream.write_all(refused.as_bytes()).unwrap();
    let (head, body) = answer(stream);
    assert!(
        head.starts_with("HTTP/1.1 401 ") && head.contains("WWW-Authenticate: Bearer"),
        "{head}"
    );
    assert!(body.contains("token"), "{body}");
}

#[test]
fn what_is_too_large_is_told_although_the_client_goes_on_sending() {
    let state = folder("upload-size");
    fs::write(state.join("moorline.json5"), "{gateway: {max_upload_bytes: 1000000}}").unwrap();
    let gateway = Gateway::start(&state);
    for (headers, chunked) in [("", false), ("Transfer-Encoding: chunked\r\n", true)] {
        let mut stream = connect(gateway.address);
        let mut head = head(1_000_001, headers);
        let mut body = vec![1; 1_000_001];
        if chunked {
            head = head.replace("Content-Length: 1000001\r\n", "");
            body = [b"F4240\r\n", &body[..1_000_000], b"\r\n1\r\nx\r\n0\r\n\r\n"].concat();
        }
        stream.write_all(head.as_bytes()).unwrap();
        // It is thrown away, so that the answer can be read.
        stream.write_all(&body).unwrap();
        let (head, _) = answer(stream);
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    }
    let mut stream = connect(gateway.address);
    stream.write_all(&[head(1_000_000, "").as_bytes(), &content(1_000_000)].concat()).unwrap();
    path(&state, answer(stream));
    assert_eq!(kept(&state).len(), 1);
}

#[test]
fn an_upload_that_is_cut_leaves_nothing_not_even_after_a_kill() {
    let state = folder("upload-cut");
    let mut gateway = Gateway::start(&state);
    let begin = |gateway: &Gateway| {
        let mut stream = connect(gateway.address);
        stream.write_all(head(MIB, "").as_bytes()).unwrap();
        stream.write_all(&content(500_000)).unwrap();
        while !kept(&state).iter().any(|file| fs::metadata(file).is_ok_and(|data| data.len() > 0)) {
            std::thread::yield_now();
        }
        stream
    };
    let cut = begin(&gateway);
    assert!(kept(&state)[0].extension().is_some_and(|extension| extension == "part"));
    drop(cut);
    while !kept(&state).is_empty() {
        std::thread::yield_now();
    }
    let _stream = begin(&gateway);
    gateway.kill();
    assert_eq!(kept(&state).len(), 1);
    drop(Gateway::start(&state));
    assert!(kept(&state).is_empty());
}

#[test]
fn a_message_keeps_its_files_over_a_restart_until_they_are_gone() {
    let state = folder("upload-media");
    let mut gateway = Gateway::start(&state);
    let mut stream = connect(gateway.address);
    let request = head(5, "X-GoClaw-User-Id: ann\r\n");
    stream.write_all(&[request.as_bytes(), b"hello"].concat()).unwrap();
    let file = path(&state, answer(stream));
    let path = file.strip_prefix(&state).unwrap().to_str().unwrap();
    let mut client = world::Client::login(gateway.address, "ann").unwrap();
    let params = json!({"message": "look", "media": [path]});
    let sent = client.call("chat.send", params.clone()).unwrap();
    gateway.kill();
    let gateway = Gateway::start(&state);
    let mut client = world::Client::login(gateway.address, "ann").unwrap();
    let messages = client.history(sent["sessionKey"].as_str().unwrap()).unwrap();
    assert_eq!(messages[0]["media"], json!([path]));
    fs::remove_file(&file).unwrap();
    client.request("chat.send", params).unwrap();
    let (_, refused) = client.answer().unwrap();
    assert_eq!(refused["error"]["code"], "NOT_FOUND", "{refused}");
}

#[test]
fn clients_of_several_loops_at_once_cannot_take_more_than_their_users_share() {
    let state = folder("upload-share");
    let config = "{limits: {user_upload_bytes: 2500000}, gateway: {rate_limit_rpm: 0}}";
    fs::write(state.join("moorline.json5"), config).unwrap();
    let gateway = Gateway::with(&state, &["--loops", "2"]);
    let uploads: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(gateway.address);
            stream.write_all(head(MIB, "").as_bytes()).unwrap();
            stream
        })
        .collect();
    let sending: Vec<_> = uploads
        .into_iter()
        .map(|mut stream| {
            std::thread::spawn(move || {
                // Who is refused is answered while it sends.
                stream.write_all(&content(MIB)).unwrap();
                answer(stream).0
            })
        })
        .collect();
    let heads: Vec<_> = sending.into_iter().map(|thread| thread.join().unwrap()).collect();
    let of = |status: &str| heads.iter().filter(|head| head.contains(status)).count();
    assert_eq!((of("HTTP/1.1 200 "), of("HTTP/1.1 507 ")), (2, 2), "{heads:?}");
    let sizes = kept(&state).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    assert_eq!(sizes, 2 * MIB as u64);
}

/// `moorline upload` with these arguments: whether it went well, what it printed and what it said.
fn upload(address: SocketAddr, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_moorline"))
        .args(["upload", "--url", &format!("ws://{address}/ws"), "--user", "ada"])
        .args(arguments)
        .env_remove("MOORLINE_TOKEN")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_uploads_what_it_can_and_says_of_each_other_file_what_is_wrong() {
    let state = folder("upload_command");
    let gateway = Gateway::with(&state, &[]);
    let [large, small] = ["a b&c.bin", "small.txt"].map(|name| state.join(name));
    fs::write(&large, content(5 * MIB)).unwrap();
    fs::write(&small, "hello").unwrap();
    let (large, small) = (large.to_str().unwrap(), small.to_str().unwrap());

    let (done, paths, said) = upload(gateway.address, &["--token", "t", large, "/nowhere", small]);
    assert!(!done && said.contains("/nowhere: No such file"), "{said}");
    let [first, second] = paths.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(fs::read(state.join(first)).unwrap(), content(5 * MIB));
    assert_eq!(fs::read(state.join(second)).unwrap(), b"hello");

    let (done, answer, _) =
        upload(gateway.address, &["--token", "t", "--json", "--type", "text/plain", small]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(done);
    assert_eq!(
        (&answer["filename"], &answer["mime_type"]),
        (&"small.txt".into(), &"text/plain".into())
    );

    let mut client = Client::login(gateway.address, "ada").unwrap();
    let params = json!({"message": "look", "media": [first]});
    client.call("chat.send", params).unwrap();
}

#[test]
fn the_command_line_says_why_a_file_was_refused() {
    let state = folder("upload_command_refused");
    fs::write(state.join("moorline.json5"), "{ gateway: { max_upload_bytes: 1048576 } }").unwrap();
    let gateway = Gateway::with(&state, &[]);
    let file = state.join("file");
    fs::write(&file, content(2 * MIB)).unwrap();
    let file = file.to_str().unwrap();
    for (token, words) in [("wrong", ["401", "--token"]), ("t", ["413", "1048576"])] {
        let (done, _, said) = upload(gateway.address, &["--token", token, file]);
        assert!(!done && words.iter().all(|word| said.contains(word)), "{said}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (done, _, said) = upload(nobody, &["--token", "t", file]);
    assert!(!done && said.contains(&nobody.to_string()), "{said}");
    assert!(kept(&state).is_empty());
}

#[test]
fn the_command_line_reads_what_a_proxy_makes_of_the_answer() {
    let state = folder("upload_command_proxy");
    let file = state.join("file");
    fs::write(&file, "hello").unwrap();
    let proxy = odd_server::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 200 OK\r\n\
         Transfer-Encoding: chunked\r\n\r\n9\r\n{\"path\":\"\r\n9\r\nmedia/a\"}\r\n0\r\n\r\n",
    );
    let (done, path, said) = upload(proxy, &["--token", "t", file.to_str().unwrap()]);
    assert_eq!((done, &*path), (true, "media/a\n"), "{said}");
}
