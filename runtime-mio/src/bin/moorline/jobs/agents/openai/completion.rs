//! What a chat completion says, piece by piece: the data of its events in, what the run tells out.
//!
//! A pure machine. Tool calls come in deltas and are told when they are whole. What endpoints add to the
//! format is left alone, but for two names that they have for a model's thoughts.

use moorline_core::gateway::{Outcome, Progress, StopReason, ToolCall, Usage};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Bytes of the tool calls of one answer. More than any model writes at once.
const MAX_CALLS: usize = 1024 * 1024;

/// Why an answer cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// An event is not what it must be.
    Malformed(String),
    /// The endpoint says that it failed.
    Told {
        /// Its text.
        message: String,
        /// A status, if it gave one.
        status: Option<u16>,
    },
    /// Tool calls are longer than anybody reads.
    TooManyCalls,
}

/// A completion that is being read.
#[derive(Debug, Default)]
pub(super) struct Completion {
    content: String,
    calls: BTreeMap<u64, Call>,
    call_bytes: usize,
    told: usize,
    usage: Usage,
    stop: Option<StopReason>,
    /// It said that nothing follows.
    done: bool,
}

#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Tokens>,
    #[serde(borrow)]
    error: Option<Told<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u64,
    /// In a stream.
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    /// In a whole answer.
    #[serde(borrow)]
    message: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

#[derive(Deserialize)]
struct CallDelta<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Object {
        #[serde(borrow)]
        message: Option<Cow<'a, str>>,
        code: Option<serde_json::Value>,
    },
}

impl Completion {
    /// Reads the data of one event, or the whole of an answer that does not stream; `tell` gets what is new.
    pub(super) fn read(&mut self, data: &str, mut tell: impl FnMut(Outcome)) -> Result<(), Broken> {
        if data.trim() == "[DONE]" {
            self.done = true;
            self.tell_calls(&mut tell);
            return Ok(());
        }
        let chunk: Chunk<'_> =
            serde_json::from_str(data).map_err(|error| Broken::Malformed(error.to_string()))?;
        if let Some(error) = &chunk.error {
            return Err(error.broken());
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            return Err(Broken::Malformed("it has neither choices nor usage".into()));
        }
        if let Some(Tokens { prompt_tokens, completion_tokens }) = chunk.usage {
            self.usage = Usage { prompt_tokens, completion_tokens };
        }
        for choice in chunk.choices.into_iter().flatten() {
            // One answer was asked for.
            if choice.index == 0 {
                self.choice(choice, &mut tell)?;
            }
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice<'_>, tell: &mut impl FnMut(Outcome)) -> Result<(), Broken> {
        if let Some(delta) = choice.delta.or(choice.message) {
            let thought = delta.reasoning_content.or(delta.reasoning);
            if let Some(text) = thought.filter(|text| !text.is_empty()) {
                tell(Outcome::Progress(Progress::Thinking(text.into())));
            }
            // A refusal is what the model says, in another member.
            for text in [delta.content, delta.refusal].into_iter().flatten() {
                if !text.is_empty() {
                    self.content.push_str(&text);
                    tell(Outcome::Chunk(text.into()));
                }
            }
            for (at, call) in delta.tool_calls.into_iter().flatten().enumerate() {
                self.call(at as u64, call)?;
            }
        }
        // Some write an empty one until there is one.
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.stop = Some(match &*reason {
                "length" => StopReason::Length,
                "content_filter" => StopReason::ContentFilter,
                "tool_calls" | "function_call" => StopReason::ToolCalls,
                _ => StopReason::Stop,
            });
            self.tell_calls(tell);
        }
        Ok(())
    }

    fn call(&mut self, at: u64, delta: CallDelta<'_>) -> Result<(), Broken> {
        let (name, arguments) = match delta.function {
            Some(function) => (function.name, function.arguments),
            None => (None, None),
        };
        let call = self.calls.entry(delta.index.unwrap_or(at)).or_default();
        for (place, new) in [(&mut call.id, delta.id), (&mut call.name, name)] {
            // Some repeat them with each piece.
            if let Some(new) = new.filter(|new| !new.is_empty()) {
                self.call_bytes += new.len();
                *place = new.into();
            }
        }
        if let Some(more) = arguments {
            self.call_bytes += more.len();
            call.arguments.push_str(&more);
        }
        // A call costs something, even one that says nothing.
        self.call_bytes += size_of::<Call>();
        if self.call_bytes > MAX_CALLS { Err(Broken::TooManyCalls) } else { Ok(()) }
    }

    fn tell_calls(&mut self, tell: &mut impl FnMut(Outcome)) {
        for (_, Call { id, name, arguments }) in std::mem::take(&mut self.calls) {
            self.told += 1;
            let id = if id.is_empty() { format!("call-{}", self.told) } else { id };
            tell(Outcome::Progress(Progress::ToolCall(ToolCall { id, name, arguments })));
        }
    }

    /// Whether it is all there: it said why it ended, or that nothing follows.
    pub(super) fn is_whole(&self) -> bool {
        self.done || self.stop.is_some()
    }

    /// Whether nothing can follow.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The whole answer.
    pub(super) fn end(self) -> Outcome {
        let stop = self.stop.unwrap_or_default();
        Outcome::Done { content: self.content, usage: self.usage, stop }
    }
}

impl Told<'_> {
    fn broken(&self) -> Broken {
        let (message, status) = match self {
            Self::Text(text) => (text.to_string(), None),
            Self::Object { message, code } => {
                let code = code.as_ref().and_then(|code| match code {
                    serde_json::Value::String(text) => text.parse().ok(),
                    code => code.as_u64(),
                });
                let message = message.as_deref().unwrap_or("it does not say why").to_string();
                (message, code.and_then(|code| u16::try_from(code).ok()))
            }
        };
        Broken::Told { message, status }
    }
}

/// The text of an answer with an error, if it has one: `{"error": {"message": …}}` or close to it.
pub(super) fn error_text(body: &str) -> Option<String> {
    match serde_json::from_str::<Chunk<'_>>(body).ok()?.error?.broken() {
        Broken::Told { message, .. } => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(chunks: &[serde_json::Value]) -> (Vec<Outcome>, Result<Completion, Broken>) {
        let (mut completion, mut told) = (Completion::default(), Vec::new());
        for chunk in chunks {
            let data = chunk.as_str().map_or_else(|| chunk.to_string(), String::from);
            if let Err(broken) = completion.read(&data, |outcome| told.push(outcome)) {
                return (told, Err(broken));
            }
        }
        (told, Ok(completion))
    }

    fn delta(delta: &serde_json::Value) -> serde_json::Value {
        json!({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    fn finish(reason: &str) -> serde_json::Value {
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    }

    #[test]
    fn text_thoughts_usage_and_the_end_are_told() {
        let (told, completion) = read(&[
            delta(&json!({"role": "assistant", "content": ""})),
            delta(&json!({"reasoning_content": "hm"})),
            delta(&json!({"reasoning": "so"})),
            delta(&json!({"content": "Hello"})),
            delta(&json!({"content": " there", "refusal": null})),
            json!({"choices": [{"index": 1, "delta": {"content": "another answer"}}]}),
            finish("length"),
            json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "x": 1}}),
            json!("[DONE]"),
        ]);
        let thought = |text: &str| Outcome::Progress(Progress::Thinking(text.into()));
        let said = |text: &str| Outcome::Chunk(text.into());
        assert_eq!(told, [thought("hm"), thought("so"), said("Hello"), said(" there")]);
        let completion = completion.expect("good");
        assert!(completion.is_whole() && completion.is_done());
        let usage = Usage { prompt_tokens: 3, completion_tokens: 2 };
        let content = "Hello there".into();
        assert_eq!(completion.end(), Outcome::Done { content, usage, stop: StopReason::Length });
    }

    #[test]
    fn tool_calls_are_put_together_from_their_pieces_and_told_once() {
        let call = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}});
        let (told, completion) = read(&[
            delta(&json!({"tool_calls": [call(0, Some("a"), Some("weather"), "")]})),
            delta(&json!({"tool_calls": [call(0, None, None, r#"{"city":"#)]})),
            delta(
                &json!({"tool_calls": [call(1, None, Some("time"), "{}"), call(0, None, None, r#""Ulm"}"#)]}),
            ),
            finish("tool_calls"),
            json!("[DONE]"),
        ]);
        let call = |id: &str, name: &str, arguments: &str| {
            let (id, name, arguments) = (id.into(), name.into(), arguments.into());
            Outcome::Progress(Progress::ToolCall(ToolCall { id, name, arguments }))
        };
        let expected = [call("a", "weather", r#"{"city":"Ulm"}"#), call("call-2", "time", "{}")];
        assert_eq!(told, expected);
        let Outcome::Done { stop, .. } = completion.expect("good").end() else { panic!() };
        assert_eq!(stop, StopReason::ToolCalls);
    }

    #[test]
    fn an_answer_that_does_not_stream_is_read_the_same_way() {
        let (told, completion) = read(&[json!({
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        })]);
        assert_eq!(told, [Outcome::Chunk("hi".into())]);
        assert!(completion.expect("good").is_whole());
    }

    #[test]
    fn what_is_no_chunk_breaks_it_and_what_the_endpoint_says_is_passed_on() {
        for data in ["", "no json", "{}", "[]", r#"{"choices": 5}"#] {
            let broken = Completion::default().read(data, |_| {});
            assert!(matches!(broken, Err(Broken::Malformed(_))), "{data}");
        }
        let told = |message: &str, status| Err(Broken::Told { message: message.into(), status });
        for (error, expected) in [
            (json!({"error": "overloaded"}), told("overloaded", None)),
            (json!({"error": {"message": "m", "code": 429}}), told("m", Some(429))),
            (json!({"error": {"message": "m", "code": "503"}}), told("m", Some(503))),
            (json!({"error": {"code": "x"}}), told("it does not say why", None)),
        ] {
            assert_eq!(Completion::default().read(&error.to_string(), |_| {}), expected);
        }
        assert_eq!(error_text(r#"{"error": {"message": "no"}}"#).as_deref(), Some("no"));
        assert_eq!(error_text("<html>"), None);
    }

    #[test]
    fn calls_without_end_are_refused() {
        let mut completion = Completion::default();
        let piece = delta(
            &json!({"tool_calls": [{"index": 0, "function": {"arguments": "x".repeat(1000)}}]}),
        );
        let broken = (0..10_000).find_map(|_| completion.read(&piece.to_string(), |_| {}).err());
        assert_eq!(broken, Some(Broken::TooManyCalls));
        let mut completion = Completion::default();
        let broken = (0..1_000_000).find_map(|index| {
            let piece = delta(&json!({"tool_calls": [{"index": index}]}));
            completion.read(&piece.to_string(), |_| {}).err()
        });
        assert_eq!(broken, Some(Broken::TooManyCalls));
    }

    #[test]
    fn it_is_not_whole_before_it_says_so() {
        let (_, completion) = read(&[delta(&json!({"content": "half an ans"})), finish("")]);
        assert!(!completion.expect("good").is_whole());
    }
}
