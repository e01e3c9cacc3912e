//! `moorline explain`: nothing that the gateway, its documentation or its clients say is left unexplained.

use moorline_core::{Cause, CloseCode, LimitError, Opcode, ProtocolError, UpgradeError, Why};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moorline")).arg("explain").args(arguments).output().unwrap()
}

/// The explanations of a text, which there must be.
fn explained(text: &str) -> Vec<Value> {
    let Output { status, stdout, .. } = explain(&["--json", "--", text]);
    let mut report: Value = serde_json::from_slice(&stdout).unwrap();
    assert!(status.success(), "{text:?} is not explained; near: {}", report["nearest"]);
    assert_eq!(report["ok"], true);
    let Value::Array(found) = report["explanations"].take() else { panic!("{report}") };
    for entry in &found {
        let has = |member: &str| entry[member].as_array().is_some_and(|lines| !lines.is_empty());
        assert!(has("causes") && has("do") && entry["meaning"].as_str().is_some(), "{entry}");
    }
    found
}

/// A text is explained as a reason that goes with this code.
fn is_reason(text: &str, code: u64) {
    let found = explained(text);
    let is_it = |entry: &Value| entry["kind"] == "close reason" && entry["code"] == code;
    assert!(found.iter().any(is_it), "{code} {text:?} is explained as {found:?}");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Rows of the table below a heading of docs/endings.md, as cells; the heads are not among them.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(repository().join("docs/endings.md")).unwrap();
    let part = text.split("\n## ").find(|part| part.starts_with(heading)).expect(heading);
    let table = part.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect()
    };
    table.map(cells).collect()
}

#[test]
fn a_code_within_a_message_of_a_client_comes_before_the_message() {
    for text in [
        "disconnected (1006)",
        "gateway closed (1006): abnormal closure",
        "disconnected (1006): no reason",
    ] {
        let found = explained(text);
        assert_eq!(found[0]["name"], "1006", "{text}");
        assert!(found.iter().any(|entry| entry["kind"] == "client message"), "{found:?}");
    }
    let said = explain(&["gateway", "disconnected"]);
    let page = String::from_utf8(said.stdout).unwrap();
    assert!(page.starts_with("gateway closed (…) (client message)\n"), "{page}");
}

#[test]
fn tokens_that_do_not_match_are_explained_in_whatever_words() {
    for text in [
        "token_mismatch",
        "token-mismatch",
        "tokens.mismatch",
        "Token mismatch",
        "disconnected (1008): unauthorized: gateway token mismatch (set gateway.remote.token)",
        "invalid token",
    ] {
        let found = explained(text);
        let is_it = |entry: &Value| entry["meaning"] == "The client's token is not the gateway's.";
        assert!(found.iter().any(is_it), "{text}: {found:?}");
    }
    let found = explained("device_token_mismatch");
    assert!(found[0]["meaning"].as_str().unwrap().contains("the device kept"), "{found:?}");
}

#[test]
fn every_status_of_the_documentation_is_explained() {
    let rows = rows("Before the upgrade");
    assert!(rows.len() > 15);
    for row in rows {
        let found = explained(&row[0]);
        assert_eq!(
            (&found[0]["kind"], &found[0]["name"]),
            (&"HTTP status".into(), &row[0].as_str().into())
        );
    }
}

#[test]
fn every_code_and_reason_of_the_documentation_is_explained() {
    let rows = rows("After it");
    assert!(rows.len() >= 20);
    for row in rows {
        let codes: Vec<u64> = row[0].split(", ").map(|code| code.parse().unwrap()).collect();
        for code in &codes {
            let found = explained(&code.to_string());
            assert_eq!(found[0]["name"], code.to_string());
        }
        // Texts in backticks are reasons; N and M stand for numbers.
        for reason in row[1].split('`').skip(1).step_by(2) {
            let text = reason.replace(" N ", " 17 ").replace(" M;", " 16;");
            is_reason(&text, codes[0]);
        }
    }
}

#[test]
fn every_cause_of_the_documentation_is_explained() {
    let text = fs::read_to_string(repository().join("docs/endings.md")).unwrap();
    let part = text.split("\n## Causes").nth(1).unwrap();
    let words = part.split('`').skip(1).step_by(2).skip(1);
    let words: Vec<_> = words.filter(|word| !["connect", "close_notify"].contains(word)).collect();
    assert!(words.len() >= 12, "{words:?}");
    for word in words {
        let found = explained(word);
        assert!(found.iter().any(|entry| entry["kind"] == "cause in the log"), "{word}: {found:?}");
    }
}

#[test]
fn every_tls_failure_of_the_documentation_is_explained() {
    let text = fs::read_to_string(repository().join("docs/tls.md")).unwrap();
    let table = text.split("| reason | what happened |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let words: Vec<_> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    assert!(words.len() >= 13, "{words:?}");
    for word in words {
        let is_it =
            |entry: &Value| entry["kind"] == "TLS failure in the log" && entry["name"] == word;
        let line = format!(
            r#"INFO TLS handshake failed conn="0-1" peer="192.0.2.1:9" cause="tls" reason="{word}" detail="so""#
        );
        let json =
            format!(r#"{{"message":"TLS handshake failed","cause":"tls","reason":"{word}"}}"#);
        for text in [word, &line, &json] {
            let found = explained(text);
            assert!(found.iter().any(is_it), "{text}: {found:?}");
        }
        assert!(is_it(&explained(&line)[0]), "{line}");
    }
}

#[test]
fn what_endpoints_and_workers_do_wrong_is_explained() {
    let folder = repository().join("runtime-mio/src/bin/moorline/jobs/agents/openai");
    let trouble = fs::read_to_string(folder.join("trouble.rs")).unwrap();
    let mut texts: Vec<String> = trouble
        .split("\"{model} ")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().into())
        .collect();
    assert!(texts.len() >= 7, "{texts:?}");
    let steps = trouble.split("Step::").filter_map(|arm| arm.split_once("=> \"did not "));
    texts.extend(
        steps.map(|(_, rest)| format!("did not {} within 7 ms", rest.split('"').next().unwrap())),
    );
    assert!(texts.iter().any(|text| text.starts_with("did not begin")), "{texts:?}");
    for text in texts {
        let text = text.replace("{what}", "did not begin to answer").replace("{most}", "17");
        let found = explained(&format!("run failed: the agent's model at api.example.com {text}"));
        let name = found[0]["name"].as_str().unwrap();
        assert!(name.starts_with("the agent's model at *"), "{text}: {found:?}");
    }
    let mut all = Vec::new();
    sources(&repository().join("core/src/gateway/workers"), &mut all);
    let mut refusals = 0;
    for source in &all {
        for rest in source.split("let text = ").chain(source.split("let reason = ")) {
            let rest = rest.strip_prefix("format!(").unwrap_or(rest);
            let Some(text) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            let text = text.replace("{waited}", ", and none came within 17 ms");
            let found = explained(&text);
            assert_eq!(found[0]["kind"], "client message", "{text}: {found:?}");
            refusals += 1;
        }
    }
    assert!(refusals >= 10, "{refusals} were found");
}

#[test]
fn codes_of_the_http_api_are_explained_as_its_own() {
    for (text, name) in [
        ("unsupported_parameter", "unsupported_parameter"),
        (r#"{"error":{"type":"not_found_error","code":"model_not_found"}}"#, "model_not_found"),
        ("Error code: 401 - {'error': {'code': 'invalid_api_key'}}", "invalid_api_key"),
        ("agent_timeout", "AGENT_TIMEOUT"),
        (
            "no worker of the agent is connected",
            "no worker of the agent is connected to the gateway",
        ),
        (
            "8 runs ask the agent's model at a.example already, and as many wait as may",
            "* runs ask the agent's model at * already",
        ),
        ("504", "504"),
    ] {
        assert_eq!(explained(text)[0]["name"], name, "{text}");
    }
    let late = explained("504").remove(0);
    assert!(!late.to_string().contains("does not come from the gateway"), "{late}");
}

#[test]
fn every_violation_and_every_limit_is_explained() {
    use ProtocolError::*;
    let violations = [
        ReservedBits(0x70),
        ReservedOpcode(3),
        FragmentedControl(Opcode::Ping),
        LongControl(Opcode::Close),
        UnexpectedContinuation,
        ExpectedContinuation,
        Unmasked,
        Masked,
        NonMinimalLength,
        HugeLength,
        ShortClose,
        InvalidCloseCode(1006),
        InvalidUtf8,
        InvalidDeflate,
    ];
    for violation in violations {
        is_reason(&violation.to_string(), u64::from(violation.close_code().0));
    }
    let limits = [
        LimitError::Message { size: 600_000, limit: 524_288 },
        LimitError::Fragments { limit: 1024 },
        LimitError::Ratio { limit: 100 },
    ];
    for limit in limits {
        is_reason(&limit.to_string(), u64::from(limit.close_code().0));
    }
    for why in [Why::Handshake, Why::Pong, Why::Drain, Why::Message] {
        is_reason(why.reason(), 1008);
        assert!(!explained(why.name()).is_empty());
    }
    let causes = [
        Cause::Peer(CloseCode::NORMAL, ""),
        Cause::Local(CloseCode::NORMAL),
        Cause::Eof,
        Cause::Truncated,
        Cause::SlowReader,
        Cause::Overflow,
        Cause::Abandoned,
        Cause::Answered(404),
        Cause::Timeout(Why::Body),
        Cause::Timeout(Why::Close),
        Cause::Protocol(Unmasked),
        Cause::Limit(limits[0]),
        Cause::Upgrade(UpgradeError::Tls),
    ];
    for cause in causes {
        explained(cause.name());
    }
}

#[test]
fn every_refusal_of_an_upgrade_is_explained() {
    use UpgradeError::*;
    let refusals = [
        Malformed("a line was folded"),
        Repeated("Host"),
        Method,
        Version,
        Key,
        Body,
        BodySize { limit: 7 },
        Coding,
        Target,
        HeadSize,
        HeadCount,
        EarlyData,
        Unanswered,
        Closing,
        Tls,
    ];
    for refusal in refusals {
        let found = explained(&refusal.to_string());
        let status = refusal.status().to_string();
        let is_it = |entry: &Value| entry["kind"] == "HTTP status" && entry["name"] == *status;
        let is_known = found.iter().any(is_it) || refusal == Tls;
        assert!(is_known, "{status} {refusal} is explained as {found:?}");
    }
    for answer in [Status(502), Answer("Upgrade is not websocket")] {
        explained(&answer.to_string());
    }
}

/// Source files of the gateway, without their tests.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push(lines.collect::<Vec<_>>().join(" "));
        }
    }
}

/// The arguments of each call of this name, as they are written.
fn calls(source: &str, name: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices(name) {
        let (mut depth, mut quoted, mut arguments) = (0, false, vec![String::new()]);
        for c in source[at + name.len()..].chars() {
            match c {
                '"' => quoted = !quoted,
                '(' | '{' | '[' if !quoted => depth += 1,
                ')' if !quoted && depth == 0 => break,
                ')' | '}' | ']' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    arguments.push(String::new());
                    continue;
                }
                _ => {}
            }
            arguments.last_mut().unwrap().push(c);
        }
        found.push(arguments.into_iter().map(|one| one.trim().to_string()).collect());
    }
    found
}

/// The texts that an expression can be: literals within it, or the constant that it names.
fn texts(expression: &str, constants: &BTreeMap<String, String>) -> Vec<String> {
    if expression.contains('"') {
        let literals = expression.split('"').skip(1).step_by(2);
        return literals.map(str::to_string).collect();
    }
    let name = expression.rsplit("::").next().unwrap();
    constants.get(name).cloned().into_iter().collect()
}

#[test]
fn every_reason_in_the_code_of_the_gateway_is_explained() {
    let mut all = Vec::new();
    sources(&repository().join("core/src/gateway"), &mut all);
    let mut constants = BTreeMap::new();
    for source in &all {
        for line in source.split("const ").skip(1) {
            if let Some((name, value)) = line.split_once(": &str =")
                && let Some(text) = value.trim().strip_prefix('"')
                && let Some(text) = text.split('"').next()
            {
                constants.insert(name.to_string(), text.to_string());
            }
        }
    }
    let mut reasons = 0;
    let mut explain_all = |expression: &str, source: &str| {
        let found = texts(expression, &constants);
        // A variable: what it can be stands before it, after the last `let` of its name.
        let found = if found.is_empty() && expression.contains("reason") {
            source
                .split("reason = ")
                .skip(1)
                .flat_map(|rest| texts(rest.split(';').next().unwrap(), &constants))
                .collect()
        } else {
            found
        };
        for text in found.iter().filter(|text| text.contains(' ') || text.len() > 6) {
            explained(&text.replace("{}", "17"));
            reasons += 1;
        }
        !found.is_empty()
    };
    for source in &all {
        for arguments in calls(source, "self.close(").into_iter().filter(|all| all.len() == 5) {
            let reason = &arguments[3];
            let is_known = explain_all(reason, source);
            // The reasons of strikes and of administrators are those of the calls below and of people.
            let is_passed_on = reason == "reason";
            assert!(is_known || is_passed_on, "where does the reason {reason:?} come from?");
        }
        for arguments in calls(source, "self.strike(") {
            assert!(explain_all(&arguments[2], source), "{arguments:?}");
        }
    }
    assert!(reasons >= 20, "{reasons} were found");
}

#[test]
fn every_refusal_of_a_login_of_openclaws_dialect_is_explained() {
    let mut all = Vec::new();
    sources(&repository().join("core/src/gateway/openclaw"), &mut all);
    let handshake = |source: &&String| {
        source.contains("enum ProofError")
            || source.contains("enum TokenRefused")
            || source.contains("fn openclaw_connect")
            || source.contains("struct Joining")
    };
    let mut refusals = 0;
    for source in all.iter().filter(handshake) {
        let literals = source.split('"').skip(1).step_by(2);
        for text in
            literals.filter(|text| text.contains(' ') && text.len() > 10 && !text.contains('|'))
        {
            // Hints within an answer are not reasons.
            if text.starts_with("somebody with") || text.starts_with("an object") {
                continue;
            }
            explained(
                &text.replace("{what}", "at /client").replace("{why}", "new").replace("{}", "1"),
            );
            refusals += 1;
        }
        let code = |text: &&str| {
            text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        };
        for text in source.split('"').skip(1).step_by(2).filter(code) {
            let found = explained(text);
            assert_eq!(found[0]["name"], *text);
        }
    }
    assert!(refusals >= 20, "{refusals} were found");
}

#[test]
fn every_error_code_is_explained() {
    let mut all = Vec::new();
    sources(&repository().join("core/src/gateway"), &mut all);
    let refusals = all.iter().find(|source| source.contains("pub enum Code {")).unwrap();
    let names = refusals.split("pub const fn as_str").nth(1).unwrap();
    let names: Vec<_> =
        names.split("const fn").next().unwrap().split('"').skip(1).step_by(2).collect();
    assert!(names.len() >= 10 && names.contains(&"NOT_PAIRED"), "{names:?}");
    for name in names {
        let found = explained(name);
        assert_eq!((&found[0]["kind"], &found[0]["name"]), (&"error code".into(), &name.into()));
    }
}

#[test]
fn what_clients_print_is_explained_by_its_cause() {
    for (text, name) in [
        ("disconnected (1008): pairing required", "pairing required"),
        ("gateway closed (1006 abnormal closure (no close frame)): no close reason", "1006"),
        ("device identity required", "device identity required"),
        ("Error: socket hang up", "ECONNRESET"),
        ("Unexpected server response: 502", "502"),
        ("websocket: bad handshake, status 426", "426"),
        ("connect ECONNREFUSED 127.0.0.1:18790", "ECONNREFUSED"),
        (
            "WebSocket connection to 'ws://127.0.0.1:18790/ws' failed:",
            "WebSocket connection to * failed",
        ),
        ("Error: listen EADDRINUSE: address already in use 127.0.0.1:18790", "EADDRINUSE"),
        ("event gap detected, reloading", "event gap detected"),
        ("gateway closed (1008): handshake timeout", "handshake timeout"),
        (
            "unauthorized: gateway token mismatch (give the client the gateway's token)",
            "unauthorized: gateway token mismatch *",
        ),
        ("server rejected WebSocket connection: HTTP 403", "403"),
        (
            "1009 (message too big) message of 600000 bytes exceeds 524288; use POST /api/media/upload",
            "message of * bytes exceeds *",
        ),
        ("CERT_HAS_EXPIRED", "certificate has expired"),
        ("gateway closed (4000): tick timeout", "4000"),
    ] {
        let found = explained(text);
        assert!(found.iter().any(|entry| entry["name"] == name), "{text:?}: {found:?}");
    }
}

#[test]
fn a_page_of_text_has_meaning_causes_and_what_to_do() {
    let Output { status, stdout, stderr } = explain(&["pairing", "required"]);
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success() && stderr.is_empty());
    assert!(text.starts_with("pairing required (close reason with 1008)\n"), "{text}");
    assert!(
        text.contains("likely causes:\n    1. ") && text.contains("what to do:\n    1. "),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colours where no terminal is");
}

#[test]
fn an_unknown_text_gets_the_nearest_and_exit_code_1() {
    let Output { status, stdout, stderr } = explain(&["slow", "konsumer"]);
    assert_eq!(status.code(), Some(1));
    assert!(stdout.is_empty());
    let text = String::from_utf8(stderr).unwrap();
    assert!(text.contains("  slow consumer\n"), "{text}");
    let Output { status, stdout, .. } = explain(&["--json", "\u{1b}[31mno such thing"]);
    assert_eq!(status.code(), Some(1));
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((&report["ok"], report["nearest"].as_array().unwrap().len()), (&false.into(), 3));
    let Output { stderr, .. } = explain(&["\u{1b}[31mno such thing"]);
    assert!(!stderr.contains(&0x1b), "what was asked drives no terminal");
}
