//! `moorline logs`: what the running gateway has logged last, and goes on to log.

use super::args::LogsArgs;
use super::client::Client;
use super::output::print;
use crate::failure::Failure;
use crate::peer_text::PeerText;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

pub(super) fn run(args: &LogsArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.common)?;
    let json = args.common.json;
    let params = json!({"limit": args.lines, "maxBytes": 1_000_000});
    let mut page = client.call("logs.tail", params)?;
    show(&page["lines"], json)?;
    if !args.follow {
        return Ok(());
    }
    // Asked for page by page, so that none is told twice or left out.
    loop {
        let params = json!({"cursor": page["cursor"], "limit": 5000, "maxBytes": 1_000_000});
        page = match client.ask("logs.tail", params) {
            Ok(page) => page?,
            Err(_) if client.has_ended() => {
                eprintln!("moorline: the gateway has ended");
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        if page["reset"] == true || page["truncated"] == true {
            eprintln!("moorline: some lines were not read in time, and are gone");
        }
        show(&page["lines"], json)?;
        // Being asked may itself be worth a line: only a log that many others write to is read on at once.
        if page["lines"].as_array().is_none_or(|lines| lines.len() < BUSY) {
            client.pause(EVERY);
        }
    }
}

/// How often it looks for new lines.
const EVERY: Duration = Duration::from_millis(500);

/// Lines in a page after which it does not wait, as the gateway keeps only the last ones.
const BUSY: usize = 100;

fn show(lines: &Value, json: bool) -> Result<(), Failure> {
    let lines = lines.as_array().into_iter().flatten().filter_map(Value::as_str);
    let text: String = lines
        .map(|line| match json {
            true => format!("{line}\n"),
            false => format!("{}\n", for_people(line)),
        })
        .collect();
    print(&text)
}

/// A record as the gateway itself would write it for people.
fn for_people(line: &str) -> String {
    let Ok(Record(mut record)) = serde_json::from_str(line) else {
        return PeerText(line).to_string();
    };
    let mut take = |name: &str| match record.iter().position(|(found, _)| found == name) {
        Some(at) => match record.remove(at).1 {
            Value::String(text) => text,
            other => other.to_string(),
        },
        None => String::new(),
    };
    let (time, level, message) = (take("timestamp"), take("level"), take("message"));
    let mut out = format!("{} {level:>5} {}", PeerText(&time), PeerText(&message));
    for (name, value) in &record {
        let value = match value {
            Value::String(text) => format!("{:?}", PeerText(text).to_string()),
            other => other.to_string(),
        };
        out += &format!(" {}={value}", PeerText(name));
    }
    out
}

/// The fields of a line in the order in which they were written, as stderr has them.
struct Record(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Record(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_and_drives_no_terminal() {
        let line = r#"{"timestamp":"2026-01-02T03:04:05Z","level":"WARN","message":"closed","user":"a\u001b[2J\nb","code":1008,"a":[1]}"#;
        assert_eq!(
            for_people(line),
            "2026-01-02T03:04:05Z  WARN closed user=\"a\\\\u{1b}[2J\\\\nb\" code=1008 a=[1]"
        );
        assert_eq!(for_people("no\x1bJSON"), "no\\u{1b}JSON");
    }
}
