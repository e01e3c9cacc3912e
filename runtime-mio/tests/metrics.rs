//! `/metrics` of the real gateway: what it tells is what the docs say, and nothing that a client has said.

mod support;
#[path = "support/gateway.rs"]
mod world;

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use support::{exchange, get};
use world::{Client, Gateway, folder};

fn scrape(address: SocketAddr) -> Scrape {
    let answer = get(address, "/metrics", "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    Scrape::parse(body)
}

/// What was told: types by family, and values by series, whose labels are as written.
struct Scrape {
    types: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
    text: String,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let (mut types, mut series) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(types.insert(name.into(), kind.into()).is_none(), "{name} twice");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(series.insert(name.into(), value).is_none(), "{name} twice");
            }
        }
        Self { types, series, text: text.into() }
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("{series} in\n{}", self.text))
    }

    fn names(&self) -> BTreeSet<&str> {
        self.series.keys().map(String::as_str).collect()
    }
}

/// The labels of a series, by name.
fn labels(series: &str) -> BTreeSet<&str> {
    let Some((_, labels)) = series.split_once('{') else { return BTreeSet::new() };
    let names = labels.trim_end_matches('}').split("\",");
    names.map(|label| label.split_once("=\"").unwrap().0).collect()
}

/// A row of the docs: type and labels.
type Row = (String, BTreeSet<String>);

fn documented() -> BTreeMap<String, Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let table =
        page.split_once("<!-- metrics -->").unwrap().1.split_once("<!-- end -->").unwrap().0;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect();
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let name: Vec<String> = words(cells[0]);
        (name[0].clone(), (cells[1].to_string(), words(cells[2]).into_iter().collect()))
    })
    .collect()
}

/// Does one of everything that is counted; `odd` is what a client says wherever it may say anything.
fn be_a_client(address: SocketAddr, odd: &str) {
    let mut client = Client::open(address).unwrap();
    assert_eq!(client.ask("connect", json!({"token": odd, "user_id": odd})).unwrap()["ok"], false);
    client.call("connect", json!({"token": "t", "user_id": odd})).unwrap();
    for method in [odd, "chat.odd", "Health"] {
        assert_eq!(client.ask(method, json!({})).unwrap()["ok"], false);
    }
    let session = format!("agent:{odd}:main");
    for params in
        [json!({"message": odd, "agentId": odd}), json!({"message": odd, "sessionKey": session})]
    {
        client.ask("chat.send", params).unwrap();
    }
    let run = client.call("chat.send", json!({"message": odd, "idempotencyKey": odd})).unwrap();
    client.call("agent.wait", json!({"runId": run["runId"]})).unwrap();
    drop(client);
    // One that says goodbye in its own words.
    let mut client = Client::login(address, odd).unwrap();
    client.send_close(4321, odd).unwrap();
    let _ = client.closed();
    for headers in [
        format!("Origin: https://{odd}.example.com\r\n"),
        format!("Origin: {odd}\r\n"),
        format!("Authorization: Bearer {odd}\r\n"),
        format!("User-Agent: {odd}\r\nX-Forwarded-For: {odd}\r\n"),
    ] {
        get(address, "/metrics", &headers);
        get(address, &format!("/{odd}?{odd}={odd}"), &headers);
    }
    exchange(address, format!("GET / HTTP/1.1\r\nHost: {odd}.example.com\r\n\r\n"));
    exchange(address, format!("{odd} /health HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    exchange(address, format!("{odd}\r\n\r\n"));
    let upload = format!(
        "POST /api/media/upload?filename={odd}.{odd} HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer t\r\nX-GoClaw-User-Id: {odd}\r\nContent-Type: text/{odd}\r\n\
         Content-Length: 3\r\n\r\nabc"
    );
    exchange(address, &upload);
    exchange(address, upload.replace("Bearer t", "Bearer no"));
}

#[test]
fn every_metric_of_the_docs_is_told_and_every_one_that_is_told_is_in_the_docs() {
    let gateway = Gateway::with(&folder("metrics-docs"), &["--loops", "2"]);
    be_a_client(gateway.address, "plain");
    let scrape = scrape(gateway.address);
    let docs = documented();
    let kinds = |name: &String, kind: &String| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{suffix}"), kind.clone())
    };
    let told: BTreeMap<_, _> = scrape.types.iter().map(|(name, kind)| kinds(name, kind)).collect();
    let written: BTreeMap<_, _> =
        docs.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    assert_eq!(told, written);
    let mut without = written.keys().cloned().collect::<BTreeSet<_>>();
    for series in scrape.series.keys() {
        let name = series.split('{').next().unwrap();
        let histogram =
            ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let name = histogram.filter(|name| docs.contains_key(*name)).unwrap_or(name);
        let (kind, known) = docs.get(name).unwrap_or_else(|| panic!("{series}"));
        let mut found = labels(series);
        assert!(!found.remove("le") || kind == "histogram", "{series}");
        assert_eq!(found, known.iter().map(String::as_str).collect(), "{series}");
        without.remove(name);
    }
    // What did not happen has no series: the labels of these were not seen.
    let unseen = [
        "accept_failures",
        "log_folded_lines",
        "pairings",
        "rate_limited_requests",
        "store_failures",
        "tls_handshake_failures",
    ];
    let unseen: Vec<_> = unseen.iter().map(|name| format!("moorline_{name}_total")).collect();
    assert_eq!(without.into_iter().collect::<Vec<_>>(), unseen);
}

#[test]
fn what_happens_is_counted() {
    let gateway = Gateway::with(&folder("metrics-counts"), &["--loops", "2"]);
    let address = gateway.address;
    let mut ann = Client::login(address, "ann").unwrap();
    ann.call("health", json!({})).unwrap();
    be_a_client(address, "plain");
    let first = scrape(address);
    for (series, least) in [
        ("moorline_connections{phase=\"open\"}", 1.0),
        ("moorline_accepts_total", 10.0),
        ("moorline_logins_total{credential=\"token\",result=\"ok\"}", 3.0),
        ("moorline_logins_total{credential=\"token\",result=\"refused\"}", 2.0),
        ("moorline_requests_total{method=\"health\",code=\"ok\"}", 1.0),
        ("moorline_requests_total{method=\"unknown\",code=\"INVALID_REQUEST\"}", 3.0),
        ("moorline_request_duration_seconds_count{method=\"connect\"}", 4.0),
        ("moorline_refused_requests_total{status=\"403\",reason=\"origin\"}", 1.0),
        ("moorline_refused_requests_total{status=\"403\",reason=\"host\"}", 1.0),
        ("moorline_connections_closed_total{code=\"4xxx\",cause=\"peer\",initiator=\"peer\"}", 1.0),
        (
            "moorline_connections_closed_total{code=\"none\",cause=\"http\",initiator=\"local\"}",
            4.0,
        ),
        ("moorline_runs_started_total{agent=\"echo\"}", 1.0),
        ("moorline_uploads_total", 1.0),
        ("moorline_uploaded_bytes_total", 3.0),
        ("moorline_kept_files", 1.0),
        ("moorline_kept_bytes", 3.0),
        ("moorline_store_work_duration_seconds_count", 1.0),
        ("moorline_messages_total{direction=\"in\"}", 5.0),
        ("moorline_frames_total{direction=\"in\"}", 5.0),
        ("moorline_socket_bytes_total{direction=\"in\"}", 1000.0),
        ("moorline_loop_answered{loop=\"0\"}", 1.0),
        ("moorline_loop_answered{loop=\"1\"}", 1.0),
        ("moorline_ready", 1.0),
        ("process_open_fds", 5.0),
    ] {
        assert!(first.value(series) >= least, "{series} {}", first.value(series));
    }
    // A page that was asked for is no WebSocket that broke off.
    let odd = |series: &&String| series.contains("code=\"1006\",cause=\"http\"");
    assert_eq!(first.series.keys().find(odd), None);
    ann.call("health", json!({})).unwrap();
    let second = scrape(address);
    let health = "moorline_requests_total{method=\"health\",code=\"ok\"}";
    assert_eq!(second.value(health), first.value(health) + 1.0);
    for (series, value) in &first.series {
        // Buckets, counts and totals never fall.
        if !series.contains("_seconds_sum")
            && (series.contains("_total") || series.contains("_count"))
        {
            assert!(second.value(series) >= *value, "{series}");
        }
    }
}

#[test]
fn messages_frames_and_bytes_are_told_exactly() {
    // One loop: what it did before a scrape is then among what it tells.
    let gateway = Gateway::with(&folder("metrics-exact"), &["--loops", "1"]);
    let address = gateway.address;
    let mut ann = Client::login(address, "ann").unwrap();
    // What her coming is told with: nothing more is said of its own accord.
    ann.event("presence").unwrap();
    let scraped = || {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let answer = exchange(address, request);
        let scrape = Scrape::parse(answer.split_once("\r\n\r\n").unwrap().1);
        (scrape, request.len(), answer.len())
    };
    let (before, _, told) = scraped();
    let ping = support::masked(9, b"there?");
    ann.send_raw(&ping).unwrap();
    let pong = ann.frame().unwrap();
    assert_eq!(pong, (0x8A, b"there?".to_vec()));
    let health = support::masked(1, br#"{"type":"req","id":"x","method":"health","params":{}}"#);
    ann.send_raw(&health).unwrap();
    let (first, answer) = ann.frame().unwrap();
    assert_eq!(first, 0x81);
    let (after, asked, _) = scraped();
    let more = |name: &str, direction: &str| {
        let series = format!("moorline_{name}_total{{direction=\"{direction}\"}}");
        after.value(&series) - before.value(&series)
    };
    assert_eq!((more("messages", "in"), more("messages", "out")), (1.0, 1.0));
    assert_eq!((more("frames", "in"), more("frames", "out")), (2.0, 2.0));
    let header = if answer.len() < 126 { 2 } else { 4 };
    let came = ping.len() + health.len() + asked;
    let left = 2 + pong.1.len() + header + answer.len() + told;
    assert_eq!(
        (more("socket_bytes", "in"), more("socket_bytes", "out")),
        (came as f64, left as f64)
    );
}

#[test]
fn nothing_that_a_client_says_becomes_a_label() {
    let gateway = Gateway::with(&folder("metrics-canary"), &["--loops", "1"]);
    // As often as it takes until lines are folded and the address is locked out: that is no other label.
    for _ in 0..12 {
        be_a_client(gateway.address, "canary");
    }
    let first = scrape(gateway.address);
    for n in 0..10 {
        be_a_client(gateway.address, &format!("canary{n}"));
    }
    let second = scrape(gateway.address);
    assert!(!second.text.contains("canary"), "{}", second.text);
    let new: Vec<_> = second.names().difference(&first.names()).copied().collect();
    assert!(new.is_empty(), "{new:?}");
}

#[test]
fn strangers_are_told_nothing_where_a_token_is_wanted_and_off_is_nothing_at_all() {
    let state = folder("metrics-access");
    std::fs::write(state.join("moorline.json5"), "{ metrics: { access: 'token' } }").unwrap();
    let gateway = Gateway::start(&state);
    let status = |headers: &str| get(gateway.address, "/metrics", headers)[9..12].to_string();
    assert_eq!(status(""), "401");
    assert_eq!(status("Authorization: Bearer no\r\n"), "401");
    assert_eq!(status("Authorization: Bearer t\r\n"), "200");
    drop(gateway);
    std::fs::write(state.join("moorline.json5"), "{ metrics: { access: 'off' } }").unwrap();
    let gateway = Gateway::start(&state);
    assert!(get(gateway.address, "/metrics", "").starts_with("HTTP/1.1 404 "));
}
