//! HTTP statuses of requests that did not become a WebSocket, from the gateway or from what stands before it.

use super::entry::{Entry, Kind};

const BODY: &str = "read the body of the answer: moorline probe URL   shows it";
const BODY_OF_API: &str = "read the body of the answer: error.message and error.code";
const DOCTOR: &str = "moorline doctor URL   (tells the gateway's answers from a proxy's)";

pub(super) const STATUSES: &[Entry] = &[
    Kind::Status.entry(
        "101",
        &["switching protocols"],
        "The upgrade was accepted: this is a WebSocket now.",
        &["all is well"],
        &["nothing; if the client still fails, a proxy changed the answer's headers", DOCTOR],
    ),
    Kind::Status.entry(
        "200",
        &[],
        "A page came instead of a WebSocket.",
        &[
            "the URL is that of a web page: the gateway's WebSocket is at /ws",
            "a proxy did not pass the upgrade on and serves a page of its own, such as a login page",
        ],
        &["use ws://HOST:PORT/ws", DOCTOR],
    ),
    Kind::Status.entry(
        "301, 302, 303, 307, 308",
        &["moved permanently", "temporary redirect", "permanent redirect", "see other"],
        "The answer sends the client elsewhere; WebSocket clients do not follow.",
        &[
            "ws:// where the proxy wants wss://",
            "a login page stands before the gateway",
            "a slash too few at the end of the path",
        ],
        &["use the URL that the header Location names, with wss:// for https://", DOCTOR],
    ),
    Kind::Status.entry(
        "400",
        &[
            "bad request",
            "malformed request",
            "header * came more than once",
            "Sec-WebSocket-Key must be 16 bytes",
            "data before the upgrade was accepted",
        ],
        "The request is not as HTTP/1.1 has it, or a proxy talks to the wrong kind of port. The body says what was wrong.",
        &[
            "TLS was spoken to a plain port, or plain HTTP to a TLS port",
            "a header came twice, or the key is not 16 bytes of base64",
            "a credential in the query string: it would be in logs",
            "an upload that is no form with one part `file`",
        ],
        &[
            BODY,
            "use ws:// for a plain port and wss:// for a TLS port",
            "send the token in `connect` or as Authorization: Bearer",
        ],
    ),
    Kind::Status.entry(
        "401",
        &["unauthorized access"],
        "No valid token came with an upload, a request for /metrics, or one of OpenAI's API below /v1. Upgrades are never answered so by the gateway: then it is a proxy's login.",
        &[
            "no token or a wrong one, or it was revoked meanwhile",
            "/metrics is asked for from another machine (docs/metrics.md)",
            "a proxy wants a password",
        ],
        &["send Authorization: Bearer TOKEN", DOCTOR],
    ),
    Kind::Status.entry(
        "403",
        &["status 403", "forbidden by"],
        "The page's origin, the Host header, or the way through an unknown proxy is not allowed; the body says which.",
        &[
            "a web page of an origin that is not allowed",
            "the gateway is asked under a name that it does not know",
            "a proxy forwards to a gateway that has no token",
            "an upload or a completion by who may only read, or a file that is too large",
            "a completion in somebody else's session",
            "a user's credential for /metrics, which takes the gateway token or an API key",
        ],
        &[
            "moorline serve --allow-origin https://PAGE   (moorline doctor --origin https://PAGE says the line)",
            "moorline serve --allow-host NAME",
            "configure a token",
        ],
    ),
    Kind::Status.entry(
        "404",
        &["not found on this server"],
        "There is no such path.",
        &[
            "another server answers at this port",
            "a proxy has no route for this path",
            "a path that the gateway does not have",
            "a model that is no agent here: then the body has the code model_not_found",
        ],
        &["use ws://HOST:PORT/ws", "GET /v1/models lists the agents", DOCTOR],
    ),
    Kind::Status.entry(
        "405",
        &["method not allowed", "a WebSocket upgrade must be a GET request"],
        "The path does not have that method.",
        &["POST to /ws, or GET to /api/media/upload"],
        &["GET for pages and upgrades, POST for uploads"],
    ),
    Kind::Status.entry(
        "408",
        &["request timeout", "request time-out", "body timeout"],
        "The request did not come in time: 5 s for a head, 30 s of silence or 15 minutes for an upload.",
        &[
            "a proxy that holds requests back",
            "a connection that was opened and never used",
            "a very slow network",
        ],
        &["switch request buffering of the proxy off", "send the upload again"],
    ),
    Kind::Status.entry(
        "409",
        &["409 conflict"],
        "A completion came to nothing because of something that somebody did, or has to do first; the body says what.",
        &[
            "somebody else stopped the run (code run_cancelled)",
            "the agent's endpoint refuses the gateway's key, or does not know its model (code failed_precondition)",
        ],
        &[BODY_OF_API, "mend the agent's settings (docs/agents.md)"],
    ),
    Kind::Status.entry(
        "413",
        &[
            "payload too large",
            "content too large",
            "request entity too large",
            "a request body is not accepted here",
            "the request body is longer than",
        ],
        "The upload, or the body of a completion, is larger than it may be; or a GET request has a body.",
        &[
            "`gateway.max_upload_bytes` is smaller than the file",
            "`gateway.max_request_bytes` is smaller than the body of a completion: clients send the whole conversation",
            "the proxy's own limit (client_max_body_size of nginx is 1 MiB)",
        ],
        &[
            "raise gateway.max_upload_bytes or gateway.max_request_bytes, and the proxy's limit",
            "name a session, so that the last message suffices (docs/openai-api.md)",
        ],
    ),
    Kind::Status.entry(
        "414",
        &["uri too long", "the request target is too long"],
        "The target is longer than 8 KiB.",
        &["a faulty client"],
        &["shorten it: nothing has to stand in the query"],
    ),
    Kind::Status.entry(
        "415",
        &["unsupported media type", "the body must be JSON, with Content-Type"],
        "The body of a completion is not JSON by its Content-Type.",
        &["curl -d without -H: it says application/x-www-form-urlencoded"],
        &["send Content-Type: application/json"],
    ),
    Kind::Status.entry(
        "426",
        &["upgrade required", "Sec-WebSocket-Version must be 13"],
        "The request for a WebSocket had no upgrade in it; the body names the headers that are missing.",
        &[
            "a proxy does not pass the headers Upgrade and Connection on",
            "a proxy speaks HTTP/1.0 to the gateway",
            "a browser or curl asks for /ws as for a page",
            "a WebSocket version other than 13",
        ],
        &[
            "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";",
            DOCTOR,
        ],
    ),
    Kind::Status.entry(
        "429",
        &["too many requests"],
        "Too much of it: wrong tokens from this address, uploads at once, requests, or turns that wait. Retry-After says when to come back.",
        &[
            "a client that tries a wrong token again and again",
            "more than 4 uploads of one user at once",
            "a rate limit of the gateway or of a proxy",
            "the agent's endpoint limits the gateway, or all its workers have enough to do",
        ],
        &["wait as long as Retry-After says", "mend the token of the client that tries"],
    ),
    Kind::Status.entry(
        "431",
        &[
            "request header fields too large",
            "the request head is too long",
            "more than 64 headers",
            "header or cookie too large",
        ],
        "The head is longer than 16 KiB, or has more than 64 headers.",
        &["very large cookies of the same domain"],
        &["a name of its own for the gateway, or raise limits.head_bytes"],
    ),
    Kind::Status.entry(
        "500",
        &["internal server error"],
        "The gateway could not write an upload to its disk or read a file; an agent failed in a completion; or a proxy failed.",
        &[
            "of /v1: the agent failed, or gave an answer that is none, and nothing says that it may be otherwise later",
            "the disk fails, or the state folder belongs to somebody else",
            "a fault of the proxy",
        ],
        &[
            BODY_OF_API,
            "read the gateway's log, and the agent's",
            "moorline doctor   (state folder, disk)",
        ],
    ),
    Kind::Status.entry(
        "501",
        &["not implemented", "the only transfer coding known here is chunked"],
        "A transfer coding other than chunked.",
        &["a faulty client or proxy"],
        &["use Content-Length or chunked"],
    ),
    Kind::Status.entry(
        "502",
        &["bad gateway 502", "502 bad gateway"],
        "A proxy could not reach the gateway, or did not understand it. It does not come from the gateway.",
        &[
            "the gateway is not running",
            "the proxy has another port or host",
            "the proxy speaks TLS to a plain port, or HTTP/2",
        ],
        &[
            "moorline doctor   (on the gateway's machine: who listens where)",
            "compare the proxy's upstream with gateway.host and gateway.port",
        ],
    ),
    Kind::Status.entry(
        "503",
        &[
            "service unavailable",
            "no server is available",
            "no answer in time, try again later",
            "the server closes, try again later",
        ],
        "The gateway starts, stops, or has as many connections, logins or uploads as it takes; the agent of a completion cannot be reached; or a proxy has no server that is up.",
        &[
            "it is being restarted",
            "limits.connections or limits.pre_auth is reached",
            "of /v1: the agent's endpoint or its workers are not there (docs/agents.md, docs/worker.md)",
            "HAProxy's health check fails",
            "/ready names the check that fails",
        ],
        &["try again after Retry-After", "GET /ready", "moorline doctor   (limits and open files)"],
    ),
    Kind::Status.entry(
        "504",
        &["gateway timeout", "gateway time-out"],
        "The agent of a completion did not finish in time, as the gateway says in JSON; or a proxy waited for the gateway in vain.",
        &[
            "of /v1, in JSON with the code agent_timeout: the agent took longer than its total_within_ms or limits.run_within_ms",
            "of /v1, from a proxy: an answer that does not stream took longer than proxy_read_timeout or timeout server (docs/proxies.md)",
            "the upstream's address is wrong or behind a firewall",
            "the proxy took the WebSocket for a slow page",
        ],
        &[
            "let the client stream, or raise the time that is over",
            "check the proxy's upstream and that it passes upgrades on",
            DOCTOR,
        ],
    ),
    Kind::Status.entry(
        "507",
        &["insufficient storage"],
        "The disk is full, or uploads have taken their share of it.",
        &[
            "limits.user_upload_bytes or limits.upload_bytes is reached",
            "the disk of the state folder is full",
        ],
        &[
            "make room: gateway.media_keep_ms says how long files are kept",
            "moorline doctor   (disk)",
        ],
    ),
    Kind::Status.entry(
        "520, 521, 522, 523, 524, 525, 526",
        &[
            "web server is down",
            "origin dns error",
            "origin is unreachable",
            "invalid ssl certificate",
        ],
        "Cloudflare could not reach the gateway or its proxy, or did not accept its certificate.",
        &[
            "520, 521, 522, 523: nothing answers at the origin's address and port, or a firewall is before it",
            "524: no answer within 100 s",
            "525, 526: the origin's certificate is not accepted",
        ],
        &[
            "moorline doctor ws://ORIGIN/ws   (past Cloudflare)",
            "switch WebSockets on in Cloudflare's network settings",
        ],
    ),
];
