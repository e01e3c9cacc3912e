//! The gateway's behaviour in virtual time, in both dialects: one binary, as all of it is tested with the same
//! small world. Each file has its theme.
#![cfg(feature = "gateway")]

#[path = "../support/device.rs"]
mod device;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/nodes.rs"]
mod nodes;
#[path = "../support/openclaw.rs"]
mod openclaw;
mod world {
    pub use super::gateway::*;
}

mod agent_work;
mod agents;
mod connections;
mod gateway_chat;
mod gateway_http;
mod gateway_jwt;
mod gateway_keys;
mod gateway_local;
mod gateway_login;
mod gateway_metrics;
mod gateway_pairing;
mod gateway_reconfigure;
mod gateway_resume;
mod gateway_retry;
mod gateway_site;
mod gateway_upload;
mod host_methods;
mod logs;
mod openai_credentials;
mod openclaw_attachments;
mod openclaw_authorization;
mod openclaw_chat;
mod openclaw_connect;
mod openclaw_invoke;
mod openclaw_nodes;
mod openclaw_operations;
mod openclaw_pairing;
mod openclaw_readers;
mod openclaw_sessions;
mod openclaw_shapes;
mod presence;
mod rate_limit;
mod retained;
mod sessions;
mod ticks;
