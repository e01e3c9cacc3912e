//! Another configuration while clients are connected.

use super::Gateway;
use super::config::{Checked, ConfigError, GatewayConfig};
use super::send::Cx;
use std::time::Instant;

impl Gateway {
    /// Takes another configuration, whole or not at all. It holds for every request from now on:
    ///
    /// - Who logged in by a token that is not there any more, or has another role or user now, is
    ///   closed with 1008 `revoked`, and their links are gone; so is who needed none, when one is needed
    ///   now.
    /// - Who has become or ceased to be an owner is one, or is none, from the next request on.
    /// - Origins, hosts and proxies are judged at the next upgrade: open connections stay.
    /// - Lowered bounds end nothing: who is there may stay, who comes next is refused. Deadlines that
    ///   run already are kept.
    /// - [`GatewayConfig::limits`] is what clients are told at their next login. The host gives them to
    ///   its connections.
    ///
    /// [`GatewayConfig::listen`] is ignored: a listener does not move. Work in proportion to the
    /// connections.
    ///
    /// # Errors
    /// [`ConfigError`]: the old configuration holds.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        mut config: GatewayConfig,
    ) -> Result<(), ConfigError> {
        config.listen = self.config.raw.listen;
        self.config = Checked::new(config)?;
        let bounds = self.config.bounds();
        let addresses = self.budget.set_bounds(bounds);
        self.failures.set_bounds(bounds);
        self.rate.set_limit(self.config.raw.rate_limit_rpm, bounds);
        self.idempotency.set_bounds(bounds);
        self.waits.set_bounds(bounds);
        let config = &self.config;
        self.agents.retain(|agent| config.agent(agent).is_some());
        for address in addresses {
            self.tell_budget(address);
        }
        self.judge_logins(&mut Cx::at(now));
        Ok(())
    }
}
