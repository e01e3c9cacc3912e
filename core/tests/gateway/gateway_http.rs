//! What is answered before there is a WebSocket.
#![allow(clippy::disallowed_methods)]

use crate::world;
use moorline_core::gateway::*;
use moorline_core::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use world::*;

/// Sends raw bytes to a fresh connection of node 0; gives status and body of the answer.
fn ask(world: &mut World, request: &str) -> (u16, String, String) {
    let id = ConnId(1_000_000 + world.facts.len() as u64);
    let now = world.now;
    world.nodes[0].connected(now, id, "127.0.0.1:9".parse().expect("an address"));
    let mut server = Connection::server(Arc::new(Limits::default()), now);
    let mut bytes = request.as_bytes().to_vec();
    let mut turn = server.receive(now, &mut bytes);
    while let Some((event, outbox)) = turn.next_event() {
        world.nodes[0].handle(now, id, event, outbox);
    }
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    let filled = server.outbox(now).slices(&mut slices);
    let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    let mut turn = server.handle_eof(now);
    while let Some((event, outbox)) = turn.next_event() {
        world.nodes[0].handle(now, id, event, outbox);
    }
    world.settle();
    let text = String::from_utf8_lossy(&all);
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.into(), body.into())
}

fn get(world: &mut World, path: &str) -> (u16, String) {
    let (status, _, body) = ask(world, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    (status, body)
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[test]
fn pages() {
    let mut world = World::new(1);
    for path in ["/health", "/healthz", "/health?x=1"] {
        let (status, body) = get(&mut world, path);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &body["status"], &body["protocol"]), (200, &json!("ok"), &json!(3)));
    }
    let (status, body) = get(&mut world, "/");
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["service"], "moorline");
    for (request, status, what) in [
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "no such page"),
        ("DELETE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "only GET"),
        ("POST /ws HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "only GET"),
        ("GET /ws?token=x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "query string"),
        (
            "GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            403,
            "with --allow-host evil.example",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n",
            403,
            "--allow-host 127.0.0.1.evil",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: $(x);y\r\n\r\n",
            403,
            "host $(x);y is not this gateway's: it is no",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n",
            403,
            "with --allow-origin https://evil.example",
        ),
    ] {
        let (got, head, body) = ask(&mut world, request);
        assert_eq!(got, status, "{request}");
        assert!(body.contains(what), "{request}: {body}");
        assert_eq!(head.contains("Allow: GET, HEAD"), status == 405);
    }
    let (status, _, body) = ask(&mut world, "HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    let connected = world.facts.iter().filter(|f| matches!(f, Fact::Connected { .. })).count();
    let closed = world.facts.iter().filter(|f| matches!(f, Fact::Closed { .. })).count();
    assert_eq!(connected, closed);
    assert_eq!(world.nodes[0].connections(), (0, 0));
}

#[test]
fn a_swallowed_upgrade_is_named() {
    let mut world = World::new(1);
    for (headers, missing) in [
        ("", "Upgrade: websocket, Connection: Upgrade, Sec-WebSocket-Version: 13"),
        ("Upgrade: websocket\r\n", "lacks: Connection: Upgrade, Sec"),
        (
            &UPGRADE.replace("Connection: Upgrade", "Connection: close"),
            "lacks: Connection: Upgrade.",
        ),
    ] {
        let request = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let (status, _, body) = ask(&mut world, &request);
        assert_eq!(status, 426);
        assert!(body.contains(missing), "{body}");
    }
}

#[test]
fn upgrades_are_judged_by_host_origin_and_query() {
    let mut config = config();
    config.allowed_hosts = vec!["gw.example.net".into()];
    config.allowed_origins = vec!["https://chat.example.com".into()];
    let mut world = World::with(1, config);
    for (path, host, origin, expected) in [
        ("/ws", "localhost:18790", None, 101),
        ("/", "127.0.0.1:18790", None, 101),
        ("/any/path?session=1", "[::1]:18790", None, 101),
        ("/ws", "gw.example.net", None, 101),
        ("/ws", "gw.example.net", Some("https://gw.example.net"), 101),
        ("/ws", "localhost:18790", Some("http://localhost:18790"), 101),
        ("/ws", "localhost:18790", Some("https://chat.example.com"), 101),
        ("/ws", "localhost:18790", Some("http://localhost:3000"), 403),
        ("/ws", "localhost:18790", Some("null"), 403),
        ("/ws", "evil.example:18790", None, 403),
        ("/ws", "evil.example", Some("http://evil.example"), 403),
        ("/ws?token=secret", "localhost", None, 400),
        ("/ws?a=b&access_token=secret", "localhost", None, 400),
    ] {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin}{UPGRADE}\r\n");
        let (status, _, body) = ask(&mut world, &request);
        assert_eq!(status, expected, "{path} {host} {origin}: {body}");
        assert!(!body.contains("secret"));
    }
}

#[test]
fn who_is_not_logged_in_has_a_budget_of_all_nodes_together() {
    for nodes in [1, 3] {
        let node = |n: usize| n % nodes;
        let mut config = config();
        config.bounds.pre_auth_v4 = 2;
        config.bounds.pre_auth_v6 = 2;
        config.bounds.pre_auth = 3;
        let mut world = World::with(nodes as u16, config);
        let refused = |world: &mut World, at: usize, peer: &str| {
            let request = ClientRequest::new("localhost", "/ws").expect("a request");
            let refused = world.upgrade(at, peer, request);
            let (status, body) = world.clients[refused].answer.clone().expect("an answer");
            assert_eq!(status, 503);
            body
        };
        let first = world.open_from(node(0), "192.0.2.1");
        let second = world.open_from(node(1), "192.0.2.1");
        for at in 0..nodes {
            let body = refused(&mut world, at, "192.0.2.1");
            assert!(body.contains("this address"), "{body}");
        }
        let third = world.open_from(node(2), "192.0.2.2");
        for at in 0..nodes {
            let body = refused(&mut world, at, "192.0.2.3");
            assert!(!body.contains("this address"), "{body}");
        }
        // Logging in gives the place back, and so does leaving.
        assert_eq!(code(&world.call(first, "connect", json!({"token": "secret"}))), "ok");
        world.open_from(node(2), "192.0.2.1");
        world.advance(Duration::from_secs(11));
        assert!(world.clients[second].closed.is_some() && world.clients[third].closed.is_some());
        // A /64 is one place.
        world.open_from(node(0), "[2001:db8::1]");
        world.open_from(node(1), "[2001:db8::2]");
        assert!(refused(&mut world, node(2), "[2001:db8::3]").contains("this address"));
        world.open_from(node(2), "192.0.2.1");
    }
}

#[test]
fn too_many_connections_are_told_when_to_come_back() {
    let mut config = config();
    config.bounds.connections = 2;
    let mut world = World::with(1, config);
    world.login(0, "secret", "a");
    let second = world.login(0, "secret", "b");
    let request = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    let (status, head, _) = ask(&mut world, &request);
    assert_eq!(status, 503);
    assert!(head.contains("Retry-After: 5"));
    assert_eq!(get(&mut world, "/ready").0, 503);
    assert_eq!(get(&mut world, "/health").0, 200);
    world.cut(second);
    assert_eq!(ask(&mut world, &request).0, 101);
}

#[test]
fn readiness_has_its_reasons() {
    let mut world = World::new(1);
    let failing = |world: &mut World| {
        let (status, body) = get(world, "/readyz");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let checks = body["checks"].as_array().expect("checks").clone();
        let failing: Vec<String> = checks
            .iter()
            .filter(|check| check["ok"] == false)
            .map(|check| check["name"].as_str().expect("a name").into())
            .collect();
        assert_eq!(status == 200, failing.is_empty());
        assert_eq!(body["ready"], failing.is_empty());
        failing
    };
    assert!(failing(&mut world).is_empty());
    world.nodes[0].set_loop_delay(Duration::from_secs(2));
    assert_eq!(failing(&mut world), ["loop"]);
    world.nodes[0].set_loop_delay(Duration::ZERO);
    let at = world.login(0, "secret", "a");
    world.store_mode = StoreMode::Hangs;
    world.request(at, "status", json!({}));
    assert!(failing(&mut world).is_empty());
    world.advance(Duration::from_secs(5));
    assert_eq!(failing(&mut world), ["store"]);
    world.advance(Duration::from_secs(30));
    assert_eq!(failing(&mut world), ["store"]);
    world.store_mode = StoreMode::Works;
    world.call(at, "status", json!({}));
    assert!(failing(&mut world).is_empty());
    world.nodes[0].drain(world.now, &Drain::stop("test"));
    assert_eq!(failing(&mut world), ["draining"]);
    let request = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    assert_eq!(ask(&mut world, &request).0, 503);
}

/// A client that upgrades with these headers, and the status that it got if that was not 101.
fn upgrade_from(world: &mut World, peer: &str, headers: &[(&str, &str)]) -> (usize, Option<u16>) {
    let request = ClientRequest::new("localhost", "/ws").expect("a request");
    let request = headers
        .iter()
        .try_fold(request, |request, (name, value)| request.header(name, value))
        .expect("headers");
    let at = world.upgrade(0, peer, request);
    (at, world.clients[at].answer.as_ref().map(|(status, _)| *status))
}

#[test]
fn behind_a_trusted_proxy_the_client_counts_and_is_told() {
    let mut config = config();
    config.trusted_proxies = vec!["10.0.0.0/8".into()];
    config.bounds.pre_auth_v4 = 1;
    let mut world = World::with(1, config);
    let via = |client: &'static str| [("X-Forwarded-For", client)];
    // Two clients behind one proxy have a place each, one client has no second one.
    let (first, answer) = upgrade_from(&mut world, "10.0.0.1", &via("198.51.100.1"));
    assert_eq!(answer, None);
    assert_eq!(upgrade_from(&mut world, "10.0.0.1", &via("198.51.100.2")).1, None);
    assert_eq!(upgrade_from(&mut world, "10.0.0.1", &via("198.51.100.1")).1, Some(503));
    assert_eq!(upgrade_from(&mut world, "10.0.0.2", &via("1.1.1.1, 198.51.100.1")).1, Some(503));
    // What anybody else writes is not believed.
    let told = |world: &World| {
        let not_believed = |fact: &&Fact| matches!(fact, Fact::NotBelieved { .. });
        world.facts.iter().filter(not_believed).count()
    };
    assert_eq!(told(&world), 0);
    assert_eq!(upgrade_from(&mut world, "192.0.2.1", &via("198.51.100.9")).1, None);
    assert_eq!(told(&world), 1);
    assert_eq!(upgrade_from(&mut world, "192.0.2.1", &via("198.51.100.8")).1, Some(503));
    // The place is given back where it was taken.
    world.cut(first);
    let Some(Fact::Closed { peer, .. }) = world.closed_fact(first) else { panic!("it ended") };
    assert_eq!(peer.to_string(), "198.51.100.1:0");
    assert_eq!(upgrade_from(&mut world, "10.0.0.1", &via("198.51.100.1")).1, None);
    for at in 0..world.clients.len() {
        world.cut(at);
    }
    assert_eq!(world.nodes[0].connections(), (0, 0));
    assert_eq!(upgrade_from(&mut world, "198.51.100.2", &[]).1, None);
    // The proxy's own place was never taken for its clients.
    assert_eq!(upgrade_from(&mut world, "10.0.0.1", &[]).1, None);
    assert_eq!(upgrade_from(&mut world, "10.0.0.1", &[]).1, Some(503));
}

#[test]
fn guessing_through_a_proxy_locks_the_client_out_and_not_the_proxy() {
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.1".into()];
    let mut world = World::with(1, config);
    let login = |world: &mut World, client: &'static str, token: &str| {
        let (at, _) = upgrade_from(world, "127.0.0.1", &[("X-Forwarded-For", client)]);
        let answer = world.call(at, "connect", json!({"token": token}));
        code(&answer).to_string()
    };
    for _ in 0..11 {
        assert_eq!(login(&mut world, "198.51.100.1", "wrong"), "UNAUTHORIZED");
    }
    // Nor does it help to claim to be this host.
    assert_eq!(login(&mut world, "198.51.100.1", "secret"), "UNAUTHORIZED");
    assert_eq!(login(&mut world, "127.0.0.1, 198.51.100.1", "secret"), "UNAUTHORIZED");
    assert_eq!(login(&mut world, "198.51.100.2", "secret"), "ok");
}

#[test]
fn without_a_token_nobody_is_served_who_comes_through_a_proxy() {
    let mut config = config();
    config.tokens.clear();
    let mut world = World::with(1, config);
    for header in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let (at, status) = upgrade_from(&mut world, "127.0.0.1", &[(header, "for=127.0.0.1")]);
        assert_eq!(status, Some(403), "{header}");
        let (_, body) = world.clients[at].answer.as_ref().expect("an answer");
        assert!(body.contains("has no token"), "{body}");
    }
    assert_eq!(upgrade_from(&mut world, "127.0.0.1", &[]).1, None);
}

#[test]
fn a_page_of_another_site_is_refused_when_it_has_no_origin() {
    let mut config = config();
    config.allowed_origins = vec!["https://chat.example.com".into()];
    let mut world = World::with(1, config);
    let origin = ("Origin", "https://chat.example.com");
    for (headers, status) in [
        (&[("Sec-Fetch-Site", "cross-site")][..], Some(403)),
        (&[("Sec-Fetch-Site", "cross-site"), origin], None),
        (&[("Sec-Fetch-Site", "same-origin")], None),
        (&[("Sec-Fetch-Site", "none")], None),
        (&[], None),
    ] {
        assert_eq!(upgrade_from(&mut world, "127.0.0.1", headers).1, status, "{headers:?}");
    }
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n";
    assert_eq!(ask(&mut world, request).0, 403);
}

#[test]
fn where_others_can_reach_it_configured_hosts_keep_other_names_out() {
    let mut config = config();
    config.listen = "0.0.0.0:18790".parse().expect("an address");
    let health = |world: &mut World, host: &str| {
        ask(world, &format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")).0
    };
    let mut world = World::with(1, config.clone());
    assert_eq!(health(&mut world, "any.example"), 200);
    config.allowed_hosts = vec!["gw.example.net".into()];
    let mut world = World::with(1, config);
    for (host, status) in [
        ("gw.example.net", 200),
        ("gw.example.net:443", 200),
        ("192.0.2.1:18790", 200),
        ("[2001:db8::1]:18790", 200),
        ("localhost", 200),
        ("rebound.example", 403),
        ("gw.example.net.evil.example", 403),
    ] {
        assert_eq!(health(&mut world, host), status, "{host}");
    }
}

const PAGES: &[StaticPage] = &[
    StaticPage { path: "/", headers: &[("Content-Type", "text/html")], body: "<p>hello" },
    StaticPage { path: "/console", headers: &[("Content-Type", "text/html")], body: "<p>hello" },
    StaticPage { path: "/health", headers: &[], body: "no" },
];

fn with_pages() -> World {
    let mut config = config();
    config.pages = PAGES;
    World::with(1, config)
}

#[test]
fn the_hosts_pages_are_answered_and_its_own_stay_where_programs_look_for_them() {
    let mut world = with_pages();
    for path in ["/", "/console", "/console?x=1"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, head, body) = ask(&mut world, &request);
        assert_eq!((status, body.as_str()), (200, "<p>hello"), "{path}");
        assert!(head.contains("Content-Type: text/html\r\nContent-Length: 8\r\n"), "{head}");
        let request = request.replace("GET", "HEAD");
        let (status, head, body) = ask(&mut world, &request);
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        assert!(head.contains("Content-Length: 8\r\n"), "{head}");
        let (status, head, _) = ask(&mut world, &request.replace("HEAD", "DELETE"));
        assert_eq!(status, 405, "{path}");
        assert!(head.contains("Allow: GET, HEAD"), "{head}");
    }
    let (status, body) = get(&mut world, "/health");
    assert_eq!(status, 200);
    assert!(body.contains("\"protocol\":3"), "{body}");
    for path in ["/console/", "/Console", "//console"] {
        assert_eq!(get(&mut world, path).0, 404, "{path}");
    }
    let upgrade = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    assert_eq!(ask(&mut world, &upgrade).0, 101);
}

#[test]
fn the_hosts_pages_are_asked_for_under_the_gateways_names_only() {
    let mut world = with_pages();
    for (headers, status) in [
        ("Host: evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n", 200),
    ] {
        for path in ["/", "/console"] {
            let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\n");
            assert_eq!(ask(&mut world, &request).0, status, "{path} {headers}");
        }
    }
}

#[test]
fn the_hosts_pages_have_their_scripts_even_where_they_may_not_connect() {
    let mut config = config();
    config.pages = PAGES;
    config.listen = "0.0.0.0:18790".parse().expect("an address");
    let mut world = World::with(1, config);
    let own = "Host: gw.example\r\nOrigin: http://gw.example\r\n";
    let other = "Host: gw.example\r\nOrigin: http://evil.example\r\n";
    for (request, headers, status) in [
        ("GET /console", own.to_string(), 200),
        ("GET /console", other.to_string(), 403),
        ("GET /health", own.to_string(), 403),
        ("POST /ws", own.to_string(), 403),
        ("GET /", format!("{own}{UPGRADE}"), 403),
        ("GET /ws", format!("{own}{UPGRADE}"), 403),
    ] {
        let text = format!("{request} HTTP/1.1\r\n{headers}\r\n");
        assert_eq!(ask(&mut world, &text).0, status, "{request} {headers}");
    }
}

#[test]
fn a_link_on_another_site_leads_to_the_hosts_pages_and_nowhere_else() {
    let mut world = with_pages();
    let visit =
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    for (request, headers, status) in [
        ("GET /", visit.into(), 200),
        ("GET /console", visit.into(), 200),
        ("POST /console", visit.into(), 403),
        ("GET /health", visit.into(), 403),
        ("GET /nothing", visit.into(), 403),
        ("GET /", format!("{visit}{UPGRADE}"), 403),
        // A frame, a script, and what a page reads.
        ("GET /", visit.replace("document", "iframe"), 403),
        ("GET /", visit.replace("navigate", "no-cors").replace("document", "script"), 403),
        ("GET /", visit.replace("navigate", "cors").replace("document", "empty"), 403),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        assert_eq!(ask(&mut world, &text).0, status, "{request} {headers}");
    }
}

#[test]
fn a_page_whose_path_or_header_is_none_is_refused() {
    const NO_PATH: &[StaticPage] = &[StaticPage { path: "console", headers: &[], body: "" }];
    const NO_HEADER: &[StaticPage] =
        &[StaticPage { path: "/c", headers: &[("X-A", "a\r\nX-B: b")], body: "" }];
    let mut config = config();
    for (pages, error) in [
        (NO_PATH, Err(ConfigError::Page("console"))),
        (NO_HEADER, Err(ConfigError::Page("/c"))),
        (PAGES, Ok(())),
    ] {
        config.pages = pages;
        assert_eq!(config.check(), error);
    }
}
