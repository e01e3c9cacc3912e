//! What an agent does besides answering, as `agent` events of this dialect: its thoughts, its tools, and that
//! it tries again.

use super::super::Gateway;
use super::super::json::Object;
use super::super::ring::{Chunk, Event, RunName, Stream};
use super::super::send::Cx;
use super::events::{Audience, To};
use super::run_events::Inner;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Capability of clients that are told of tools.
pub(super) const TOOL_EVENTS: &str = "tool-events";

impl Gateway {
    /// A piece of what a run thinks.
    pub(super) fn openclaw_thinking(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        chunk: &Chunk,
    ) {
        let Some(seq) = self.next_step(cx, audience, &chunk.run) else { return };
        let run = chunk.run.clone();
        let event = Event::piece(Stream::Thinking, run, seq, chunk.offset, &chunk.text);
        self.tell(cx, audience, To::Readers, &event);
    }

    pub(super) fn openclaw_tool(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        inner: &Inner<'_>,
    ) {
        let is_end = inner.result.is_some();
        self.step(cx, audience, run, ("tool", To::ToolWatchers), |o| {
            let o = o
                .str("phase", if is_end { "result" } else { "start" })
                .maybe_str("name", inner.name.as_deref())
                .maybe_str("toolCallId", inner.call.as_deref());
            match is_end {
                true => {
                    let is_error = inner.is_error.unwrap_or_default();
                    o.maybe_str("result", inner.result.as_deref()).bool("isError", is_error)
                }
                false => o.raw("args", inner.arguments.map_or("{}", RawValue::get)),
            }
        });
    }

    pub(super) fn openclaw_retrying(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        inner: &Inner<'_>,
    ) {
        self.step(cx, audience, run, ("run_status", To::Readers), |o| {
            o.str("phase", "retrying")
                .num("attempt", inner.attempt.unwrap_or_default())
                .num("maxAttempts", inner.most.unwrap_or_default())
                .num("retryAfterMs", inner.retry_after.unwrap_or_default())
                .maybe_str("error", inner.error.as_deref())
        });
    }

    fn step(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
        (stream, to): (&str, To<'_>),
        fill: impl for<'o> FnOnce(Object<'o>) -> Object<'o>,
    ) {
        let Some(seq) = self.next_step(cx, audience, run) else { return };
        let mut payload = String::new();
        let object = run.write_agent(&mut payload, seq, stream, self.ms(cx.now));
        object.object("data", fill).end();
        let event = Event::named_of_run("agent", run, &payload, false);
        self.tell(cx, audience, to, &event);
    }

    /// The number of a run's next `agent` event, if anybody here reads it; what was said before comes before.
    fn next_step(
        &mut self,
        cx: &mut Cx<'_>,
        audience: Audience<'_>,
        run: &Arc<RunName>,
    ) -> Option<u64> {
        if !self.is_read_by(audience.users) {
            return None;
        }
        self.said(cx, run, audience.users);
        self.tell_said(cx, audience.from, &run.run, None);
        let said = self.openclaw.said.get_mut(&run.run)?;
        said.agent += 1;
        Some(said.agent)
    }
}
