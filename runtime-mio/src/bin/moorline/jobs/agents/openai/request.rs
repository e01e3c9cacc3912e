//! What a model is asked: the system prompt, as much of the conversation as it may be given, and the message.

use crate::config::OpenAiSettings;
use moorline_core::gateway::{Message, Run};
use serde_json::{Map, Value, json};

/// The body of the request.
pub(super) fn body(settings: &OpenAiSettings, run: &Run) -> String {
    let mut messages = Vec::new();
    if let Some(prompt) = &settings.system_prompt {
        messages.push(json!({"role": "system", "content": prompt}));
    }
    let most = (settings.context_messages, settings.context_bytes);
    for message in window(&run.history, most) {
        messages.push(json!({"role": message.author.as_str(), "content": &*message.text}));
    }
    messages.push(json!({"role": "user", "content": with_files(run)}));
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
    use moorline_core::gateway::Author;

    fn message(author: Author, text: &str) -> Message {
        let (text, media, label, key) = (text.into(), Vec::new(), None, None);
        Message { id: 1, author, text, media, label, at: 0, key }
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
