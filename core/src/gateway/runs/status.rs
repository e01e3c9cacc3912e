//! What runs are under way, and how far they are, for those who ask or have just come.

use super::super::Gateway;
use super::super::json::{self, Object};
use super::super::ring::Event;
use super::super::send::{Cx, ReplyTo};
use super::super::session::Session;
use super::Stage;
use super::turn::started;

impl Gateway {
    pub(in super::super) fn session_status(
        &mut self,
        cx: &mut Cx<'_>,
        session: &Session,
        to: ReplyTo,
    ) {
        self.reply_ok(cx, to, |gateway, out| {
            let live = gateway.live.get(&session.key);
            let Some(state) = live.and_then(|live| live.run.as_ref()) else {
                let object = Object::new(out).bool("isRunning", false);
                return object.raw("runId", "null").raw("activity", "null").end();
            };
            let phase = match state.stage {
                Stage::Saving => "saving",
                _ if state.tool.is_some() => "tool",
                _ if !state.text.is_empty() => "answering",
                _ => "thinking",
            };
            let object = Object::new(out).bool("isRunning", true);
            state
                .turn
                .name()
                .write(object)
                .object("activity", |o| {
                    let mut o = o.str("phase", phase);
                    match &state.tool {
                        Some(tool) => json::string(o.key("tool"), tool),
                        None => o.key("tool").push_str("null"),
                    }
                    o.num("iteration", state.calls)
                })
                .num("startedAt", gateway.ms(state.since))
                .str("text", &state.text)
                .end();
        });
    }

    /// What the run that is under way in a session has said so far.
    pub(in super::super) fn run_text(&self, session: &str) -> Option<&str> {
        self.live.get(session)?.run.as_ref().map(|run| &*run.text)
    }

    /// Whether an agent has a run at this node.
    pub(in super::super) fn is_agent_running(&self, agent: &str) -> bool {
        let runs = self.live.values().filter_map(|live| live.run.as_ref());
        runs.into_iter().any(|state| *state.turn.agent == *agent)
    }

    /// What a client that has just come needs to know about this user's runs at this node: that each
    /// has begun, and in one piece what it has said.
    pub(in super::super) fn runs_so_far(&self, user: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for live in self.live.values() {
            let Some(run) = &live.run else { continue };
            if run.turn.apart.is_some() {
                continue;
            }
            if *live.owner != *user && *run.turn.user != *user {
                continue;
            }
            let mut payload = String::new();
            run.name.write(&mut payload, "run.started", 1, Some(&started(&run.turn)));
            events.push(Event::of_run(&run.name, &payload, false));
            if !run.text.is_empty() {
                events.push(Event::chunk(run.name.clone(), run.seq, 0, &run.text));
            }
        }
        events
    }
}
