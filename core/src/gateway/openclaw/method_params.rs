//! What the parameters of methods may be.
//!
//! Clients send more than this gateway has a use for, and newer ones more than older ones: where it does
//! no harm to ignore it, [`Field::OTHERS`] stands at the end.

use super::schema::{Field, Kind};

/// Names of agents, sessions and runs.
pub(super) const NAME: Kind = Kind::Text { min: 1, max: 512 };
/// What makes a request have its effect once.
const KEY: Kind = Kind::Text { min: 1, max: 128 };
pub(super) const FLAG: Kind = Kind::Boolean;
pub(super) const ANY: Kind = Kind::Any;
const COUNT: Kind = Kind::Integer { min: 0, max: 1_000_000 };
const SOME: Kind = Kind::Integer { min: 1, max: 1_000_000 };
/// What people say.
const TEXT: Kind = Kind::Text { min: 0, max: 25 * 1024 * 1024 };
/// The same, where there must be something.
const WORDS: Kind = Kind::Text { min: 1, max: 25 * 1024 * 1024 };
/// A name that people see: at most 100 characters.
const LABEL: Kind = Kind::Text { min: 0, max: 400 };
const MS: Kind = Kind::Integer { min: 0, max: 1 << 53 };

/// The agent whose session a short name is for.
const AGENT_ID: Field = Field::optional("agentId", NAME);

/// The session's second name: a guard against meaning another one.
const EXPECTED: Field = Field::optional("expectedSessionId", NAME);

/// For methods that answer the same whatever they are asked.
pub(super) const IGNORED: &[Field] = &[Field::OTHERS];

pub(super) const HEALTH: &[Field] = &[Field::optional("probe", FLAG), Field::OTHERS];

pub(super) const MODELS: &[Field] = &[Field::optional("view", ANY), Field::OTHERS];

pub(super) const IDENTITY: &[Field] =
    &[Field::optional("agentId", NAME), Field::optional("sessionKey", NAME), Field::OTHERS];

const ATTACHMENT: Kind = Kind::Object(&[
    Field::optional("content", TEXT),
    Field::optional("mimeType", Kind::Text { min: 0, max: 256 }),
    Field::optional("fileName", Kind::Text { min: 0, max: 1024 }),
    Field::OTHERS,
]);

const ATTACHMENTS: Kind = Kind::List(&ATTACHMENT, 16);

pub(super) const CHAT_SEND: &[Field] = &[
    Field::required("sessionKey", NAME),
    Field::required("message", TEXT),
    Field::required("idempotencyKey", KEY),
    Field::optional("agentId", NAME),
    Field::optional("attachments", ATTACHMENTS),
    Field::optional("suppressCommandInterpretation", FLAG),
    Field::OTHERS,
];

pub(super) const CHAT_HISTORY: &[Field] = &[
    Field::required("sessionKey", NAME),
    AGENT_ID,
    Field::optional("limit", Kind::Integer { min: 1, max: 1000 }),
    Field::optional("offset", COUNT),
    Field::OTHERS,
];

pub(super) const CHAT_ABORT: &[Field] = &[
    Field::required("sessionKey", NAME),
    Field::optional("runId", NAME),
    Field::optional("agentId", NAME),
    Field::optional("preserveSideRuns", FLAG),
    Field::OTHERS,
];

pub(super) const CHAT_INJECT: &[Field] = &[
    Field::required("sessionKey", NAME),
    AGENT_ID,
    Field::required("message", WORDS),
    Field::optional("label", LABEL),
    Field::OTHERS,
];

pub(super) const AGENT: &[Field] = &[
    Field::required("message", TEXT),
    Field::required("idempotencyKey", KEY),
    Field::optional("agentId", NAME),
    Field::optional("sessionKey", NAME),
    Field::optional("attachments", ATTACHMENTS),
    Field::OTHERS,
];

pub(super) const AGENT_WAIT: &[Field] =
    &[Field::required("runId", NAME), Field::optional("timeoutMs", MS), Field::OTHERS];

pub(super) const SESSIONS_LIST: &[Field] = &[
    Field::optional("limit", SOME),
    Field::optional("offset", COUNT),
    AGENT_ID,
    Field::optional("label", LABEL),
    Field::optional("search", Kind::Text { min: 0, max: 512 }),
    Field::optional("activeMinutes", SOME),
    // Either a flag, or `all`.
    Field::optional("archived", ANY),
    Field::optional("pinned", FLAG),
    Field::optional("hasBoard", FLAG),
    Field::optional("spawnedBy", NAME),
    Field::optional("group", NAME),
    Field::optional("projectId", NAME),
    Field::optional("workspaceDir", ANY),
    Field::optional("includeDerivedTitles", FLAG),
    Field::optional("includeLastMessage", FLAG),
    Field::OTHERS,
];

pub(super) const SESSION: &[Field] =
    &[Field::required("key", NAME), AGENT_ID, EXPECTED, Field::OTHERS];

pub(super) const SESSIONS_RESOLVE: &[Field] = &[
    Field::optional("key", NAME),
    Field::optional("sessionId", NAME),
    Field::optional("label", LABEL),
    AGENT_ID,
    Field::optional("allowMissing", FLAG),
    Field::OTHERS,
];

/// Settings of sessions that clients know and that agents here have not: each keeps its default.
pub(super) const SETTINGS: [&str; 33] = [
    "agentRuntime",
    "archived",
    "attention",
    "autoLabel",
    "boardFace",
    "boardPresentation",
    "category",
    "color",
    "completionOwnerSessionKey",
    "contextWindow",
    "elevatedLevel",
    "execAsk",
    "execHost",
    "execNode",
    "execSecurity",
    "fastMode",
    "groupActivation",
    "icon",
    "model",
    "nativeRuntimeConsent",
    "permissionMode",
    "pinned",
    "reasoningLevel",
    "responseUsage",
    "sandboxMode",
    "sendPolicy",
    "statusNote",
    "thinkingLevel",
    "toolOverrides",
    "traceLevel",
    "ttlMinutes",
    "unread",
    "verboseLevel",
];

/// Closed: a setting that is not known here must not seem to be set.
pub(super) const SESSIONS_PATCH: &[Field] = &{
    let mut fields = [Field::required("key", NAME); SETTINGS.len() + 4];
    fields[1] = AGENT_ID;
    fields[2] = EXPECTED;
    fields[3] = Field::optional("label", LABEL);
    let mut at = 0;
    while at < SETTINGS.len() {
        fields[at + 4] = Field::optional(SETTINGS[at], ANY);
        at += 1;
    }
    fields
};

pub(super) const SESSIONS_CREATE: &[Field] = &[
    Field::optional("key", NAME),
    AGENT_ID,
    Field::optional("label", LABEL),
    Field::optional("message", TEXT),
    Field::optional("attachments", Kind::List(&ANY, 16)),
    Field::optional("fork", FLAG),
    Field::optional("forkFrom", ANY),
    Field::OTHERS,
];

pub(super) const SESSIONS_DELETE: &[Field] = &[
    Field::required("key", NAME),
    AGENT_ID,
    EXPECTED,
    Field::optional("deleteTranscript", FLAG),
    Field::optional("archivedOnly", FLAG),
    Field::OTHERS,
];

pub(super) const SESSIONS_COMPACT: &[Field] = &[
    Field::required("key", NAME),
    AGENT_ID,
    EXPECTED,
    Field::optional("maxLines", SOME),
    Field::OTHERS,
];

pub(super) const NODE: &[Field] = &[Field::required("nodeId", NAME), Field::OTHERS];

pub(super) const NODE_REQUEST: &[Field] = &[Field::required("requestId", NAME), Field::OTHERS];

pub(super) const NODE_RENAME: &[Field] = &[
    Field::required("nodeId", NAME),
    Field::required("displayName", Kind::Text { min: 1, max: 256 }),
    Field::OTHERS,
];

pub(super) const NODE_INVOKE: &[Field] = &[
    Field::required("nodeId", NAME),
    Field::required("command", Kind::Text { min: 1, max: 256 }),
    Field::optional("params", ANY),
    Field::optional("timeoutMs", MS),
    Field::optional("idempotencyKey", KEY),
    Field::OTHERS,
];

const NODE_ERROR: Kind =
    Kind::Object(&[Field::optional("code", TEXT), Field::optional("message", TEXT), Field::OTHERS]);

pub(super) const NODE_RESULT: &[Field] = &[
    Field::required("id", NAME),
    Field::required("nodeId", NAME),
    Field::required("ok", FLAG),
    Field::optional("payload", ANY),
    Field::optional("payloadJSON", TEXT),
    Field::optional("error", NODE_ERROR),
    Field::OTHERS,
];

pub(super) const NODE_EVENT: &[Field] = &[
    Field::required("event", NAME),
    Field::optional("payload", ANY),
    Field::optional("payloadJSON", TEXT),
    Field::OTHERS,
];

pub(super) const WAKE: &[Field] = &[
    Field::required("mode", Kind::OneOf(&["now", "next-heartbeat"])),
    Field::required("text", WORDS),
    Field::optional("sessionKey", NAME),
    AGENT_ID,
    Field::OTHERS,
];

pub(super) const LOGS_TAIL: &[Field] = &[
    Field::optional("cursor", MS),
    Field::optional("limit", COUNT),
    Field::optional("maxBytes", COUNT),
    Field::OTHERS,
];

pub(super) const SYSTEM_EVENT: &[Field] = &[Field::required("text", WORDS), Field::OTHERS];

/// Which channels there could be does not matter where there are none.
pub(super) const CHANNEL: &[Field] = &[Field::optional("channel", NAME), Field::OTHERS];

pub(super) const REQUEST: &[Field] = &[Field::required("requestId", NAME)];

pub(super) const DEVICE: &[Field] = &[Field::required("deviceId", NAME)];

pub(super) const DEVICE_ROLE: &[Field] =
    &[Field::required("deviceId", NAME), Field::required("role", NAME)];

pub(super) const DEVICE_ROTATE: &[Field] = &[
    Field::required("deviceId", NAME),
    Field::required("role", NAME),
    Field::optional("scopes", Kind::List(&NAME, 64)),
];
