//! The objects that are sent: `chat.completion`, and its pieces as an event stream.

use super::super::json::{self, Object};
use super::super::work::Usage;
use std::sync::Arc;

/// What every object of an answer says.
#[derive(Debug)]
pub(super) struct Head {
    /// What the client has called the model.
    pub(super) model: String,
    /// Unix seconds.
    pub(super) created: u64,
    /// Each piece says that what it cost comes at the end.
    pub(super) include_usage: bool,
}

/// What keeps proxies from ending a stream in which nothing is said: a comment (HTML section 9.2.6).
pub(super) const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// The end of a stream, so that nobody takes one that was cut for a whole one.
const DONE: &str = "data: [DONE]\n\n";

impl Head {
    fn begin<'o>(&self, out: &'o mut String, run: &str, kind: &str) -> Object<'o> {
        Object::new(out)
            .str("id", &format!("chatcmpl-{run}"))
            .str("object", kind)
            .num("created", self.created)
            .str("model", &self.model)
    }

    /// The whole answer.
    pub(super) fn write_whole(
        &self,
        out: &mut String,
        run: &Arc<str>,
        content: &str,
        usage: Usage,
        finish: &str,
    ) {
        self.begin(out, run, "chat.completion")
            .list("choices", [()], |out, ()| {
                Object::new(out)
                    .num("index", 0)
                    .object("message", |o| {
                        o.str("role", "assistant").str("content", content).raw("refusal", "null")
                    })
                    .raw("logprobs", "null")
                    .str("finish_reason", finish)
                    .end();
            })
            .object("usage", |o| write_usage(o, usage))
            .end();
    }

    /// The first piece: who speaks.
    pub(super) fn write_role(&self, out: &mut String, run: &str) {
        self.write_piece(out, run, None, |o| o.str("role", "assistant").str("content", ""));
    }

    /// A piece of the text.
    pub(super) fn write_text(&self, out: &mut String, run: &str, text: &str) {
        self.write_piece(out, run, None, |o| o.str("content", text));
    }

    /// A piece of what the agent thinks, as clients know it from models that tell it: OpenAI's own do not.
    pub(super) fn write_thought(&self, out: &mut String, run: &str, text: &str) {
        self.write_piece(out, run, None, |o| o.str("reasoning_content", text));
    }

    /// Everything behind the last piece of the text.
    pub(super) fn write_end(&self, out: &mut String, run: &str, usage: Usage, finish: &str) {
        self.write_piece(out, run, Some(finish), |o| o);
        if self.include_usage {
            out.push_str("data: ");
            self.begin(out, run, "chat.completion.chunk")
                .raw("choices", "[]")
                .object("usage", |o| write_usage(o, usage))
                .end();
            out.push_str("\n\n");
        }
        out.push_str(DONE);
    }

    fn write_piece(
        &self,
        out: &mut String,
        run: &str,
        finish: Option<&str>,
        delta: impl for<'b> Fn(Object<'b>) -> Object<'b>,
    ) {
        out.push_str("data: ");
        let piece =
            self.begin(out, run, "chat.completion.chunk").list("choices", [()], |out, ()| {
                let mut choice = Object::new(out).num("index", 0).object("delta", &delta);
                choice = choice.raw("logprobs", "null");
                match finish {
                    Some(finish) => json::string(choice.key("finish_reason"), finish),
                    None => choice.key("finish_reason").push_str("null"),
                }
                choice.end();
            });
        let piece = if self.include_usage { piece.raw("usage", "null") } else { piece };
        piece.end();
        out.push_str("\n\n");
    }
}

fn write_usage(object: Object<'_>, usage: Usage) -> Object<'_> {
    let Usage { prompt_tokens, completion_tokens } = usage;
    object
        .num("prompt_tokens", prompt_tokens)
        .num("completion_tokens", completion_tokens)
        .num("total_tokens", prompt_tokens.saturating_add(completion_tokens))
}
