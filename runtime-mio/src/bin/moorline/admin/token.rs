//! `moorline token`: the gateway tokens.

use super::args::{TokenArgs, TokenCommand};
use super::client::Client;
use super::output::{Table, cell, print, print_json};
use crate::failure::Failure;
use serde_json::{Value, json};

pub(super) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.common)?;
    let json = args.common.json;
    match args.command.as_ref().unwrap_or(&TokenCommand::Fingerprint) {
        TokenCommand::Show => {
            let answer = client.call("gateway.tokens", json!({"texts": true}))?;
            let kept = tokens(&answer).find(|token| token["token"].is_string());
            let Some(kept) = kept else {
                return Err(Failure::Runtime(format!(
                    "the token is configured ({}), and is told nowhere else",
                    tokens(&answer).next().map(|token| cell(&token["source"])).unwrap_or_default()
                )));
            };
            match (json, kept["token"].as_str()) {
                (false, Some(text)) => print(&format!("{text}\n")),
                _ => print_json(kept),
            }
        }
        TokenCommand::Fingerprint => {
            let answer = client.call("gateway.tokens", json!({}))?;
            if json { print_json(&answer) } else { list(&answer) }
        }
        TokenCommand::Rotate { now } => {
            let answer = client.call("gateway.token.rotate", json!({"now": now}))?;
            if json {
                return print_json(&answer);
            }
            let new = tokens(&answer).find(|token| token["previous"] == false);
            let text = new.and_then(|token| token["token"].as_str()).unwrap_or_default();
            print(&format!("{text}\n"))?;
            eprintln!(
                "{}",
                if *now {
                    "The token before is valid no more, and who was logged in by it is closed."
                } else {
                    "The token before is valid, too, until `moorline token revoke`, or the next rotation."
                }
            );
            Ok(())
        }
        TokenCommand::Revoke { fingerprint } => revoke(&mut client, fingerprint.as_deref(), json),
    }
}

fn tokens(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["tokens"].as_array().into_iter().flatten()
}

fn list(answer: &Value) -> Result<(), Failure> {
    if tokens(answer).next().is_none() {
        return print("There is no token.\n");
    }
    let mut table = Table::new(&["FINGERPRINT", "STATE", "FROM"]);
    for token in tokens(answer) {
        let state = match token {
            token if token["revoked"] == true => "revoked",
            token if token["previous"] == true => "valid, the one before",
            _ => "valid",
        };
        table.row([cell(&token["fingerprint"]), state.into(), cell(&token["source"])]);
    }
    table.print()
}

fn revoke(client: &mut Client, fingerprint: Option<&str>, json: bool) -> Result<(), Failure> {
    let answer = client.call("gateway.tokens", json!({}))?;
    let meant = |token: &&Value| match fingerprint {
        None => token["previous"] == true,
        Some(text) => {
            let text = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
            let print =
                token["fingerprint"].as_str().and_then(|print| print.strip_prefix("sha256:"));
            !text.is_empty() && print.is_some_and(|print| print.starts_with(&text))
        }
    };
    let found: Vec<_> = tokens(&answer).filter(meant).collect();
    let token = match (&found[..], fingerprint) {
        ([only], _) => *only,
        ([], None) => {
            let text = "there is no token before this one. To make the one that holds void, replace it: \
                        `moorline token rotate --now`";
            return Err(Failure::Runtime(text.into()));
        }
        ([], Some(text)) => {
            let text = cell(&json!(text));
            return Err(Failure::Runtime(format!(
                "no token has the fingerprint {text}: `moorline token` lists them"
            )));
        }
        _ => return Err(Failure::Runtime("several tokens begin so: give more of it".into())),
    };
    let answer = match (token["kept"] == true, token["previous"] == true) {
        (true, true) => client.call("gateway.token.drop", json!({}))?,
        (true, false) => {
            let text = "this is the token that holds, and without it nobody could log in: \
                        `moorline token rotate --now` puts another in its place";
            return Err(Failure::Runtime(text.into()));
        }
        (false, _) => client.call("tokens.revoke", json!({"token": token["fingerprint"]}))?,
    };
    if json {
        return print_json(&json!({"revoked": token["fingerprint"], "answer": answer}));
    }
    print(&format!("revoked: {}\n", cell(&token["fingerprint"])))
}
