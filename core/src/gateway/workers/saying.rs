//! What workers say of their runs: `run.delta`, `run.thinking`, `run.tool`, and the ends `run.complete` and
//! `run.fail`, of which the first one counts.

use super::super::Gateway;
use super::super::agent_work::{Progress, RunFailure, StopReason, ToolCall, ToolResult};
use super::super::call::{Call, Done};
use super::super::intake::text_of;
use super::super::params::{Param, Params};
use super::super::refusal::{Code, Refusal, cut};
use super::super::send::{Cx, ReplyTo};
use super::super::work::{Outcome, Usage};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;

/// What a request says of its run: nothing, if it is an empty piece.
pub(in crate::gateway) type Words = Result<Option<Said>, Refusal>;

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
    /// How the run ends by this, if it does.
    pub(super) fn end(&self) -> Option<&'static str> {
        match self {
            Self::Outcome(Outcome::Chunk(_) | Outcome::Progress(_)) => None,
            Self::Outcome(_) => Some("failed"),
            Self::Complete { .. } => Some("completed"),
        }
    }

    /// What it takes to keep what is said, besides the entry that it is kept in.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Outcome(Outcome::Chunk(text)) => text.len(),
            Self::Outcome(Outcome::Progress(progress)) => progress.bytes(),
            Self::Outcome(Outcome::Failed(failure)) => failure.error.len(),
            Self::Outcome(_) => 0,
            Self::Complete { content, .. } => content.as_ref().map_or(0, String::len),
        }
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

pub(in crate::gateway) fn delta(params: &Params<'_>) -> Words {
    Ok(text(params)?.map(|text| Said::Outcome(Outcome::Chunk(text))))
}

pub(in crate::gateway) fn thinking(params: &Params<'_>) -> Words {
    Ok(text(params)?.map(|text| Said::Outcome(Outcome::Progress(Progress::Thinking(text)))))
}

pub(in crate::gateway) fn tool(params: &Params<'_>) -> Words {
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
    Ok(Some(Said::Outcome(Outcome::Progress(progress))))
}

pub(in crate::gateway) fn complete(params: &Params<'_>) -> Words {
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
        Some(word) => StopReason::from_word(&word).ok_or_else(|| {
            Refusal::invalid("stopReason must be stop, length, content_filter or tool_calls")
        })?,
    };
    Ok(Some(Said::Complete { content, usage, stop }))
}

pub(in crate::gateway) fn fail(params: &Params<'_>) -> Words {
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
    Ok(Some(Said::Outcome(Outcome::Failed(failure))))
}

/// A piece, unless it is empty, which says nothing.
fn text(params: &Params<'_>) -> Result<Option<String>, Refusal> {
    if !params.is_there("text") {
        return Err(Refusal::invalid("text is required"));
    }
    Ok(params.text("text")?.map(Cow::into_owned))
}

impl Gateway {
    /// A worker says something of a run, which it must have.
    pub(in crate::gateway) fn hear_worker(
        &mut self,
        cx: &mut Cx<'_>,
        call: &mut Call<'_>,
        words: fn(&Params<'_>) -> Words,
    ) -> Done {
        let run = self.given_to(call.to.as_ref(), &call.params.required("runId")?)?;
        let said = words(&call.params)?;
        let end = said.as_ref().and_then(Said::end);
        if let Some(said) = said {
            self.pass_on(cx, &run, said)?;
        }
        self.taken_by(cx, call.to);
        if let Some(how) = end {
            self.given_over(cx, &run, how);
        }
        Ok(())
    }

    /// Answers what was taken, if it has an id to be answered by: what is said without one is answered
    /// only when it is refused.
    fn taken_by(&mut self, cx: &mut Cx<'_>, to: &mut Option<ReplyTo>) {
        match to.take() {
            Some(ReplyTo::Local { conn, id, method, since, .. }) if id.is_empty() => {
                self.called(cx, conn, (method, since), None);
            }
            Some(to) => self.reply_ok(cx, to, |_, out| out.push_str("{}")),
            None => {}
        }
    }
}
