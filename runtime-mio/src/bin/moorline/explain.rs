//! `moorline explain`: what a code, a status or a message means here, and what to do.

mod agent_failures;
mod api_codes;
mod causes;
mod close_codes;
mod entry;
mod error_codes;
mod lookup;
mod messages;
mod reasons;
mod statuses;
mod tls_failures;

use crate::failure::Failure;
use crate::peer_text::PeerText;
use crate::stdout::stdout;
use entry::Entry;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// The exit code is 1 where nothing here explains the text.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Such as 1008, 502, NOT_PAIRED, 'pairing required', or a whole line of what a client printed.
    #[arg(required = true, value_name = "CODE|TEXT")]
    text: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let text = args.text.join(" ");
    let found = lookup::find(&text);
    let near = if found.is_empty() { lookup::nearest(&text) } else { Vec::new() };
    let mut out = stdout();
    if args.json {
        let entries: Vec<_> = found.iter().map(|entry| entry.json()).collect();
        let report = json!({
            "ok": !found.is_empty(),
            "asked": text,
            "explanations": entries,
            "nearest": near,
        });
        writeln!(out, "{report:#}")?;
    } else if !found.is_empty() {
        let pages: Vec<_> = found.iter().map(|entry| page(entry)).collect();
        write!(out, "{}", pages.join("\n"))?;
    }
    if !found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        eprintln!("moorline: nothing here explains \"{}\"; nearest are:", PeerText(&text));
        for says in near {
            eprintln!("  {says}");
        }
    }
    Ok(ExitCode::FAILURE)
}

/// What is known of one thing, as text.
fn page(entry: &Entry) -> String {
    let (name, kind) = (entry.name.replace('*', "…"), entry.kind.as_str());
    let mut page = match entry.code {
        0 => format!("{name} ({kind})\n"),
        code => format!("{name} ({kind} with {code})\n"),
    };
    let _ = writeln!(page, "  {}", entry.means);
    for (title, lines) in [("likely causes", entry.causes), ("what to do", entry.fix)] {
        let _ = writeln!(page, "  {title}:");
        for (at, line) in lines.iter().enumerate() {
            let _ = writeln!(page, "    {}. {line}", at + 1);
        }
    }
    page
}
