//! What is a request, and what the gateway may send: the rules of the protocol on top of serde_json,
//! with none of the core's code.

use moorline_core::gateway::Method;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// What a message is.
#[derive(Debug)]
pub(super) enum Judged {
    /// No request: why.
    Refused(&'static str),
    Request {
        id: String,
        method: String,
        params: Params,
    },
}

#[derive(Debug)]
pub(super) enum Params {
    /// The names, in their order.
    Object(Vec<String>),
    Absent,
    /// Neither an object nor `null`.
    Wrong,
}

impl Params {
    /// Whether no parameter of the method comes twice, under any of its names.
    pub(super) fn fit(&self, method: &Method) -> bool {
        let names = match self {
            Self::Absent => return true,
            Self::Wrong => return false,
            Self::Object(names) => names,
        };
        method.params.iter().all(|param| {
            let is = |name: &&String| *name == param.name || param.aliases.contains(&&***name);
            names.iter().filter(is).count() <= 1
        })
    }
}

/// Objects and lists in each other, at most.
const DEPTH: usize = 32;

pub(super) fn judge(bytes: &[u8]) -> Judged {
    use Judged::Refused;
    let Ok(text) = std::str::from_utf8(bytes) else { return Refused("not UTF-8") };
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return Refused("not JSON") };
    let Some(depth) = depth(raw) else { return Refused("half of a surrogate pair") };
    if depth > DEPTH {
        return Refused("nested too deep");
    }
    let Some(Members(members)) = members(raw) else { return Refused("no object") };
    for (at, (name, _)) in members.iter().enumerate() {
        if members[..at].iter().any(|(other, _)| other == name) {
            return Refused("a member came twice");
        }
    }
    let known = ["type", "id", "method", "params"];
    if members.iter().filter(|(name, _)| !known.contains(&&**name)).count() > 8 {
        return Refused("too many members");
    }
    // `null` is an empty text.
    let text = |name: &str| match members.iter().find(|(other, _)| other == name) {
        None => Some(None),
        Some((_, raw)) if raw.get() == "null" => Some(Some(String::new())),
        Some((_, raw)) => serde_json::from_str::<String>(raw.get()).ok().map(Some),
    };
    if text("type") != Some(Some("req".into())) {
        return Refused("not a request");
    }
    match (text("id"), text("method")) {
        (Some(id), Some(Some(method))) if id.as_ref().is_none_or(|id| id.len() <= 128) => {
            let params = members.iter().find(|(name, _)| name == "params");
            let params = match params {
                None => Params::Absent,
                Some((_, raw)) if raw.get() == "null" => Params::Absent,
                Some((_, raw)) => match serde_json::from_str::<Members<'_>>(raw.get()) {
                    Ok(Members(members)) => {
                        Params::Object(members.into_iter().map(|(name, _)| name).collect())
                    }
                    Err(_) => Params::Wrong,
                },
            };
            Judged::Request { id: id.unwrap_or_default(), method, params }
        }
        _ => Refused("no id or no method"),
    }
}

/// An object's members in their order, repeated ones included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

fn members(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        parser.deserialize_map(Collect)
    }
}

/// How deep a value is, 0 without objects and lists; `None` when a string in it is none.
fn depth(raw: &RawValue) -> Option<usize> {
    match raw.get().as_bytes()[0] {
        b'{' => {
            let members = members(raw)?.0;
            let depths = members.into_iter().map(|(_, value)| depth(value));
            depths.collect::<Option<Vec<_>>>().map(|all| 1 + all.into_iter().max().unwrap_or(0))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
            let depths = items.into_iter().map(depth);
            depths.collect::<Option<Vec<_>>>().map(|all| 1 + all.into_iter().max().unwrap_or(0))
        }
        b'"' => serde_json::from_str::<String>(raw.get()).ok().map(|_| 0),
        _ => Some(0),
    }
}

/// Checks that a message of the gateway has the documented shape; `seq` counts the events of a login.
pub(super) fn check(message: &Value, seq: &mut u64) {
    let members = message.as_object().expect("an object");
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    match message["type"].as_str() {
        Some("res") => {
            assert!(message["id"].is_string(), "{message}");
            let has = if message["ok"] == true { "payload" } else { "error" };
            assert!(message["ok"].is_boolean(), "{message}");
            assert_eq!(names.len(), 4, "{message}");
            assert!(message[has].is_object(), "{message}");
            if has == "error" {
                check_error(&message["error"]);
            } else if message["payload"]["type"] == "hello-ok" {
                assert_eq!(message["payload"]["resume"]["resumed"], false, "{message}");
                *seq = 0;
            }
        }
        Some("event") => {
            let is_numbered = names.contains(&"seq");
            if is_numbered {
                *seq += 1;
                assert_eq!(message["seq"], *seq, "{message}");
            }
            assert!(message["payload"].is_object(), "{message}");
            let events = [
                "connect.challenge",
                "agent",
                "chat.turn",
                "session.updated",
                "presence",
                "shutdown",
                "device.pair.requested",
                "device.pair.resolved",
            ];
            let name = message["event"].as_str().expect("a name");
            assert!(events.contains(&name), "{message}");
            assert_eq!(is_numbered, name != "connect.challenge", "{message}");
            assert_eq!(names.len(), 3 + usize::from(is_numbered), "{message}");
        }
        _ => panic!("neither an answer nor an event: {message}"),
    }
}

fn check_error(error: &Value) {
    const CODES: [&str; 9] = [
        "INVALID_REQUEST",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "AGENT_TIMEOUT",
        "INTERNAL",
    ];
    assert!(CODES.contains(&error["code"].as_str().expect("a code")), "{error}");
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    assert!(error["retryable"].is_boolean(), "{error}");
    for (name, value) in error.as_object().expect("an object") {
        match name.as_str() {
            "code" | "message" | "retryable" => {}
            "details" => assert!(value.is_object(), "{error}"),
            "retryAfterMs" => assert!(value.is_u64(), "{error}"),
            _ => panic!("{error}"),
        }
    }
}
