//! The codes of Close frames (RFC 6455 section 7.4.1 and its registry), as this gateway uses them.

use super::entry::{Entry, Kind};

const PROXY: &str = "moorline doctor URL   (tests the way through the proxy)";
const LOG: &str = "look for the line `closed` with the same conn in the gateway's log";
const ENDINGS: &str = "the reason beside the code says which: moorline explain 'the reason'";

pub(super) const CLOSE_CODES: &[Entry] = &[
    Kind::CloseCode.entry(
        "1000",
        &["normal closure"],
        "The connection ended as its client asked; nothing is wrong.",
        &["the client was closed, or has done what it came for"],
        &["nothing"],
    ),
    Kind::CloseCode.entry(
        "1001",
        &[],
        "The gateway stops for good, or the page was left.",
        &["the gateway got SIGTERM or SIGINT", "a browser tab was closed or reloaded"],
        &["start the gateway again; clients come back by themselves"],
    ),
    Kind::CloseCode.entry(
        "1002",
        &["protocol error"],
        "The client broke the WebSocket protocol, or speaks no version of the gateway's protocol.",
        &[
            "the client writes frames wrongly; the reason names the rule",
            "a proxy alters the frames",
            "a client of OpenClaw's dialect offers neither protocol 3 nor 4",
        ],
        &["update the client; it would happen again without", PROXY],
    ),
    Kind::CloseCode.entry(
        "1003",
        &["unsupported data"],
        "The peer does not take this kind of data. This gateway never sends it: it reads text and binary.",
        &["another server or a proxy answers"],
        &[PROXY],
    ),
    Kind::CloseCode.entry(
        "1004",
        &[],
        "Reserved; nobody may send it.",
        &["a faulty client or proxy"],
        &["update the client"],
    ),
    Kind::CloseCode.entry(
        "1005",
        &["no status received", "no status code"],
        "The Close had no code. It is never sent; programs show it for an empty Close.",
        &["the client closed without giving a code, as OpenClaw's clients do"],
        &["nothing, unless it was not you who closed"],
    ),
    Kind::CloseCode.entry(
        "1006",
        &["abnormal closure", "no close frame", "cut without a close"],
        "The connection was cut without a Close. Nobody sends this code; the client made it up.",
        &[
            "a proxy or load balancer cut an idle connection: it then happens at regular times",
            "the network changed, or the computer slept",
            "the gateway was killed (SIGKILL, out of memory) or the machine went down",
            "the upgrade never happened: then there was no open connection before it",
        ],
        &[
            "moorline doctor URL --measure-idle   (finds an idle limit, and says what to set)",
            LOG,
            "moorline probe URL   (says at which stage it fails now)",
        ],
    ),
    Kind::CloseCode.entry(
        "1007",
        &["invalid frame payload data", "invalid payload"],
        "What was sent was not valid UTF-8, or not valid compressed data.",
        &["the client sends bytes as text", "a proxy alters the frames"],
        &["mend the client; it would happen again", PROXY],
    ),
    Kind::CloseCode.entry(
        "1008",
        &["policy violation"],
        "A rule of the gateway ended the connection; the reason says which one.",
        &[
            "no login within 10 s, or wrong ones",
            "the credential was revoked or has expired",
            "the client read too slowly, or fell silent",
            "an administrator closed it",
        ],
        &[ENDINGS, LOG],
    ),
    Kind::CloseCode.entry(
        "1009",
        &["message too big", "message is too big", "max payload size exceeded"],
        "A message was larger than the gateway takes; nothing of it was kept.",
        &[
            "a file was pasted into a message: the limit is 512 KiB unless `limits.message_bytes` says otherwise",
            "more than 16 KiB before the login",
            "a compressed message grew too much",
        ],
        &[
            "send files with POST /api/media/upload (docs/protocol.md)",
            "raise limits.message_bytes, if messages must be that large",
        ],
    ),
    Kind::CloseCode.entry(
        "1010",
        &["mandatory extension"],
        "The client wanted an extension that the server does not have.",
        &["the client insists on permessage-deflate"],
        &["moorline serve --deflate, or let the client do without"],
    ),
    Kind::CloseCode.entry(
        "1011",
        &["internal error", "unexpected condition"],
        "A fault within the server.",
        &["a file that was being sent has changed", "another server or a proxy answers"],
        &[LOG, PROXY],
    ),
    Kind::CloseCode.entry(
        "1012",
        &[],
        "The gateway is being restarted, or one of its loops began anew. What was missed comes on return.",
        &[
            "SIGUSR2, as from `systemctl restart` or `moorline drain --restart`",
            "a node's approval was taken back",
        ],
        &["nothing: clients come back with `resume` after the time in the event `shutdown`"],
    ),
    Kind::CloseCode.entry(
        "1013",
        &[],
        "The gateway has too much to do, or is just starting.",
        &[
            "more connections than `limits.connections`",
            "too many devices or nodes of OpenClaw's dialect",
            "the gateway had not read its database yet",
        ],
        &[
            "try again after `retryAfterMs`, or some seconds",
            "moorline doctor   (limits and open files)",
        ],
    ),
    Kind::CloseCode.entry(
        "1014",
        &["bad gateway"],
        "A proxy had no proper answer from the gateway. The gateway never sends it.",
        &["the gateway is down or at another port than the proxy thinks"],
        &[PROXY],
    ),
    Kind::CloseCode.entry(
        "1015",
        &["tls handshake"],
        "TLS could not be agreed on. Nobody sends this code; the client made it up.",
        &[
            "the certificate is not trusted, has expired, or is for another name",
            "wss:// to a plain port",
        ],
        &["moorline probe URL   (shows the certificate)", "use ws:// where no TLS is spoken"],
    ),
    Kind::CloseCode.entry(
        "4000",
        &["tick timeout", "connect timeout"],
        "Made by the client: it heard nothing for too long, or the login took too long.",
        &[
            "the network swallows what the gateway sends",
            "a proxy buffers answers",
            "the gateway hangs: ask it for /ready",
        ],
        &["moorline probe URL   (round trip of a ping)", PROXY],
    ),
    Kind::CloseCode.entry(
        "4001",
        &[],
        "In OpenClaw's dialect: what the client logged in with is not valid any more.",
        &["an admin removed the device", "its role, its scopes or the gateway token were changed"],
        &["pair the device again, or give the client the new token (docs/pairing.md)"],
    ),
];
