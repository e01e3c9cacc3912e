//! What an agent tells of its work besides its answer: what it thinks, which tools it uses, and that it
//! tries again. Of all that a run keeps no more than how much it was: a link that has no place for it ends
//! as with every other event, and what one run may tell is bounded as its answer is.

use super::super::Gateway;
use super::super::agent_work::{
    MAX_ARGUMENTS, MAX_RESULT, MAX_TOOL_NAME, Progress, Retrying, RunFailure, ToolCall, ToolResult,
};
use super::super::json::Object;
use super::super::refusal::{Code, cut};
use super::super::ring::Event;
use super::super::send::Cx;
use super::Live;
use std::sync::Arc;

/// Bytes of a text that says why something is tried again.
const MAX_ERROR: usize = 1024;

impl Gateway {
    pub(in super::super) fn run_progress(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Arc<str>,
        progress: &Progress,
    ) {
        let most = self.config.bounds().answer_bytes;
        let Some(run) = self.live.get_mut(session).and_then(|live| live.run.as_mut()) else {
            return;
        };
        run.told_bytes += progress.bytes();
        if run.told_bytes > most {
            let error = format!("the agent thinks and does more than {most} bytes can tell");
            return self.cut_off(cx, session, RunFailure::new(Code::Internal, error));
        }
        match progress {
            Progress::Thinking(text) => self.run_thinks(cx, session, text),
            Progress::ToolCall(call) => {
                run.calls += 1;
                run.tool = Some(cut(&call.name, MAX_TOOL_NAME).into());
                let payload = written(|object| write_call(object, call));
                self.run_event(cx, session, "tool.call", Some(&payload), false);
            }
            Progress::ToolResult(result) => {
                run.tool = None;
                let payload = written(|object| write_result(object, result));
                self.run_event(cx, session, "tool.result", Some(&payload), false);
            }
            Progress::Retrying(retrying) => {
                let payload = written(|object| write_retrying(object, retrying));
                self.run_event(cx, session, "run.retrying", Some(&payload), false);
            }
        }
    }

    /// Pieces that wait for a slow reader become one, as those of the answer do.
    fn run_thinks(&mut self, cx: &mut Cx<'_>, session: &Arc<str>, text: &str) {
        let Some(Live { owner, run: Some(run), .. }) = self.live.get_mut(session) else { return };
        run.seq += 1;
        let event = Event::thinking(run.name.clone(), run.seq, run.thought, text);
        run.thought += text.len() as u64;
        let readers = run.turn.readers(owner);
        self.tell_readers(cx, &readers, &event);
    }
}

fn written(fill: impl FnOnce(Object<'_>) -> Object<'_>) -> String {
    let mut payload = String::new();
    fill(Object::new(&mut payload)).end();
    payload
}

fn write_call<'o>(object: Object<'o>, call: &ToolCall) -> Object<'o> {
    let ToolCall { id, name, arguments } = call;
    let object = object.str("name", cut(name, MAX_TOOL_NAME)).str("id", cut(id, MAX_TOOL_NAME));
    match arguments.len() > MAX_ARGUMENTS {
        true => object.str("arguments", cut(arguments, MAX_ARGUMENTS)).bool("truncated", true),
        // Reading it as a value refuses what is nested too deeply for a client, too.
        false if serde_json::from_str::<serde_json::Value>(arguments).is_ok() => {
            object.raw("arguments", arguments)
        }
        false => object.str("arguments", arguments),
    }
}

fn write_result<'o>(object: Object<'o>, result: &ToolResult) -> Object<'o> {
    let ToolResult { id, name, is_error, result } = result;
    let object = object
        .str("name", cut(name, MAX_TOOL_NAME))
        .str("id", cut(id, MAX_TOOL_NAME))
        .bool("is_error", *is_error);
    match result.char_indices().nth(MAX_RESULT) {
        Some((end, _)) => object.str("result", &result[..end]).bool("truncated", true),
        None => object.str("result", result),
    }
}

fn write_retrying<'o>(object: Object<'o>, retrying: &Retrying) -> Object<'o> {
    let Retrying { attempt, most, after, error } = retrying;
    object
        .num("attempt", u64::from(*attempt))
        .num("maxAttempts", u64::from(*most))
        .num("retryAfterMs", after.as_millis() as u64)
        .str("error", cut(error, MAX_ERROR))
}
