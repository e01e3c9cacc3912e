//! The reasons that a log line `TLS handshake failed` has.

use super::entry::{Entry, Kind};

/// Some of the reasons are words of every day: within a text they count beside what the line says only.
macro_rules! failure {
    ($name:literal, $means:literal, $causes:expr, $fix:expr) => {
        Kind::TlsFailure.entry(
            $name,
            &[
                concat!("TLS handshake failed * reason=\"", $name, "\""),
                concat!("TLS handshake failed * reason=", $name, " "),
                concat!("TLS handshake failed * \"reason\":\"", $name, "\""),
                concat!("\"reason\":\"", $name, "\" * TLS handshake failed"),
            ],
            $means,
            $causes,
            $fix,
        )
    };
}

const CLIENT: &str = "update the client: the gateway speaks TLS 1.2 and 1.3 (docs/tls.md)";
const CERTIFICATE: &str =
    "moorline probe URL   (shows the certificate: its names, its end, whether it is believed)";
const NOTHING: &str = "nothing, unless it is a client of yours";

pub(super) const TLS_FAILURES: &[Entry] = &[
    failure!(
        "not-tls",
        "What the client said first is not TLS; plain HTTP is answered with 400.",
        &[
            "ws:// or http:// with a port that speaks TLS",
            "a proxy speaks plain HTTP to the gateway"
        ],
        &["use wss:// or https://", "nginx: proxy_pass https://…; HAProxy: server … ssl"]
    ),
    failure!(
        "version",
        "The client has neither TLS 1.2 nor 1.3.",
        &["a very old client", "a scanner that tries old versions"],
        &[CLIENT]
    ),
    failure!(
        "nothing-in-common",
        "Client and gateway have no cipher, group or signature in common.",
        &["an old client that has RSA key exchange or CBC only", "a scanner"],
        &[CLIENT]
    ),
    failure!(
        "application-protocol",
        "The client offers application protocols (ALPN), but not http/1.1.",
        &["a client or a proxy that speaks HTTP/2 only"],
        &["let it offer http/1.1: WebSockets go over that here"]
    ),
    failure!(
        "certificate-refused",
        "The client does not believe the gateway's certificate; its own side says why.",
        &[
            "a certificate of one's own, whose authority the client does not know",
            "the certificate has expired",
            "the issuers' certificates are missing behind it in tls.cert",
        ],
        &[
            CERTIFICATE,
            "give the client the authority: --ca FILE, or NODE_EXTRA_CA_CERTS=FILE for Node",
        ]
    ),
    failure!(
        "no-certificate-for-name",
        "The client says that the certificate is not for the name that it asked for.",
        &["the URL has an address or another name than the certificate"],
        &["use a name of the certificate", CERTIFICATE]
    ),
    failure!(
        "alert",
        "The client ended the handshake for a reason of its own; `detail` has its alert.",
        &["a fault of the client, or a user who cancelled"],
        &["look at what the client says"]
    ),
    failure!(
        "timeout",
        "The handshake took longer than limits.tls_handshake_within_ms.",
        &["a client that opens sockets and says nothing", "a very slow network"],
        &[NOTHING, "raise limits.tls_handshake_within_ms for networks that are so slow"]
    ),
    failure!(
        "crowded",
        "There were more handshakes at once than limits.tls_handshakes: it was the oldest of an address that had over a sixteenth of them, or, where none had, of all.",
        &[
            "sockets that say nothing fill the places, from the address of `peer` or from very many",
            "very many clients come at once from one address, such as that of a proxy, as after a restart",
        ],
        &[
            "nothing: clients come back",
            "raise limits.tls_handshakes, if so many are your own clients",
        ]
    ),
    failure!(
        "oversized",
        "A message of the handshake was larger than 18 KiB.",
        &["a faulty client, or something that is no client"],
        &[NOTHING]
    ),
    failure!(
        "left",
        "The client left within the handshake. It is logged at debug.",
        &["somebody looks whether the port is open, such as a load balancer", "the client gave up"],
        &[NOTHING]
    ),
    failure!(
        "certificate",
        "The client broke a rule of TLS about certificates.",
        &["a faulty client: clients have no certificates here"],
        &[CLIENT]
    ),
    failure!(
        "protocol",
        "The client broke a rule of TLS; `detail` says which.",
        &[
            "a faulty client, or something that is no client",
            "something on the way alters what is sent"
        ],
        &[CLIENT]
    ),
];
