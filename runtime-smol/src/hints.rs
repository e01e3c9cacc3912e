//! What servers say about when to come back.

use crate::message::Message;
use serde_json::Value;
use std::time::Duration;

/// The time to wait that a message asks for, if it does: `retryAfterMs` of the `error` of an answer,
/// or `restartExpectedMs` of the `payload` of a `shutdown` event. The default of
/// [`ReconnectOptions::hint`](crate::ReconnectOptions::hint).
///
/// ```
/// # use moorline_smol::{Message, hint_of_message};
/// # use std::time::Duration;
/// let limited = r#"{"type":"res","id":"7","ok":false,"error":{"code":"BUSY","retryAfterMs":1500}}"#;
/// assert_eq!(hint_of_message(&Message::from(limited)), Some(Duration::from_millis(1500)));
/// ```
pub fn hint_of_message(message: &Message) -> Option<Duration> {
    let text = message.as_text()?;
    // Few messages are worth parsing.
    if !text.contains("retryAfterMs") && !text.contains("restartExpectedMs") {
        return None;
    }
    let frame: Value = serde_json::from_str(text).ok()?;
    let millis = match frame["event"].as_str() {
        Some("shutdown") => &frame["payload"]["restartExpectedMs"],
        _ => &frame["error"]["retryAfterMs"],
    };
    millis.as_u64().map(Duration::from_millis)
}

/// The time to wait that a close reason names: `retryAfterMs` or `restartExpectedMs` and a number, in
/// JSON or as `retryAfterMs=1500`, or the words `retry after 2 s` (or `ms`).
pub fn hint_of_reason(reason: &str) -> Option<Duration> {
    let lower = reason.to_ascii_lowercase();
    for key in ["retryafterms", "restartexpectedms"] {
        if let Some((_, rest)) = lower.split_once(key) {
            let rest = rest.trim_start_matches(['"', ':', '=', ' ']);
            return number(rest).map(|(millis, _)| Duration::from_millis(millis));
        }
    }
    let (_, rest) = lower.split_once("retry after ")?;
    let (number, unit) = number(rest)?;
    match unit.trim_start().chars().next() {
        Some('m') if unit.trim_start().starts_with("ms") => Some(Duration::from_millis(number)),
        Some('s') => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// The number at the start, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hint_only_where_the_protocol_puts_it() {
        let hint = |text: &str| hint_of_message(&text.into()).map(|hint| hint.as_millis());
        assert_eq!(hint(r#"{"error":{"retryAfterMs":500}}"#), Some(500));
        let shutdown = r#"{"event":"shutdown","payload":{"restartExpectedMs":1500}}"#;
        assert_eq!(hint(shutdown), Some(1500));
        assert_eq!(hint(r#"{"payload":{"content":"\"retryAfterMs\":99999"}}"#), None);
        assert_eq!(hint(r#"{"event":"agent","payload":{"restartExpectedMs":1500}}"#), None);
        assert_eq!(hint(r#"{"error":{"retryAfterMs":-1}}"#), None);
        assert_eq!(hint("retryAfterMs"), None);
        assert_eq!(hint_of_message(&Message::from(vec![0])), None);
    }

    #[test]
    fn reasons_hint_in_json_or_in_words() {
        let hint = |text| hint_of_reason(text).map(|hint| hint.as_millis());
        assert_eq!(hint(r#"{"retryAfterMs":1500}"#), Some(1500));
        assert_eq!(hint("busy, retryAfterMs=20"), Some(20));
        assert_eq!(hint("restartExpectedMs: 7"), Some(7));
        assert_eq!(hint("overloaded; Retry after 2 s"), Some(2000));
        assert_eq!(hint("retry after 30s"), Some(30_000));
        assert_eq!(hint("retry after 250ms"), Some(250));
        for nothing in ["", "overloaded", "retryAfterMs", "retry after lunch", "retry after 3 µ"] {
            assert_eq!(hint(nothing), None, "{nothing}");
        }
        assert_eq!(hint("retryAfterMs=99999999999999999999999"), None);
    }
}
