//! The one table of methods. The list in the connect answer, the docs, the role check, the rate
//! limit and the authorization matrix test come from it; a method that is not here does not exist.

use super::call::{Call, Done};
use super::host_work::HostWork;
use super::params::{Param, Params};
use super::principal::Role;
use super::refusal::Refusal;
use super::send::{Cx, ReplyTo};
use super::{
    Gateway, agents, api_keys, chat, connections, device_pair, effective, login, logs, revocations,
    sessions, system, workers,
};
use std::fmt;
use std::fmt::Write as _;

/// A method that clients can call.
#[derive(Debug)]
pub struct Method {
    /// Its name in requests.
    pub name: &'static str,
    /// The least role that may call it; none: whoever has a socket.
    pub role: Option<Role>,
    /// What it costs under a rate limit, in tenths of a request.
    pub cost: u64,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    pub(super) handler: Handler,
}

type OpenHandler = fn(&mut Gateway, &mut Cx<'_>, Params<'_>, &mut Option<ReplyTo>) -> Done;

/// A handler answers at once through what it takes out of `ReplyTo`, keeps it to answer later, or
/// refuses and leaves it.
pub(super) enum Handler {
    Open(OpenHandler),
    Authenticated(fn(&mut Gateway, &mut Cx<'_>, &mut Call<'_>) -> Done),
    /// What the host is asked for; see [`host`](super::host).
    Host(fn(&Params<'_>) -> Result<HostWork, Refusal>),
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "open",
            Self::Authenticated(_) => "authenticated",
            Self::Host(_) => "host",
        })
    }
}

/// All methods, in the order of the docs.
pub fn methods() -> &'static [Method] {
    METHODS
}

/// The event names that a client can see.
pub(super) const EVENTS: [&str; 11] = [
    "connect.challenge",
    "agent",
    "chat.turn",
    "session.updated",
    "presence",
    "lagged",
    "shutdown",
    "tick",
    "log",
    "device.pair.requested",
    "device.pair.resolved",
];

pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// The methods as a table in Markdown.
pub fn methods_markdown() -> String {
    table(METHODS)
}

/// Methods as a table in Markdown.
pub(super) fn table(methods: &[Method]) -> String {
    let mut out = String::from(
        "| method | role | cost | parameters | what it does |\n|---|---|---|---|---|\n",
    );
    for method in methods {
        let role = method.role.map_or("none", Role::as_str);
        let cost = method.cost;
        write!(out, "| `{}` | {role} | {}.{} | ", method.name, cost / 10, cost % 10)
            .expect("a string takes everything");
        for (at, param) in method.params.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let optional = if param.required { "" } else { "?" };
            write!(out, "{comma}`{}{optional}` {}", param.name, param.kind)
                .expect("a string takes everything");
            for (at, alias) in param.aliases.iter().enumerate() {
                let open = if at == 0 { " (also " } else { ", " };
                write!(out, "{open}`{alias}`").expect("a string takes everything");
            }
            if !param.aliases.is_empty() {
                out.push(')');
            }
        }
        writeln!(out, " | {} |", method.summary).expect("a string takes everything");
    }
    out
}

const fn param(name: &'static str, kind: &'static str) -> Param {
    Param { name, aliases: &[], kind, required: false }
}

const fn required(param: Param) -> Param {
    Param { required: true, ..param }
}

const SESSION: Param =
    Param { name: "sessionKey", aliases: &["key", "sessionId"], kind: "text", required: false };
const MESSAGE: Param =
    Param { name: "message", aliases: &["content"], kind: "text", required: true };
const AGENT: Param = Param { name: "agentId", aliases: &["agent"], kind: "text", required: false };

const RUN: Param = Param { name: "runId", aliases: &["run"], kind: "text", required: true };

const LABEL: Param = Param {
    name: "label",
    aliases: &["title"],
    kind: "text, at most 100 characters; null takes it away",
    required: true,
};

static METHODS: &[Method] = &[
    Method {
        name: "connect",
        role: None,
        cost: 0,
        summary: "Logs in; the answer describes the gateway.",
        params: &[
            param("token", "text"),
            param("user_id", "text"),
            param("sender_id", "text: what a paired device was told"),
            param("locale", "text, not used yet"),
            param("protocol", "number"),
            param("resume", "object"),
            param("client", "object"),
            param("tick", "true or false: whether `tick` events come"),
            param("role", "`agent`: the credential must be that of a worker"),
        ],
        handler: Handler::Open(login::connect),
    },
    Method {
        name: "health",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "Whether the gateway works, and the caller's connections; an admin sees all.",
        params: &[],
        handler: Handler::Authenticated(system::health),
    },
    Method {
        name: "status",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "Agents, and how many clients and sessions there are.",
        params: &[],
        handler: Handler::Authenticated(system::status),
    },
    Method {
        name: "presence.list",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "Who is connected.",
        params: &[],
        handler: Handler::Authenticated(system::presence_list),
    },
    Method {
        name: "agents.list",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "The agents.",
        params: &[],
        handler: Handler::Authenticated(agents::list),
    },
    Method {
        name: "chat.send",
        role: Some(Role::Operator),
        cost: 10,
        summary: "Says something to an agent; answers when its run ends, or at once with `ack`.",
        params: &[
            MESSAGE,
            AGENT,
            SESSION,
            param("idempotencyKey", "text"),
            param("ack", "true or false"),
            param("stream", "ignored: chunks always come as events"),
            param("media", "paths of the caller's uploads, or objects with `path`; at most 16"),
        ],
        handler: Handler::Authenticated(chat::send),
    },
    Method {
        name: "chat.history",
        role: Some(Role::Viewer),
        cost: 2,
        summary: "The messages of a session, oldest first, the newest page unless `before` is given.",
        params: &[required(SESSION), param("limit", "number"), param("before", "message id")],
        handler: Handler::Authenticated(chat::history),
    },
    Method {
        name: "chat.abort",
        role: Some(Role::Operator),
        // A stop must never wait for the limit.
        cost: 0,
        summary: "Stops a run; with only a session its waiting turns go, too.",
        params: &[SESSION, param("runId", "text")],
        handler: Handler::Authenticated(chat::abort),
    },
    Method {
        name: "chat.inject",
        role: Some(Role::Operator),
        cost: 5,
        summary: "Adds a message of the assistant without a run.",
        params: &[required(SESSION), MESSAGE, param("label", "text, at most 100 characters")],
        handler: Handler::Authenticated(chat::inject),
    },
    Method {
        name: "chat.session.status",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "Whether a run is under way in a session.",
        params: &[required(SESSION)],
        handler: Handler::Authenticated(chat::session_status),
    },
    Method {
        name: "sessions.list",
        role: Some(Role::Viewer),
        cost: 2,
        summary: "The caller's sessions, the one used last first; an admin sees everybody's.",
        params: &[AGENT, param("limit", "number"), param("offset", "number")],
        handler: Handler::Authenticated(sessions::list),
    },
    Method {
        name: "agent.identity.get",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "Who an agent is: the one that is named, that of the session, or the first.",
        params: &[AGENT, SESSION],
        handler: Handler::Authenticated(agents::identity),
    },
    Method {
        name: "agent.wait",
        role: Some(Role::Viewer),
        cost: 2,
        summary: "Answers when a run has ended, or with status `timeout`.",
        params: &[
            required(param("runId", "text")),
            param("timeoutMs", "number, 30,000 if left out"),
        ],
        handler: Handler::Authenticated(agents::wait),
    },
    Method {
        name: "models.list",
        role: Some(Role::Viewer),
        cost: 1,
        summary: "The language models behind the agents; the built-in agent has none.",
        params: &[],
        handler: Handler::Authenticated(agents::models),
    },
    Method {
        name: "sessions.preview",
        role: Some(Role::Viewer),
        cost: 2,
        summary: "What is known of a session, and the starts of its newest messages.",
        params: &[required(SESSION), param("limit", "number")],
        handler: Handler::Authenticated(sessions::preview),
    },
    Method {
        name: "sessions.patch",
        role: Some(Role::Operator),
        cost: 5,
        summary: "Gives a session a name that people see, or takes it away.",
        params: &[required(SESSION), LABEL],
        handler: Handler::Authenticated(sessions::patch),
    },
    Method {
        name: "sessions.delete",
        role: Some(Role::Operator),
        cost: 5,
        summary: "Removes a session with all that was said; a run under way is stopped first.",
        params: &[required(SESSION)],
        handler: Handler::Authenticated(sessions::delete),
    },
    Method {
        name: "sessions.reset",
        role: Some(Role::Operator),
        cost: 5,
        summary: "Removes all that was said and keeps the session; a run under way is stopped first.",
        params: &[required(SESSION)],
        handler: Handler::Authenticated(sessions::reset),
    },
    Method {
        name: "sessions.compact",
        role: Some(Role::Operator),
        cost: 5,
        summary: "Removes all but the last messages of a session in which no run is under way.",
        params: &[required(SESSION), param("keepLast", "number, 4 if left out")],
        handler: Handler::Authenticated(sessions::compact),
    },
    Method {
        name: "connections.list",
        role: Some(Role::Admin),
        cost: 2,
        summary: "Who is connected, from where, at all loops.",
        params: &[param("userId", "text"), param("limit", "number"), param("offset", "number")],
        handler: Handler::Authenticated(connections::list),
    },
    Method {
        name: "connections.close",
        role: Some(Role::Admin),
        cost: 5,
        summary: "Closes a connection with 1008 and the reason; it cannot be resumed.",
        params: &[required(param("connId", "text")), param("reason", "text, at most 123 bytes")],
        handler: Handler::Authenticated(connections::close),
    },
    Method {
        name: "config.get",
        role: Some(Role::Admin),
        cost: 5,
        summary: "The configuration that holds, without its secrets.",
        params: &[],
        handler: Handler::Authenticated(effective::get),
    },
    // --- credentials ---------------------------------------------------------------------------
    Method {
        name: "logs.tail",
        role: Some(Role::Admin),
        cost: 2,
        summary: "The newest lines of the gateway's log; with `action` as events, until it is stopped.",
        params: &[
            param("cursor", "number: that of the answer before"),
            param("limit", "number, 500 if left out, at most 5,000"),
            param("maxBytes", "number, 250,000 if left out, at most 1,000,000"),
            param("action", "`start` or `stop`"),
            param("level", "error, warn, info, debug or trace; info if left out"),
        ],
        handler: Handler::Authenticated(logs::tail),
    },
    Method {
        name: "api_keys.create",
        role: Some(Role::Admin),
        cost: 10,
        summary: "Makes an API key, which is told this once.",
        params: &[
            required(param("name", "text, at most 100 characters")),
            required(param("role", "viewer, operator, admin or agent")),
            param("user", "text: the user id of whoever logs in by it"),
            param("agents", "list of agent ids, for the role agent"),
            param("expiresInMs", "number"),
        ],
        handler: Handler::Authenticated(api_keys::create),
    },
    Method {
        name: "api_keys.list",
        role: Some(Role::Admin),
        cost: 2,
        summary: "The API keys, without the keys.",
        params: &[],
        handler: Handler::Authenticated(api_keys::list),
    },
    Method {
        name: "api_keys.revoke",
        role: Some(Role::Admin),
        // Whoever has lost a key must not wait.
        cost: 0,
        summary: "Takes an API key back; who is logged in by it is closed.",
        params: &[required(param("id", "text"))],
        handler: Handler::Authenticated(api_keys::revoke),
    },
    Method {
        name: "tokens.revoke",
        role: Some(Role::Admin),
        cost: 0,
        summary: "Refuses one gateway token, or JWTs, for good; who is logged in by it is closed. Takes one parameter.",
        params: &[
            param("token", "fingerprint of a gateway token, as `check-config` shows it"),
            param("jti", "the id of a JWT"),
            param("subject", "the subject of JWTs: all that it was issued up to now"),
        ],
        handler: Handler::Authenticated(revocations::revoke),
    },
    // --- pairing -------------------------------------------------------------------------------
    Method {
        name: "browser.pairing.status",
        role: None,
        cost: 0,
        summary: "Whether the device that waits is let in: `approved`, `pending` or `expired`.",
        params: &[required(param("sender_id", "text"))],
        handler: Handler::Open(device_pair::status),
    },
    Method {
        name: "device.pair.request",
        role: Some(Role::Operator),
        cost: 10,
        summary: "Asks for another device of the caller's to be let in; its `senderId` is told this once.",
        params: &[
            param("senderId", "text, a secret of at least 16 bytes"),
            param("channel", "`browser`"),
        ],
        handler: Handler::Authenticated(device_pair::request),
    },
    Method {
        name: "device.pair.list",
        role: Some(Role::Admin),
        cost: 2,
        summary: "Devices that ask to be let in, and those that are.",
        params: &[],
        handler: Handler::Authenticated(device_pair::list),
    },
    Method {
        name: "device.pair.approve",
        role: Some(Role::Admin),
        cost: 5,
        summary: "Lets a device in.",
        params: &[required(param("code", "text"))],
        handler: Handler::Authenticated(device_pair::approve),
    },
    Method {
        name: "device.pair.deny",
        role: Some(Role::Admin),
        cost: 5,
        summary: "Does not let a device in.",
        params: &[required(param("code", "text"))],
        handler: Handler::Authenticated(device_pair::deny),
    },
    Method {
        name: "device.pair.revoke",
        role: Some(Role::Admin),
        cost: 0,
        summary: "Takes back that a device was let in; its connections are closed.",
        params: &[required(param("senderId", "name of the device, or its secret"))],
        handler: Handler::Authenticated(device_pair::revoke),
    },
    // --- workers -------------------------------------------------------------------------------
    // Words about runs cost nothing: they are bounded by the runs.
    Method {
        name: "agent.register",
        role: Some(Role::Agent),
        cost: 10,
        summary: "From now on the worker is given runs of these agents; all that its credential allows if none is named.",
        params: &[
            param("agents", "list of agent ids"),
            param("concurrency", "number: runs at once, 1 if left out, at most 1,000"),
        ],
        handler: Handler::Authenticated(workers::register),
    },
    Method {
        name: "agent.drain",
        role: Some(Role::Agent),
        cost: 10,
        summary: "The worker is given no new runs, and ends those that it has.",
        params: &[],
        handler: Handler::Authenticated(workers::drain),
    },
    Method {
        name: "run.delta",
        role: Some(Role::Agent),
        cost: 0,
        summary: "A piece of the answer.",
        params: &[RUN, required(param("text", "text"))],
        handler: Handler::Authenticated(|gateway, cx, call| {
            gateway.hear_worker(cx, call, workers::delta)
        }),
    },
    Method {
        name: "run.thinking",
        role: Some(Role::Agent),
        cost: 0,
        summary: "A piece of what the agent thinks.",
        params: &[RUN, required(param("text", "text"))],
        handler: Handler::Authenticated(|gateway, cx, call| {
            gateway.hear_worker(cx, call, workers::thinking)
        }),
    },
    Method {
        name: "run.tool",
        role: Some(Role::Agent),
        cost: 0,
        summary: "The agent uses a tool, or the tool is done.",
        params: &[
            RUN,
            required(param("phase", "`call` or `result`")),
            required(param("id", "text: the same in both")),
            required(param("name", "text")),
            param("arguments", "any value, of a call"),
            param("result", "any value, of a result"),
            param("isError", "true or false, of a result"),
        ],
        handler: Handler::Authenticated(|gateway, cx, call| {
            gateway.hear_worker(cx, call, workers::tool)
        }),
    },
    Method {
        name: "run.complete",
        role: Some(Role::Agent),
        cost: 0,
        summary: "Ends a run with its answer: the pieces together, unless `content` says another one.",
        params: &[
            RUN,
            param("content", "text"),
            param("usage", "object with `prompt_tokens` and `completion_tokens`"),
            param("stopReason", "`stop`, `length`, `content_filter` or `tool_calls`"),
        ],
        handler: Handler::Authenticated(|gateway, cx, call| {
            gateway.hear_worker(cx, call, workers::complete)
        }),
    },
    Method {
        name: "run.fail",
        role: Some(Role::Agent),
        cost: 0,
        summary: "Ends a run without an answer.",
        params: &[
            RUN,
            param("code", "an error code; INTERNAL if left out"),
            param("message", "text for the user"),
            param("retryAfterMs", "number"),
        ],
        handler: Handler::Authenticated(|gateway, cx, call| {
            gateway.hear_worker(cx, call, workers::fail)
        }),
    },
];

#[cfg(test)]
mod tests {
    use super::super::params::MAX_PARAMS;
    use super::*;

    #[test]
    fn names_are_unique_and_parameters_fit() {
        for (at, method) in METHODS.iter().enumerate() {
            assert!(METHODS[..at].iter().all(|other| other.name != method.name));
            assert!(method.params.len() <= MAX_PARAMS, "{}", method.name);
            let open = matches!(method.handler, Handler::Open(_));
            assert_eq!(open, method.role.is_none(), "{}", method.name);
            assert!(methods_markdown().contains(&format!("| `{}` |", method.name)));
        }
    }
}
