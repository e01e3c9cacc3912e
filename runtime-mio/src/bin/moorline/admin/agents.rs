//! `moorline agents`: who answers.

use super::args::AgentsArgs;
use super::client::Client;
use super::output::{Table, ago, ahead, cell, print_json};
use crate::failure::Failure;
use serde_json::json;

pub(super) fn run(args: &AgentsArgs) -> Result<(), Failure> {
    let answer = Client::connect(&args.common)?.call("agents.list", json!({}))?;
    if args.common.json {
        return print_json(&answer);
    }
    let mut table =
        Table::new(&["ID", "NAME", "STATUS", "BREAKER", "AT WORK", "SINCE", "NEXT TRY", "REASON"]);
    for agent in answer["agents"].as_array().into_iter().flatten() {
        let at_work = if agent["isRunning"] == true { "yes" } else { "no" };
        let link = &agent["link"];
        table.row([
            cell(&agent["id"]),
            cell(&agent["name"]),
            cell(&agent["status"]),
            cell(&link["breaker"]),
            at_work.into(),
            ago(&link["sinceMs"]),
            ahead(&link["retryAtMs"]),
            cell(&link["reason"]),
        ]);
    }
    table.print()
}
