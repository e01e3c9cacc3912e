//! The frames that clients of OpenClaw take. The old ones drop a frame with a member that they do not
//! know, all of them one with an error that is null: to a person both look like a timeout.

use serde_json::Value;

/// Says what is wrong with a frame from the gateway.
pub fn check(frame: &Value) -> Result<(), &'static str> {
    match frame["type"].as_str() {
        Some("res") => check_answer(frame),
        Some("event") => check_event(frame),
        _ => Err("no type"),
    }
}

fn check_answer(frame: &Value) -> Result<(), &'static str> {
    known(frame, &["type", "id", "ok", "payload", "error"])?;
    when(is_name(&frame["id"]), "no id")?;
    let ok = frame["ok"].as_bool().ok_or("ok is no boolean")?;
    match frame.get("error") {
        None => when(ok, "no error in a failure"),
        Some(_) if ok => Err("an error in a success"),
        Some(error) => {
            known(error, &["code", "message", "details", "retryable", "retryAfterMs"])?;
            when(is_name(&error["message"]), "no message")?;
            when(error["code"].as_str().is_some_and(|code| CODES.contains(&code)), "no code")?;
            when(error.get("retryable").is_none_or(Value::is_boolean), "retryable")?;
            when(error.get("retryAfterMs").is_none_or(Value::is_u64), "retryAfterMs")
        }
    }
}

fn check_event(frame: &Value) -> Result<(), &'static str> {
    known(frame, &["type", "event", "payload", "seq", "stateVersion"])?;
    when(is_name(&frame["event"]), "no name")?;
    when(frame.get("seq").is_none_or(Value::is_u64), "seq")?;
    let Some(version) = frame.get("stateVersion") else { return Ok(()) };
    known(version, &["presence", "health"])?;
    let counts = version["presence"].is_u64() && version["health"].is_u64();
    when(counts, "stateVersion")
}

fn known(object: &Value, names: &[&str]) -> Result<(), &'static str> {
    let members = object.as_object().ok_or("no object")?;
    when(members.keys().all(|name| names.contains(&&**name)), "an unknown member")
}

fn is_name(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn when(fine: bool, what: &'static str) -> Result<(), &'static str> {
    if fine { Ok(()) } else { Err(what) }
}

const CODES: [&str; 6] = [
    "INVALID_REQUEST",
    "NOT_PAIRED",
    "FORBIDDEN",
    "UNAVAILABLE",
    "APPROVAL_NOT_FOUND",
    "AGENT_TIMEOUT",
];
