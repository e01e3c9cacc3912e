//! Codes of error answers: the gateway's own, and those in `details` of OpenClaw's dialect.

use super::entry::{Entry, Kind};

const fn error(
    name: &'static str,
    means: &'static str,
    causes: &'static [&'static str],
    fix: &'static [&'static str],
) -> Entry {
    Entry { kind: Kind::ErrorCode, name, code: 0, says: &[], means, causes, fix }
}

const TOKEN: &str =
    "moorline doctor   (compares the tokens of configuration, state folder and environment)";
const MESSAGE: &str = "the answer's `message` says what exactly";
const PAIR: &str = "moorline devices approve, on the gateway's host (docs/admin.md)";
const PAIR_ELSEWHERE: &str =
    "device.pair.list, then device.pair.approve, by an admin from anywhere (docs/pairing.md)";
const NEW_KEY: &str = "let the client make a new device key, and pair it again";
const UPDATE: &str = "update the client";

pub(super) const ERROR_CODES: &[Entry] = &[
    error(
        "INVALID_REQUEST",
        "The message, its envelope or its parameters are wrong.",
        &[
            "a typing error in a parameter",
            "a client of another version",
            "the first request was not `connect`",
        ],
        &[MESSAGE, "docs/methods.md has every method's parameters"],
    ),
    error(
        "UNAUTHORIZED",
        "Not logged in, a wrong credential, or a role that is too low.",
        &[
            "the token is wrong, revoked or expired: `details.why` says which",
            "the token allows less than the method needs",
            "too many wrong ones from this address: then it has `retryAfterMs`",
        ],
        &[TOKEN, "docs/methods.md has the role that each method needs"],
    ),
    error(
        "FORBIDDEN",
        "It belongs to somebody else, or the scopes do not allow it.",
        &["a session of another user", "a scope that was not asked for at `connect`"],
        &["ask as its owner, or as an admin"],
    ),
    error(
        "NOT_FOUND",
        "There is no such thing.",
        &[
            "a session key that was mistyped, or whose session was deleted",
            "gateway.create_sessions is off, and the client makes up its keys",
        ],
        &["sessions.list", "moorline serve --create-sessions"],
    ),
    error(
        "FAILED_PRECONDITION",
        "Not as things are; the message says what has to happen first.",
        &["a run is under way in this session", "the gateway has no token or no agent for this"],
        &[MESSAGE],
    ),
    error(
        "RESOURCE_EXHAUSTED",
        "Too much of something; `retryAfterMs` says when it can work again.",
        &[
            "a rate limit (gateway.rate_limit_rpm)",
            "too much under way at once, or kept in memory for this user",
            "too many requests to be let in",
        ],
        &["wait for `retryAfterMs`", "raise the limit that the message names"],
    ),
    error(
        "UNAVAILABLE",
        "The gateway, or what it depends on, cannot do it now.",
        &["the gateway stops or starts", "the database or the agent does not answer"],
        &["try again after `retryAfterMs`", "GET /ready names what is wrong"],
    ),
    error(
        "NOT_PAIRED",
        "A device that nobody has let in, or no device where one is needed.",
        &["pairing is required", "the client sent no token"],
        &[PAIR, PAIR_ELSEWHERE, TOKEN],
    ),
    error(
        "AGENT_TIMEOUT",
        "The agent did not finish in time.",
        &["the agent hangs or is slow: limits.run_within_ms is half an hour"],
        &["look at the agent's own log", "raise limits.run_within_ms"],
    ),
    error(
        "INTERNAL",
        "A fault within the gateway.",
        &["it should not happen"],
        &["the gateway's log has more; report it"],
    ),
    error(
        "MISSING_SCOPE",
        "The connection has not the scope that the method needs; `details.missingScope` names it.",
        &["it was not asked for at `connect`", "the credential does not allow it"],
        &["ask for the scope at `connect`, with a token that allows it"],
    ),
    error(
        "UNKNOWN_AGENT_ID",
        "There is no agent of this name.",
        &["a mistyped agent", "another configuration"],
        &["agents.list"],
    ),
    error(
        "NOT_CONNECTED",
        "The node is not connected, or left before it answered.",
        &["the node was stopped or lost its network"],
        &["start the node; node.list shows who is there"],
    ),
    error(
        "TIMEOUT",
        "A node did not answer in time.",
        &["what it was told takes longer than `timeoutMs`"],
        &["give it more time"],
    ),
    error(
        "TOO_LARGE",
        "What a node was told, or its answer, is larger than a quarter of a message.",
        &["a large file as a parameter"],
        &["send less, or upload it"],
    ),
    error(
        "PROTOCOL_MISMATCH",
        "Client and gateway have no version of the protocol in common; `details` has both.",
        &["a very old or a very new client"],
        &[UPDATE],
    ),
    error(
        "CONTROL_UI_ORIGIN_NOT_ALLOWED",
        "A page must have an Origin, and one that is allowed.",
        &["the page is served from elsewhere"],
        &["moorline serve --allow-origin https://PAGE"],
    ),
    error(
        "DEVICE_IDENTITY_REQUIRED",
        "The client came without a device and without a token.",
        &["no token was configured in the client"],
        &["give the client the gateway's token", TOKEN],
    ),
    error(
        "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
        "The Control UI must prove a device.",
        &[
            "the page is not served over https:// or from localhost, so the browser gives it no keys",
        ],
        &["serve it over https://, or use http://localhost (docs/control-ui.md)"],
    ),
    error(
        "DEVICE_AUTH_DEVICE_ID_MISMATCH",
        "The device's name is not the hash of its key.",
        &["a damaged identity file"],
        &[NEW_KEY],
    ),
    error(
        "DEVICE_AUTH_SIGNATURE_EXPIRED",
        "What the device signed is more than two minutes old, or in the future.",
        &["the clocks differ"],
        &["set the clocks of both machines (NTP)"],
    ),
    error(
        "DEVICE_AUTH_NONCE_REQUIRED",
        "The device signed without this connection's challenge.",
        &["a very old client"],
        &[UPDATE],
    ),
    error(
        "DEVICE_AUTH_NONCE_MISMATCH",
        "The device signed another connection's challenge.",
        &["a fault of the client"],
        &[UPDATE],
    ),
    error(
        "DEVICE_AUTH_SIGNATURE_INVALID",
        "The signature is not that of the device's key over what was sent.",
        &["the client signs another token than it sends", "a damaged identity file"],
        &["give the client one token only", NEW_KEY],
    ),
    error(
        "DEVICE_AUTH_PUBLIC_KEY_INVALID",
        "The device's key is not a key.",
        &["a damaged identity file"],
        &[NEW_KEY],
    ),
    error(
        "AUTH_TOKEN_MISMATCH",
        "The client's token is not the gateway's.",
        &[
            "the gateway's token was changed, or the client has that of another gateway",
            "an old variable of the client overrides the new token",
        ],
        &[TOKEN, "give the client the gateway's token"],
    ),
    error(
        "AUTH_TOKEN_MISSING",
        "The client sent no token.",
        &["it was not configured, or under a name that the client does not read"],
        &["give the client the gateway's token"],
    ),
    error(
        "AUTH_DEVICE_TOKEN_MISMATCH",
        "The token that the device kept is not the one that it was given last.",
        &["it was rotated or revoked", "two programs share one device key"],
        &["connect once with the gateway token: the device gets a new one"],
    ),
    error(
        "AUTH_SCOPE_MISMATCH",
        "The device's token is for less than was asked.",
        &["the client wants more than it was let in with"],
        &[PAIR, PAIR_ELSEWHERE],
    ),
    error(
        "AUTH_RATE_LIMITED",
        "Too many wrong tokens came from this address: it is locked out for a while.",
        &["a client that tries a wrong token again and again"],
        &["stop that client; wait for `retryAfterMs`"],
    ),
    error(
        "AUTH_BOOTSTRAP_TOKEN_INVALID",
        "This gateway gives no bootstrap tokens.",
        &["the client was set up for another gateway"],
        &["give it the gateway's token, or pair it"],
    ),
    error(
        "PAIRING_REQUIRED",
        "Nobody has let the device in yet, or only for less than it asks now; `details.requestId` names the request.",
        &["a new device", "another role, other scopes or another platform than before"],
        &[PAIR, PAIR_ELSEWHERE],
    ),
    error(
        "AUTH_REQUIRED",
        "A credential is wanted. Other gateways send it; here it is AUTH_TOKEN_MISSING.",
        &["the client sent no token"],
        &["give the client the gateway's token"],
    ),
    error(
        "AUTH_UNAUTHORIZED",
        "The credential was refused. Other gateways send it; here it is AUTH_TOKEN_MISMATCH.",
        &["a wrong token"],
        &[TOKEN],
    ),
    error(
        "AUTH_TOKEN_NOT_CONFIGURED",
        "The gateway has no token. Other gateways send it; this one makes a token at its first start.",
        &["another gateway answers"],
        &["moorline probe URL   (says which server answers)"],
    ),
    error(
        "AUTH_PASSWORD_MISSING",
        "The gateway wants a password. Other gateways send it; here the token may be sent as a password.",
        &["another gateway answers"],
        &["moorline probe URL   (says which server answers)"],
    ),
    error(
        "AUTH_PASSWORD_MISMATCH",
        "The password is wrong. Other gateways send it; here it is AUTH_TOKEN_MISMATCH.",
        &["another gateway answers"],
        &[TOKEN],
    ),
    error(
        "CLIENT_VERSION_MISMATCH",
        "The client is too old or too new for the gateway. Other gateways send it.",
        &["another gateway answers"],
        &[UPDATE],
    ),
];
