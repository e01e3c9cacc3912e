//! What clients print: of their own making, or their runtime's.

use super::entry::{Entry, Kind};

const fn message(
    name: &'static str,
    says: &'static [&'static str],
    means: &'static str,
    causes: &'static [&'static str],
    fix: &'static [&'static str],
) -> Entry {
    Entry { kind: Kind::Message, name, code: 0, says, means, causes, fix }
}

const PROBE: &str = "moorline probe URL   (says at which stage it fails)";
const DOCTOR: &str = "moorline doctor URL   (tests the way through the proxy)";

pub(super) const MESSAGES: &[Entry] = &[
    message(
        "ECONNREFUSED",
        &["connection refused", "ERR_CONNECTION_REFUSED", "nobody answers at", "os error 111"],
        "Nothing listens at that address and port.",
        &[
            "the gateway is not running",
            "it listens on another port: 18790 unless told otherwise; clients of OpenClaw try 18789",
            "it listens on 127.0.0.1 only, and the client is on another machine or in a container",
        ],
        &[
            "moorline doctor   (who listens where)",
            "moorline serve",
            "moorline serve --listen 0.0.0.0:18790   (for other machines)",
        ],
    ),
    message(
        "EADDRINUSE",
        &["address already in use", "is in use; it is held by", "os error 98"],
        "The port that the gateway wants is taken.",
        &["another gateway runs already", "another program has the port"],
        &[
            "moorline doctor   (pid, user and command of who holds it)",
            "moorline serve --listen 127.0.0.1:OTHER",
        ],
    ),
    message(
        "EACCES",
        &["permission denied", "os error 13"],
        "The system does not allow it: a port below 1024, or a file of another user.",
        &["a port below 1024 without the privilege", "the state folder belongs to another user"],
        &["a port above 1023, with a proxy before it", "moorline doctor   (state folder)"],
    ),
    message(
        "ECONNRESET",
        &[
            "socket hang up",
            "connection reset by peer",
            "ERR_CONNECTION_RESET",
            "ERR_EMPTY_RESPONSE",
            "os error 104",
        ],
        "The other end cut the connection before it had answered.",
        &[
            "TLS was spoken to a plain port, or the other way round",
            "a proxy cut it: idle limit, or no upstream",
            "the gateway was killed",
        ],
        &["use ws:// for a plain port and wss:// for a TLS port", PROBE, DOCTOR],
    ),
    message(
        "ETIMEDOUT",
        &[
            "connection timed out",
            "ERR_CONNECTION_TIMED_OUT",
            "os error 110",
            "opening handshake has timed out",
            "timed out during opening handshake",
        ],
        "Nobody answered in time.",
        &[
            "a firewall drops packets",
            "a wrong address",
            "a proxy waits for an upstream that does not answer",
        ],
        &["check the address and the firewall", PROBE],
    ),
    message(
        "ENOTFOUND",
        &[
            "EAI_AGAIN",
            "getaddrinfo",
            "ERR_NAME_NOT_RESOLVED",
            "name or service not known",
            "failed to lookup address information",
            "nodename nor servname",
        ],
        "The host's name has no address.",
        &["a typing error", "no DNS on this machine or in this container"],
        &[
            "check the name",
            "use the address itself: moorline serve answers to addresses away from loopback",
        ],
    ),
    message(
        "EHOSTUNREACH",
        &[
            "ENETUNREACH",
            "no route to host",
            "network is unreachable",
            "ERR_ADDRESS_UNREACHABLE",
            "os error 113",
            "os error 101",
        ],
        "There is no way to that address.",
        &["another network, or no VPN", "an IPv6 address without IPv6"],
        &["check the network", PROBE],
    ),
    message(
        "EPIPE",
        &["broken pipe", "os error 32"],
        "The other end was gone when something was written.",
        &["the gateway closed before; the Close says why"],
        &["look for the Close code before it", PROBE],
    ),
    message(
        "EMFILE",
        &["too many open files", "ENFILE", "os error 24"],
        "The process has as many files and sockets open as it may.",
        &["a limit of 1,024 that the system sets, and more connections than that"],
        &[
            "LimitNOFILE=65536 in the service, or ulimit -n 65536",
            "moorline doctor   (limit against limits.connections)",
        ],
    ),
    message(
        "ENOSPC",
        &["no space left on device", "disk is full", "os error 28"],
        "The disk is full.",
        &["uploads, or the database, or another program"],
        &["make room", "moorline doctor   (disk of the state folder)"],
    ),
    message(
        "Unexpected server response: *",
        &[
            "unexpected server response",
            "unexpected response code",
            "server rejected websocket connection",
            "InvalidStatus",
            "did not receive a valid HTTP response",
            "error during websocket handshake",
            "the server answered * instead of 101",
        ],
        "An HTTP answer came instead of the upgrade; the status says which.",
        &["the gateway refused: its answer's body says why", "a proxy answered"],
        &["moorline explain STATUS", PROBE, DOCTOR],
    ),
    message(
        "WebSocket connection to * failed",
        &[
            "websocket error",
            "websocket connection failed",
            "WebSocket is closed before the connection is established",
            "firefox can't establish a connection",
            "error in connection establishment",
        ],
        "A browser's WebSocket did not open. Browsers tell pages nothing of why.",
        &[
            "the gateway is not there, or at another port",
            "403: the page's origin is not allowed",
            "a page of https:// may not open ws://",
            "a proxy does not pass the upgrade on",
        ],
        &[
            "open http://HOST:PORT/ready in the browser",
            "moorline doctor URL --origin https://PAGE",
            "use wss:// from pages of https://",
        ],
    ),
    message(
        "mixed content",
        &["insecure websocket connection may not be initiated", "this request has been blocked"],
        "A page of https:// may not open ws://.",
        &["the page was served by a proxy with TLS, and was told the gateway's plain address"],
        &["use wss:// through the same proxy (docs/proxies.md)"],
    ),
    message(
        "the server's 101 answer is wrong: *",
        &[
            "invalid Sec-WebSocket-Accept",
            "Sec-WebSocket-Accept does not match the key",
            "incorrect Sec-WebSocket-Accept",
            "'Sec-WebSocket-Accept' header mismatch",
        ],
        "The answer to the upgrade is not one to this request.",
        &[
            "a proxy or cache gave the answer of another request",
            "something that is no WebSocket server says 101",
        ],
        &["switch caching off for this path", DOCTOR],
    ),
    message(
        "event gap detected",
        &["event gap", "gap detected", "sequence gap"],
        "An event is missing: `seq` jumped.",
        &[
            "the client was away longer than its link was kept, and the answer to `connect` said `gap`",
            "the client drops events itself",
            "another gateway than this one: here `seq` has no gaps within a login",
        ],
        &["load the history again: chat.history", "log in with `resume` after a cut"],
    ),
    message(
        "gateway closed (*",
        &["gateway disconnected", "disconnected (*"],
        "The connection ended; the code and the reason in it say why.",
        &["see the code and the reason"],
        &["moorline explain CODE, and moorline explain 'the reason'"],
    ),
    message(
        "certificate has expired",
        &["CERT_HAS_EXPIRED", "certificate expired", "ERR_CERT_DATE_INVALID"],
        "The certificate's time is over, or has not begun.",
        &["it was not renewed, or the proxy was not reloaded after", "a wrong clock"],
        &["renew it and reload the proxy", "moorline probe URL   (shows its dates)"],
    ),
    message(
        "self-signed certificate",
        &[
            "DEPTH_ZERO_SELF_SIGNED_CERT",
            "SELF_SIGNED_CERT_IN_CHAIN",
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "UnknownIssuer",
            "unknown issuer",
            "CERTIFICATE_VERIFY_FAILED",
            "ERR_CERT_AUTHORITY_INVALID",
            "unable to get local issuer certificate",
        ],
        "Nobody that the client trusts has signed the certificate.",
        &[
            "a certificate of one's own",
            "the intermediate certificate is missing in the server's chain",
        ],
        &[
            "give the client the authority: --ca FILE, or NODE_EXTRA_CA_CERTS=FILE for Node",
            "put the whole chain into the server's certificate file",
        ],
    ),
    message(
        "certificate is not valid for",
        &[
            "ERR_TLS_CERT_ALTNAME_INVALID",
            "Hostname/IP does not match certificate's altnames",
            "ERR_CERT_COMMON_NAME_INVALID",
            "NotValidForName",
        ],
        "The certificate is for another name.",
        &["the URL has an address or another name than the certificate"],
        &["use a name of the certificate", "moorline probe URL   (shows its names)"],
    ),
    message(
        "wrong version number",
        &[
            "ERR_SSL_PROTOCOL_ERROR",
            "EPROTO",
            "packet length too long",
            "this is a TLS handshake, but the listener speaks plain HTTP",
            "InvalidContentType",
            "received corrupt message",
        ],
        "TLS was spoken to a plain port.",
        &["wss:// or https:// with the gateway's plain port"],
        &["use ws://, or the port of the proxy that speaks TLS"],
    ),
    message(
        "the state folder * is in use by another gateway",
        &["is in use by another gateway"],
        "Another gateway runs with the same state folder; two would spoil each other's data.",
        &["it was started twice, by hand and by a service"],
        &["stop one of them: the message has its pid", "moorline serve --state-dir OTHER"],
    ),
    message(
        "database is locked",
        &["SQLITE_BUSY"],
        "Another program holds the gateway's database.",
        &["a backup or an SQL shell has it open"],
        &["end that program; copy the file with sqlite3's .backup"],
    ),
    message(
        "no such page",
        &[],
        "The gateway is there, and has no such path.",
        &["a mistyped path"],
        &["pages are /, /console, /health, /ready; WebSockets are at /ws"],
    ),
    message(
        "this is a WebSocket endpoint; the request lacks: *",
        &["the request lacks:"],
        "An upgrade came without the headers that the text names.",
        &["a proxy does not pass Upgrade and Connection on", "a plain request for /ws"],
        &["docs/proxies.md has what a proxy needs", DOCTOR],
    ),
    message(
        "host * is not this gateway's",
        &[],
        "The gateway was asked under a name that it does not know.",
        &[
            "a proxy passes its own name on, and the gateway listens on loopback",
            "an attack through DNS (rebinding)",
        ],
        &["moorline serve --allow-host NAME"],
    ),
    message(
        "a page of another site asks",
        &[],
        "A page of another site asked, and the browser sent no Origin to judge it by.",
        &["a link or image of another site"],
        &["open the page itself"],
    ),
    message(
        "this gateway has no token, so it serves its own host only",
        &["a proxy forwarded this request"],
        "Without a token nobody but programs of the same machine is served; a proxy forwarded the request.",
        &["a gateway without a token behind a proxy"],
        &["configure a token: gateway.token"],
    ),
    message(
        "a credential in the query string is refused",
        &[],
        "Logs of proxies keep query strings, so tokens may not stand there.",
        &["?token= in the URL"],
        &["send the token in `connect`, or as Authorization: Bearer"],
    ),
];
