//! `moorline sessions`: the conversations that are kept.

use super::args::{SessionsArgs, SessionsCommand};
use super::client::Client;
use super::output::{Table, ago, cell, print, print_json};
use crate::failure::Failure;
use serde_json::{Value, json};

/// Sessions or messages of one page, which is the most that the gateway gives.
const PAGE: u64 = 100;

pub(super) fn run(args: &SessionsArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.common)?;
    let json = args.common.json;
    match args.command.as_ref().unwrap_or(&SessionsCommand::List { agent: None, limit: 50 }) {
        SessionsCommand::List { agent, limit } => list(&mut client, agent.as_deref(), *limit, json),
        SessionsCommand::Show { key, messages } => show(&mut client, key, *messages, json),
        SessionsCommand::Delete { key } => {
            let answer = client.call("sessions.delete", json!({"sessionKey": key}))?;
            let text = format!("deleted: {}\n", cell(&json!(key)));
            if json { print_json(&answer) } else { print(&text) }
        }
    }
}

fn list(client: &mut Client, agent: Option<&str>, limit: u64, json: bool) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut total = 0;
    while (all.len() as u64) < limit {
        let page = PAGE.min(limit - all.len() as u64);
        let params = json!({"agentId": agent, "limit": page, "offset": all.len()});
        let mut page = client.call("sessions.list", params)?;
        total = page["total"].as_u64().unwrap_or(0);
        match page["sessions"].take() {
            Value::Array(sessions) if !sessions.is_empty() => all.extend(sessions),
            _ => break,
        }
        if all.len() as u64 >= total {
            break;
        }
    }
    if json {
        return print_json(&json!({"sessions": all, "total": total}));
    }
    if all.is_empty() {
        return print("There are no sessions.\n");
    }
    let mut table = Table::new(&["KEY", "USER", "AGENT", "MESSAGES", "USED", "LABEL"]);
    for session in &all {
        table.row([
            cell(&session["key"]),
            cell(&session["userId"]),
            cell(&session["agentId"]),
            cell(&session["messageCount"]),
            ago(&session["updated"]),
            cell(&session["label"]),
        ]);
    }
    table.print()?;
    let shown = all.len() as u64;
    if shown < total {
        print(&format!("{shown} of {total}: --limit shows more\n"))?;
    }
    Ok(())
}

fn show(client: &mut Client, key: &str, most: u64, json: bool) -> Result<(), Failure> {
    let params = json!({"sessionKey": key, "limit": 1});
    let mut session = client.call("sessions.preview", params)?;
    let (mut messages, mut more): (Vec<Value>, bool) = (Vec::new(), true);
    while more && (messages.len() as u64) < most {
        let limit = PAGE.min(most - messages.len() as u64);
        let before = messages.first().map(|first| first["id"].clone());
        let params = json!({"sessionKey": key, "limit": limit, "before": before});
        let mut page = client.call("chat.history", params)?;
        more = page["more"] == true;
        match page["messages"].take() {
            Value::Array(mut older) if !older.is_empty() => {
                older.append(&mut messages);
                messages = older;
            }
            _ => break,
        }
    }
    if json {
        session["messages"] = messages.into();
        session["more"] = more.into();
        return print_json(&session);
    }
    let mut text = String::new();
    for (name, value) in [
        ("key", cell(&session["key"])),
        ("user", cell(&session["userId"])),
        ("agent", cell(&session["agentId"])),
        ("label", cell(&session["label"])),
        ("created", ago(&session["created"])),
        ("used", ago(&session["updated"])),
        ("messages", cell(&session["messageCount"])),
    ] {
        text += &format!("{name:<9} {value}\n");
    }
    if more {
        text += "(older messages are left out: --messages shows more)\n";
    }
    for message in &messages {
        text += &format!("\n{} ({}):\n", cell(&message["role"]), ago(&message["ts"]));
        for line in message["content"].as_str().unwrap_or_default().lines() {
            text += &format!("  {}\n", whole(line));
        }
    }
    print(&text)
}

/// A line of a message, all of it, safe for a terminal.
fn whole(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        // It shows so much of a text, and no more.
        let (piece, after) = rest.split_at(rest.floor_char_boundary(200));
        out += &cell(&json!(piece));
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_shown_whole_and_safe() {
        let line = format!("{}\x1b[2J{}", "é".repeat(1000), "x".repeat(1000));
        let shown = whole(&line);
        assert_eq!(shown, format!("{}\\u{{1b}}[2J{}", "é".repeat(1000), "x".repeat(1000)));
    }
}
