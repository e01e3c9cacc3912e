//! The OpenClaw dialect: what its clients say and prove, read into the gateway's own terms.
//!
//! | file | idea |
//! |---|---|
//! | `devices` `device_request` `paired_device` `device_tokens` | which devices were let in, and for what |
//! | `schema` | what the parameters of a request may be |
//! | `connect_params` `client_info` | what a client says and shows when it connects |
//! | `device_proof` | whether a device is the one that it says |
//! | `session_key` | what sessions are called |
//! | `scopes` | what a connection may do, as a set of words |

#![allow(dead_code, reason = "built from below: the dialect that uses it comes next")]

mod client_info;
mod connect_params;
mod device_proof;
mod device_request;
mod device_tokens;
mod devices;
mod paired_device;
mod schema;
mod scopes;
mod session_key;
