//! A configuration after its checks, and what is asked of it.

use super::super::forwarded::Cidr;
use super::super::jwt::Verifier;
use super::super::origin::{Host, OriginRule};
use super::super::principal::Role;
use super::super::static_page::StaticPage;
use super::super::workers::WorkerBackend;
use super::{Agent, Bounds, ConfigError, GatewayConfig, Secret, Token, TokenId};

/// The configuration after its checks.
pub(in super::super) struct Checked {
    pub(in super::super) raw: GatewayConfig,
    pub(in super::super) origins: Vec<OriginRule>,
    pub(in super::super) hosts: Vec<Host>,
    pub(in super::super) proxies: Vec<Cidr>,
    /// What the tokens are called, in their order.
    token_ids: Vec<TokenId>,
    /// The same of the agents' tokens.
    worker_ids: Vec<Option<TokenId>>,
    pub(in super::super) jwt: Vec<Verifier>,
    /// Only this host can reach the listener.
    pub(in super::super) loopback: bool,
}

impl Checked {
    pub(in super::super) fn new(raw: GatewayConfig) -> Result<Self, ConfigError> {
        let loopback = raw.listen.ip().to_canonical().is_loopback();
        let none = raw.tokens.is_empty() && raw.jwt.is_empty();
        if none && !loopback {
            return Err(ConfigError::NoToken);
        }
        if none && !raw.trusted_proxies.is_empty() {
            return Err(ConfigError::NoTokenBehindProxy);
        }
        if raw.tokens.iter().any(|token| token.secret.is_empty()) {
            return Err(ConfigError::EmptyToken);
        }
        let fine = |(at, agent): (usize, &Agent)| {
            !agent.id.is_empty()
                && !agent.id.contains(':')
                && raw.agents[..at].iter().all(|other| other.id != agent.id)
        };
        if raw.agents.is_empty() || !raw.agents.iter().enumerate().all(fine) {
            return Err(ConfigError::Agents);
        }
        if raw.tokens.iter().any(|token| token.role == Role::Agent) {
            return Err(ConfigError::WorkerToken);
        }
        for (at, worker) in raw.workers.iter().enumerate() {
            let is_client = |token: &Secret| raw.tokens.iter().any(|t| t.secret.matches(token));
            let is_good = |token: &Secret| !token.is_empty() && !is_client(token);
            let is_known = raw.agents.iter().any(|agent| agent.id == worker.agent)
                && raw.workers[..at].iter().all(|other| other.agent != worker.agent);
            if !is_known || !worker.token.as_ref().is_none_or(is_good) {
                return Err(ConfigError::Worker(worker.agent.clone()));
            }
        }
        raw.pages.iter().try_for_each(StaticPage::check)?;
        let origins =
            raw.allowed_origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
        let hosts = raw.allowed_hosts.iter().map(|text| host(text)).collect::<Result<_, _>>()?;
        let proxies =
            raw.trusted_proxies.iter().map(|text| proxy(text)).collect::<Result<_, _>>()?;
        let verifier = |(at, key)| Verifier::new(key).map_err(|why| ConfigError::Jwt(at, why));
        let jwt = raw.jwt.iter().enumerate().map(verifier).collect::<Result<_, _>>()?;
        let token_ids = raw.tokens.iter().map(TokenId::of).collect();
        let worker_id = |worker: &WorkerBackend| worker.token.as_ref().map(TokenId::of_worker);
        let worker_ids = raw.workers.iter().map(worker_id).collect();
        Ok(Self { raw, origins, hosts, proxies, token_ids, worker_ids, jwt, loopback })
    }

    pub(in super::super) fn bounds(&self) -> &Bounds {
        &self.raw.bounds
    }

    /// The token that this is. All are compared, whichever fits.
    pub(in super::super) fn token(&self, offered: &Secret) -> Option<(TokenId, &Token)> {
        let mut found = None;
        for (id, token) in self.token_ids.iter().zip(&self.raw.tokens) {
            if token.secret.matches(offered) {
                found = Some((*id, token));
            }
        }
        found
    }

    /// The role that a token gives to a user.
    pub(in super::super) fn role_by(&self, token: &Token, user: &str) -> Role {
        match token.role {
            Role::Admin if self.is_owner(user) => Role::Owner,
            role => role,
        }
    }

    /// The token of this name.
    pub(in super::super) fn token_named(&self, id: TokenId) -> Option<&Token> {
        let at = self.token_ids.iter().position(|known| *known == id)?;
        self.raw.tokens.get(at)
    }

    /// The name of the token of agents that this is. All are compared, whichever fits.
    pub(in super::super) fn worker_token(&self, offered: &Secret) -> Option<(TokenId, &Secret)> {
        let mut found = None;
        for (id, worker) in self.worker_ids.iter().zip(&self.raw.workers) {
            let token = worker.token.as_ref().filter(|token| token.matches(offered));
            found = id.zip(token).or(found);
        }
        found
    }

    /// The token of agents of this name.
    pub(in super::super) fn worker_token_named(&self, id: TokenId) -> Option<&Secret> {
        let at = self.worker_ids.iter().position(|known| *known == Some(id))?;
        self.raw.workers.get(at)?.token.as_ref()
    }

    /// The name of an agent's token.
    pub(in super::super) fn worker_token_of(&self, agent: &str) -> Option<TokenId> {
        let at = self.raw.workers.iter().position(|worker| worker.agent == agent)?;
        self.worker_ids.get(at).copied().flatten()
    }

    /// How an agent is answered for, if workers do.
    pub(in super::super) fn worker(&self, agent: &str) -> Option<&WorkerBackend> {
        self.raw.workers.iter().find(|worker| worker.agent == agent)
    }

    /// Whether nobody needs a credential: there is none, and only this host can reach the listener.
    pub(in super::super) fn is_open(&self) -> bool {
        // See `ConfigError::NoToken`.
        self.raw.tokens.is_empty() && self.raw.jwt.is_empty()
    }

    pub(in super::super) fn agent(&self, id: &str) -> Option<&Agent> {
        self.raw.agents.iter().find(|agent| agent.id == id)
    }

    pub(in super::super) fn is_owner(&self, user: &str) -> bool {
        if self.raw.owner_ids.is_empty() {
            user == "system"
        } else {
            self.raw.owner_ids.iter().any(|owner| owner == user)
        }
    }
}

pub(super) fn origin(text: &str) -> Result<OriginRule, ConfigError> {
    OriginRule::parse(text).ok_or_else(|| ConfigError::Origin(text.into()))
}

pub(super) fn host(text: &str) -> Result<Host, ConfigError> {
    Host::parse(text).ok_or_else(|| ConfigError::Host(text.into()))
}

pub(super) fn proxy(text: &str) -> Result<Cidr, ConfigError> {
    Cidr::parse(text).ok_or_else(|| ConfigError::Proxy(text.into()))
}
