//! The commands that talk to the running gateway. The doc comments are the help texts.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Devices that ask the running gateway to be let in, and those that are.
    Devices(DevicesArgs),
    /// Who is connected to the running gateway.
    Connections(ConnectionsArgs),
    /// The conversations that the running gateway keeps.
    Sessions(SessionsArgs),
    /// The agents of the running gateway.
    Agents(AgentsArgs),
    /// The tokens that clients log in to the running gateway with.
    Token(TokenArgs),
    /// The newest lines of the running gateway's log.
    Logs(LogsArgs),
    /// Have the running gateway read its configuration again (as SIGHUP does).
    Reload(ReloadArgs),
    /// End the running gateway in order (as SIGTERM does), and wait until it has.
    Drain(DrainArgs),
}

/// Which gateway is meant, and how it is told about.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The state folder of the running gateway [default: MOORLINE_STATE_DIR, then what its configuration
    /// file says, then $XDG_STATE_HOME/moorline or ~/.local/state/moorline].
    #[arg(long, global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// The configuration file of the running gateway, if that names its state folder [default:
    /// MOORLINE_CONFIG].
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON: one object, or for a log one line each.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Option<DevicesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// List them (what `moorline devices` alone does).
    List,
    /// Let a device in that asks.
    Approve {
        /// Its code, its request's id or its own name, or how that begins [default: the only one that
        /// asks].
        id: Option<String>,
    },
    /// Do not let a device in that asks.
    Reject {
        /// As for approve.
        id: Option<String>,
    },
    /// Take back that a device was let in; its connections are closed.
    Remove {
        /// Its name, or how that begins.
        id: String,
    },
    /// Make a device's token void, so that it needs a new one. Its connections are closed.
    Rotate {
        /// Its name, or how that begins.
        id: String,
        /// The role that the token is for [default: the only one that the device was let in for].
        #[arg(long)]
        role: Option<DeviceRole>,
    },
}

#[derive(Debug, Copy, Clone, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceRole {
    /// Somebody who uses the gateway.
    Operator,
    /// Something that the gateway uses.
    Node,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Option<ConnectionsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// List them (what `moorline connections` alone does).
    List {
        /// Only those of this user.
        #[arg(long)]
        user: Option<String>,
    },
    /// Close one of them, with 1008 and the reason.
    Close {
        /// Its name in the list.
        id: String,
        /// What its client is told.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Option<SessionsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List them, the one used last first (what `moorline sessions` alone does).
    List {
        /// Only those with this agent.
        #[arg(long)]
        agent: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// Show one of them, with its newest messages.
    Show {
        /// Its key in the list.
        key: String,
        /// At most so many messages.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        messages: u64,
    },
    /// Remove one of them with all that was said; a run under way is stopped first.
    Delete {
        /// Its key in the list.
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Option<TokenCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print the token that is kept in the state folder, and nothing else.
    Show,
    /// List the tokens by their fingerprints and where they come from (what `moorline token` alone does).
    #[command(alias = "list")]
    Fingerprint,
    /// Make a new token in the state folder. Clients may use the one before until it is revoked.
    Rotate {
        /// The one before is valid no more, and who is logged in by it is closed.
        #[arg(long)]
        now: bool,
    },
    /// Make a token void; who is logged in by it is closed.
    Revoke {
        /// Its fingerprint, or how that begins [default: the one before the last rotation].
        fingerprint: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Go on with new lines as they come.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// At most so many lines to begin with.
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=5000))]
    pub(crate) lines: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Another gateway takes its place soon: clients are told to come back (as SIGUSR2 does).
    #[arg(long)]
    pub(crate) restart: bool,
    /// Begin it, and do not wait for its end.
    #[arg(long)]
    pub(crate) no_wait: bool,
}
