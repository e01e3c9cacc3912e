//! `agent.register` and `agent.drain`: a worker comes, changes and goes.

use super::super::call::{Call, Done};
use super::super::conn::ConnId;
use super::super::json::{self, Object};
use super::super::refusal::{Code, Refusal, cut};
use super::super::send::{Cx, ReplyTo};
use super::super::{Fact, Gateway};
use super::news::WorkerNews;
use super::roster::{Worker, WorkerAt};
use std::sync::Arc;

/// Runs that a worker takes at once if it does not say.
const CONCURRENCY: u64 = 1;

/// Runs that it may take at once: more connections serve more.
const MOST_CONCURRENCY: u64 = 1000;

/// `agent.register`: from now on the worker is given runs of these agents. A second time changes what it
/// said the first time; runs that it has stay its own.
pub(in crate::gateway) fn register(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    call: &mut Call<'_>,
) -> Done {
    if gateway.draining.is_some() {
        return Err(super::super::bus::shutting_down());
    }
    let Some(ReplyTo::Local { conn, .. }) = call.to else { return Ok(()) };
    let conn = *conn;
    let allowed = gateway.agents_of(&call.who.principal().proof);
    let wanted = call.params.texts("agents", "id")?;
    let mut agents: Vec<Arc<str>> = Vec::new();
    for id in &wanted {
        let Some(agent) = allowed.iter().find(|agent| ***agent == **id) else {
            return Err(gateway.not_allowed(id, &allowed));
        };
        if !agents.contains(agent) {
            agents.push(agent.clone());
        }
    }
    if wanted.is_empty() {
        agents = allowed;
    }
    if agents.is_empty() {
        let text = "there is no agent that this credential may answer for: see agents[].backend";
        return Err(Refusal::new(Code::FailedPrecondition, text));
    }
    let concurrency = call.params.number("concurrency")?.unwrap_or(CONCURRENCY);
    if !(1..=MOST_CONCURRENCY).contains(&concurrency) {
        let text = format!("concurrency must be from 1 to {MOST_CONCURRENCY}");
        return Err(Refusal::invalid(text));
    }
    let at = (gateway.node.id(), conn);
    let known = gateway.workers.roster.get(at);
    let (active, blocked) = known.map_or((0, false), |worker| (worker.active, worker.blocked));
    let login = known.map_or(gateway.workers.logins + 1, |worker| worker.login);
    gateway.workers.logins = gateway.workers.logins.max(login);
    let worker = Worker {
        login,
        agents: agents.into(),
        concurrency: concurrency as usize,
        active,
        draining: false,
        blocked,
    };
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            Object::new(out)
                .list("agents", &*worker.agents, |out, agent| json::string(out, agent))
                .num("concurrency", concurrency)
                .num("active", active as u64)
                .end();
        });
    }
    let agents = worker.agents.clone();
    gateway.note(Fact::WorkerReady { conn, agents, concurrency: worker.concurrency });
    gateway.worker_there(cx, conn, worker);
    Ok(())
}

/// `agent.drain`: the worker is given no new runs, and ends those that it has.
pub(in crate::gateway) fn drain(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    call: &mut Call<'_>,
) -> Done {
    let Some(ReplyTo::Local { conn, .. }) = call.to else { return Ok(()) };
    let conn = *conn;
    let at = (gateway.node.id(), conn);
    let active = gateway.workers.roster.get(at).map(|worker| worker.active);
    let Some(active) = active else {
        let text = "this worker answers for no agent: agent.register comes first";
        return Err(Refusal::new(Code::FailedPrecondition, text));
    };
    gateway.change_worker(cx, conn, |worker| worker.draining = true);
    call.answer(gateway, cx, |_, out| Object::new(out).num("active", active as u64).end())
}

impl Gateway {
    fn not_allowed(&self, id: &str, allowed: &[Arc<str>]) -> Refusal {
        let id = cut(id, 128);
        if self.config.agent(id).is_some() && self.config.worker(id).is_none() {
            let text = format!("agent {id} is not one that workers answer for");
            return Refusal::new(Code::FailedPrecondition, text);
        }
        let text = format!("the credential does not allow agent {id}");
        let names = |out: &mut String, agent: &Arc<str>| json::string(out, agent);
        Refusal::new(Code::Forbidden, text).details(|o| o.list("allowed", allowed, names))
    }

    /// A worker of this loop is like this now.
    fn worker_there(&mut self, cx: &mut Cx<'_>, conn: ConnId, worker: Worker) {
        let (from, agents) = (self.node.id(), worker.agents.clone());
        self.workers.roster.learn((from, conn), worker.clone());
        self.publish_worker(WorkerNews::There { from, conn, worker });
        self.serve_waiting(cx, &agents);
    }

    /// Changes a worker of this loop, of which the others are told. Whoever waits for room gets it.
    pub(super) fn change_worker(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        change: impl FnOnce(&mut Worker),
    ) {
        let from = self.node.id();
        let at = (from, conn);
        let Some(before) = self.workers.roster.get(at).cloned() else { return };
        let Some(worker) = self.workers.roster.change(at, change) else { return };
        self.publish_worker(WorkerNews::There { from, conn, worker: worker.clone() });
        if worker.has_room() && (worker.active < before.active || !before.has_room()) {
            self.serve_waiting(cx, &worker.agents);
        }
    }

    /// A connection has ended, or somebody else is logged in on it: it is a worker no more.
    pub(in crate::gateway) fn worker_left(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let from = self.node.id();
        let Some(worker) = self.workers.roster.get((from, conn)) else { return };
        let (agents, active) = (worker.agents.clone(), worker.active);
        self.note(Fact::WorkerGone { conn, agents, active });
        self.workers.ended.remove(&conn);
        // Whose they are does not ask about them any more.
        self.workers.given.retain(|_, given| given.conn != conn);
        self.publish_worker(WorkerNews::Gone { from, conn });
        self.worker_gone(cx, (from, conn));
    }

    /// A worker of any loop is gone: this loop's runs that it had are lost.
    pub(super) fn worker_gone(&mut self, cx: &mut Cx<'_>, at: WorkerAt) {
        if self.workers.roster.forget(at).is_some() {
            self.workers_lost(cx, |lost| lost == at);
        }
    }

    /// What credentials allow has changed: a worker that answers for more is sent away, and may come again
    /// for the rest.
    pub(in crate::gateway) fn judge_workers(&mut self, cx: &mut Cx<'_>) {
        for ((_, conn), worker) in self.workers.roster.of_node(self.node.id()) {
            let who = self.conns.get(&conn).and_then(|state| state.principal.clone());
            let allowed = who.map(|who| self.agents_of(&who.proof)).unwrap_or_default();
            if !worker.agents.iter().all(|agent| allowed.contains(agent)) {
                self.send_worker_away(cx, conn);
            }
        }
    }
}
