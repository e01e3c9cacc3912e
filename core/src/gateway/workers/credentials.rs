//! Who may be a worker of which agents, and what it is told at its login.

use super::super::authenticate::Login;
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::login::ms;
use super::super::methods::methods;
use super::super::principal::{Principal, Role};
use super::super::proof::{Proof, REVOKED};
use super::super::refusal::{Code, Refusal};
use super::super::send::{Cx, ReplyTo};
use super::super::{Gateway, PROTOCOL};
use crate::frame::CloseCode;
use std::sync::Arc;

/// The events that a worker can see.
const EVENTS: [&str; 4] = ["connect.challenge", "run.start", "run.cancel", "shutdown"];

/// What a `connect` asks to be logged in as.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(in crate::gateway) enum Seat {
    /// Whatever the credential is good for.
    Any,
    /// A worker.
    Worker,
    /// Anything but a worker: there are no workers here.
    Client,
}

impl Seat {
    /// Whether a credential is good for this.
    ///
    /// # Errors
    /// It is not.
    pub(in crate::gateway) fn check(self, login: &Login) -> Result<(), Refusal> {
        let text = match (self, login.principal.role) {
            (Self::Client, Role::Agent) => "an agent's credential is good for its workers only",
            (Self::Worker, role) if role != Role::Agent => {
                "this credential is not an agent's: workers have those of agents[].backend, or API \
                 keys of the role agent"
            }
            _ => return Ok(()),
        };
        Err(Refusal::new(Code::Unauthorized, text))
    }
}

impl Gateway {
    /// The worker that has proved to be one by this; it is called after the first of its agents.
    pub(in crate::gateway) fn worker(&self, proof: Proof) -> Principal {
        let agents = self.agents_of(&proof);
        let user = agents.first().map_or_else(|| "agent".into(), |agent| format!("agent:{agent}"));
        Principal { user: user.into(), role: Role::Agent, proof }
    }

    /// The agents that somebody may answer for, in the order of the configuration.
    pub(super) fn agents_of(&self, proof: &Proof) -> Vec<Arc<str>> {
        let is_allowed = |agent: &str| match proof {
            Proof::Agent(id) => self.config.worker_token_of(agent) == Some(*id),
            Proof::ApiKey(id) => {
                let key = self.api_keys.get(id);
                key.is_some_and(|key| key.agents().iter().any(|own| **own == *agent))
            }
            _ => false,
        };
        let agents = self.config.raw.agents.iter().map(|agent| &*agent.id);
        let answered = agents.filter(|agent| self.config.worker(agent).is_some());
        answered.filter(|agent| is_allowed(agent)).map(Arc::from).collect()
    }

    /// Answers the `connect` of a worker. It has no link: what it misses is lost, as are its runs.
    pub(in crate::gateway) fn welcome_worker(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        who: &Principal,
        to: ReplyTo,
    ) {
        let agents = self.agents_of(&who.proof);
        self.reply_ok(cx, to, |gateway, out| {
            let limits = &gateway.config.raw.limits;
            let silence = limits.ping_every.saturating_add(limits.pong_within);
            let own = methods().iter().filter(|method| method.role == Some(Role::Agent));
            Object::new(out)
                .str("type", "hello-ok")
                .num("protocol", PROTOCOL)
                .str("role", who.role.as_str())
                .str("user_id", &who.user)
                .object("server", |o| gateway.write_server(o, conn))
                .list("agents", &agents, |out, agent| json::string(out, agent))
                .object("policy", |o| {
                    o.num("maxPayload", u64::from(limits.message))
                        .num("maxBufferedBytes", u64::from(limits.outbox))
                        .num("maxAnswerBytes", gateway.config.bounds().answer_bytes as u64)
                        .num("pingIntervalMs", ms(limits.ping_every))
                        .num("readTimeoutMs", ms(silence))
                })
                .object("features", |o| {
                    o.list("methods", own, |out, method| json::string(out, method.name)).list(
                        "events",
                        EVENTS,
                        json::string,
                    )
                })
                .end();
        });
    }

    pub(super) fn send_worker_away(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.close(cx, conn, CloseCode::POLICY, REVOKED, None);
    }
}
