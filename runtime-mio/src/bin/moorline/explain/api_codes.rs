//! The `code` of errors of OpenAI's HTTP API, as far as they are not those of the gateway in small letters.

use super::entry::{Entry, Kind};

const PAGE: &str = "docs/openai-api.md has what is taken and what is not";

pub(super) const API_CODES: &[Entry] = &[
    Kind::ErrorCode.entry(
        "unsupported_parameter",
        &[],
        "The request wants something that would change the meaning of the answer, and that the gateway cannot do; `param` names it.",
        &[
            "tools, functions, stop, n above 1, logprobs, or a response_format other than text",
            "an image or another part that is no text",
        ],
        &["leave out what `param` names", PAGE],
    ),
    Kind::ErrorCode.entry(
        "model_not_found",
        &[],
        "No agent has the id that the request has as its model.",
        &[
            "the client has the model's own name: here a model is an agent's id",
            "a mistyped agent, or another configuration",
        ],
        &[
            "GET /v1/models lists those there are",
            "`default` is the first agent",
            "agents[].id in the configuration (docs/agents.md)",
        ],
    ),
    Kind::ErrorCode.entry(
        "invalid_api_key",
        &[],
        "There is no valid token in `Authorization: Bearer`.",
        &[
            "the client has a key of OpenAI, not a token of this gateway",
            "the token was revoked or has expired",
        ],
        &["give the client the gateway's token, or an API key of it, as its api_key", PAGE],
    ),
    Kind::ErrorCode.entry(
        "rate_limit_exceeded",
        &[],
        "Asked too often; `Retry-After` says when to come back.",
        &["gateway.rate_limit_rpm", "wrong tokens from this address"],
        &["wait as long as Retry-After says", "raise gateway.rate_limit_rpm"],
    ),
    Kind::ErrorCode.entry(
        "run_cancelled",
        &[],
        "The run was stopped, and not by whoever waits for its answer.",
        &["chat.abort by somebody else who sees the session"],
        &["ask again, if you want it begun anew"],
    ),
    Kind::ErrorCode.entry(
        "string_above_max_length",
        &[],
        "The last message is longer than gateway.max_message_chars. It is refused here, not cut.",
        &["a file was pasted into the message"],
        &["shorten it, or raise gateway.max_message_chars"],
    ),
];
