//! `chat.*`, `agent` and `agent.wait`: parameters in, one request about a session out.

use super::super::Gateway;
use super::super::chat::MAX_KEY;
use super::super::refusal::Refusal;
use super::super::request::Fingerprint;
use super::super::send::{Cx, ReplyTo};
use super::super::session::{Op, Send, agent_of};
use super::super::sessions::check_label;
use super::agents::unknown_agent;
use super::answers::Then;
use super::attachments::{self, Attachment};
use super::commands::is_stop;
use super::dispatch::{Call, Done};
use super::history::{History, Read};
use super::session_key::{MAIN, canonical, main_of};
use std::sync::Arc;
use std::time::Duration;

/// Messages of a page unless the client says.
const PAGE: i64 = 200;

/// How long `agent.wait` waits unless the client says.
const WAIT_MS: i64 = 30_000;

/// Calls of `agent` whose end one connection may wait for.
const MAX_AWAITED: usize = 64;

pub(super) fn send(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let named = call.values.text("agentId");
    let verbatim = call.values.flag("suppressCommandInterpretation") == Some(true);
    if !verbatim && call.values.text("message").is_some_and(|text| is_stop(&text)) {
        let session = gateway.openclaw_session(call, named.as_deref())?;
        if let Some(to) = call.take(Then::Aborted) {
            let op = Op::Abort { session: Some(session), run: None };
            gateway.openclaw_route(cx, call.conn, op, to);
        }
        return Ok(());
    }
    let (key, op, files) = gateway.openclaw_send(call)?;
    if let Some(to) = call.take(Then::Sent { key, agent: None }) {
        gateway.say_with(cx, call, op, files, to);
    }
    Ok(())
}

/// Puts a message of the assistant into a session, without a run.
pub(super) fn inject(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let named = call.values.text("agentId");
    let session = gateway.openclaw_session(call, named.as_deref())?;
    let label = call.values.text("label").map(String::from);
    if let Some(label) = &label {
        check_label(label)?;
    }
    let text = call.values.text("message").unwrap_or_default();
    gateway.check_length(&text)?;
    let op = Op::Inject { session, text: Arc::from(&*text), label };
    if let Some(to) = call.take(Then::AsItIs) {
        gateway.openclaw_route(cx, call.conn, op, to);
    }
    Ok(())
}

/// The same with two answers: that it was accepted, and what came of it.
pub(super) fn agent(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let peer = gateway.conns.get(&call.conn).and_then(|conn| conn.openclaw.as_ref());
    if peer.is_some_and(|peer| peer.awaited >= MAX_AWAITED) {
        let text = "too many runs of this connection have not ended yet";
        return Err(Refusal::exhausted(text, super::super::refusal::SOON));
    }
    let (key, op, files) = gateway.openclaw_send(call)?;
    let session = op.session().map(|session| &**session);
    let agent = session.and_then(agent_of).unwrap_or(MAIN).into();
    if let Some(to) = call.take(Then::Sent { key, agent: Some(agent) }) {
        gateway.say_with(cx, call, op, files, to);
    }
    Ok(())
}

pub(super) fn history(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let named = call.values.text("agentId");
    let session = gateway.openclaw_session(call, named.as_deref())?;
    let number = |name, or| call.values.integer(name).unwrap_or(or).unsigned_abs() as usize;
    let (limit, offset) = (number("limit", PAGE), number("offset", 0));
    let history =
        History { session: session.clone(), limit, offset, passed: 0, read: Read::Nothing };
    if let Some(to) = call.take(Then::History(history.into())) {
        gateway.openclaw_route(cx, call.conn, Op::Preview { session, limit: 1 }, to);
    }
    Ok(())
}

pub(super) fn abort(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let named = call.values.text("agentId");
    let session = gateway.openclaw_session(call, named.as_deref())?;
    let run = call.values.text("runId").map(|run| Arc::from(&*run));
    if let Some(to) = call.take(Then::Aborted) {
        let op = Op::Abort { session: Some(session), run };
        gateway.openclaw_route(cx, call.conn, op, to);
    }
    Ok(())
}

pub(super) fn wait(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let key: Arc<str> = Arc::from(&*call.values.text("runId").unwrap_or_default());
    let run = gateway.openclaw.run_named(call.who.user(), &key).unwrap_or_else(|| key.clone());
    let ms = call.values.integer("timeoutMs").unwrap_or(WAIT_MS).unsigned_abs();
    let within = Duration::from_millis(ms).min(gateway.config.bounds().run_within);
    if let Some(to) = call.take(Then::Waited { key }) {
        gateway.openclaw_route(cx, call.conn, Op::Wait { run, within }, to);
    }
    Ok(())
}

impl Gateway {
    /// The session that a call is for: the main one if it names none.
    ///
    /// # Errors
    /// The name is no name of a session.
    pub(super) fn openclaw_session(
        &self,
        call: &Call<'_>,
        agent: Option<&str>,
    ) -> Result<Arc<str>, Refusal> {
        let named = call.values.text("sessionKey");
        let agent = agent.unwrap_or_else(|| self.default_agent());
        named_session(call, named.as_deref().unwrap_or(MAIN), agent, "sessionKey")
    }

    /// The session that a parameter names; a short name is one of the agent in `agentId`.
    ///
    /// # Errors
    /// The name is no name of a session.
    pub(super) fn openclaw_key(&self, call: &Call<'_>, param: &str) -> Result<Arc<str>, Refusal> {
        let named = call.values.text(param).unwrap_or_default();
        let agent = call.values.text("agentId");
        named_session(call, &named, agent.as_deref().unwrap_or(self.default_agent()), param)
    }

    /// Says something, after its files were stored.
    fn say_with(
        &mut self,
        cx: &mut Cx<'_>,
        call: &Call<'_>,
        op: Op,
        files: Vec<Attachment>,
        to: ReplyTo,
    ) {
        if files.is_empty() {
            return self.openclaw_route(cx, call.conn, op, to);
        }
        self.store_files(cx, call.who.principal().clone(), op, files, to);
    }

    /// What a client says to an agent.
    fn openclaw_send(&self, call: &Call<'_>) -> Result<(Arc<str>, Op, Vec<Attachment>), Refusal> {
        let text = call.values.text("message").unwrap_or_default();
        let files = attachments::read(call, self.max_attachment())?;
        if text.trim().is_empty() && files.is_empty() {
            return Err(Refusal::invalid("message or attachment required"));
        }
        self.check_length(&text)?;
        let named = call.values.text("agentId");
        let session = self.openclaw_session(call, named.as_deref())?;
        let name = named.as_deref().or(agent_of(&session)).unwrap_or(MAIN);
        let agent = self.agent_called(name);
        if self.config.agent(agent).is_none() {
            return Err(unknown_agent(name));
        }
        let key: Arc<str> = Arc::from(&*call.values.text("idempotencyKey").unwrap_or_default());
        let prints: Vec<_> = files.iter().map(Attachment::print).collect();
        let op = Op::Send(Send {
            session: Some(session.clone()),
            agent: Some(agent.into()),
            print: Some(Fingerprint::of_all(&text, &prints)),
            text: Arc::from(&*text),
            media: Vec::new(),
            key: Some(key.clone()),
            ack: true,
            latest: true,
            instructions: None,
            apart: None,
            create: true,
        });
        Ok((key, op, files))
    }
}

fn named_session(
    call: &Call<'_>,
    name: &str,
    agent: &str,
    param: &str,
) -> Result<Arc<str>, Refusal> {
    canonical(name, agent, &main_of(call.who.user()))
        .ok_or_else(|| Refusal::invalid(format!("{param} is empty or longer than {MAX_KEY} bytes")))
}
