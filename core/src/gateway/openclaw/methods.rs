//! The one table of this dialect's methods: scopes, costs and schemas, the list in hello-ok and the docs come
//! from it. What is not here is unknown.

use super::super::Gateway;
use super::super::send::Cx;
use super::connect_params::PeerRole;
use super::dispatch::{Call, Done};
use super::schema::{Field, Kind};
use super::scopes::Scopes;
use super::{agents, chat, device_methods as devices, system};

/// A method that clients of this dialect can call.
pub(in crate::gateway) struct Method {
    /// Its name in requests.
    pub(in crate::gateway) name: &'static str,
    /// Which connections may call it.
    pub(in crate::gateway) role: PeerRole,
    /// What else they need.
    pub(in crate::gateway) scope: Scopes,
    /// What it costs under a rate limit, in tenths of a request.
    pub(in crate::gateway) cost: u64,
    /// Its parameters, and no others.
    pub(in crate::gateway) params: &'static [Field],
    pub(in crate::gateway) handler: fn(&mut Gateway, &mut Cx<'_>, &mut Call<'_>) -> Done,
}

/// The events that clients of this dialect can see.
pub(in crate::gateway) const EVENTS: &[&str] = &[
    "connect.challenge",
    "agent",
    "chat",
    "session.message",
    "sessions.changed",
    "presence",
    "device.pair.requested",
    "device.pair.resolved",
    "device.pair.changed",
    "health",
    "tick",
    "shutdown",
];

pub(in crate::gateway) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Names of agents, sessions and runs.
const NAME: Kind = Kind::Text { min: 1, max: 512 };
/// What makes a request have its effect once.
const KEY: Kind = Kind::Text { min: 1, max: 128 };
const FLAG: Kind = Kind::Boolean;
const ANY: Kind = Kind::Any;
const COUNT: Kind = Kind::Integer { min: 0, max: 1_000_000 };
/// What people say.
const TEXT: Kind = Kind::Text { min: 0, max: 25 * 1024 * 1024 };
const MS: Kind = Kind::Integer { min: 0, max: 1 << 53 };

const fn operator(
    name: &'static str,
    scope: Scopes,
    cost: u64,
    params: &'static [Field],
    handler: fn(&mut Gateway, &mut Cx<'_>, &mut Call<'_>) -> Done,
) -> Method {
    Method { name, role: PeerRole::Operator, scope, cost, params, handler }
}

pub(in crate::gateway) static METHODS: &[Method] = &[
    operator("health", Scopes::NONE, 1, &[Field::optional("probe", FLAG)], system::health),
    operator("status", Scopes::READ, 1, &[], system::status),
    operator("system-presence", Scopes::READ, 1, &[], system::presence),
    operator("last-heartbeat", Scopes::READ, 1, &[], system::last_heartbeat),
    operator("models.list", Scopes::READ, 1, &[Field::optional("view", ANY)], agents::models),
    operator("agents.list", Scopes::READ, 1, &[], agents::list),
    operator(
        "agent.identity.get",
        Scopes::READ,
        1,
        &[Field::optional("agentId", NAME), Field::optional("sessionKey", NAME)],
        agents::identity,
    ),
    operator("chat.send", Scopes::WRITE, 10, CHAT_SEND, chat::send),
    operator("chat.history", Scopes::READ, 2, CHAT_HISTORY, chat::history),
    operator("chat.startup", Scopes::READ, 2, CHAT_HISTORY, chat::history),
    operator(
        "chat.abort",
        Scopes::WRITE,
        0,
        &[
            Field::required("sessionKey", NAME),
            Field::optional("runId", NAME),
            Field::optional("agentId", NAME),
            Field::optional("preserveSideRuns", FLAG),
        ],
        chat::abort,
    ),
    operator("agent", Scopes::WRITE, 10, AGENT, chat::agent),
    operator(
        "agent.wait",
        Scopes::WRITE,
        2,
        &[Field::required("runId", NAME), Field::optional("timeoutMs", MS)],
        chat::wait,
    ),
    operator("device.pair.list", Scopes::PAIRING, 1, &[], devices::list),
    operator("device.pair.approve", Scopes::PAIRING, 2, REQUEST, devices::approve),
    operator("device.pair.reject", Scopes::PAIRING, 2, REQUEST, devices::reject),
    operator(
        "device.pair.remove",
        Scopes::PAIRING,
        2,
        &[Field::required("deviceId", NAME)],
        devices::remove,
    ),
    operator(
        "device.token.rotate",
        Scopes::PAIRING,
        2,
        &[
            Field::required("deviceId", NAME),
            Field::required("role", NAME),
            Field::optional("scopes", Kind::List(&NAME, 64)),
        ],
        devices::rotate,
    ),
    operator(
        "device.token.revoke",
        Scopes::PAIRING,
        2,
        &[Field::required("deviceId", NAME), Field::required("role", NAME)],
        devices::revoke,
    ),
];

const REQUEST: &[Field] = &[Field::required("requestId", NAME)];

const ATTACHMENTS: Kind = Kind::List(&ANY, 16);

/// Clients send more with a message than an agent can use here: all of that is ignored.
const CHAT_SEND: &[Field] = &[
    Field::required("sessionKey", NAME),
    Field::required("message", TEXT),
    Field::required("idempotencyKey", KEY),
    Field::optional("agentId", NAME),
    Field::optional("attachments", ATTACHMENTS),
    Field::OTHERS,
];

const CHAT_HISTORY: &[Field] = &[
    Field::required("sessionKey", NAME),
    Field::optional("limit", Kind::Integer { min: 1, max: 1000 }),
    Field::optional("offset", COUNT),
    Field::OTHERS,
];

const AGENT: &[Field] = &[
    Field::required("message", TEXT),
    Field::required("idempotencyKey", KEY),
    Field::optional("agentId", NAME),
    Field::optional("sessionKey", NAME),
    Field::optional("attachments", ATTACHMENTS),
    Field::OTHERS,
];
