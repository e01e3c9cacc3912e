//! Why a configuration cannot be used.

use super::super::jwt::JwtKeyError;
use std::fmt;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The listener is not on a loopback address and there is neither a token nor a key for JWTs: anybody
    /// could log in.
    NoToken,
    /// There are trusted proxies and neither a token nor a key for JWTs: everybody whom they forward could
    /// log in.
    NoTokenBehindProxy,
    /// A token is empty: who sends none would have it.
    EmptyToken,
    /// There is no agent, or one without an id, with a `:` in it, or twice the same.
    Agents,
    /// This agent of `workers` is none of `agents`, or is there twice, or its token is empty or a gateway
    /// token.
    Worker(String),
    /// A gateway token has the role of a worker, which says nothing of its agents.
    WorkerToken,
    /// An entry of `allowed_origins` is not an origin.
    Origin(String),
    /// An entry of `allowed_hosts` is not a host.
    Host(String),
    /// An entry of `trusted_proxies` is not a range of addresses.
    Proxy(String),
    /// This path of `pages` is none, or a header of it cannot be written.
    Page(&'static str),
    /// This entry of `jwt`, counted from 0, can verify nothing.
    Jwt(usize, JwtKeyError),
    /// The node's index is not under the count.
    Node,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str(
                "a listener that others can reach needs a token: configure one, or listen on \
                 127.0.0.1",
            ),
            Self::NoTokenBehindProxy => {
                f.write_str("a gateway behind trusted_proxies needs a token: configure one")
            }
            Self::EmptyToken => f.write_str("a token is empty"),
            Self::Agents => f.write_str("agents need different, non-empty ids without a colon"),
            Self::Worker(agent) => write!(
                f,
                "workers of agent {agent:?}: it must be one of the agents, once, and its token neither \
                 empty nor one that clients have"
            ),
            Self::WorkerToken => {
                f.write_str("a gateway token cannot have the role agent: workers have their own")
            }
            Self::Origin(entry) => write!(
                f,
                "allowed_origins: {entry:?} is not an origin such as https://chat.example.com or \
                 https://*.example.com"
            ),
            Self::Host(entry) => write!(f, "allowed_hosts: {entry:?} is not a host name"),
            Self::Proxy(entry) => write!(
                f,
                "trusted_proxies: {entry:?} is not an address or a range such as 10.0.0.0/8, of at \
                 least one bit"
            ),
            Self::Page(path) => write!(f, "pages: {path:?} has a path or a header that is none"),
            Self::Jwt(at, error) => write!(f, "jwt: entry {}: {error}", at + 1),
            Self::Node => f.write_str("the node's index is not under the count"),
        }
    }
}

impl std::error::Error for ConfigError {}
