//! The host's own command line to the gateway that runs: each command is a request or two over the socket
//! of the state folder.

mod agents;
mod args;
mod client;
mod connections;
mod devices;
mod drain;
mod logs;
mod output;
mod pending;
mod process;
mod reload;
mod sessions;
mod target;
mod token;

pub(crate) use args::AdminCommand;

use crate::failure::Failure;

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
