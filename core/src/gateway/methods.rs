//! The one table of methods. The list in the connect answer, the docs, the role check, the rate
//! limit and the authorization matrix test come from it; a method that is not here does not exist.

use super::params::{Param, Params};
use super::principal::{Authenticated, Role};
use super::refusal::Refusal;
use super::send::{Cx, ReplyTo};
use super::{Gateway, chat, login, system};
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

/// A handler answers at once through what it takes out of `ReplyTo`, keeps it to answer later, or
/// refuses and leaves it.
pub(super) enum Handler {
    Open(fn(&mut Gateway, &mut Cx<'_>, Params<'_>, &mut Option<ReplyTo>) -> Result<(), Refusal>),
    Authenticated(AuthenticatedHandler),
}

pub(super) type AuthenticatedHandler = fn(
    &mut Gateway,
    &mut Cx<'_>,
    &Authenticated,
    Params<'_>,
    &mut Option<ReplyTo>,
) -> Result<(), Refusal>;

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "open",
            Self::Authenticated(_) => "authenticated",
        })
    }
}

/// All methods, in the order of the docs.
pub fn methods() -> &'static [Method] {
    METHODS
}

/// The event names that a client can see.
pub(super) const EVENTS: [&str; 6] =
    ["connect.challenge", "agent", "chat.turn", "presence", "lagged", "shutdown"];

pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// The methods as a table in Markdown.
pub fn methods_markdown() -> String {
    let mut out = String::from(
        "| method | role | cost | parameters | what it does |\n|---|---|---|---|---|\n",
    );
    for method in METHODS {
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

static METHODS: &[Method] = &[
    Method {
        name: "connect",
        role: None,
        cost: 0,
        summary: "Logs in; the answer describes the gateway.",
        params: &[
            param("token", "text"),
            param("user_id", "text"),
            param("locale", "text"),
            param("protocol", "number"),
            param("resume", "object"),
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
        handler: Handler::Authenticated(system::agents_list),
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
        handler: Handler::Authenticated(chat::sessions_list),
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
