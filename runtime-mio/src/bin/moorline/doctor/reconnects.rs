//! Who comes back again and again, and why, and who forwards without being believed: read from the gateway's
//! last log lines.

use super::finding::{Finding, pasted};
use super::ids::{self, Id};
use crate::peer_text::PeerText;
use crate::probe::{Course, Target, USER, Wish};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// So often one thing must happen to one client to be told.
const OFTEN: usize = 5;

/// As many are told of each kind, those with the most first.
const TOLD: usize = 3;

/// What happened to whom: the finding's id, who, and why.
type Key = (&'static str, String, String);

pub(super) fn check(target: &Target, found: &mut Vec<Finding>) {
    let wish = Wish::default();
    let (mut course, wire) = Course::open(target, wish);
    let Some(mut wire) = wire else { return };
    course.login(target, wish, &mut wire);
    let lines = course.hello.as_ref().map(|_| {
        let until = Instant::now() + target.timeout;
        wire.call("logs.tail", json!({"limit": 5000, "maxBytes": 1_000_000}), until)
    });
    let _ = wire.close(Instant::now() + target.timeout);
    match lines {
        Some(Ok(page)) => {
            let lines = page["lines"].as_array().map_or(&[][..], |lines| lines);
            judge(lines.iter().filter_map(Value::as_str), found);
        }
        Some(Err(why)) => {
            let about = format!("the gateway's log cannot be read: {why}");
            found.push(
                Finding::new(ids::LOOPS_UNTESTED, about)
                    .fix("moorline doctor URL --token ADMIN-TOKEN"),
            );
        }
        None => {}
    }
}

fn judge<'l>(lines: impl Iterator<Item = &'l str>, found: &mut Vec<Finding>) {
    let mut counts: BTreeMap<Key, usize> = BTreeMap::new();
    let (mut forwarders, mut own) = (BTreeMap::new(), BTreeSet::new());
    for line in lines {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        forwarders.extend(forwarder(&line));
        // This command forges a header, too, to see what comes of it.
        if line["user"] == USER {
            own.extend(line["conn"].as_str().map(String::from));
        }
        // And it stays silent until it is cut, to measure that.
        if let Some(key) = happened(&line).filter(|_| line["user"] != USER) {
            *counts.entry(key).or_default() += 1;
        }
    }
    let mut forwarders: BTreeSet<_> =
        forwarders.into_iter().filter(|(conn, _)| !own.contains(conn)).map(|(_, ip)| ip).collect();
    // One that was found by a connection through it is in the log for that, too.
    if found.iter().any(|one| one.id == ids::FORWARDED_UNCONFIGURED) {
        forwarders.clear();
    }
    // What is seen of others outweighs that this connection was seen as it is.
    if !forwarders.is_empty() {
        found.retain(|one| one.id != ids::FORWARDED_OK);
    }
    for address in forwarders.iter().take(TOLD) {
        let about = format!(
            "{address} sends a forwarding header and is not believed: if it is a proxy, all its clients are \
             one to the gateway"
        );
        let fix = format!("if it is yours: moorline serve --trust-proxy {address}");
        found.push(Finding::new(ids::FORWARDED_UNCONFIGURED, about).fix(fix));
    }
    let mut often: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= OFTEN).collect();
    often.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if often.is_empty() {
        let about = "nobody comes back again and again in the log's last lines";
        return found.push(Finding::new(ids::LOOPS_NONE, about));
    }
    for id in [ids::LOOPS_RECONNECTING, ids::LOOPS_LOGINS, ids::LOOPS_UPGRADES] {
        let of_kind = often.iter().filter(|((name, ..), _)| *name == id.name);
        for ((_, who, why), count) in of_kind.take(TOLD) {
            found.push(Finding::new(id, format!("{count} times {who}: {why}")).fix(fix(id, why)));
        }
    }
}

/// Who forwards without being believed, and by which connection, if a line tells of that.
fn forwarder(line: &Value) -> Option<(String, IpAddr)> {
    let address: SocketAddr = line["peer"].as_str()?.parse().ok()?;
    let conn = line["conn"].as_str()?.to_string();
    (line["message"] == "forwarding header not believed").then(|| (conn, address.ip()))
}

/// What a line tells of somebody who did not stay.
fn happened(line: &Value) -> Option<Key> {
    let word = |name: &str| line[name].as_str().map(|text| PeerText(text).to_string());
    let address =
        || word("peer").map(|peer| peer.rsplit_once(':').map_or(peer.clone(), |(ip, _)| ip.into()));
    match line["message"].as_str()? {
        // Clients that end by themselves with 1000 have done what they came for; upgrades that were
        // refused have a line of their own, and so have logins.
        "closed" if line["code"] != 1000 && line["cause"] != "http" && line["failed"] == 0 => {
            let user = word("user").map(|user| format!(" (user {user})")).unwrap_or_default();
            let code = line["code"].as_u64().map(|code| format!("{code} ")).unwrap_or_default();
            let why = format!("{code}{} ({})", word("reason")?, word("cause")?);
            Some((ids::LOOPS_RECONNECTING.name, format!("{}{user}", address()?), why))
        }
        "login refused" => {
            let why = format!("wrong {} from {}", word("credential")?, word("source")?);
            Some((ids::LOOPS_LOGINS.name, address()?, why))
        }
        "refused" => {
            let value = word("value").map(|value| format!(" {value}")).unwrap_or_default();
            let why = format!("HTTP {}, {}{value}", line["status"], word("why")?);
            Some((ids::LOOPS_UPGRADES.name, address()?, why))
        }
        _ => None,
    }
}

fn fix(id: &Id, why: &str) -> String {
    let value = pasted(why.rsplit(' ').next().unwrap_or_default());
    if id == ids::LOOPS_LOGINS {
        return "give that client a valid token: `moorline check-config` shows the fingerprints"
            .into();
    }
    if why.contains(", origin ") {
        return format!("if that page is yours: moorline serve --allow-origin {value}");
    }
    if why.contains(", host ") {
        return format!("if that name is yours: moorline serve --allow-host {value}");
    }
    if why.contains("upgrade-required") {
        return "let the proxy pass Upgrade and Connection on (docs/proxies.md)".into();
    }
    if why.contains("(eof)") || why.contains("(truncated)") || why.contains("keepalive") {
        return "moorline doctor URL --measure-idle".into();
    }
    let code = why.split(' ').next().unwrap_or_default();
    match code {
        "HTTP" => format!("moorline explain {}", why.split([' ', ',']).nth(1).unwrap_or_default()),
        code => format!("moorline explain {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[String]) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        judge(lines.iter().map(String::as_str), &mut found);
        found
            .iter()
            .map(|one| (one.id.name, one.json()["about"].as_str().unwrap().into()))
            .collect()
    }

    #[test]
    fn what_happens_often_to_one_client_is_told_with_its_cause() {
        let closed = |port: u32, user: &str| {
            json!({"message": "closed", "peer": format!("192.0.2.7:{port}"), "code": 1006, "failed": 0,
                "reason": "the transport ended without a Close", "cause": "eof", "user": user})
            .to_string()
        };
        let mut lines: Vec<_> = (0..7).map(|port| closed(port, "bob")).collect();
        lines.extend((0..4).map(|port| closed(port, "eve")));
        lines.push("not JSON".into());
        let told = found(&lines);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "loops.reconnecting");
        assert!(told[0].1.starts_with("7 times 192.0.2.7 (user bob): 1006 "), "{told:?}");
    }

    #[test]
    fn connections_of_this_command_are_no_loop_of_anybody() {
        let line = json!({"message": "closed", "peer": "192.0.2.7:9", "code": 1006, "failed": 0,
            "reason": "", "cause": "eof", "user": USER});
        assert_eq!(found(&vec![line.to_string(); 9])[0].0, "loops.none");
    }

    #[test]
    fn a_proxy_that_is_not_believed_and_one_that_is_are_not_told_together() {
        let line = json!({"message": "forwarding header not believed", "peer": "10.0.0.7:1", "conn": "0-1"});
        let line = line.to_string();
        let mut told = vec![Finding::new(ids::FORWARDED_OK, "seen as it is")];
        judge([line.as_str()].into_iter(), &mut told);
        let names: Vec<_> = told.iter().map(|one| one.id.name).collect();
        assert_eq!(names, ["forwarded.unconfigured", "loops.none"]);
        let mut told = vec![Finding::new(ids::FORWARDED_OK, "seen as it is")];
        judge(std::iter::empty(), &mut told);
        assert!(told.iter().any(|one| one.id == ids::FORWARDED_OK));
    }

    #[test]
    fn clients_that_end_by_themselves_are_no_loop() {
        let line = json!({"message": "closed", "peer": "[::1]:5", "code": 1000, "failed": 0,
            "reason": "", "cause": "peer"});
        assert_eq!(found(&vec![line.to_string(); 50])[0].0, "loops.none");
    }

    #[test]
    fn a_proxy_that_is_not_configured_is_told_once_however_often_it_comes() {
        let line = |conn: u16, ip: &str| {
            let peer = format!("{ip}:{conn}");
            let message = "forwarding header not believed";
            json!({"message": message, "peer": peer, "conn": format!("0-{conn}")}).to_string()
        };
        let mut lines: Vec<_> = (1..50).map(|conn| line(conn, "10.0.0.7")).collect();
        // And this command itself.
        lines.push(line(50, "10.0.0.8"));
        lines.push(json!({"message": "logged in", "user": USER, "conn": "0-50"}).to_string());
        let mut told = Vec::new();
        judge(lines.iter().map(String::as_str), &mut told);
        let names: Vec<_> = told.iter().map(|one| one.id.name).collect();
        assert_eq!(names, ["forwarded.unconfigured", "loops.none"]);
        let fix = "if it is yours: moorline serve --trust-proxy 10.0.0.7";
        assert_eq!(told[0].json()["fix"], fix);
    }

    #[test]
    fn refused_logins_and_upgrades_are_loops_of_their_own() {
        let login = json!({"message": "login refused", "peer": "[::1]:5", "credential": "token",
            "source": "params"});
        let origin = json!({"message": "refused", "peer": "192.0.2.9:5", "status": 403, "why": "origin",
            "value": "https://chat.example"});
        let mut lines = vec![login.to_string(); 6];
        lines.extend(vec![origin.to_string(); 5]);
        let mut told = Vec::new();
        judge(lines.iter().map(String::as_str), &mut told);
        let names: Vec<_> = told.iter().map(|one| one.id.name).collect();
        assert_eq!(names, ["loops.refused-logins", "loops.refused-upgrades"]);
        let fix = "if that page is yours: moorline serve --allow-origin https://chat.example";
        assert_eq!(told[1].json()["fix"], fix);
    }
}
