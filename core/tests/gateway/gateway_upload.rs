//! Uploads: who may, how much, where it goes, and what is left of one that fails.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::{ClientRequest, Connection, Limits};
use serde_json::{Value, json};
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

const BOUNDARY: &str = "Content-Type: multipart/form-data; boundary=xyz\r\n";

/// Whose clients wait for an answer.
fn patient() -> GatewayConfig {
    let mut config = config();
    config.limits.handshake_within = 3600 * SECOND;
    config
}

fn head(headers: &str, length: usize) -> String {
    format!(
        "POST /api/media/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
}

fn form(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: image/png\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--xyz--\r\n"].concat()
}

/// Sends the beginning of a request on a new connection.
fn begin(world: &mut World, headers: &str, length: usize, body: &[u8]) -> usize {
    let at = world.socket(0);
    world.feed(at, &[head(headers, length).as_bytes(), body].concat());
    at
}

/// Sends a whole request; gives its answer.
fn send(world: &mut World, headers: &str, body: &[u8]) -> (u16, String) {
    let at = begin(world, headers, body.len(), body);
    world.clients[at].answer.clone().expect("an answer")
}

fn operator(more: &str) -> String {
    format!("Authorization: Bearer operator\r\n{more}")
}

fn good(answer: &(u16, String)) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    serde_json::from_str(&answer.1).expect("JSON")
}

fn refusals(world: &World) -> Vec<(u16, Why)> {
    let of = |fact: &Fact| match fact {
        Fact::Refused { status, why, .. } => Some((*status, *why)),
        _ => None,
    };
    world.facts.iter().filter_map(of).collect()
}

/// Nothing is under way any more, and nothing is on the disk that is not whole.
fn is_clean(world: &World) -> bool {
    world.nodes[0].pending() == 0 && world.disk.files.values().all(|(_, whole)| *whole)
}

#[test]
fn a_form_and_a_raw_body_become_files_of_their_user() {
    let mut world = World::new(1);
    let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let answer = send(&mut world, &operator(BOUNDARY), &form("../My cat.PNG", &content));
    let first = good(&answer);
    assert_eq!(first["filename"], "My cat.PNG");
    assert_eq!((&first["mime_type"], &first["size"]), (&"image/png".into(), &200_000.into()));
    let path = first["path"].as_str().expect("a path").to_string();
    assert!(path.starts_with("media/") && path.ends_with(".png"), "{path}");
    assert_eq!(world.disk.files[path.as_str()], (content.clone(), true));

    for (headers, name, mime) in [
        (
            "Content-Disposition: attachment; filename=\"a b.txt\"\r\nContent-Type: text/plain; charset=utf-8\r\n",
            "a b.txt",
            "text/plain",
        ),
        ("", "file", "application/octet-stream"),
    ] {
        let user = operator(&format!("X-GoClaw-User-Id: ann\r\n{headers}"));
        let answer = good(&send(&mut world, &user, &content));
        assert_eq!((&answer["filename"], &answer["mime_type"]), (&name.into(), &mime.into()));
        let other = answer["path"].as_str().expect("a path");
        assert_eq!(world.disk.files[other], (content.clone(), true));
        assert_ne!(other[..46], path[..46], "another user has another folder");
    }
    assert_eq!(world.disk.files.len(), 3);
    let uploaded = |fact: &&Fact| matches!(fact, Fact::Uploaded { bytes: 200_000, .. });
    assert_eq!(world.facts.iter().filter(uploaded).count(), 3);
    assert!(is_clean(&world));
}

#[test]
fn a_name_in_the_query_and_chunks_work_too() {
    let mut world = World::new(1);
    let at = world.socket(0);
    let request = "POST /v1/media/upload?x=1&filename=my+%63at.gif HTTP/1.1\r\nHost: localhost\r\n\
        Authorization: Bearer bound\r\nTransfer-Encoding: chunked\r\n\r\n";
    world.feed(at, request.as_bytes());
    for piece in [&b"3\r\nab"[..], b"c\r\n", b"2;x\r\nde\r\n0\r\n\r", b"\n"] {
        assert_eq!(world.clients[at].answer, None);
        world.feed(at, piece);
    }
    let answer = good(&world.clients[at].answer.clone().expect("an answer"));
    assert_eq!(answer["filename"], "my cat.gif");
    assert_eq!(world.disk.files[answer["path"].as_str().expect("a path")].0, b"abcde");
    let closed = world.closed_fact(at).expect("an end");
    assert!(matches!(closed, Fact::Closed { user: Some(user), .. } if **user == *"bob"));
}

#[test]
fn who_may_not_is_told_before_anything_is_read() {
    for (headers, status, why, what) in [
        ("", 401, Why::Unauthorized, "token is needed"),
        ("Authorization: Bearer wrong\r\n", 401, Why::Unauthorized, "token is needed"),
        ("Authorization: Basic b3BlcmF0b3I=\r\n", 401, Why::Unauthorized, "token is needed"),
        ("Authorization: Bearer viewer\r\n", 403, Why::Role, "operator"),
        (&operator("Origin: https://evil.example\r\n"), 403, Why::Origin, "evil.example"),
        (&operator("Sec-Fetch-Site: cross-site\r\n"), 403, Why::CrossSite, "another site"),
        (&operator("X-GoClaw-User-Id: a\tb\r\n"), 400, Why::Credential, "control"),
        (&operator("Content-Type: multipart/form-data\r\n"), 400, Why::Form, "boundary"),
    ] {
        let mut world = World::new(1);
        let (got, body) = send(&mut world, headers, &form("a.png", b"x"));
        assert_eq!(got, status, "{headers}: {body}");
        assert!(body.contains(what), "{headers}: {body}");
        assert_eq!(refusals(&world), [(status, why)]);
        assert!(world.disk.files.is_empty() && is_clean(&world));
    }
    let mut world = World::new(1);
    let at = world.socket(0);
    world.feed(at, b"GET /api/media/upload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(world.clients[at].answer.as_ref().map(|answer| answer.0), Some(405));
}

#[test]
fn wrong_tokens_lock_an_address_out_of_uploads_and_logins_alike() {
    let mut config = config();
    config.bounds.auth_failures = 3;
    let mut world = World::with(1, config);
    let request = ClientRequest::new("localhost:18790", "/ws").expect("a request");
    let upload = |world: &mut World| {
        let at = world.upgrade(0, "192.0.2.1", request.clone());
        world.cut(at);
        let id = ConnId(9_000 + world.facts.len() as u64);
        let now = world.now;
        world.nodes[0].connected(now, id, "192.0.2.1:9".parse().expect("an address"));
        let mut server = Connection::server(std::sync::Arc::new(Limits::default()), now);
        let mut bytes = head("Authorization: Bearer wrong\r\n", 1).into_bytes();
        let mut turn = server.receive(now, &mut bytes);
        while let Some((event, outbox)) = turn.next_event() {
            world.nodes[0].handle(now, id, event, outbox);
        }
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let filled = server.outbox(now).slices(&mut slices);
        let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        String::from_utf8(all).expect("text")
    };
    for _ in 0..3 {
        assert!(upload(&mut world).starts_with("HTTP/1.1 401"));
    }
    let locked = upload(&mut world);
    assert!(locked.starts_with("HTTP/1.1 429") && locked.contains("Retry-After: "), "{locked}");
}

#[test]
fn the_size_holds_at_under_and_over() {
    let mut config = config();
    config.max_upload_bytes = 100_000;
    let mut world = World::with(1, config);
    for (size, status) in [(99_999, 200), (100_000, 200), (100_001, 413)] {
        let content = vec![7; size];
        assert_eq!(send(&mut world, &operator(BOUNDARY), &form("a", &content)).0, status);
        assert_eq!(send(&mut world, &operator(""), &content).0, status, "{size}");
        let at = world.socket(0);
        let chunked = operator("Transfer-Encoding: chunked\r\n");
        let request = head(&chunked, 0).replace("Content-Length: 0\r\n", "");
        world.feed(at, request.as_bytes());
        let chunk = [format!("{size:x}\r\n").as_bytes(), &content, b"\r\n0\r\n\r\n"].concat();
        for piece in chunk.chunks(7000) {
            world.feed(at, piece);
        }
        assert_eq!(world.clients[at].answer.as_ref().map(|answer| answer.0), Some(status));
    }
    assert_eq!(world.disk.files.len(), 6);
    // What is announced is judged before it comes.
    let at = begin(&mut world, &operator(""), 100_001, b"");
    let (status, body) = world.clients[at].answer.clone().expect("an answer");
    assert!(status == 413 && body.contains("at most 100000 bytes"), "{body}");
    assert!(is_clean(&world));
}

#[test]
fn broken_forms_and_empty_files_leave_nothing() {
    let mut world = World::new(1);
    let good = form("a.png", b"content");
    for (body, what) in [
        (&good[..good.len() - 9], "no end"),
        (b"--abc\r\n", "does not begin"),
        (&form("a.png", b""), "empty"),
        (&[&good[..good.len() - 4], b"\r\n", &good].concat(), "more than one part"),
    ] {
        let (status, answer) = send(&mut world, &operator(BOUNDARY), body);
        assert!(status == 400 && answer.contains(what), "{what}: {status} {answer}");
    }
    assert_eq!(send(&mut world, &operator(""), b"").0, 400);
    assert!(world.disk.files.is_empty() && is_clean(&world));
}

#[test]
fn a_client_that_leaves_or_falls_silent_leaves_nothing() {
    let mut world = World::with(1, patient());
    let at = begin(&mut world, &operator(""), 300_000, &vec![1; 200_000]);
    assert_eq!(world.disk.files.len(), 1);
    world.cut(at);
    assert!(world.disk.files.is_empty() && is_clean(&world));
    let at = begin(&mut world, &operator(""), 300_000, &vec![1; 200_000]);
    world.advance(Limits::default().body_silence);
    assert_eq!(world.clients[at].answer.as_ref().map(|answer| answer.0), Some(408));
    assert!(world.disk.files.is_empty() && is_clean(&world));
    let fact = world.closed_fact(at).expect("an end");
    assert!(matches!(fact, Fact::Closed { deadline: Some("body-timeout"), .. }), "{fact:?}");
}

#[test]
fn a_disk_that_is_full_fails_or_hangs_is_told_and_leaves_nothing() {
    for (mode, status, what) in [
        (DiskMode::Full, 507, "full"),
        (DiskMode::Fails, 500, "could not write"),
        (DiskMode::Hangs, 500, "could not write"),
    ] {
        let mut world = World::with(1, patient());
        let at = begin(&mut world, &operator(""), 300_000, &[1; 100]);
        world.disk.mode = mode;
        world.feed(at, &vec![1; 299_900]);
        if mode == DiskMode::Hangs {
            assert_eq!(world.clients[at].answer, None);
            world.advance(config().bounds.store_within);
            world.disk.mode = DiskMode::Works;
        }
        let (got, body) = world.clients[at].answer.clone().expect("an answer");
        assert!(got == status && body.contains(what), "{got} {body}");
        assert_eq!(refusals(&world), [(status, Why::Disk)]);
        // It was told to remove the file, which a disk that hangs does later.
        assert!(mode == DiskMode::Hangs || world.disk.files.is_empty());
    }
}

#[test]
fn what_the_disk_has_not_taken_is_bounded() {
    let mut world = World::with(1, patient());
    let at = begin(&mut world, &operator(""), 2_000_000, b"");
    world.disk.mode = DiskMode::Slow(SECOND);
    let (mut sent, mut seconds) = (0, 0);
    while sent < 2_000_000 {
        while world.clients[at].server.wants().read && sent < 2_000_000 {
            world.feed(at, &[5; 16_000]);
            sent += 16_000;
        }
        let written = seconds * 64 * 1024;
        assert!(sent <= written + 340_000, "{sent} came of which {written} are written");
        if sent < 2_000_000 {
            assert!(sent >= written + 128 * 1024, "the disk always has a next block");
            world.advance(SECOND);
            seconds += 1;
        }
    }
    assert_eq!(world.clients[at].answer, None, "not before it is durable");
    world.advance(40 * SECOND);
    assert_eq!(good(&world.clients[at].answer.clone().expect("an answer"))["size"], 2_000_000);
}

#[test]
fn places_are_bounded_for_each_user_and_for_all() {
    let mut config = config();
    (config.bounds.user_uploads, config.bounds.uploads) = (2, 3);
    let mut world = World::with(1, config);
    let user = |name: &str| operator(&format!("X-GoClaw-User-Id: {name}\r\n"));
    let first = begin(&mut world, &user("ann"), 10, b"x");
    begin(&mut world, &user("ann"), 10, b"x");
    assert_eq!(send(&mut world, &user("ann"), b"x").0, 429);
    begin(&mut world, &user("bob"), 10, b"x");
    assert_eq!(send(&mut world, &user("cat"), b"x").0, 503);
    world.feed(first, b"123456789");
    assert_eq!(send(&mut world, &user("cat"), b"x").0, 200);
    assert_eq!(send(&mut world, &user("ann"), b"x").0, 200);
}

#[test]
fn an_upload_that_was_given_up_keeps_its_place_until_the_disk_has_let_go_of_it() {
    let mut config = patient();
    config.bounds.user_uploads = 2;
    let mut world = World::with(1, config);
    world.disk.mode = DiskMode::Slow(40 * SECOND);
    for _ in 0..2 {
        let at = begin(&mut world, &operator(""), 1_000_000, &[1; 200_000]);
        world.cut(at);
    }
    assert_eq!(send(&mut world, &operator(""), b"x").0, 429, "what they sent waits for the disk");
    world.disk.mode = DiskMode::Works;
    world.advance(600 * SECOND);
    assert_eq!(send(&mut world, &operator(""), b"x").0, 200);
    assert!(is_clean(&world));
}

#[test]
fn a_revoked_credential_ends_its_upload() {
    let mut world = World::new(1);
    let admin = world.login(0, "secret", "adm");
    let made = world.call(admin, "api_keys.create", json!({"name": "ci", "role": "operator"}));
    let key = made["payload"]["key"].as_str().expect("a key");
    let at = begin(&mut world, &format!("Authorization: Bearer {key}\r\n"), 100, b"x");
    let other = begin(&mut world, &operator(""), 2, b"x");
    world.call(admin, "api_keys.revoke", json!({"id": made["payload"]["id"]}));
    let (status, body) = world.clients[at].answer.clone().expect("an answer");
    assert!(status == 401 && body.contains("revoked"), "{status} {body}");
    world.feed(other, b"y");
    assert_eq!(world.clients[other].answer.as_ref().map(|answer| answer.0), Some(200));
    assert_eq!(world.disk.files.len(), 1);
    assert!(is_clean(&world));
}

#[test]
fn a_user_has_a_share_of_the_disk() {
    let mut config = config();
    config.bounds.user_upload_bytes = 1000;
    let mut world = World::with(1, config);
    let user = |name: &str| operator(&format!("X-GoClaw-User-Id: {name}\r\n"));
    assert_eq!(send(&mut world, &user("ann"), &[1; 600]).0, 200);
    let (status, body) = send(&mut world, &user("ann"), &[1; 401]);
    assert!(status == 507 && body.contains("600 of 1000 bytes"), "{body}");
    assert_eq!(send(&mut world, &user("ann"), &[1; 400]).0, 200);
    assert_eq!(send(&mut world, &user("bob"), &[1; 1000]).0, 200);
    assert!(is_clean(&world));
}

#[test]
fn an_upload_holds_no_place_of_those_who_are_not_logged_in_and_ends_with_the_gateway() {
    let mut config = config();
    config.bounds.pre_auth_v4 = 1;
    let mut world = World::with(1, config);
    let at = begin(&mut world, &operator(""), 10, b"x");
    world.open(0);
    world.nodes[0].drain(
        world.now,
        &Drain { restart: false, reason: "stopping".into(), restart_expected: None },
    );
    world.advance(20 * SECOND);
    assert_eq!(world.clients[at].answer.as_ref().map(|answer| answer.0), Some(503));
    assert!(world.disk.files.is_empty() && is_clean(&world));
}

#[test]
fn clients_are_told_where_and_how_much() {
    let mut world = World::new(1);
    let at = world.open(0);
    let hello = world.call(at, "connect", json!({"token": "secret"}));
    let policy = &hello["payload"]["policy"];
    assert_eq!(policy["uploadPath"], "/api/media/upload");
    assert_eq!(policy["maxUploadBytes"], 50 * 1024 * 1024);
}

/// Uploads a file of the user; gives its path.
fn upload(world: &mut World, user: &str) -> String {
    let headers = operator(&format!("X-GoClaw-User-Id: {user}\r\n"));
    good(&send(world, &headers, b"content"))["path"].as_str().expect("a path").to_string()
}

#[test]
fn files_go_to_the_agent_with_the_message_and_stay_with_it() {
    let mut world = World::new(2);
    let (cat, dog) = (upload(&mut world, "ann"), upload(&mut world, "ann"));
    let at = world.login(1, "operator", "ann");
    let media = json!([cat, {"path": dog, "filename": "dog.png"}]);
    let sent = world.call_slow(at, "chat.send", json!({"message": "look", "media": media}));
    assert_eq!(code(&sent), "ok", "{sent}");
    let given: Vec<_> = world.runs[0].media.iter().map(|path| path.to_string()).collect();
    assert_eq!(given, [cat.clone(), dog.clone()]);
    let session = sent["payload"]["sessionKey"].clone();
    let next = json!({"message": "and now", "sessionKey": session});
    assert_eq!(code(&world.call_slow(at, "chat.send", next)), "ok");
    assert!(world.runs[1].media.is_empty());
    assert_eq!(world.runs[1].history[0].media.len(), 2, "what came before is there with its files");
    let history = world.call(at, "chat.history", json!({"sessionKey": session}));
    let messages = &history["payload"]["messages"];
    assert_eq!(messages[0]["media"], json!([cat, dog]));
    assert!((1..4).all(|at| messages[at].get("media").is_none()), "{messages}");
}

#[test]
fn only_files_that_are_there_and_are_the_callers_own_can_be_sent() {
    let mut world = World::new(1);
    let (mine, other) = (upload(&mut world, "ann"), upload(&mut world, "bob"));
    let at = world.login(0, "secret", "ann");
    let send = |world: &mut World, path: &str| {
        let answer =
            world.call_slow(at, "chat.send", json!({"message": "look", "media": [mine, path]}));
        code(&answer).to_string()
    };
    for path in [&other, "", "/etc/passwd", "media/../token", &format!("{mine}/../x")] {
        assert_eq!(send(&mut world, path), "NOT_FOUND", "{path}");
    }
    world.disk.mode = DiskMode::Fails;
    assert_eq!(send(&mut world, &mine), "UNAVAILABLE");
    world.disk.mode = DiskMode::Works;
    assert_eq!(send(&mut world, &mine), "ok");
    world.disk.files.clear();
    assert_eq!(send(&mut world, &mine), "NOT_FOUND");
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn the_same_key_with_other_files_is_another_request() {
    let mut world = World::new(1);
    let (cat, dog) = (upload(&mut world, "ann"), upload(&mut world, "ann"));
    let at = world.login(0, "operator", "ann");
    let send = |world: &mut World, media: Value| {
        let params = json!({"message": "look", "media": media, "idempotencyKey": "k"});
        let answer = world.call_slow(at, "chat.send", params);
        (code(&answer).to_string(), answer["payload"]["runId"].clone())
    };
    let first = send(&mut world, json!([cat]));
    assert_eq!(first.0, "ok");
    assert_eq!(send(&mut world, json!([cat])), first);
    assert_eq!(send(&mut world, json!([dog])).0, "INVALID_REQUEST");
    assert_eq!(send(&mut world, json!([])).0, "INVALID_REQUEST");
    assert_eq!(world.runs.len(), 1);
}

fn header<'w>(world: &'w World, at: usize, name: &str) -> Option<&'w str> {
    let mut headers = world.clients[at].headers.iter();
    headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[test]
fn an_upload_is_paid_from_the_budget_of_messages() {
    let mut config = config();
    config.rate_limit_rpm = 20;
    let mut world = World::with(1, config);
    let headers = "Authorization: Bearer bound\r\n";
    let at = world.login(0, "bound", "bob");
    let send_message = |world: &mut World| {
        let answer = world.call_slow(at, "chat.send", json!({"message": "hi", "ack": true}));
        code(&answer).to_string()
    };
    for _ in 0..5 {
        assert_eq!(send(&mut world, headers, b"x").0, 200);
    }
    let refused = begin(&mut world, headers, 1, b"x");
    let (status, body) = world.clients[refused].answer.clone().expect("an answer");
    assert!(status == 429 && body.contains("rate limit"), "{status} {body}");
    assert_eq!(header(&world, refused, "Retry-After"), Some("3"));
    assert_eq!(refusals(&world), [(429, Why::RateLimit)]);
    assert_eq!(world.disk.files.len(), 5);
    // It is one budget, whichever way it is spent.
    assert_eq!(send_message(&mut world), "RESOURCE_EXHAUSTED");
    world.advance(3 * SECOND);
    assert_eq!(send(&mut world, headers, b"x").0, 200);
}

#[test]
fn who_may_not_upload_pays_nothing_and_who_names_another_user_pays_from_the_address() {
    let mut config = config();
    config.rate_limit_rpm = 20;
    let mut world = World::with(1, config);
    for _ in 0..10 {
        assert_eq!(send(&mut world, "Authorization: Bearer viewer\r\n", b"x").0, 403);
    }
    for user in 0..5 {
        let headers = operator(&format!("X-GoClaw-User-Id: user{user}\r\n"));
        assert_eq!(send(&mut world, &headers, b"x").0, 200);
    }
    let (status, body) = send(&mut world, &operator("X-GoClaw-User-Id: user5\r\n"), b"x");
    assert!(status == 429 && body.contains("this address"), "{body}");
}

#[test]
fn files_are_counted_as_well_as_bytes() {
    let mut config = config();
    (config.bounds.user_upload_files, config.bounds.upload_files) = (2, 3);
    let mut world = World::with(1, config);
    let user = |name: &str| operator(&format!("X-GoClaw-User-Id: {name}\r\n"));
    for (name, status, what) in [
        ("ann", 200, ""),
        ("ann", 200, ""),
        ("ann", 507, "this user has 2 files"),
        ("bob", 200, ""),
        ("cat", 507, "the files of all users"),
    ] {
        let (got, body) = send(&mut world, &user(name), b"x");
        assert!(got == status && body.contains(what), "{name}: {got} {body}");
    }
    assert!(world.disk.files.len() == 3 && is_clean(&world));
}

#[test]
fn uploads_at_the_same_time_at_any_loop_cannot_take_the_same_room() {
    let mut config = patient();
    (config.bounds.user_upload_bytes, config.bounds.upload_bytes) = (400_000, 500_000);
    for chunked in [false, true] {
        let mut world = World::with(2, config.clone());
        let mut sent = Vec::new();
        for (node, user) in [(0, "ann"), (1, "ann"), (0, "ann"), (1, "bob"), (0, "cat")] {
            let at = world.socket(node);
            let mut head = head(&operator(&format!("X-GoClaw-User-Id: {user}\r\n")), 200_000);
            if chunked {
                head = head.replace("Content-Length: 200000", "Transfer-Encoding: chunked");
                head += "30D40\r\n";
            }
            world.feed(at, head.as_bytes());
            sent.push(at);
        }
        // All of them come at once, a piece of each in turn.
        for _ in 0..20 {
            for at in &sent {
                world.feed(*at, &[1; 10_000]);
            }
        }
        for at in &sent {
            world.feed(*at, b"\r\n0\r\n\r\n");
        }
        let whole: usize = world.disk.files.values().map(|(content, _)| content.len()).sum();
        assert!(whole <= 500_000 && is_clean(&world), "{whole} bytes");
        let statuses: Vec<_> =
            sent.iter().map(|at| world.clients[*at].answer.clone().expect("an answer").0).collect();
        let good = statuses.iter().filter(|status| **status == 200).count();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 507)), "{statuses:?}");
        if !chunked {
            // What is announced has its room from the beginning on.
            assert_eq!(statuses, [200, 200, 507, 507, 507]);
        }
        assert!(good <= 2, "{statuses:?}");
        assert_eq!(world.disk.ledger.total(), (good as u64, whole as u64), "nothing is left over");
    }
}

#[test]
fn a_credential_that_expires_ends_its_upload() {
    let mut world = World::with(1, patient());
    let admin = world.login(0, "secret", "adm");
    let params = json!({"name": "ci", "role": "operator", "expiresInMs": 20_000});
    let made = world.call(admin, "api_keys.create", params);
    let key = made["payload"]["key"].as_str().expect("a key");
    let headers = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(send(&mut world, &headers, b"x").0, 200);
    let at = begin(&mut world, &headers, 200_000, &vec![1; 100_000]);
    world.advance(19 * SECOND);
    world.feed(at, b"x");
    assert_eq!(world.clients[at].answer, None);
    world.advance(SECOND);
    let (status, body) = world.clients[at].answer.clone().expect("an answer");
    assert!(status == 401 && body.contains("expired"), "{status} {body}");
    assert_eq!(refusals(&world), [(401, Why::Credential)]);
    assert!(world.disk.files.len() == 1 && is_clean(&world));
    assert_eq!(send(&mut world, &headers, b"x").0, 401, "it begins none either");
}

/// A request of a page of this origin; gives its status.
fn ask(world: &mut World, method: &str, origin: &str, more: &str) -> (usize, u16) {
    let at = world.socket(0);
    let length = if method == "POST" { "Content-Length: 1\r\n" } else { "" };
    let head = format!(
        "{method} /api/media/upload HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
         Sec-Fetch-Site: cross-site\r\n{length}{more}\r\n"
    );
    let body = if method == "POST" { "x" } else { "" };
    world.feed(at, [head, body.into()].concat().as_bytes());
    (at, world.clients[at].answer.clone().expect("an answer").0)
}

#[test]
fn pages_of_allowed_origins_may_upload_and_read_the_answer() {
    let mut config = config();
    config.allowed_origins = vec!["https://*.example.com".into()];
    config.bounds.user_upload_files = 1;
    let mut world = World::with(1, config);
    let origin = "https://chat.example.com";
    let preflight = "Access-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: authorization,content-type\r\n";
    let (at, status) = ask(&mut world, "OPTIONS", origin, preflight);
    assert_eq!((status, header(&world, at, "Access-Control-Allow-Origin")), (200, Some(origin)));
    assert_eq!(header(&world, at, "Access-Control-Allow-Methods"), Some("POST"));
    assert_eq!(header(&world, at, "Vary"), Some("Origin"));
    let allowed = header(&world, at, "Access-Control-Allow-Headers").expect("headers");
    for name in ["Authorization", "Content-Type", "Content-Disposition", "X-GoClaw-User-Id"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    // A good answer, and refusals from the head on and later.
    let bearer = "Authorization: Bearer bound\r\n";
    let wrong = "Authorization: Bearer wrong\r\n";
    for (headers, expected) in [(bearer, 200), (bearer, 507), (wrong, 401), ("", 401)] {
        let (at, status) = ask(&mut world, "POST", origin, headers);
        assert_eq!(status, expected);
        assert_eq!(header(&world, at, "Access-Control-Allow-Origin"), Some(origin), "{status}");
        assert_eq!(header(&world, at, "Vary"), Some("Origin"));
        assert_eq!(header(&world, at, "Access-Control-Allow-Credentials"), None);
    }
    assert_eq!(world.disk.files.len(), 1);
}

#[test]
fn pages_of_other_origins_learn_nothing_and_programs_get_no_such_headers() {
    let mut config = config();
    config.allowed_origins = vec!["https://chat.example.com".into()];
    let mut world = World::with(1, config);
    let preflight = "Access-Control-Request-Method: POST\r\n";
    for origin in ["https://evil.example", "null", "http://chat.example.com"] {
        for (method, more) in [("OPTIONS", preflight), ("POST", "Authorization: Bearer bound\r\n")]
        {
            let (at, status) = ask(&mut world, method, origin, more);
            assert_eq!(status, 403, "{method} {origin}");
            assert_eq!(header(&world, at, "Access-Control-Allow-Origin"), None);
        }
    }
    // What is no preflight is a method that there is not.
    let (at, status) = ask(&mut world, "OPTIONS", "https://chat.example.com", "");
    assert_eq!((status, header(&world, at, "Allow")), (405, Some("POST, OPTIONS")));
    let at = begin(&mut world, &operator(""), 1, b"x");
    assert_eq!(world.clients[at].answer.as_ref().map(|answer| answer.0), Some(200));
    assert_eq!(header(&world, at, "Access-Control-Allow-Origin"), None);
    assert!(world.disk.files.len() == 1 && is_clean(&world));
}
