//! The web page as the real gateway serves it: what browsers are told, and who gets it.

mod support;
#[path = "support/gateway.rs"]
mod world;

use std::net::SocketAddr;
use support::exchange;
use world::{Gateway, folder};

/// Head and body of the answer to a GET with these headers.
fn get(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let text = exchange(address, format!("GET {path} HTTP/1.1\r\n{headers}\r\n"));
    let (head, body) = text.split_once("\r\n\r\n").expect(&text);
    (head.into(), body.into())
}

/// Every address that stands in these quotes.
fn named<'t>(text: &'t str, before: &'t str, after: char) -> impl Iterator<Item = &'t str> {
    text.split(before).skip(1).map(move |rest| rest.split(after).next().unwrap())
}

#[test]
fn the_page_and_all_that_it_names_are_there_with_what_browsers_must_know() {
    let gateway = Gateway::start(&folder("console"));
    let here = "Host: localhost\r\n";
    let (head, page) = get(gateway.address, "/", here);
    assert_eq!(get(gateway.address, "/console", here), (head.clone(), page.clone()));
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="));

    let mut files: Vec<String> = ["href=\"console/", "src=\"console/"]
        .iter()
        .flat_map(|before| named(&page, before, '"'))
        .map(String::from)
        .collect();
    let (mut seen, mut heads) = (Vec::new(), vec![(head, "text/html; charset=utf-8")]);
    while let Some(file) = files.pop() {
        if seen.contains(&file) {
            continue;
        }
        let (head, body) = get(gateway.address, &format!("/console/{file}"), here);
        let content_type = match file.rsplit_once('.').expect("a type").1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        files.extend(named(&body, "from './", '\'').map(String::from));
        assert!(!body.contains("://") || file == "icon.svg", "{file} names nothing elsewhere");
        heads.push((head, content_type));
        seen.push(file);
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    for (head, content_type) in heads {
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let header = |name: &str| {
            let mut values = head.lines().filter_map(|line| line.split_once(": "));
            values.find(|(other, _)| *other == name).expect(name).1
        };
        assert_eq!(header("Content-Type"), content_type);
        assert_eq!(header("Cache-Control"), "no-cache");
        assert_eq!(header("X-Content-Type-Options"), "nosniff");
        assert_eq!(header("Referrer-Policy"), "no-referrer");
        assert_eq!(header("Cross-Origin-Resource-Policy"), "same-origin");
        let policy: Vec<_> = header("Content-Security-Policy").split("; ").collect();
        for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'"] {
            assert!(policy.contains(&rule), "{rule}");
        }
        for rule in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.contains(&rule), "{rule}");
        }
        assert!(policy.iter().all(|rule| !rule.contains("unsafe") && !rule.contains('*')));
    }
}

#[test]
fn another_name_does_not_get_the_page() {
    let gateway = Gateway::start(&folder("console-host"));
    for headers in [
        "Host: evil.example\r\n",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
    ] {
        for path in ["/", "/console", "/console/main.js"] {
            let (head, body) = get(gateway.address, path, headers);
            assert!(head.starts_with("HTTP/1.1 403 "), "{path} {headers}: {head}");
            assert!(!body.contains("<html") && !body.contains("import"), "{body}");
        }
    }
}

#[test]
fn where_it_is_switched_off_there_is_an_index_and_no_page() {
    let state = folder("console-off");
    std::fs::write(state.join("moorline.json5"), "{ gateway: { console: false } }").unwrap();
    let gateway = Gateway::start(&state);
    let (head, body) = get(gateway.address, "/", "Host: localhost\r\n");
    assert!(head.contains("Content-Type: application/json"), "{head}");
    assert!(body.contains("\"service\":\"moorline\""), "{body}");
    for path in ["/console", "/console/main.js"] {
        let (head, _) = get(gateway.address, path, "Host: localhost\r\n");
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}
