//! `moorline drain`: ends the running gateway, shows how far that is, and waits until it has ended.

use super::args::DrainArgs;
use super::client::Client;
use super::output::{print, print_json};
use super::process::Process;
use crate::failure::Failure;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often it looks how far the end is.
const EVERY: Duration = Duration::from_millis(200);

/// How long the process may take after it has closed its last connection: what it has for the disk.
const LAST: Duration = Duration::from_secs(60);

pub(super) fn run(args: &DrainArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.common)?;
    let json = args.common.json;
    // Looked up while it is there for sure.
    let gateway = client.gateway();
    let pid = gateway.as_ref().map(Process::pid);
    let mut progress = match client.ask("gateway.drain", json!({"restart": args.restart})) {
        Ok(answer) => answer?,
        // With nothing under way it may be gone before it has said so.
        Err(_) if client.has_ended() => {
            json!({"draining": true, "connections": 0, "runs": 0})
        }
        Err(failure) => return Err(failure),
    };
    if args.no_wait {
        if json {
            progress["pid"] = pid.into();
            return print_json(&progress);
        }
        return print("the gateway is ending\n");
    }
    let started = Instant::now();
    let mut shown = Value::Null;
    loop {
        if progress != shown && !json {
            print(&line(&progress))?;
        }
        shown = progress;
        client.pause(EVERY);
        progress = match client.ask("gateway.progress", json!({})) {
            Ok(answer) => answer?,
            Err(_) if client.has_ended() => break,
            Err(failure) => return Err(failure),
        };
    }
    drop(client);
    // Its loop is done; others may still wait for clients that do not answer a Close.
    let is_late = |gateway: &Process| !gateway.wait(EVERY);
    if gateway.as_ref().is_some_and(is_late) && !json {
        print("ending: the last connections close\n")?;
    }
    if gateway.is_some_and(|gateway| !gateway.wait(LAST)) {
        let pid = pid.unwrap_or_default();
        return Err(Failure::Runtime(format!(
            "the gateway has closed its connections, but process {pid} does not end"
        )));
    }
    let took = started.elapsed();
    if json {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        return print_json(&json!({"ended": true, "pid": pid, "tookMs": took}));
    }
    print(&format!("the gateway has ended, after {:.1} s\n", took.as_secs_f32()))
}

fn line(progress: &Value) -> String {
    let count = |name: &str, word: &str| match progress[name].as_u64().unwrap_or(0) {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    format!("ending: {}, {}\n", count("connections", "connection"), count("runs", "run"))
}
