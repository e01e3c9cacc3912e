//! What clients and operators see of the workers behind an agent.

use super::super::Gateway;
use super::super::agent_state::AgentLink;
use super::super::conn::ConnId;
use super::super::json::Object;

impl Gateway {
    /// Whether this connection is one that runs are given to, or may be.
    pub(in crate::gateway) fn is_worker(&self, conn: ConnId) -> bool {
        self.workers.roster.get((self.node.id(), conn)).is_some()
    }

    /// Whether an agent that workers answer for can be reached.
    pub(in crate::gateway) fn worker_link(&self, agent: &str) -> Option<AgentLink> {
        self.config.worker(agent)?;
        let ready = self.workers.roster.count(agent).ready;
        Some(if ready > 0 { AgentLink::Up } else { AgentLink::Down })
    }

    /// The member `link` of such an agent. Runs that wait are those of this loop.
    pub(in crate::gateway) fn write_worker_link<'o>(
        &self,
        object: Object<'o>,
        agent: &str,
        link: AgentLink,
    ) -> Object<'o> {
        let count = self.workers.roster.count(agent);
        let waiting = self.workers.waiting.get(agent).map_or(0, |queue| queue.len());
        object.object("link", |o| {
            let o = o.str("state", link.as_str());
            let reason = "no worker of the agent is connected to the gateway";
            o.maybe_str("reason", (count.ready == 0).then_some(reason)).object("workers", |o| {
                o.num("ready", count.ready as u64)
                    .num("draining", count.draining as u64)
                    .num("active", count.active as u64)
                    .num("concurrency", count.concurrency as u64)
                    .num("waiting", waiting as u64)
            })
        })
    }
}
