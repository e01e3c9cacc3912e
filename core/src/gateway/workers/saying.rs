//! What workers say of their runs: `run.delta`, `run.thinking`, `run.tool`, and the ends `run.complete` and
//! `run.fail`, of which the first one counts.

use super::super::Gateway;
use super::super::agent_work::{Progress, RunFailure, StopReason, ToolCall, ToolResult};
use super::super::intake::text_of;
use super::super::params::{Param, Params};
use super::super::principal::Authenticated;
use super::super::refusal::{Code, Refusal, cut};
use super::super::send::{Cx, ReplyTo};
use super::super::work::{Outcome, Usage};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

type Done = Result<(), Refusal>;

/// Something that a worker says of a run.
#[derive(Debug, Clone)]
pub enum Said {
    /// What the host of an agent could say, too.
    Outcome(Outcome),
    /// It is done.
    Complete {
        /// The answer; none: what it has said so far.
        content: Option<String>,
        /// What it took.
        usage: Usage,
        /// Why it ended there.
        stop: StopReason,
    },
}

impl Said {
    pub(super) fn is_end(&self) -> bool {
        !matches!(self, Self::Outcome(Outcome::Chunk(_) | Outcome::Progress(_)))
    }
}

/// The members of `usage`.
pub(in crate::gateway) const USAGE: &[Param] = &[
    Param { name: "prompt_tokens", aliases: &["promptTokens"], kind: "number", required: false },
    Param {
        name: "completion_tokens",
        aliases: &["completionTokens"],
        kind: "number",
        required: false,
    },
];

/// Codes that a worker's failure may have. Others would say something of the client's own link.
const CODES: [Code; 6] = [
    Code::Unavailable,
    Code::ResourceExhausted,
    Code::AgentTimeout,
    Code::InvalidRequest,
    Code::FailedPrecondition,
    Code::Internal,
];

/// The longest that a client is told to wait. Above it a worker has mixed units up.
const MOST_RETRY_MS: u64 = 24 * 60 * 60 * 1000;

/// Bytes of a failure's text.
const MAX_ERROR: usize = 4096;

pub(in crate::gateway) fn delta(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    _: &Authenticated,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Done {
    let run = run(gateway, &params, to)?;
    match text(&params)? {
        Some(text) => gateway.go_on(cx, &run, Said::Outcome(Outcome::Chunk(text)), to),
        None => gateway.taken_by(cx, to),
    }
}

pub(in crate::gateway) fn thinking(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    _: &Authenticated,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Done {
    let run = run(gateway, &params, to)?;
    match text(&params)? {
        Some(text) => {
            let progress = Progress::Thinking(text);
            gateway.go_on(cx, &run, Said::Outcome(Outcome::Progress(progress)), to)
        }
        None => gateway.taken_by(cx, to),
    }
}

pub(in crate::gateway) fn tool(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    _: &Authenticated,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Done {
    let run = run(gateway, &params, to)?;
    let (id, name) = (params.required("id")?.into_owned(), params.required("name")?.into_owned());
    let progress = match &*params.required("phase")? {
        "call" => {
            let arguments = params.json("arguments").map_or("{}", RawValue::get).to_owned();
            Progress::ToolCall(ToolCall { id, name, arguments })
        }
        "result" => {
            let is_error = params.flag("isError")?.unwrap_or(false);
            let result = params.json("result").map_or_else(String::new, |raw| match text_of(raw) {
                Some(text) => text.into_owned(),
                None => raw.get().to_owned(),
            });
            Progress::ToolResult(ToolResult { id, name, is_error, result })
        }
        _ => return Err(Refusal::invalid("phase must be call or result")),
    };
    gateway.go_on(cx, &run, Said::Outcome(Outcome::Progress(progress)), to)
}

pub(in crate::gateway) fn complete(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    _: &Authenticated,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Done {
    let run = run(gateway, &params, to)?;
    let content = match params.json("content").map(text_of) {
        // An answer may be empty.
        Some(Some(text)) => Some(text.into_owned()),
        Some(None) => return Err(Refusal::invalid("content must be a string")),
        None => None,
    };
    let usage = match params.nested("usage", USAGE)? {
        None => Usage::default(),
        Some(usage) => Usage {
            prompt_tokens: usage.number("prompt_tokens")?.unwrap_or(0),
            completion_tokens: usage.number("completion_tokens")?.unwrap_or(0),
        },
    };
    let stop = match params.text("stopReason")? {
        None => StopReason::default(),
        Some(word) => stop_reason(&word).ok_or_else(|| {
            Refusal::invalid("stopReason must be stop, length, content_filter or tool_calls")
        })?,
    };
    gateway.end_given(cx, &run, Said::Complete { content, usage, stop }, "completed", to)
}

pub(in crate::gateway) fn fail(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    _: &Authenticated,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Done {
    let run = run(gateway, &params, to)?;
    let code = params.text("code")?;
    let code = CODES.into_iter().find(|known| Some(known.as_str()) == code.as_deref());
    let text = params.text("message")?;
    let error = text.as_deref().unwrap_or("the agent failed and did not say why");
    let retry_after = params.number("retryAfterMs")?.map(|ms| ms.min(MOST_RETRY_MS));
    let failure = RunFailure {
        code: code.unwrap_or(Code::Internal),
        error: cut(error, MAX_ERROR).into(),
        retry_after: retry_after.map(Duration::from_millis),
    };
    gateway.end_given(cx, &run, Said::Outcome(Outcome::Failed(failure)), "failed", to)
}

/// The run that a request is about, which the worker must have.
fn run(gateway: &Gateway, params: &Params<'_>, to: &Option<ReplyTo>) -> Result<Arc<str>, Refusal> {
    gateway.given_to(to.as_ref(), &params.required("runId")?)
}

/// A piece, unless it is empty, which says nothing.
fn text(params: &Params<'_>) -> Result<Option<String>, Refusal> {
    if !params.is_there("text") {
        return Err(Refusal::invalid("text is required"));
    }
    Ok(params.text("text")?.map(Cow::into_owned))
}

fn stop_reason(word: &str) -> Option<StopReason> {
    use StopReason::{ContentFilter, Length, Stop, ToolCalls};
    [Stop, Length, ContentFilter, ToolCalls].into_iter().find(|reason| reason.as_str() == word)
}

impl Gateway {
    fn go_on(
        &mut self,
        cx: &mut Cx<'_>,
        run: &Arc<str>,
        said: Said,
        to: &mut Option<ReplyTo>,
    ) -> Done {
        self.pass_on(cx, run, said)?;
        self.taken_by(cx, to)
    }

    fn end_given(
        &mut self,
        cx: &mut Cx<'_>,
        run: &Arc<str>,
        said: Said,
        how: &'static str,
        to: &mut Option<ReplyTo>,
    ) -> Done {
        self.pass_on(cx, run, said)?;
        self.taken_by(cx, to)?;
        self.given_over(cx, run, how);
        Ok(())
    }

    /// Answers what was taken, if it has an id to be answered by: what is said without one is answered
    /// only when it is refused.
    fn taken_by(&mut self, cx: &mut Cx<'_>, to: &mut Option<ReplyTo>) -> Done {
        match to.take() {
            Some(ReplyTo::Local { conn, id, method, since, .. }) if id.is_empty() => {
                self.called(cx, conn, (method, since), None);
            }
            Some(to) => self.reply_ok(cx, to, |_, out| out.push_str("{}")),
            None => {}
        }
        Ok(())
    }
}
