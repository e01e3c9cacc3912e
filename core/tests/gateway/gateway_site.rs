//! The folder of a site: which requests are for it, what they get, and what a slow reader holds.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::*;
use std::path::Path;
use std::time::Duration;
use world::*;

const SECOND: Duration = Duration::from_secs(1);

const INDEX: &[u8] = b"<!doctype html><head><script>start()</script></head>";

const BASED: &str = "<!doctype html><head><base href=\"/\"><script>start()</script></head>";

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

const PAGES: &[StaticPage] = &[StaticPage {
    path: "/console",
    headers: &[("Content-Type", "text/html")],
    body: "the console",
}];

fn with_site() -> GatewayConfig {
    let mut config = config();
    config.site = Some(Site { root: Path::new("/ui").into(), max_file_bytes: 1024 * 1024 });
    config.pages = PAGES;
    config
}

fn started(config: GatewayConfig) -> World {
    let mut world = World::with(1, config);
    world.files.put("index.html", INDEX);
    world.files.put("app.js", b"plain");
    world.files.put("app.js.gz", b"zipped");
    world.files.put("assets/app-Bx3kZ9aQ.css", b"body{}");
    world
}

fn site() -> World {
    started(with_site())
}

/// What was heard, split where the body begins.
fn heard(world: &World, at: usize) -> (String, &[u8]) {
    let heard = &world.clients[at].heard;
    let end = heard.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&heard[..end + 2]).into_owned(), &heard[end + 4..])
}

fn begin(world: &mut World, method: &str, path: &str, headers: &str) -> usize {
    let at = world.socket(0);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    world.feed(at, request.as_bytes());
    at
}

/// The status, the head and the body of an answer that comes without time passing.
fn ask(world: &mut World, method: &str, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let at = begin(world, method, path, headers);
    let (head, body) = heard(world, at);
    (head[9..12].parse().expect("a status"), head, body.to_vec())
}

const PAGE: &str = "Accept: text/html,*/*;q=0.8\r\n";

#[test]
fn files_and_pages_are_answered_with_what_browsers_must_know() {
    let mut world = site();
    for (path, headers, body, content_type) in [
        ("/", "", BASED, "text/html; charset=utf-8"),
        ("/chat/main?session=1", PAGE, BASED, "text/html; charset=utf-8"),
        ("/app.js", "", "plain", "text/javascript; charset=utf-8"),
        ("/app.js", PAGE, "plain", "text/javascript; charset=utf-8"),
        ("/app.js", "Accept-Encoding: gzip\r\n", "zipped", "text/javascript; charset=utf-8"),
        ("/assets/app-Bx3kZ9aQ.css", "", "body{}", "text/css; charset=utf-8"),
    ] {
        let (status, head, got) = ask(&mut world, "GET", path, headers);
        assert_eq!((status, String::from_utf8_lossy(&got)), (200, body.into()), "{path}");
        let has = |line: &str| head.lines().any(|other| other == line);
        assert!(has(&format!("Content-Type: {content_type}")), "{head}");
        assert!(has(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(has("X-Content-Type-Options: nosniff") && has("X-Frame-Options: DENY"), "{head}");
        assert!(has("Referrer-Policy: no-referrer"), "{head}");
        let kept = has("Cache-Control: public, max-age=31536000, immutable");
        assert!(
            kept == path.contains("assets") && kept != has("Cache-Control: no-cache"),
            "{head}"
        );
        assert_eq!(has("Content-Encoding: gzip"), body == "zipped", "{head}");
        assert_eq!(has("Vary: Accept-Encoding"), body != BASED, "{head}");
        let policy = head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: "));
        let policy = policy.expect("a policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(policy.contains("'sha256-"), body == BASED, "only the index has scripts in it");
        let (status, again, body) = ask(&mut world, "HEAD", path, headers);
        assert_eq!((status, body.len()), (200, 0));
        assert_eq!(again, head, "HEAD tells the same");
    }
    assert_eq!(world.nodes[0].pending(), 0);
}

#[test]
fn what_the_gateway_has_itself_stays_its_own() {
    let mut world = site();
    for name in ["health", "readyz", "ws", "console", "console/x.js", "api/x", "v1/x"] {
        world.files.put(name, b"the folder's");
    }
    world.files.put("api/media/upload", b"the folder's");
    for (method, path, status, body) in [
        ("GET", "/health", 200, "uptimeMs"),
        ("GET", "/readyz", 200, "checks"),
        ("GET", "/ws", 426, "WebSocket"),
        ("GET", "/console", 200, "the console"),
        ("GET", "/console/x.js", 404, "no such page"),
        ("GET", "/api/x", 404, "no such page"),
        ("GET", "/v1/x", 404, "no such page"),
        ("GET", "/api/media/upload", 405, "POST"),
        ("POST", "/", 405, "GET"),
        ("POST", "/app.js", 404, "no such page"),
        ("DELETE", "/chat/main", 404, "no such page"),
    ] {
        let (got, _, text) = ask(&mut world, method, path, PAGE);
        let text = String::from_utf8_lossy(&text);
        assert_eq!(got, status, "{method} {path}");
        assert!(text.contains(body), "{method} {path}: {text}");
    }
    assert_eq!(world.files.asked, Vec::<String>::new());
    // An upgrade is taken on any path.
    let mut world = site();
    let at = world.open(0);
    assert_eq!(world.clients[at].closed, None);
    // Without a site there is none.
    let mut world = started(config());
    assert_eq!(ask(&mut world, "GET", "/app.js", "").0, 404);
    let (_, _, index) = ask(&mut world, "GET", "/", PAGE);
    assert!(String::from_utf8_lossy(&index).contains("moorline"));
}

#[test]
fn what_is_not_there_is_a_page_only_for_who_asks_for_one() {
    let mut world = site();
    for (path, headers, status) in [
        ("/gone.js", "Accept: */*\r\n", 404),
        ("/gone.js", "", 404),
        ("/config.json", "Accept: application/json\r\n", 404),
        ("/gone", PAGE, 200),
        ("/chat/", PAGE, 200),
        ("/../app.js", PAGE, 404),
        ("/%2e%2e/app.js", PAGE, 404),
        ("/..%2fapp.js", PAGE, 404),
        ("/app.js%00", PAGE, 404),
        ("/.hidden", PAGE, 404),
    ] {
        assert_eq!(ask(&mut world, "GET", path, headers).0, status, "{path} {headers}");
    }
    assert!(world.files.asked.iter().all(|name| !name.contains("..") && !name.contains('\0')));
    world.files.files.clear();
    assert_eq!(ask(&mut world, "GET", "/gone", PAGE).0, 404, "not even an index");
}

#[test]
fn nothing_is_looked_for_before_the_request_was_judged() {
    let mut world = site();
    for (headers, status) in [
        ("Origin: https://evil.example\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n",
            403,
        ),
    ] {
        assert_eq!(ask(&mut world, "GET", "/app.js", headers).0, status, "{headers}");
    }
    let at = world.socket(0);
    world.feed(at, b"GET /app.js HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(heard(&world, at).0.starts_with("HTTP/1.1 403"));
    assert_eq!(ask(&mut world, "GET", "/app.js?token=x", "").0, 400);
    assert_eq!(world.files.asked, Vec::<String>::new());
    // Modules are asked for with the page's own origin, and links on other sites may be followed.
    for headers in [
        "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
    ] {
        assert_eq!(ask(&mut world, "GET", "/app.js", headers).0, 200, "{headers}");
    }
}

#[test]
fn who_has_the_file_is_told_so_until_it_changes() {
    let mut world = site();
    for path in ["/", "/app.js"] {
        let (_, head, _) = ask(&mut world, "GET", path, "");
        let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a tag");
        let condition = format!("If-None-Match: \"x\", {tag}\r\n");
        let (status, head, body) = ask(&mut world, "GET", path, &condition);
        assert_eq!((status, body.len()), (304, 0));
        assert!(head.contains(tag) && head.contains("Cache-Control"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!(ask(&mut world, "GET", path, "If-None-Match: \"x\"\r\n").0, 200);
        let long = format!("If-None-Match: {}{tag}\r\n", "\"x\", ".repeat(300));
        assert_eq!(ask(&mut world, "GET", path, &long).0, 200, "too long to be looked at");
        world.files.files.values_mut().for_each(|(_, modified)| *modified += 1);
        assert_eq!(ask(&mut world, "GET", path, &condition).0, 200);
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn a_large_file_goes_piece_by_piece_up_to_the_limit() {
    for size in [PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 1024 * 1024, 1024 * 1024 + 1] {
        let mut world = site();
        world.files.put("big.bin", &content(size));
        let (status, head, body) = ask(&mut world, "GET", "/big.bin", "");
        if size > 1024 * 1024 {
            assert_eq!(status, 403);
            assert!(String::from_utf8_lossy(&body).contains("1048577 bytes"));
            continue;
        }
        assert_eq!(status, 200);
        assert!(head.contains(&format!("Content-Length: {size}\r\n")), "{head}");
        assert!(body == content(size), "{size}");
        assert_eq!(world.files.asked.len(), size.div_ceil(PIECE));
        assert_eq!(ask(&mut world, "HEAD", "/big.bin", "").2.len(), 0);
        assert_eq!(world.files.asked.len(), size.div_ceil(PIECE) + 1, "HEAD reads no further");
        assert_eq!(world.nodes[0].pending(), 0);
    }
}

#[test]
fn who_does_not_read_holds_one_piece_and_is_cut_off() {
    let mut world = site();
    world.files.put("big.bin", &content(1024 * 1024));
    world.files.mode = FilesMode::Slow(SECOND);
    let at = begin(&mut world, "GET", "/big.bin", "");
    world.clients[at].stalled = true;
    world.advance(10 * SECOND);
    assert_eq!(world.files.asked, ["big.bin"], "the next piece is read when this one has left");
    let queued = world.clients[at].server.retained();
    assert!((PIECE..PIECE + PIECE / 2 + 4096).contains(&queued), "{queued} bytes are held");
    world.advance(120 * SECOND);
    let Some(Fact::Closed { deadline: Some(deadline), .. }) = world.closed_fact(at) else {
        panic!("{:?}", world.closed_fact(at));
    };
    assert_eq!(*deadline, "slow-reader");
    assert_eq!((world.nodes[0].pending(), world.nodes[0].connections().0), (0, 0));
}

#[test]
fn who_leaves_in_the_midst_leaves_nothing_behind() {
    let mut world = site();
    world.files.put("big.bin", &content(1024 * 1024));
    world.files.mode = FilesMode::Slow(SECOND);
    for wait in [0, 1500, 3500] {
        let at = begin(&mut world, "GET", "/big.bin", "");
        world.advance(Duration::from_millis(wait));
        world.cut(at);
        world.cut(at);
        world.advance(10 * SECOND);
        assert!(world.closed_fact(at).is_some());
        assert_eq!((world.nodes[0].pending(), world.nodes[0].connections().0), (0, 0), "{wait}");
    }
}

#[test]
fn a_file_that_changes_on_its_way_is_seen_not_to_be_whole() {
    let mut world = site();
    world.files.put("big.bin", &content(3 * PIECE));
    world.files.mode = FilesMode::Slow(SECOND);
    let at = begin(&mut world, "GET", "/big.bin", "");
    world.advance(SECOND + SECOND / 2);
    world.files.put("big.bin", &content(2 * PIECE));
    world.advance(10 * SECOND);
    let (head, body) = heard(&world, at);
    assert!(head.contains(&format!("Content-Length: {}\r\n", 3 * PIECE)), "{head}");
    assert!(body.len() < 3 * PIECE, "{}", body.len());
    assert_eq!(world.nodes[0].connections().0, 0);
}

#[test]
fn a_folder_that_cannot_be_read_is_told_of() {
    let mut world = site();
    world.files.mode = FilesMode::Fails;
    assert_eq!(ask(&mut world, "GET", "/app.js", "").0, 500);
    world.files.mode = FilesMode::Hangs;
    let at = begin(&mut world, "GET", "/app.js", "");
    world.advance(60 * SECOND);
    assert!(heard(&world, at).0.starts_with("HTTP/1.1 503"));
    assert_eq!((world.nodes[0].pending(), world.nodes[0].connections().0), (0, 0));
    let mut world = site();
    world.files.put("index.html", &content(256 * 1024 + 1));
    assert_eq!(ask(&mut world, "GET", "/", "").0, 500, "an index is read whole");
    world.files.put("index.html", &content(256 * 1024));
    assert_eq!(ask(&mut world, "GET", "/", "").0, 200);
}

#[test]
fn files_take_places_of_those_who_are_not_logged_in() {
    let mut config = with_site();
    config.bounds.pre_auth_v4 = 2;
    let mut world = started(config);
    world.files.mode = FilesMode::Slow(SECOND);
    let first = [begin(&mut world, "GET", "/app.js", ""), begin(&mut world, "GET", "/", "")];
    let (status, head, _) = ask(&mut world, "GET", "/app.js", "");
    assert!(status == 503 && head.contains("Retry-After"), "{head}");
    world.advance(SECOND);
    assert!(first.iter().all(|at| heard(&world, *at).0.starts_with("HTTP/1.1 200")));
    assert_eq!(ask(&mut world, "GET", "/health", "").0, 200);
}
