//! Why an upgrade got another answer than 101: the gateway's own answers and those of known proxies are
//! told apart by what they say of themselves.

use super::finding::{Finding, pasted};
use super::ids::{self, Id};
use crate::http_answer::Answer;
use crate::probe::{Course, Target};
use crate::wire::NotUpgradedWhy;

/// `about` is what was seen, in one line.
pub(super) fn explain(target: &Target, course: &Course, about: &str) -> Finding {
    let server = course.answer.as_ref().and_then(|answer| answer.header("Server")).unwrap_or("");
    let server = server.to_ascii_lowercase();
    match (&course.not_upgraded, &course.answer) {
        (Some(NotUpgradedWhy::Wrong(what)), _) if what.contains("Accept") => {
            let fix =
                "switch caching off for this path, or whatever else answers in the gateway's name";
            Finding::new(ids::PROXY_ACCEPT_KEY, about).fix(fix)
        }
        (Some(NotUpgradedWhy::Wrong(_)), _) => {
            Finding::new(ids::PROXY_ANSWER, about).fix(upgrade_fix(&server))
        }
        (Some(NotUpgradedWhy::Status), Some(answer)) => status(target, answer, &server, about),
        (Some(NotUpgradedWhy::NotHttp), _) => {
            let other = other_scheme(&target.text);
            Finding::new(ids::PROXY_NOT_HTTP, about)
                .fix(format!("moorline doctor {other}   # or another port"))
        }
        (Some(NotUpgradedWhy::Silent), _) => {
            let other = other_scheme(&target.text);
            Finding::new(ids::PROXY_CUT, about)
                .fix(format!("moorline doctor {other}   # a TLS port asked without TLS does so"))
        }
        _ => Finding::new(ids::PROXY_TIMEOUT, about).fix(format!(
            "moorline probe {} --timeout 60   # what waits for whom: check the proxy's upstream",
            target.text
        )),
    }
}

fn status(target: &Target, answer: &Answer, server: &str, about: &str) -> Finding {
    let body = answer.body.as_str();
    let lower = body.to_ascii_lowercase();
    let finding = |id: &'static Id, fix: &str| Finding::new(id, about).fix(fix);
    let says = |text: &str| lower.contains(text);
    let is_login = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["login", "log in", "signin", "sign in", "sign-in", "oauth", "sso", "authelia", "authorize"]
            .iter()
            .any(|word| text.contains(word))
    };
    // What the gateway says itself comes first: only its own texts have these words.
    match answer.status {
        426 if says("the request lacks:") => {
            return finding(ids::PROXY_UPGRADE_HEADER, upgrade_fix(server));
        }
        400 if says("an upgrade needs http/1.1") => {
            return finding(ids::PROXY_HTTP_1_0, http_1_1_fix(server));
        }
        400 if says("this is a tls handshake") => {
            return finding(
                ids::PROXY_TLS_TO_PLAIN,
                "the proxy's upstream is http://, not https://",
            );
        }
        400 if says("plain http request was sent to https port")
            || says("http request to an https server")
            || says("this port speaks tls") =>
        {
            let fix = format!("moorline doctor {}", other_scheme(&target.text));
            return finding(ids::PROXY_PLAIN_TO_TLS, &fix);
        }
        403 if says("is not this gateway's") => {
            let named =
                body.split("--allow-host ").nth(1).and_then(|rest| rest.split_whitespace().next());
            let name = pasted(named.unwrap_or(target.url.host()));
            return finding(
                ids::GATEWAY_HOST_REFUSED,
                &format!("moorline serve --allow-host {name}"),
            );
        }
        403 if says("origin") && says("is not allowed") => {
            return finding(
                ids::GATEWAY_ORIGIN_REFUSED,
                "the proxy must not send an Origin of its own",
            );
        }
        403 if says("this gateway has no token") => {
            return finding(
                ids::GATEWAY_NO_TOKEN,
                "MOORLINE_GATEWAY_TOKEN=$(openssl rand -hex 32) moorline serve",
            );
        }
        503 if answer.header("Retry-After").is_some()
            && (says("the gateway is") || says("too many") || says("kept in memory")) =>
        {
            return finding(
                ids::GATEWAY_BUSY,
                &format!("curl -s {}/ready   # names the check that fails", http_base(target)),
            );
        }
        200 if says("\"service\":\"moorline\"") => {
            return finding(ids::PROXY_UPGRADE_DROPPED, upgrade_fix(server));
        }
        404 if body.trim() == "no such page" => {
            return finding(ids::PROXY_UPGRADE_DROPPED, upgrade_fix(server));
        }
        _ => {}
    }
    let is_cloudflare = server.contains("cloudflare") || answer.header("CF-RAY").is_some();
    match answer.status {
        520..=530 => finding(
            ids::PROXY_CLOUDFLARE,
            "moorline doctor ws://ORIGIN:PORT/ws   # past Cloudflare",
        ),
        status @ 500.. if is_cloudflare && status != 501 => finding(
            ids::PROXY_CLOUDFLARE,
            "moorline doctor ws://ORIGIN:PORT/ws   # past Cloudflare",
        ),
        300..=399 => {
            let location = answer.header("Location").unwrap_or_default();
            if is_login(location) {
                return finding(ids::PROXY_LOGIN_PAGE, LOGIN_FIX);
            }
            let there = location.replacen("http", "ws", 1);
            let fix = format!("moorline doctor {}", pasted(&there));
            finding(ids::PROXY_REDIRECT, &fix)
        }
        401 | 407 => finding(ids::PROXY_LOGIN_PAGE, LOGIN_FIX),
        200 | 403 if is_login(body) => finding(ids::PROXY_LOGIN_PAGE, LOGIN_FIX),
        200 => {
            finding(ids::PROXY_PAGE, "give the URL of the gateway's WebSocket: ws://HOST:PORT/ws")
        }
        400 => finding(ids::PROXY_BAD_REQUEST, upgrade_fix(server)),
        404 => finding(ids::PROXY_NO_ROUTE, route_fix(server)),
        408 => finding(ids::PROXY_TIMEOUT, "switch request buffering of the proxy off"),
        426 => finding(ids::PROXY_UPGRADE_HEADER, upgrade_fix(server)),
        429 => finding(ids::PROXY_RATE_LIMIT, "raise the proxy's rate limit for this path"),
        502 => finding(ids::PROXY_BAD_GATEWAY, upstream_fix(server)),
        503 => finding(ids::PROXY_NO_SERVER, upstream_fix(server)),
        504 => finding(ids::PROXY_TIMEOUT, upstream_fix(server)),
        _ => finding(ids::PROXY_OTHER_ANSWER, &format!("moorline explain {}", answer.status)),
    }
}

const LOGIN_FIX: &str =
    "leave the path /ws out of the proxy's login: the gateway has its own (docs/proxies.md)";

fn upgrade_fix(server: &str) -> &'static str {
    if server.contains("apache") {
        "ProxyPass /ws ws://127.0.0.1:18790/ws upgrade=websocket"
    } else if server.contains("nginx") || server.contains("openresty") {
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";"
    } else {
        "let the proxy pass the headers Upgrade and Connection on, with HTTP/1.1 (docs/proxies.md)"
    }
}

fn http_1_1_fix(server: &str) -> &'static str {
    match server.contains("nginx") {
        true => "proxy_http_version 1.1;",
        false => "let the proxy speak HTTP/1.1 to the gateway (docs/proxies.md)",
    }
}

fn upstream_fix(server: &str) -> &'static str {
    if server.contains("nginx") {
        "proxy_pass http://127.0.0.1:18790;   # the address that `moorline doctor` shows on the gateway's machine"
    } else {
        "compare the proxy's upstream with what `moorline doctor` shows on the gateway's machine"
    }
}

fn route_fix(server: &str) -> &'static str {
    match server.contains("nginx") {
        true => "location / { proxy_pass http://127.0.0.1:18790; … }   # docs/proxies.md",
        false => "give the proxy a route for this path to the gateway (docs/proxies.md)",
    }
}

/// The same URL with TLS, or without.
fn other_scheme(text: &str) -> String {
    match text.strip_prefix("wss://") {
        Some(rest) => format!("ws://{rest}"),
        None => text.replacen("ws://", "wss://", 1),
    }
}

fn http_base(target: &Target) -> String {
    let scheme = if target.url.is_secure() { "https" } else { "http" };
    format!("{scheme}://{}", target.url.authority())
}
