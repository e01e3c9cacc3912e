//! `moorline`: the gateway and its command line, a bare echo server, a suite's echo client, and a terminal client.
#![forbid(unsafe_code)]

mod admin;
mod admin_socket;
mod chat;
mod check_config;
mod cli;
mod colours;
mod config;
mod conformance_client;
mod console;
mod credentials;
mod date;
mod dial;
mod doctor;
mod echo;
mod environment;
mod explain;
mod failure;
mod hex;
mod http_answer;
mod jobs;
mod log;
mod log_tail;
mod metrics;
mod open_files;
mod owner;
mod peer_text;
mod pem;
mod percent;
mod port_holder;
mod probe;
mod regular_file;
mod running;
mod serve;
mod server_tls;
mod service_manager;
mod shell;
mod signals;
mod state_dir;
mod stdout;
mod upload;
mod wire;

use clap::Parser as _;
use cli::{Cli, Command};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(&cli.serve).map(done),
        Some(Command::Serve(args)) => serve::run(&args).map(done),
        Some(Command::Echo(args)) => echo::run(&args).map(done),
        Some(Command::CheckConfig(args)) => check_config::run(&args).map(done),
        Some(Command::ConformanceClient(args)) => conformance_client::run(&args).map(done),
        Some(Command::Chat(args)) => chat::run(args).map(done),
        Some(Command::Admin(command)) => admin::run(&command).map(done),
        Some(Command::Explain(args)) => explain::run(&args),
        Some(Command::Probe(args)) => probe::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Upload(args)) => upload::run(&args).map(done),
        Some(Command::Completions(args)) => shell::completions(&args).map(done),
        Some(Command::Man(args)) => shell::man(&args).map(done),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            // Whoever closed it does not want to know.
            let _ = writeln!(std::io::stderr(), "moorline: {failure}");
            failure.exit_code()
        }
    }
}

/// For commands that either do what they are told or fail.
fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
