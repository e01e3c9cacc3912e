//! The words that a log line `closed` has as its `cause`.

use super::entry::{Entry, Kind};

const CODE: &str = "the line's code and reason say more: moorline explain CODE";

pub(super) const CAUSES: &[Entry] = &[
    Kind::Cause.entry(
        "peer",
        &[],
        "The client sent a Close.",
        &["it was closed, or gave up"],
        &[CODE],
    ),
    Kind::Cause.entry(
        "local",
        &[],
        "The gateway closed the connection.",
        &["a rule, a restart or an administrator"],
        &[CODE],
    ),
    Kind::Cause.entry(
        "eof",
        &[],
        "The transport ended without a Close.",
        &["the client was killed, or its network went away", "a proxy cut the connection"],
        &["moorline doctor URL --measure-idle"],
    ),
    Kind::Cause.entry(
        "truncated",
        &[],
        "TLS ended without its close_notify.",
        &[
            "the client was killed, or its network went away",
            "somebody on the way cut the connection",
        ],
        &["moorline doctor URL --measure-idle"],
    ),
    Kind::Cause.entry(
        "protocol",
        &[],
        "The client broke RFC 6455.",
        &["a faulty client, or a proxy that alters frames"],
        &[CODE],
    ),
    Kind::Cause.entry(
        "limit",
        &[],
        "The client exceeded a limit.",
        &["a message that is too large"],
        &[CODE],
    ),
    Kind::Cause.entry(
        "upgrade",
        &[],
        "The upgrade request was wrong.",
        &["not HTTP, TLS to a plain port, a damaged head"],
        &["the line `refused`, or its reason, says what was wrong"],
    ),
    Kind::Cause.entry(
        "http",
        &[],
        "It was a plain request, or a refused upgrade, and was answered.",
        &["a page, a health check, or a refusal"],
        &["the line `refused` of the same conn has the status"],
    ),
    Kind::Cause.entry(
        "handshake-timeout",
        &[],
        "No request within 5 s, or no successful connect within 10 s.",
        &["a client that opens sockets and says nothing", "a proxy that holds requests back"],
        &["moorline probe URL"],
    ),
    Kind::Cause.entry(
        "keepalive-timeout",
        &[],
        "Not one byte came for 60 s, although a Ping was sent.",
        &["the client's computer slept, or its network went away"],
        &["nothing: the client comes back"],
    ),
    Kind::Cause.entry(
        "message-timeout",
        &[],
        "A message was begun and not finished within 30 s.",
        &["a network that swallows what is large"],
        &["nothing: the client comes back"],
    ),
    Kind::Cause.entry(
        "body-timeout",
        &[],
        "An upload did not go on.",
        &["a slow or broken network"],
        &["send it again"],
    ),
    Kind::Cause.entry(
        "close-timeout",
        &[],
        "The client did not answer a Close in time.",
        &["it had gone already"],
        &["nothing"],
    ),
    Kind::Cause.entry(
        "slow-reader",
        &[],
        "The client did not read what it was sent: for limits.drain_within_ms it took nothing.",
        &["a client that blocks, or a slow network"],
        &["moorline explain 'slow consumer'"],
    ),
    Kind::Cause.entry(
        "overflow",
        &[],
        "More was waiting for the client than may: it did not read what it was sent as fast as it came.",
        &["a client that blocks, or a slow network", "limits.outbox_bytes is too small for bursts"],
        &["moorline explain 'slow consumer'"],
    ),
    Kind::Cause.entry(
        "abandoned",
        &[],
        "A fault of the program that runs the gateway.",
        &["it should not happen"],
        &["report it"],
    ),
];
