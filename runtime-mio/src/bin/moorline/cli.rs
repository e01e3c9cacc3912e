//! The command line. The doc comments are the help texts, so they hold no markup.
#![allow(rustdoc::bare_urls)]

use crate::admin::AdminCommand;
use crate::credentials::CredentialArgs;
use crate::dial::TrustArgs;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What holds for the process, whatever the command.
const AFTER_HELP: &str = "\
Exit codes: 0 all went well; 1 the system or the other end failed; 2 an option or a value is unknown; 78 it \
cannot work as it is configured, and another start would change nothing. Of their own: doctor ends with 1 after \
warnings and 2 after errors, probe with 10 to 16 for the stage that failed (docs/doctor.md), explain with 1 where \
it knows nothing.

Signals while it serves: SIGTERM and SIGINT drain and stop, SIGUSR2 the same for a restart that clients \
resume across, a second one stops at once; SIGHUP reads the configuration again.";

/// A WebSocket gateway for AI agents and chat clients whose connections hold.
///
/// Without a command it serves, with the options of `moorline serve`.
// No `Debug` here and below: some of it is a token.
#[derive(Parser)]
#[command(
    name = "moorline",
    version,
    args_conflicts_with_subcommands = true,
    after_long_help = AFTER_HELP
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the gateway (what `moorline` alone does).
    Serve(ServeArgs),
    /// Run a bare WebSocket echo server, for conformance suites and load tests.
    Echo(EchoArgs),
    /// Print every setting's effective value and where it comes from, or what is wrong.
    CheckConfig(CheckArgs),
    /// Run every case of a conformance suite's fuzzing server as an echo client.
    ConformanceClient(ConformanceClientArgs),
    /// Chat with a gateway from the terminal, or have lines answered in a script: exit 1 if one was not.
    Chat(ChatArgs),
    #[command(flatten)]
    Admin(AdminCommand),
    /// Say what a close code, an HTTP status, an error code or a message of a client means, and what to
    /// do.
    Explain(crate::explain::ExplainArgs),
    /// Go the whole way to a gateway, stage by stage, and say how long each takes.
    Probe(crate::probe::ProbeArgs),
    /// Find out what is wrong with a gateway, or with the way to it, and how to mend it.
    Doctor(crate::doctor::DoctorArgs),
    /// Upload files to a gateway, and print the path of each for the media of chat.send.
    Upload(UploadArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(ManArgs),
}

/// Every setting may also stand in the configuration file, or in a variable: see
/// docs/configuration.md. Flags override both.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// The configuration file, JSON5 [default: MOORLINE_CONFIG, then moorline.json5 in the state
    /// folder if it is there].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:18790]. Port 0 takes a free one.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Certificate of the listener with its issuers behind it, PEM: clients then speak TLS (wss://).
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Folder for the token, the database, uploaded files and the lock [default:
    /// $XDG_STATE_HOME/moorline or ~/.local/state/moorline].
    #[arg(long)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Keep sessions, API keys, devices and revocations in memory only: a restart forgets them, and a
    /// revoked token is good again. Without this they are in the state folder, and what was
    /// acknowledged is on the disk.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ephemeral: Option<bool>,
    /// Folder of files to serve at /, such as another web page; the gateway's own is then at /console only.
    /// Whoever may ask this gateway may read them.
    #[arg(long, value_name = "DIR")]
    pub(crate) ui_dir: Option<PathBuf>,
    /// Gateway token instead of the one kept in the state folder. Other users of this machine can
    /// read a command line: prefer the configuration file or MOORLINE_GATEWAY_TOKEN.
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// Compress messages (permessage-deflate) for clients that offer it and send the token with the
    /// upgrade request: nothing is inflated for anybody else.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) deflate: Option<bool>,
    /// Event loops, each a thread with its own listener [default: 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) loops: Option<u16>,
    /// A browser origin that may connect, such as https://chat.example.com or
    /// https://*.example.com. Repeat it for more. Clients that are not browsers need none.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allowed_origins: Vec<String>,
    /// A name that clients may ask this gateway by (Host), besides localhost. Repeat it for more. Away
    /// from loopback no other name is answered once there is one; addresses are.
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
    /// A proxy whose forwarding header (X-Forwarded-For, unless gateway.forwarded_header says otherwise)
    /// is believed: an address, or a range such as 10.0.0.0/8. Repeat it for more.
    #[arg(long = "trust-proxy", value_name = "CIDR")]
    pub(crate) trusted_proxies: Vec<String>,
    /// A user_id that becomes owner when it connects with the gateway token. Repeat it for more.
    #[arg(long = "owner-id", value_name = "USER")]
    pub(crate) owner_ids: Vec<String>,
    /// Requests per minute and user [default: 0, no limit]; the burst is gateway.rate_limit_burst.
    #[arg(long)]
    pub(crate) rate_limit_rpm: Option<u32>,
    /// Let chat.send create a session under a key that the client made up, instead of answering
    /// NOT_FOUND.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) create_sessions: Option<bool>,
    /// What is logged: error, warn, info, debug or trace [default: info].
    #[arg(long)]
    pub(crate) log_level: Option<String>,
    /// How log lines look [default: text].
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// The flags that were given: their names, the settings they are, and their words.
    pub(crate) fn settings(&self) -> Vec<(&'static str, &'static str, Vec<String>)> {
        fn one(value: Option<impl ToString>) -> Vec<String> {
            value.into_iter().map(|value| value.to_string()).collect()
        }
        let format = self.log_format.and_then(|format| format.to_possible_value());
        let all = [
            ("--listen", "gateway.host", one(self.listen.map(|listen| listen.ip()))),
            ("--listen", "gateway.port", one(self.listen.map(|listen| listen.port()))),
            ("--tls-cert", "tls.cert", one(self.tls_cert.as_ref().map(|path| path.display()))),
            ("--tls-key", "tls.key", one(self.tls_key.as_ref().map(|path| path.display()))),
            ("--state-dir", "state_dir", one(self.state_dir.as_ref().map(|path| path.display()))),
            ("--ephemeral", "ephemeral", one(self.ephemeral)),
            ("--ui-dir", "gateway.ui_dir", one(self.ui_dir.as_ref().map(|path| path.display()))),
            ("--token", "gateway.token", one(self.token.as_ref())),
            ("--deflate", "gateway.deflate", one(self.deflate)),
            ("--loops", "loops", one(self.loops)),
            ("--allow-origin", "gateway.allowed_origins", self.allowed_origins.clone()),
            ("--allow-host", "gateway.allowed_hosts", self.allowed_hosts.clone()),
            ("--trust-proxy", "gateway.trusted_proxies", self.trusted_proxies.clone()),
            ("--owner-id", "gateway.owner_ids", self.owner_ids.clone()),
            ("--rate-limit-rpm", "gateway.rate_limit_rpm", one(self.rate_limit_rpm)),
            ("--create-sessions", "gateway.create_sessions", one(self.create_sessions)),
            ("--log-level", "log.level", one(self.log_level.as_ref())),
            ("--log-format", "log.format", one(format.map(|format| format.get_name().to_string()))),
        ];
        all.into_iter().filter(|(.., words)| !words.is_empty()).collect()
    }
}

/// Takes the options of `moorline serve`, and tells what they come to.
#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Address and port to listen on. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9001")]
    pub(crate) listen: SocketAddr,
    /// Certificate of the listener with its issuers behind it, PEM: clients then speak TLS (wss://).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The largest message that is echoed, such as 512KiB, 64MiB or a number of bytes. Any number of
    /// fragments is accepted.
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    pub(crate) max_message: u32,
    /// Compress messages for clients that offer it (permessage-deflate).
    #[arg(long)]
    pub(crate) deflate: bool,
    /// Event loops, each a thread with its own listener.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) loops: u16,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ConformanceClientArgs {
    /// The suite's fuzzing server, such as ws://127.0.0.1:9001, or wss:// where it speaks TLS.
    pub(crate) url: String,
    /// The name of this client in the suite's report.
    #[arg(long, default_value = "moorline", value_parser = parse_agent)]
    pub(crate) agent: String,
    /// The largest message that is echoed; more closes with 1009. The suite sends up to 16MiB.
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    pub(crate) max_message: u32,
    /// Offer compression (permessage-deflate), which groups 12 and 13 of the suite are about.
    #[arg(long)]
    pub(crate) deflate: bool,
    /// Offer compression without a context that lives from message to message: a client that keeps
    /// its own may not offer that, and the suite runs cases 13.2, 13.5 and 13.6 with no other.
    #[arg(long, requires = "deflate")]
    pub(crate) no_context_takeover: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

#[derive(Args)]
pub(crate) struct ChatArgs {
    /// The gateway, such as wss://chat.example.com/ws [default: the one that runs with the state folder, or
    /// else the one that this machine's configuration describes].
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// Whom to chat as [default: USER, then me].
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// The agent to talk to [default: the gateway's first].
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// A session to go on with [default: a new one].
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// How long to try to connect, or to connect again [default: for ever, or 60 where lines are not typed at a
    /// terminal].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) give_up_after: Option<u64>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

#[derive(Args)]
pub(crate) struct UploadArgs {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The gateway, such as wss://chat.example.com/ws [default: the one that runs with the state folder, or
    /// else the one that this machine's configuration describes].
    #[arg(long)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// Whose the files are [default: USER, then me].
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// What the files are, such as image/png.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_header)]
    pub(crate) content_type: Option<String>,
    /// Print what the gateway answers, a JSON object for each file.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// A folder to write moorline.1 and a page for each command into.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

fn parse_size(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}: use KiB, MiB or GiB")),
    };
    let count: u64 = digits.parse().map_err(|_| "not a number of bytes".to_string())?;
    count
        .checked_mul(factor)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| (1..=1 << 30).contains(bytes))
        .ok_or_else(|| "between 1 byte and 1 GiB".to_string())
}

/// It stands in a header line (RFC 9110 section 5.5).
pub(crate) fn parse_header(text: &str) -> Result<String, String> {
    match text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        true => Ok(text.into()),
        false => Err("printable ASCII only".into()),
    }
}

/// It stands in a query: letters that need no escape there (RFC 3986 section 2.3).
fn parse_agent(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Ok(text.into()),
        false => Err("letters, digits and - . _ ~ only".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, size) in [
            ("64MiB", Ok(64 << 20)),
            ("512 KiB", Ok(512 << 10)),
            ("1", Ok(1)),
            ("1GiB", Ok(1 << 30)),
        ] {
            assert_eq!(parse_size(text), size, "{text}");
        }
        for text in ["", "0", "2GiB", "12 parsecs", "MiB", "-1", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_agent_is_a_word_that_a_query_can_hold() {
        assert_eq!(parse_agent("moorline-mio_1.0~"), Ok("moorline-mio_1.0~".into()));
        for text in ["", "two words", "a&case=1", "a%20b", "a#b", "\u{fc}ber"] {
            assert!(parse_agent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn serve_is_what_no_command_does() {
        let cli = Cli::parse_from(["moorline", "--listen", "127.0.0.1:0", "--loops", "3"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.loops, Some(3));
    }

    #[test]
    fn every_flag_is_a_setting() {
        let cli = Cli::parse_from([
            "moorline",
            "--listen",
            "[::1]:1",
            "--tls-cert",
            "/c",
            "--tls-key",
            "/k",
            "--state-dir",
            "/s",
            "--ui-dir",
            "/u",
            "--token",
            "t",
            "--ephemeral",
            "--deflate",
            "--loops",
            "2",
            "--allow-origin",
            "https://a",
            "--allow-origin",
            "https://b",
            "--allow-host",
            "h",
            "--trust-proxy",
            "10.0.0.0/8",
            "--owner-id",
            "o",
            "--rate-limit-rpm",
            "9",
            "--create-sessions=false",
            "--log-level",
            "debug",
            "--log-format",
            "json",
        ]);
        let settings = cli.serve.settings();
        assert_eq!(settings.len(), 18);
        for (flag, path, words) in settings {
            let key = crate::config::KEYS.iter().find(|key| key.path == path);
            assert!(key.is_some() && !words.is_empty(), "{flag}");
        }
    }
}
