//! The gateway's links to its agents, as the gateway tells them.

use super::finding::{Finding, pasted};
use super::ids;
use crate::admin;
use crate::admin::output::{ago, ahead};
use crate::peer_text::PeerText;
use crate::probe::{Course, Target, Wish};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// `running`: the state folder of the gateway, where it is one of this machine.
pub(super) fn check(target: &Target, running: Option<&Path>, found: &mut Vec<Finding>) {
    // The host's own socket is there though no login works.
    let asked = match running.map(|state| admin::ask(state, "agents.list", json!({}))) {
        Some(Ok(list)) => Ok(list),
        _ => by_login(target),
    };
    match asked {
        Ok(list) => judge(list["agents"].as_array().map_or(&[][..], |agents| agents), found),
        Err(why) => {
            let about = format!("the gateway's agents are not known: {why}");
            let fix =
                "moorline doctor URL --token TOKEN   # or on the gateway's machine, as its user";
            found.push(Finding::new(ids::AGENTS_UNTESTED, about).fix(fix));
        }
    }
}

fn by_login(target: &Target) -> Result<Value, String> {
    let wish = Wish::default();
    let (mut course, wire) = Course::open(target, wish);
    let mut wire = wire.ok_or("it took no connection")?;
    course.login(target, wish, &mut wire);
    let list = match &course.hello {
        Some(_) => {
            let until = Instant::now() + target.timeout;
            wire.call("agents.list", json!({}), until).map_err(|why| why.to_string())
        }
        None => Err("that takes a login".into()),
    };
    let _ = wire.close(Instant::now() + target.timeout);
    list
}

fn judge(agents: &[Value], found: &mut Vec<Finding>) {
    let bad: Vec<_> = agents.iter().filter_map(trouble).collect();
    if bad.is_empty() {
        let about = match agents.len() {
            1 => "one agent, and no run of it has shown that it does not work".into(),
            count => format!("{count} agents, and no run has shown that one does not work"),
        };
        found.push(Finding::new(ids::AGENTS_OK, about));
    }
    found.extend(bad);
}

/// What is wrong with the link to an agent.
fn trouble(agent: &Value) -> Option<Finding> {
    let link = &agent["link"];
    let id = agent["id"].as_str().unwrap_or_default();
    let name = PeerText(id);
    if let Some(workers) = link["workers"].as_object() {
        let draining = workers.get("draining").and_then(Value::as_u64).unwrap_or_default();
        let waiting = workers.get("waiting").and_then(Value::as_u64).unwrap_or_default();
        return (link["state"] == "down").then(|| {
            let about = format!(
                "{name}: no worker takes its runs; {draining} drain, {waiting} runs wait"
            );
            Finding::new(ids::AGENTS_NO_WORKER, about).fix(format!(
                "start a worker of the agent {} (docs/worker.md), or look why it is gone: moorline logs",
                pasted(id)
            ))
        });
    }
    let why = link["reason"].as_str().map_or_else(|| "why is not known".into(), said);
    let since = match &link["sinceMs"] {
        Value::Null => String::new(),
        at => format!(", first {}", ago(at)),
    };
    Some(match link["state"].as_str()? {
        "down" => {
            let next = match &link["retryAtMs"] {
                Value::Null => String::new(),
                at => format!("; the next run may try {}", ahead(at)),
            };
            Finding::new(ids::AGENTS_DOWN, format!("{name}: {why}{since}{next}")).fix(format!(
                "mend what the reason names, or backend.base_url of the agent {}; the gateway tries again by itself",
                pasted(id)
            ))
        }
        "refused" => {
            Finding::new(ids::AGENTS_REFUSED, format!("{name}: {why}{since}; its runs fail")).fix(
                format!(
                    "correct api_key, base_url or model of the agent {}, then: moorline reload",
                    pasted(id)
                ),
            )
        }
        "trying" => {
            let about = format!("{name}: it did not work{since}, and the next run tries it: {why}");
            Finding::new(ids::AGENTS_TRYING, about).fix(format!(
                "say something to the agent {}: moorline chat --agent {}",
                pasted(id),
                pasted(id)
            ))
        }
        _ => return None,
    })
}

fn said(reason: &str) -> String {
    PeerText(reason).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn found(agents: &Value) -> Vec<Finding> {
        let mut found = Vec::new();
        judge(agents.as_array().expect("a list"), &mut found);
        found
    }

    #[test]
    fn each_state_of_a_link_has_its_finding_and_good_ones_have_one_together() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later").as_millis() as u64;
        let reason = "the agent's model at h:1 cannot be reached: refused";
        let agents = json!([
            {"id": "up", "link": {"state": "up", "breaker": "closed"}},
            {"id": "old"},
            {"id": "dead", "link": {"state": "down", "breaker": "open", "reason": reason,
                "sinceMs": now - 120_500, "retryAtMs": now + 30_000}},
            {"id": "key", "link": {"state": "refused", "reason": "refuses the key\u{1b}"}},
            {"id": "half", "link": {"state": "trying", "reason": reason}},
            {"id": "w;rm", "link": {"state": "down", "workers": {"ready": 0, "draining": 1, "waiting": 2}}},
            {"id": "w2", "link": {"state": "up", "workers": {"ready": 1}}},
        ]);
        let found = found(&agents);
        let names: Vec<_> = found.iter().map(|one| one.id.name).collect();
        assert_eq!(names, ["agents.down", "agents.refused", "agents.trying", "agents.no-worker"]);
        let about = |at: usize| found[at].json()["about"].as_str().expect("a text").to_string();
        assert!(
            about(0)
                .starts_with(&format!("dead: {reason}, first 2m ago; the next run may try in "))
        );
        assert!(about(1).starts_with("key: refuses the key\\u{1b}; its runs fail"), "{}", about(1));
        assert_eq!(about(3), "w;rm: no worker takes its runs; 1 drain, 2 runs wait");
        let fix = found[3].json()["fix"].to_string();
        assert!(!fix.contains("w;rm"), "{fix}");
    }

    #[test]
    fn without_trouble_there_is_one_finding() {
        let found = found(&json!([{"id": "a", "link": {"state": "up"}}]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, ids::AGENTS_OK);
    }
}
