//! What a model is asked: the system prompt, what the request adds to it, as much of the conversation as it may be given, and the message.

use crate::config::OpenAiSettings;
use moorline_core::gateway::{Message, Run};
use serde_json::{Map, Value, json};

/// The body of the request.
pub(super) fn body(settings: &OpenAiSettings, run: &Run) -> String {
    let most = (settings.context_messages, settings.context_bytes);
    let messages = messages(settings.system_prompt.as_deref(), most, run);
    let mut body = Map::new();
    body.insert("model".into(), json!(settings.model));
    body.insert("messages".into(), Value::Array(messages));
    body.insert("stream".into(), json!(true));
    body.insert("stream_options".into(), json!({"include_usage": true}));
    if let Some(temperature) = settings.temperature {
        body.insert("temperature".into(), json!(temperature));
    }
    if let Some(tokens) = settings.max_tokens {
        body.insert("max_tokens".into(), json!(tokens));
    }
    Value::Object(body).to_string()
}

/// What is said to the model. What the request adds to the prompt is its user's word, and comes behind it.
fn messages(prompt: Option<&str>, most: (usize, usize), run: &Run) -> Vec<Value> {
    let system = [prompt, run.instructions.as_deref()].into_iter().flatten();
    let mut messages: Vec<_> =
        system.map(|text| json!({"role": "system", "content": text})).collect();
    for message in window(&run.history, most) {
        messages.push(json!({"role": message.author.as_str(), "content": &*message.text}));
    }
    messages.push(json!({"role": "user", "content": with_files(run)}));
    messages
}

/// The newest messages, oldest first: so many, with so many bytes together. A gap would be worse than an end,
/// so the first that does not fit ends it.
fn window(history: &[Message], (messages, bytes): (usize, usize)) -> &[Message] {
    let mut left = bytes;
    let fits = history.iter().rev().take(messages).take_while(|message| {
        let rest = left.checked_sub(message.text.len());
        left = rest.unwrap_or(left);
        rest.is_some()
    });
    &history[history.len() - fits.count()..]
}

/// The model cannot see files; it should know that there are some.
fn with_files(run: &Run) -> String {
    let mut text = run.message.to_string();
    if !run.media.is_empty() {
        let names = run.media.iter().filter_map(|path| path.rsplit('/').next());
        let names = names.collect::<Vec<_>>().join(", ");
        text += &format!("\n\n[The user attached files that you cannot see: {names}]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::gateway::{Author, StopReason};

    fn message(author: Author, text: &str) -> Message {
        let (text, media, label, key) = (text.into(), Vec::new(), None, None);
        Message { id: 1, author, text, media, label, stop: StopReason::Stop, at: 0, key }
    }

    #[test]
    fn what_a_request_adds_comes_behind_the_prompt() {
        let run = |instructions: Option<&str>| Run {
            run: "r".into(),
            agent: "a".into(),
            session: "s".into(),
            user: "u".into(),
            message: "now".into(),
            instructions: instructions.map(Into::into),
            media: Vec::new(),
            history: vec![message(Author::User, "before"), message(Author::Assistant, "well")],
        };
        let said = |prompt, instructions| {
            let all = messages(prompt, (9, 99), &run(instructions));
            let line = |m: &Value| format!("{} {}", m["role"], m["content"]).replace('"', "");
            all.iter().map(line).collect::<Vec<_>>().join(", ")
        };
        let rest = "user before, assistant well, user now";
        assert_eq!(said(None, None), rest);
        assert_eq!(said(None, Some("be loud")), format!("system be loud, {rest}"));
        let both = said(Some("be brief"), Some("be loud"));
        assert_eq!(both, format!("system be brief, system be loud, {rest}"));
    }

    #[test]
    fn the_newest_messages_that_fit_are_given_without_a_gap() {
        let history: Vec<_> =
            ["aa", "bbbbbbbb", "cc", "dd"].map(|text| message(Author::User, text)).into();
        for (most, expected) in [
            ((4, 100), 4),
            ((4, 14), 4),
            ((4, 13), 3),
            ((4, 12), 3),
            // The oldest would fit, but what is before it does not.
            ((4, 11), 2),
            ((1, 100), 1),
            ((0, 100), 0),
            ((4, 1), 0),
        ] {
            assert_eq!(window(&history, most).len(), expected, "{most:?}");
        }
        assert!(window(&[], (4, 4)).is_empty());
    }
}
