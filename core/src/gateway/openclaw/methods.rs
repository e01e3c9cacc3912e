//! The one table of this dialect's methods: scopes, costs and schemas, the list in hello-ok and the docs come
//! from it. What is not here is unknown.

use super::super::Gateway;
use super::super::send::Cx;
use super::connect_params::PeerRole;
use super::dispatch::{Call, Done};
use super::method_params as params;
use super::schema::Field;
use super::scopes::Scopes;
use super::{
    agents, chat, commands, config, device_methods as devices, health, logs, node_invoke,
    node_methods as nodes, node_reports as reports, nothing, presence, sessions, wake,
};

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
    /// Clients are told that there is such a method: they show what they can do by that.
    pub(in crate::gateway) listed: bool,
    /// What it does, in a sentence.
    pub(in crate::gateway) summary: &'static str,
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
    "node.pair.requested",
    "node.pair.resolved",
    "node.invoke.request",
    "node.invoke.cancel",
    "node.hostStats",
    "node.runnerInventory.changed",
    "voicewake.changed",
    "health",
    "tick",
    "shutdown",
];

pub(in crate::gateway) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

const fn operator(
    name: &'static str,
    scope: Scopes,
    cost: u64,
    params: &'static [Field],
    handler: fn(&mut Gateway, &mut Cx<'_>, &mut Call<'_>) -> Done,
) -> Method {
    let (role, listed) = (PeerRole::Operator, true);
    Method { name, role, scope, cost, params, handler, listed, summary: "" }
}

/// For nodes, which need no scope.
const fn node(
    name: &'static str,
    cost: u64,
    params: &'static [Field],
    handler: fn(&mut Gateway, &mut Cx<'_>, &mut Call<'_>) -> Done,
) -> Method {
    let (role, scope, listed) = (PeerRole::Node, Scopes::NONE, true);
    Method { name, role, scope, cost, params, handler, listed, summary: "" }
}

impl Method {
    const fn about(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// For methods about what there is not: who knows of them asks in vain.
    const fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }
}

const NOTHING: Scopes = Scopes::NONE;
const READ: Scopes = Scopes::READ;
const WRITE: Scopes = Scopes::WRITE;
const ADMIN: Scopes = Scopes::ADMIN;
const PAIRING: Scopes = Scopes::PAIRING;

pub(in crate::gateway) static METHODS: &[Method] = &[
    operator("health", NOTHING, 1, params::HEALTH, health::health)
        .about("Whether all is well, and how many sessions the caller has."),
    operator("status", READ, 1, params::IGNORED, health::status)
        .about("Sessions that were used last, by agents."),
    operator("system-presence", READ, 1, params::IGNORED, presence::list)
        .about("Who is connected, and who has left in the last five minutes."),
    operator("last-heartbeat", READ, 1, params::IGNORED, nothing::last_heartbeat)
        .about("Null: agents do not speak by themselves."),
    operator("models.list", READ, 1, params::MODELS, agents::models)
        .about("Each agent as a model: which one it asks is its own affair."),
    operator("agents.list", READ, 1, params::IGNORED, agents::list)
        .about("The agents; the default one is called main."),
    operator("agent.identity.get", READ, 1, params::IDENTITY, agents::identity)
        .about("What an agent is called."),
    operator("config.get", READ, 1, params::IGNORED, config::get)
        .about("The configuration that holds, without secrets; all of it for admins."),
    operator("commands.list", READ, 1, params::IGNORED, commands::list)
        .about("What a text can be instead of a message."),
    operator("chat.send", WRITE, 10, params::CHAT_SEND, chat::send)
        .about("Says something to an agent; events tell the answer. `/stop` stops it."),
    operator("chat.history", READ, 2, params::CHAT_HISTORY, chat::history)
        .about("What was said, and what is being said."),
    operator("chat.startup", READ, 2, params::CHAT_HISTORY, chat::history)
        .about("The same, as the first thing that a page asks."),
    operator("chat.metadata", READ, 1, params::IGNORED, commands::metadata)
        .about("The models and commands of a session."),
    operator("chat.abort", WRITE, 0, params::CHAT_ABORT, chat::abort)
        .about("Stops what is under way in a session, or one run of it."),
    operator("chat.inject", ADMIN, 5, params::CHAT_INJECT, chat::inject)
        .about("Adds a message of the assistant without a run."),
    operator("agent", WRITE, 10, params::AGENT, chat::agent)
        .about("Says something to an agent, and has two answers: accepted, and what came of it."),
    operator("agent.wait", WRITE, 2, params::AGENT_WAIT, chat::wait)
        .about("Waits for the end of a run."),
    operator("wake", WRITE, 10, params::WAKE, wake::wake)
        .about("Tells the default agent something in the caller's main session; `now` only."),
    operator("logs.tail", READ, 2, params::LOGS_TAIL, logs::tail)
        .about("The newest lines of the gateway's log; the credential must be an admin's."),
    operator("sessions.list", READ, 2, params::SESSIONS_LIST, sessions::list)
        .about("The caller's sessions, or everybody's for admins; the one used last first."),
    operator("sessions.describe", READ, 1, params::SESSION, sessions::describe)
        .about("One session, or null."),
    operator("sessions.resolve", READ, 2, params::SESSIONS_RESOLVE, sessions::resolve)
        .about("The key of a session by its key, its id or its label."),
    operator("sessions.subscribe", READ, 1, params::SESSIONS_LIST, sessions::subscribe)
        .about("From now on `sessions.changed` and `session.message` tell of all sessions of the caller's user."),
    operator("sessions.unsubscribe", READ, 1, params::IGNORED, sessions::unsubscribe)
        .about("The end of that."),
    operator("sessions.messages.subscribe", READ, 1, params::SESSION, sessions::listen)
        .about("From now on `session.message` tells what is said in this one."),
    operator("sessions.messages.unsubscribe", READ, 1, params::SESSION, sessions::unlisten)
        .about("The end of that."),
    operator("sessions.patch", WRITE, 2, params::SESSIONS_PATCH, sessions::patch)
        .about("Changes the label of a session; other settings keep their defaults."),
    operator("sessions.create", WRITE, 5, params::SESSIONS_CREATE, sessions::create)
        .about("Makes a session, and says something in it if there is a message."),
    operator("sessions.reset", ADMIN, 5, params::SESSION, sessions::reset)
        .about("Forgets all that was said in a session."),
    operator("sessions.delete", WRITE, 5, params::SESSIONS_DELETE, sessions::delete)
        .about("Removes a session with all that was said in it."),
    operator("sessions.compact", ADMIN, 5, params::SESSIONS_COMPACT, sessions::compact)
        .about("Forgets what was said first; the newest `maxLines` messages stay, or 4."),
    operator("node.list", READ, 1, params::IGNORED, nodes::list)
        .about("Nodes that are connected, and those of which something was approved."),
    operator("node.describe", READ, 1, params::NODE, nodes::describe).about("One node."),
    operator("node.invoke", WRITE, 5, params::NODE_INVOKE, node_invoke::invoke)
        .about("Tells a node to do something, and gives its answer. Most of `system.…` needs admin."),
    operator("node.pair.list", PAIRING, 1, params::IGNORED, nodes::pairings)
        .about("What nodes ask to have approved, and what was."),
    operator("node.pair.approve", PAIRING, 2, params::NODE_REQUEST, nodes::approve).about(
        "Approves what a node declares; with commands it needs write, with `system.…` admin.",
    ),
    operator("node.pair.reject", PAIRING, 2, params::NODE_REQUEST, nodes::reject)
        .about("Does not approve it."),
    operator("node.pair.remove", PAIRING, 2, params::NODE, nodes::remove)
        .about("Takes back what was approved of a node."),
    operator("node.rename", PAIRING, 2, params::NODE_RENAME, nodes::rename)
        .about("Gives a node another name."),
    node("node.invoke.result", 0, params::NODE_RESULT, reports::result)
        .about("Answers what the node was told to do."),
    node("node.event", 1, params::NODE_EVENT, reports::event)
        .about("News of a node; `node.host.stats` is passed on as `node.hostStats`."),
    node("node.host.stats", 1, params::IGNORED, reports::noted).about("Acknowledged."),
    node("node.runnerInventory.update", 1, params::IGNORED, reports::inventory)
        .about("Passed on as `node.runnerInventory.changed`."),
    node("node.skills.update", 1, params::IGNORED, reports::noted).about("Acknowledged."),
    node("node.pluginTools.update", 1, params::IGNORED, reports::noted).about("Acknowledged."),
    operator("channels.status", READ, 1, params::IGNORED, nothing::channels)
        .about("No channels.")
        .unlisted(),
    operator("cron.list", READ, 1, params::IGNORED, nothing::cron).about("No jobs.").unlisted(),
    operator("cron.status", READ, 1, params::IGNORED, nothing::cron_status)
        .about("No jobs.")
        .unlisted(),
    operator("tasks.list", READ, 1, params::IGNORED, nothing::tasks).about("No tasks.").unlisted(),
    operator("question.list", Scopes::QUESTIONS, 1, params::IGNORED, nothing::questions)
        .about("No questions.")
        .unlisted(),
    operator("exec.approval.list", Scopes::APPROVALS, 1, params::IGNORED, nothing::approvals)
        .about("Nothing to approve.")
        .unlisted(),
    operator("plugin.approval.list", Scopes::APPROVALS, 1, params::IGNORED, nothing::approvals)
        .about("Nothing to approve.")
        .unlisted(),
    operator("openclaw.approval.list", Scopes::APPROVALS, 1, params::IGNORED, nothing::approvals)
        .about("Nothing to approve.")
        .unlisted(),
    operator("taskSuggestions.list", READ, 1, params::IGNORED, nothing::suggestions)
        .about("No suggestions.")
        .unlisted(),
    operator("sessions.groups.list", READ, 1, params::IGNORED, nothing::groups)
        .about("No groups.")
        .unlisted(),
    operator("progressCard.get", READ, 1, params::IGNORED, nothing::progress)
        .about("No card.")
        .unlisted(),
    operator("users.prefs.get", READ, 1, params::IGNORED, nothing::preferences)
        .about("No preferences are kept.")
        .unlisted(),
    operator("update.status", ADMIN, 1, params::IGNORED, nothing::update)
        .about("Nothing to update: whoever has installed the gateway does that.")
        .unlisted(),
    operator("send", WRITE, 1, params::CHANNEL, nothing::channel)
        .about("Refused: there is no channel.")
        .unlisted(),
    operator("message.action", WRITE, 1, params::CHANNEL, nothing::channel)
        .about("Refused: there is no channel.")
        .unlisted(),
    operator("system-event", ADMIN, 1, params::SYSTEM_EVENT, nothing::system_event)
        .about("Refused: there is no heartbeat that it could wait for.")
        .unlisted(),
    operator("device.pair.list", PAIRING, 1, params::IGNORED, devices::list)
        .about("Devices that ask to be let in, and those that are."),
    operator("device.pair.approve", PAIRING, 2, params::REQUEST, devices::approve)
        .about("Lets a device in, for no more than the caller may do."),
    operator("device.pair.reject", PAIRING, 2, params::REQUEST, devices::reject)
        .about("Does not let a device in."),
    operator("device.pair.remove", PAIRING, 2, params::DEVICE, devices::remove)
        .about("Takes back that a device was let in; its connections are closed."),
    operator("device.token.rotate", PAIRING, 2, params::DEVICE_ROTATE, devices::rotate)
        .about("Gives a device one new token instead of all that it has in a role."),
    operator("device.token.revoke", PAIRING, 2, params::DEVICE_ROLE, devices::revoke)
        .about("Takes all tokens of a device in a role back."),
];
