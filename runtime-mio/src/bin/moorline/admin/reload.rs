//! `moorline reload`: the running gateway reads its configuration again, and says what came of it.

use super::args::ReloadArgs;
use super::client::Client;
use super::output::{cell, print, print_json};
use crate::config::Problem;
use crate::failure::Failure;
use serde_json::{Value, json};

pub(super) fn run(args: &ReloadArgs) -> Result<(), Failure> {
    let json = args.common.json;
    let refused = match Client::connect(&args.common)?.ask("gateway.reload", json!({}))? {
        Ok(answer) => return if json { print_json(&answer) } else { tell(&answer) },
        Err(refused) => refused,
    };
    let problems = match refused.details["problems"].as_array() {
        Some(problems) if !problems.is_empty() => problems,
        _ => return Err(refused.into()),
    };
    if json {
        print_json(&json!({"ok": false, "problems": problems}))?;
    }
    Err(Failure::from(problems.iter().map(problem).collect::<Vec<_>>()))
}

fn tell(answer: &Value) -> Result<(), Failure> {
    let mut text = match answer["file"].as_str() {
        Some(file) => format!("file: {}\n", cell(&json!(file))),
        None => "file: none\n".into(),
    };
    let list = |name: &str| answer[name].as_array().into_iter().flatten().map(cell);
    if answer["changed"] == json!([]) && answer["needRestart"] == json!([]) {
        text += "nothing has changed\n";
    }
    for (name, before) in
        [("changed", "changed: "), ("needRestart", "needs a restart: "), ("warnings", "warning: ")]
    {
        for item in list(name) {
            text += &format!("{before}{item}\n");
        }
    }
    print(&text)
}

fn problem(value: &Value) -> Problem {
    let number = |name: &str| value[name].as_u64().map(|number| number as usize);
    let text = |name: &str| value[name].as_str().map(str::to_string);
    Problem {
        place: text("place").unwrap_or_default(),
        position: number("line").zip(number("column")),
        key: text("key"),
        message: text("message").unwrap_or_default(),
    }
}
