//! What is said of agents whose endpoint or workers fail, and to workers that are refused.

use super::entry::{Entry, Kind};

const LINK: &str = "moorline agents   (what is known of each agent's link)";
const ENDPOINT: &str = "docs/agents.md has the settings of an endpoint";
const WORKER: &str = "docs/worker.md has what a worker says, and when";

pub(super) const AGENT_FAILURES: &[Entry] = &[
    Kind::Message.entry(
        "the agent's model at * cannot be reached",
        &[],
        "The gateway gets no connection to the agent's endpoint. The client's own link to the gateway is well.",
        &[
            "the endpoint is not running, or at another address than base_url says",
            "no DNS or no way out from where the gateway runs, such as a container",
            "a proxy is needed: HTTPS_PROXY as it was when the gateway started",
            "the endpoint's certificate is of an authority of your own: ca_file",
        ],
        &["curl BASE_URL/models, on the gateway's machine", LINK, ENDPOINT],
    ),
    Kind::Message.entry(
        "the agent's model at * ended its answer in the middle",
        &[],
        "The endpoint cut its answer off.",
        &["the endpoint was restarted or failed", "a proxy before it has a time limit"],
        &["look at the endpoint's own log", "send the message again"],
    ),
    Kind::Message.entry(
        "the agent's model at * within * ms",
        &[
            "did not begin to answer within",
            "did not take a connection within",
            "the agent's model at * sent nothing for * ms",
            "did not finish its answer within",
        ],
        "The endpoint was slower than the agent's settings allow.",
        &["a model that thinks for long, or is just being loaded", "the endpoint hangs"],
        &[
            "raise connect_within_ms, first_byte_within_ms, silence_within_ms or total_within_ms, as the text says",
            ENDPOINT,
        ],
    ),
    Kind::Message.entry(
        "the agent's model at * did not answer by TLS",
        &["it does not answer by TLS", "it ended the connection instead of answering by TLS"],
        "The agent's endpoint takes connections, and speaks no TLS on that port; base_url begins with https://.",
        &[
            "the endpoint speaks plain HTTP: base_url is http://",
            "another port, or another program on it",
            "the endpoint hangs",
        ],
        &["curl -v BASE_URL/models, on the gateway's machine", "mend base_url, then moorline reload", ENDPOINT],
    ),
    Kind::Message.entry(
        "the agent's model at * refuses the gateway's key",
        &[],
        "The endpoint answered 401 or 403 to the gateway: no client can mend that.",
        &["api_key is missing, wrong or has expired", "the key may not use this model"],
        &["mend the agent's api_key, then moorline reload", ENDPOINT],
    ),
    Kind::Message.entry(
        "the agent's model at * answers * to the gateway's requests",
        &[],
        "The endpoint has answered one run after the other with this status: as the agent is configured, it may never \
         answer otherwise.",
        &[
            "404: base_url or model is wrong; 3xx: base_url is not the address itself",
            "403: the key may not use this model, or the endpoint does not take what is said to it",
        ],
        &["mend base_url, model or api_key, then moorline reload", ENDPOINT],
    ),
    Kind::Message.entry(
        "the agent's model at * answered *",
        &[],
        "The endpoint refused by the status that the text has; what follows is its own text.",
        &[
            "404: base_url or model is wrong; 3xx: base_url is not the address itself",
            "429: its limits for this key; 5xx: its own trouble",
            "other 4xx: it does not take what the request has, such as max_tokens",
        ],
        &["mend base_url or model where the status says so", LINK, ENDPOINT],
    ),
    Kind::Message.entry(
        "the agent's model at * gave an answer that is none",
        &["the agent's model at * sent more than * bytes at once"],
        "What the endpoint sent is no chat completion, or one event is longer than max_event_bytes.",
        &["base_url leads to something else, such as a web page", "a proxy alters answers"],
        &["curl BASE_URL/chat/completions, on the gateway's machine", ENDPOINT],
    ),
    Kind::Message.entry(
        "* runs ask the agent's model at * already",
        &[],
        "As many runs as max_concurrent ask the endpoint, and this one found no place in time.",
        &["more users than the endpoint can serve", "an endpoint that is slow"],
        &[
            "wait for `retryAfterMs`",
            "raise max_concurrent, max_queued or queue_within_ms",
            ENDPOINT,
        ],
    ),
    Kind::Message.entry(
        "it is not asked for now",
        &["the agent's model at * fails"],
        "The endpoint failed so often that its circuit breaker is open: runs fail at once until it is tried again.",
        &["what stands before it in the text"],
        &["wait for `retryAfterMs`", LINK, ENDPOINT],
    ),
    Kind::Message.entry(
        "no worker of the agent is connected to the gateway",
        &["no worker of the agent is connected"],
        "The agent is answered for by workers, and none is connected and registered.",
        &[
            "the worker is not running, or was refused: the gateway's log says so",
            "it has logged in, but has not said agent.register",
            "it has said agent.drain",
        ],
        &["start the worker", LINK, WORKER],
    ),
    Kind::Message.entry(
        "all workers of the agent have enough to do",
        &["too many runs wait for the agent's workers"],
        "Every worker of the agent has as many runs as its `concurrency`.",
        &["more users than the workers can serve", "runs that do not end"],
        &[
            "start more workers, or let them register a higher concurrency",
            "raise wait_ms or max_waiting of the agent",
            WORKER,
        ],
    ),
    Kind::Message.entry(
        "the agent's worker went away",
        &["the loop of the agent's worker does not answer"],
        "The worker's connection ended while it had the run.",
        &["the worker was stopped or failed", "it did not answer Pings: its thread was busy"],
        &["send the message again", "on_lost: 'requeue' gives such runs to another worker", WORKER],
    ),
    Kind::Message.entry(
        "run * has ended for this worker",
        &["run * was given to another worker", "this worker was not given a run"],
        "A worker said something of a run that is not its own, or not any more.",
        &["a user stopped the run: run.cancel came before", "the worker was away for a moment"],
        &["stop working on it; the connection goes on", WORKER],
    ),
    Kind::Message.entry(
        "this worker answers for no agent",
        &[],
        "A worker said agent.drain before agent.register.",
        &["a fault of the worker"],
        &["agent.register comes first", WORKER],
    ),
    Kind::Message.entry(
        "there is no agent that this credential may answer for",
        &[
            "agent * is not one that workers answer for",
            "the credential does not allow agent",
            "an agent's credential is good for its workers only",
        ],
        "The credential and what it is used for do not go together.",
        &[
            "the agent's backend is not `worker`, or its id is mistyped",
            "an API key for other agents",
            "a worker's token in a client, or a client's token in a worker",
        ],
        &["compare agents[].backend with the worker's token", WORKER],
    ),
    Kind::Message.entry(
        "concurrency must be from 1 to *",
        &[],
        "A worker registered for no run at once, or for too many.",
        &["a fault of the worker"],
        &[WORKER],
    ),
    Kind::Message.entry(
        "what the agent has to be told takes more than limits.outbox_bytes",
        &[],
        "Message and history together are larger than what may be queued for a worker.",
        &["limits.outbox_bytes was lowered, or limits.page_bytes raised"],
        &["raise limits.outbox_bytes, or lower limits.page_bytes"],
    ),
    Kind::Message.entry(
        "the agent says more pieces at once than the gateway can pass on",
        &[],
        "More than 256 thoughts and tools were on their way to another loop.",
        &["a worker that tells each word of its thoughts on its own"],
        &["tell thoughts in larger pieces", WORKER],
    ),
];
