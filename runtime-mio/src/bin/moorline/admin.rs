//! The host's own command line to the gateway that runs: each command is a request or two over the socket
//! of the state folder.

mod agents;
mod args;
mod client;
mod connections;
mod devices;
mod drain;
mod logs;
pub(crate) mod output;
mod pending;
mod process;
mod reload;
mod sessions;
mod target;
mod token;

pub(crate) use args::AdminCommand;

use crate::failure::Failure;
use client::Client;
use serde_json::Value;
use std::path::Path;
use target::Target;

/// Asks the gateway that runs with a state folder, as its host; gives the payload of the answer.
pub(crate) fn ask(state: &Path, method: &str, params: Value) -> Result<Value, Failure> {
    Client::of(&Target::at(state))?.call(method, params)
}

pub(crate) fn run(command: &AdminCommand) -> Result<(), Failure> {
    match command {
        AdminCommand::Devices(args) => devices::run(args),
        AdminCommand::Connections(args) => connections::run(args),
        AdminCommand::Sessions(args) => sessions::run(args),
        AdminCommand::Agents(args) => agents::run(args),
        AdminCommand::Token(args) => token::run(args),
        AdminCommand::Logs(args) => logs::run(args),
        AdminCommand::Reload(args) => reload::run(args),
        AdminCommand::Drain(args) => drain::run(args),
    }
}
