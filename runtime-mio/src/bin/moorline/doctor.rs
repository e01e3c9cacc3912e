//! `moorline doctor`: what is wrong with a gateway, or with the way to it, and the line that mends it.

mod admission;
mod agents;
mod certificate_file;
mod database;
mod finding;
mod forwarding;
mod idle;
mod ids;
mod local;
mod proxy;
mod reconnects;
mod state_folder;
mod way;

use crate::cli::Cli;
use crate::colours;
use crate::config::{Settings, Sources};
use crate::dial::{self, TlsFailure};
use crate::failure::Failure;
use crate::probe::{Course, Target, TargetArgs, Wish};
use crate::stdout::stdout;
use crate::{running, state_dir};
use clap::Parser as _;
use finding::{Finding, Severity};
use serde_json::json;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Looks for what is wrong: on this machine, on the way to the gateway, and in who comes to it. Each
/// finding has an id that does not change (docs/doctor.md), a severity, and a line that mends it.
///
/// The exit code is 0 if nothing is worse than info, 1 with warnings, 2 with errors; 78 for a URL or file
/// that cannot be used. Nothing is changed, and no token is shown.
// No `Debug`: there is a token.
#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// The gateway as its clients see it, such as wss://chat.example.com/ws [default: the one that runs with
    /// the state folder, or else the one that this machine's configuration describes].
    url: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// The gateway's configuration file [default: that of the gateway that
    /// runs with the state folder, or else as moorline serve finds it].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Would a page of this origin be let in? Repeat it for more.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Would the gateway answer under this name? Repeat it for more.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Measure after how much silence something on the way cuts, up to so many seconds [default: 60].
    /// Takes that long; ends with the gateway's own Ping.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    measure_idle: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    let Around { mut target, settings, running } = look_around(args, &mut found)?;
    let mut course = Course::run(&target, Wish::default());
    // Where nobody has said a URL, clients come by the name that the certificate has, not by this address.
    if let (None, Some(name)) = (&args.url, own_name(&course)) {
        target = target.under(&name, &course.addresses)?;
        course = Course::run(&target, Wish::default());
    }
    way::check(&target, &course, &mut found);
    let compare = |settings| certificate_file::compare(settings, &course);
    found.extend(settings.as_ref().filter(|_| target.url.is_secure()).and_then(compare));
    if course.answer.as_ref().is_some_and(|answer| answer.status == 101) {
        found.extend(args.origins.iter().map(|origin| admission::origin(&target, origin)));
        found.extend(args.hosts.iter().map(|host| admission::host(&target, host)));
    }
    if course.challenged {
        agents::check(&target, running.as_deref(), &mut found);
    }
    if course.hello.is_some() {
        found.extend(forwarding::check(&target));
        reconnects::check(&target, &mut found);
    }
    if let Some(seconds) = args.measure_idle {
        found.push(idle::measure(&target, &course, Duration::from_secs(seconds)));
    }
    report(args, &target, &found)
}

/// A name that the certificate is for, where it is not for the one that was asked for.
fn own_name(course: &Course) -> Option<String> {
    let Some(TlsFailure::WrongName { presented, .. }) = &course.tls else { return None };
    presented.iter().find(|name| !name.contains('*')).cloned()
}

/// What is to be looked at.
struct Around {
    target: Target,
    /// The settings of a gateway that is here.
    settings: Option<Settings>,
    /// The state folder of the gateway, where it is certain that it is this one's.
    running: Option<PathBuf>,
}

/// What this machine says, if the gateway is on it.
fn look_around(args: &DoctorArgs, found: &mut Vec<Finding>) -> Result<Around, Failure> {
    let state_dir = &args.target.credentials.state_dir;
    let folder = running::state_folder(state_dir.clone(), args.config.as_deref());
    let running = folder.as_deref().filter(|state| running::is_there(state));
    let config = args.config.clone().or_else(|| running.and_then(state_dir::noted_config));
    let mut flags: Vec<PathBuf> = vec!["moorline".into()];
    for (flag, path) in [("--config", &config), ("--state-dir", state_dir)] {
        flags.extend(path.iter().flat_map(|path| [flag.into(), path.clone()]));
    }
    // The configuration is that of a gateway that is started like this.
    let serve = Cli::parse_from(flags).serve;
    // What is not set in this shell may be set where the gateway was started.
    let sources = Sources::of_process(&serve);
    let loaded = if running.is_some() { sources.load_elsewhere() } else { sources.load() };
    let settings = loaded.as_ref().map(|loaded| loaded.settings.clone()).unwrap_or_default();
    let noted = running.and_then(state_dir::noted_url);
    let text = match (&args.url, noted.clone()) {
        (Some(url), _) => url.clone(),
        (None, Some(url)) => url,
        (None, None) => running::configured_url(&settings),
    };
    let mut target = Target::new(&text, &args.target)?;
    let addresses = dial::addresses(&target.url).unwrap_or_default();
    let is_local = !addresses.is_empty() && addresses.iter().all(|one| one.ip().is_loopback());
    if args.url.is_some() && !is_local {
        return Ok(Around { target, settings: None, running: None });
    }
    local::config(&loaded, found);
    found.extend(local::clock());
    let pid = local::port(target.url.port(), found);
    if let Some(state) = &folder {
        let file = loaded.as_ref().ok().and_then(|loaded| loaded.file.as_deref());
        state_folder::check(state, file, found);
        if state.is_dir() {
            found.push(database::check(state));
        }
    }
    if let Ok(loaded) = &loaded {
        found.extend(local::files(loaded, pid));
        certificate_file::check(&loaded.settings, found);
        if let Some(state) = &folder {
            local::tokens(loaded, state, found);
        }
    }
    target.credentials.state_dir = target.credentials.state_dir.or(folder.clone());
    let running = running.filter(|_| noted.as_ref() == Some(&target.text)).map(PathBuf::from);
    Ok(Around { target, settings: loaded.is_ok().then_some(settings), running })
}

fn report(args: &DoctorArgs, target: &Target, found: &[Finding]) -> Result<ExitCode, Failure> {
    let severities = || found.iter().map(|finding| finding.id.severity);
    let worst = severities().max().unwrap_or(Severity::Ok);
    let count = |wanted| severities().filter(|severity| *severity == wanted).count();
    let (warnings, errors) = (count(Severity::Warning), count(Severity::Error));
    let mut out = stdout();
    if args.json {
        let findings: Vec<_> = found.iter().map(Finding::json).collect();
        let report = json!({
            "ok": worst <= Severity::Info,
            "worst": worst.as_str(),
            "url": target.text,
            "findings": findings,
        });
        writeln!(out, "{report:#}")?;
    } else {
        let coloured = colours::are_wanted(&io::stdout());
        for finding in found {
            write!(out, "{}", finding.text(coloured))?;
        }
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        writeln!(out, "{}: {errors}, {warnings}", target.text)?;
    }
    Ok(match worst {
        Severity::Ok | Severity::Info => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(1),
        Severity::Error => ExitCode::from(2),
    })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
