//! `moorline probe`: the whole way to a gateway, stage by stage, each with its time.

mod course;
mod stage;
mod target;

pub(crate) use course::{Course, USER, Wish};
pub(crate) use stage::{Outcome, StageName};
pub(crate) use target::{Target, TargetArgs};

use crate::failure::Failure;
use crate::stdout::stdout;
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

/// Does what a client does and says how long each stage takes: lookup, TCP, TLS, the upgrade, the login,
/// a Ping, the Close.
///
/// The exit code names the first stage that failed: 10 lookup, 11 tcp, 12 tls, 13 upgrade, 14 connect,
/// 15 ping, 16 close; 0 if none did, 78 for a URL or file that cannot be used. As a container's health
/// check: moorline probe --quiet
// No `Debug`: there is a token.
#[derive(clap::Args)]
pub(crate) struct ProbeArgs {
    /// The gateway, such as wss://chat.example.com/ws [default: the one that runs with the state folder, or
    /// else the one that this machine's configuration describes].
    url: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// Do not log in, even if there is a token.
    #[arg(long)]
    no_login: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print nothing but what failed.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

pub(crate) fn run(args: &ProbeArgs) -> Result<ExitCode, Failure> {
    let target = Target::new(&args.target.credentials.url(args.url.as_deref()), &args.target)?;
    let since = Instant::now();
    let course = Course::run(&target, Wish { anonymous: args.no_login, ..Wish::default() });
    let took = since.elapsed().as_secs_f64() * 1000.0;
    let failed = course.failed();
    let mut out = stdout();
    if args.json {
        let stages: Vec<_> = course.stages.iter().map(|stage| stage.json()).collect();
        let report = json!({
            "ok": failed.is_none(),
            "url": target.text,
            "failed": failed.map(|stage| stage.name.as_str()),
            "tookMs": (took * 1000.0).round() / 1000.0,
            "stages": stages,
        });
        writeln!(out, "{report:#}")?;
    } else if !args.quiet {
        for stage in &course.stages {
            writeln!(out, "{}", stage.line())?;
        }
        match failed {
            None => writeln!(out, "ok in {took:.1} ms")?,
            Some(stage) => writeln!(out, "failed: {}", stage.name.as_str())?,
        }
    } else if let Some(stage) = failed {
        eprintln!("moorline: {}: {}", stage.name.as_str(), stage.about);
    }
    Ok(failed.map_or(ExitCode::SUCCESS, |stage| ExitCode::from(stage.name.exit_code())))
}
