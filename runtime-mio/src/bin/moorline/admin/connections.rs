//! `moorline connections`: who is connected, and ending that.

use super::args::{ConnectionsArgs, ConnectionsCommand};
use super::client::Client;
use super::output::{Table, ago, cell, print, print_json, span};
use crate::failure::Failure;
use serde_json::{Value, json};
use std::time::Duration;

/// Connections of one page.
const PAGE: usize = 100;

pub(super) fn run(args: &ConnectionsArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.common)?;
    let json = args.common.json;
    match args.command.as_ref().unwrap_or(&ConnectionsCommand::List { user: None }) {
        ConnectionsCommand::List { user } => list(&mut client, user.as_deref(), json),
        ConnectionsCommand::Close { id, reason } => {
            let params = json!({"connId": id, "reason": reason});
            let answer = client.call("connections.close", params)?;
            if json {
                print_json(&answer)
            } else {
                print(&format!("closed: {}\n", cell(&json!(id))))
            }
        }
    }
}

fn list(client: &mut Client, user: Option<&str>, json: bool) -> Result<(), Failure> {
    let mut all = Vec::new();
    loop {
        let params = json!({"userId": user, "limit": PAGE, "offset": all.len()});
        let mut page = client.call("connections.list", params)?;
        let Value::Array(connections) = page["connections"].take() else { break };
        let total = page["total"].as_u64().unwrap_or(0);
        let is_last = connections.is_empty();
        all.extend(connections);
        if is_last || all.len() as u64 >= total {
            break;
        }
    }
    if json {
        return print_json(&json!({"connections": all}));
    }
    if all.is_empty() {
        return print("Nobody is connected.\n");
    }
    let mut table = Table::new(&["ID", "USER", "ROLE", "FROM", "SINCE", "IDLE", "CLIENT"]);
    for connection in &all {
        let idle = connection["idleMs"].as_u64().map(Duration::from_millis);
        let client = &connection["client"];
        let client = match (client["id"].as_str(), client["version"].as_str()) {
            (Some(id), Some(version)) => format!("{id} {version}"),
            (Some(id), None) => id.into(),
            _ => client["userAgent"].as_str().unwrap_or_default().into(),
        };
        table.row([
            cell(&connection["connId"]),
            cell(&connection["userId"]),
            cell(&connection["role"]),
            cell(&connection["remoteAddr"]),
            ago(&connection["since"]),
            idle.map_or("-".into(), span),
            cell(&json!(client)),
        ]);
    }
    table.print()
}
