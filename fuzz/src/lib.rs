//! Fuzz bodies as plain functions: each takes bytes, and panics when something that must always hold
//! does not. Quickcheck, the stored seeds and libFuzzer run the same functions.

mod completion;
mod compressed;
mod deflate;
mod extensions;
mod frames;
mod gateway;
mod header;
mod inflate;
mod input;
mod offers;
mod outbox;
mod peers;
mod received;
mod run;
mod tungstenite;
mod upgrade;
mod utf8;
mod wire;

pub use completion::completion_request;
pub use compressed::compressed_bytes;
pub use deflate::deflate;
pub use extensions::{extension_answers, extension_offers};
pub use gateway::gateway;
pub use header::header;
pub use inflate::inflate;
pub use outbox::outbox;
pub use peers::{client_bytes, server_bytes};
pub use tungstenite::{tungstenite_client, tungstenite_server};
pub use upgrade::upgrade_request;
pub use utf8::utf8_stream;

/// A fuzz body.
pub type Body = fn(&[u8]);

/// All bodies, by the names of their libFuzzer targets and of their folders in `seeds`.
pub const BODIES: [(&str, Body); 15] = [
    ("server_bytes", server_bytes),
    ("client_bytes", client_bytes),
    ("upgrade_request", upgrade_request),
    ("header", header),
    ("utf8_stream", utf8_stream),
    ("outbox", outbox),
    ("compressed_bytes", compressed_bytes),
    ("inflate", inflate),
    ("deflate", deflate),
    ("extension_offers", extension_offers),
    ("extension_answers", extension_answers),
    ("gateway", gateway),
    ("completion_request", completion_request),
    ("tungstenite_server", tungstenite_server),
    ("tungstenite_client", tungstenite_client),
];
