//! `wake`: something outside tells an agent: the default one, in its main session, unless it says otherwise.

use super::super::Gateway;
use super::super::refusal::{Code, Refusal};
use super::super::request::Fingerprint;
use super::super::send::Cx;
use super::super::session::{Op, Send, agent_of};
use super::agents::unknown_agent;
use super::answers::Then;
use super::dispatch::{Call, Done};
use super::session_key::MAIN;
use std::sync::Arc;

/// What the agent sees in front of the text, which no person has said.
const SYSTEM: &str = "System: ";

pub(super) fn wake(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if call.values.text("mode").as_deref() != Some("now") {
        let text = "agents here have no heartbeat that a text could wait for: mode must be now";
        return Err(Refusal::new(Code::Unavailable, text).for_good());
    }
    let text = call.values.text("text").unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::invalid("invalid wake params: at /text: must not be empty"));
    }
    gateway.check_length(text)?;
    let named = call.values.text("agentId");
    let session = gateway.openclaw_session(call, named.as_deref())?;
    let name = agent_of(&session).unwrap_or(MAIN);
    if gateway.config.agent(gateway.agent_called(name)).is_none() {
        return Err(unknown_agent(name));
    }
    let op = gateway.say(session, format!("{SYSTEM}{text}").into(), None);
    if let Some(to) = call.take(Then::Done) {
        gateway.openclaw_route(cx, call.conn, op, to);
    }
    Ok(())
}

impl Gateway {
    /// Says a text in a session, which is made if there is none.
    pub(super) fn say(&self, session: Arc<str>, text: Arc<str>, key: Option<Arc<str>>) -> Op {
        let agent = agent_of(&session).map(|name| Arc::from(self.agent_called(name)));
        Op::Send(Send {
            agent,
            session: Some(session),
            print: key.is_some().then(|| Fingerprint::of(&text)),
            text,
            media: Vec::new(),
            key,
            ack: true,
            latest: false,
            instructions: None,
            apart: None,
            create: true,
        })
    }

    /// Refuses a text that is longer than an agent is given.
    pub(super) fn check_length(&self, text: &str) -> Result<(), Refusal> {
        let most = self.config.raw.max_message_chars;
        if text.chars().nth(most).is_some() {
            return Err(Refusal::invalid(format!("message has more than {most} characters")));
        }
        Ok(())
    }
}
