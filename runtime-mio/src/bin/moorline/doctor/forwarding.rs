//! As whom the gateway sees who comes through the proxy: tried with an address that is nobody's.

use super::finding::Finding;
use super::ids;
use crate::probe::{Course, Target, USER, Wish};
use crate::wire::Wire;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// For examples only (RFC 5737): no client has it.
const FORGED: &str = "203.0.113.66";

/// Works for admins only: others get no list of connections.
pub(super) fn check(target: &Target) -> Option<Finding> {
    let wish = Wish { forwarded_for: Some(FORGED), ..Wish::default() };
    let (mut course, wire) = Course::open(target, wish);
    let mut wire = wire?;
    let local = wire.local()?.ip();
    course.login(target, wish, &mut wire);
    let seen = course.hello.as_ref().and_then(|_| seen_as(&mut wire, target));
    let _ = wire.close(Instant::now() + target.timeout);
    Some(judge(local, seen?))
}

/// The address that the gateway has of this connection.
fn seen_as(wire: &mut Wire, target: &Target) -> Option<IpAddr> {
    let until = Instant::now() + target.timeout;
    let list = wire.call("connections.list", json!({"userId": USER}), until).ok()?;
    let own = list["connections"].as_array()?.iter().find(|one| one["current"] == true)?;
    own.get("remoteAddr").and_then(Value::as_str)?.parse::<SocketAddr>().ok().map(|at| at.ip())
}

fn judge(local: IpAddr, seen: IpAddr) -> Finding {
    let (local, seen) = (local.to_canonical(), seen.to_canonical());
    if seen.to_string() == FORGED {
        if local.is_loopback() {
            let about = "from this machine itself it cannot be told whether addresses of clients can be forged";
            return Finding::new(ids::FORWARDED_UNTESTED, about)
                .fix("moorline doctor URL   # on another machine");
        }
        let about = format!(
            "the gateway believed a forged client address ({FORGED}): the proxy passes on what clients write"
        );
        return Finding::new(ids::FORWARDED_FORGED, about)
            .fix("proxy_set_header X-Forwarded-For $remote_addr;   # HAProxy: http-request set-header X-Forwarded-For %[src]");
    }
    if seen == local {
        return Finding::new(ids::FORWARDED_OK, format!("the gateway sees this client as {seen}"));
    }
    if seen.is_loopback() {
        let about = format!(
            "the gateway sees every client of this proxy as {seen}: it believes no header of it"
        );
        return Finding::new(ids::FORWARDED_UNCONFIGURED, about)
            .fix(format!("moorline serve --trust-proxy {seen}"));
    }
    let about = format!(
        "the gateway sees this client as {seen}, its own address is {local}: right if that is its network's outer address"
    );
    Finding::new(ids::FORWARDED_UNTESTED, about)
        .fix(format!("moorline serve --trust-proxy {seen}   # if {seen} is a proxy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_seen_as_whom_says_what_is_wrong() {
        for (local, seen, id) in [
            ("192.0.2.2", FORGED, ids::FORWARDED_FORGED),
            ("127.0.0.1", FORGED, ids::FORWARDED_UNTESTED),
            ("192.0.2.2", "192.0.2.2", ids::FORWARDED_OK),
            ("192.0.2.2", "::ffff:192.0.2.2", ids::FORWARDED_OK),
            ("127.0.0.1", "127.0.0.1", ids::FORWARDED_OK),
            ("192.0.2.2", "127.0.0.1", ids::FORWARDED_UNCONFIGURED),
            ("192.0.2.2", "198.51.100.1", ids::FORWARDED_UNTESTED),
        ] {
            let finding = judge(local.parse().unwrap(), seen.parse().unwrap());
            assert_eq!(finding.id, id, "{local} seen as {seen}");
        }
    }
}
