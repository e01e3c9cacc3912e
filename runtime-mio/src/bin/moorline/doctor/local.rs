//! What can be looked at on the gateway's own machine: configuration, tokens, port, limits, clock.

use super::finding::Finding;
use super::ids;
use crate::config::{Loaded, NamedSecret, Problem, Unset};
use crate::peer_text::PeerText;
use crate::{environment, open_files, port_holder, state_dir};
use moorline_core::gateway::Code;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// 2025-01-01 and 2100-01-01: this program is not older, and will not be in use then.
const PLAUSIBLE: std::ops::Range<u64> = 1_735_689_600..4_102_444_800;

pub(super) fn config(loaded: &Result<Loaded, Vec<Problem>>, found: &mut Vec<Finding>) {
    match loaded {
        Err(problems) => {
            found.extend(problems.iter().map(|problem| {
                Finding::new(ids::CONFIG_INVALID, problem.to_string()).fix("moorline check-config")
            }));
        }
        Ok(loaded) => {
            // What clients of this machine log in with is set in the same shell, and rightly so.
            let of_client = |warning: &&String| !warning.starts_with("MOORLINE_TOKEN ");
            let warnings: Vec<_> = loaded.warnings.iter().filter(of_client).collect();
            found.extend(warnings.iter().map(|warning| {
                Finding::new(ids::CONFIG_WARNING, warning.as_str()).fix("moorline check-config")
            }));
            found.extend(loaded.unset.iter().map(unset));
            if let Err(failure) = loaded.settings.check_folders() {
                let finding = Finding::new(ids::CONFIG_INVALID, failure.to_string());
                found.push(finding.fix("moorline check-config"));
            } else if warnings.is_empty() {
                let about = match &loaded.file {
                    Some(path) => path.display().to_string(),
                    None => "no file: defaults, variables and flags".into(),
                };
                found.push(Finding::new(ids::CONFIG_OK, about));
            }
        }
    }
}

/// A gateway that runs has the secret; this command has not.
fn unset(unset: &Unset) -> Finding {
    let Unset { key, variable } = unset;
    let about = format!(
        "{key}: the variable {variable} is not set for this command; the gateway that runs was started \
         where it is, which this command cannot check"
    );
    Finding::new(ids::CONFIG_UNSET, about)
        .fix("moorline check-config   # with the environment of the gateway's service")
}

/// The tokens that the gateway takes, and those that clients of this machine would send.
pub(super) fn tokens(loaded: &Loaded, state: &Path, found: &mut Vec<Finding>) {
    // Which tokens it takes is known to it alone.
    if loaded.unset.iter().any(|unset| unset.key.starts_with("gateway.token")) {
        return;
    }
    let kept = state_dir::kept_token(state).ok().flatten().map(|text| NamedSecret::new(&text));
    let configured: Vec<String> = loaded.settings.tokens().map(NamedSecret::shown).collect();
    let taken = match (configured.is_empty(), &kept) {
        (true, Some(kept)) => {
            // For a while after a rotation the one before holds, too.
            let previous = state_dir::previous_token(state).map(|text| NamedSecret::new(&text));
            std::iter::once(kept.shown()).chain(previous.map(|text| text.shown())).collect()
        }
        _ => configured,
    };
    if taken.is_empty() {
        let about = "none yet: the first start makes one";
        return found.push(Finding::new(ids::TOKENS_NONE, about));
    }
    let mut is_well = true;
    let mut compare = |place: &str, shown: &str, fix: String| {
        if !taken.iter().any(|token| token == shown) {
            is_well = false;
            let taken = taken.join(" ");
            let about = format!(
                "{place} has {shown}, the gateway takes {taken}: logins by it are {}",
                Code::Unauthorized.as_str()
            );
            found.push(Finding::new(ids::TOKENS_MISMATCH, about).fix(fix));
        }
    };
    if let Some(kept) = &kept {
        let path = state.join("token");
        let fix = format!(
            "rm {}   # and give clients the configured token: MOORLINE_TOKEN=…",
            path.display()
        );
        compare(&path.display().to_string(), &kept.shown(), fix);
    }
    for name in ["MOORLINE_TOKEN", "OPENCLAW_GATEWAY_TOKEN"] {
        if let Ok(Some(text)) = environment::text(name) {
            let shown = NamedSecret::new(&text).shown();
            compare(&format!("the variable {name}"), &shown, format!("unset {name}"));
        }
    }
    if is_well {
        found.push(Finding::new(ids::TOKENS_OK, format!("the gateway takes {}", taken.join(" "))));
    }
}

/// Who listens; gives its pid.
pub(super) fn port(port: u16, found: &mut Vec<Finding>) -> Option<u32> {
    if let Some((pid, command)) = port_holder::find(port) {
        let user = port_holder::user_of(pid).unwrap_or_else(|| "?".into());
        let about = format!("port {port}: pid {pid}, user {user}: {}", PeerText(&command));
        found.push(Finding::new(ids::PORT_HELD, about));
        return Some(pid);
    }
    found.push(match port_holder::is_held(port) {
        Ok(true) => {
            let about = format!("port {port} is held by a process that this user may not see");
            Finding::new(ids::PORT_HIDDEN, about).fix(format!("sudo ss -ltnp 'sport = :{port}'"))
        }
        Ok(false) => Finding::new(ids::PORT_FREE, format!("nobody listens on port {port}"))
            .fix(format!("moorline serve --listen 127.0.0.1:{port}")),
        Err(error) => {
            let about = format!("who listens on port {port} cannot be seen: {error}");
            Finding::new(ids::PORT_UNTESTED, about)
        }
    });
    None
}

/// Open files against connections: of the process that runs, or of one that this user would start.
pub(super) fn files(loaded: &Loaded, running: Option<u32>) -> Option<Finding> {
    let wanted = open_files::needed(&loaded.settings);
    let of_running = running.and_then(|pid| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    });
    let limit: u64 = match of_running {
        Some(limit) => limit,
        None => getrlimit(Resource::Nofile).maximum?,
    };
    let about = format!("{limit} open files, {wanted} needed for limits.connections at all loops");
    Some(match limit >= wanted {
        true => Finding::new(ids::FILES_OK, about),
        false => Finding::new(ids::FILES_LIMIT, about)
            .fix(format!("ulimit -n {wanted}   # or LimitNOFILE={wanted} in the service")),
    })
}

/// This machine's clock alone.
pub(super) fn clock() -> Option<Finding> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (!PLAUSIBLE.contains(&now.as_secs())).then(|| {
        let about = format!("this machine's clock says {} s since 1970", now.as_secs());
        Finding::new(ids::CLOCK_IMPLAUSIBLE, about).fix("sudo timedatectl set-ntp true")
    })
}
