//! `moorline`: the gateway, its command line, a bare echo server, a suite's echo client, and a terminal
//! client.
#![forbid(unsafe_code)]

mod admin;
mod admin_socket;
mod chat;
mod check_config;
mod cli;
mod config;
mod conformance_client;
mod console;
mod dial;
mod echo;
mod failure;
mod jobs;
mod log;
mod log_tail;
mod open_files;
mod peer_text;
mod port_holder;
mod serve;
mod signals;
mod state_dir;

use clap::Parser as _;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Echo(args)) => echo::run(&args),
        Some(Command::CheckConfig(args)) => check_config::run(&args),
        Some(Command::ConformanceClient(args)) => conformance_client::run(&args),
        Some(Command::Chat(args)) => chat::run(args),
        Some(Command::Admin(command)) => admin::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("moorline: {failure}");
            failure.exit_code()
        }
    }
}
