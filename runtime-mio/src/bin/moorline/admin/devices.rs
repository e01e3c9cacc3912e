//! `moorline devices`: who asks to be let in, and who is. It is always possible to let somebody in here,
//! also when nobody else can log in any more.

use super::args::{DeviceRole, DevicesArgs, DevicesCommand};
use super::output::{Table, cell, print, print_json};
use super::pending::{Both, Devices, Entry, Kind, choose};
use crate::failure::Failure;
use serde_json::{Value, json};

pub(super) fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let mut both = Both::connect(&args.common)?;
    let devices = both.devices()?;
    let json = args.common.json;
    match args.command.as_ref().unwrap_or(&DevicesCommand::List) {
        DevicesCommand::List => list(&devices, json),
        DevicesCommand::Approve { id } => {
            let entry = asking(&devices, id.as_deref())?;
            let answer = match entry.kind {
                Kind::Paired => {
                    both.base.call("device.pair.approve", json!({"code": entry.request()}))?
                }
                Kind::Keyed => {
                    let params = json!({"requestId": entry.request()});
                    both.openclaw.call("device.pair.approve", params)?
                }
            };
            done(entry, "approved", answer, json)
        }
        DevicesCommand::Reject { id } => {
            let entry = asking(&devices, id.as_deref())?;
            let answer = match entry.kind {
                Kind::Paired => {
                    both.base.call("device.pair.deny", json!({"code": entry.request()}))?
                }
                Kind::Keyed => both
                    .openclaw
                    .call("device.pair.reject", json!({"requestId": entry.request()}))?,
            };
            done(entry, "rejected", answer, json)
        }
        DevicesCommand::Remove { id } => {
            let entry = paired(&devices, id)?;
            let answer = match entry.kind {
                Kind::Paired => {
                    both.base.call("device.pair.revoke", json!({"senderId": entry.device()}))?
                }
                Kind::Keyed => {
                    both.openclaw.call("device.pair.remove", json!({"deviceId": entry.device()}))?
                }
            };
            done(entry, "removed", answer, json)
        }
        DevicesCommand::Rotate { id, role } => {
            let entry = paired(&devices, id)?;
            if entry.kind == Kind::Paired {
                return Err(Failure::Runtime(format!(
                    "{} has no token that could be rotated: remove it, and it asks to be let in again",
                    cell(&json!(entry.device()))
                )));
            }
            let params = json!({"deviceId": entry.device(), "role": role_of(entry, *role)?});
            let answer = both.openclaw.call("device.token.rotate", params)?;
            done(entry, "rotated", answer, json)?;
            if !json {
                print("It is told its new token when it connects with the gateway's token.\n")?;
            }
            Ok(())
        }
    }
}

fn list(devices: &Devices, json: bool) -> Result<(), Failure> {
    if json {
        let all = |entries: &[Entry]| entries.iter().map(Entry::json).collect::<Vec<_>>();
        return print_json(&json!({
            "pending": all(&devices.waiting),
            "paired": all(&devices.paired),
        }));
    }
    match &devices.waiting[..] {
        [] => print("Nobody asks to be let in.\n")?,
        waiting => waiting_table(waiting.iter()).print()?,
    }
    print("\n")?;
    if devices.paired.is_empty() {
        return print("No device is let in.\n");
    }
    let mut table = Table::new(&["LET IN", "DIALECT", "USER", "WHAT", "MAY", "SINCE", "CONNECTED"]);
    for entry in &devices.paired {
        let connected = match entry.value["connected"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        table.row([
            short(entry.device()),
            entry.kind.word().into(),
            cell(&entry.value["userId"]),
            entry.about(),
            entry.may(),
            entry.since(),
            connected.into(),
        ]);
    }
    table.print()
}

fn waiting_table<'e>(waiting: impl IntoIterator<Item = &'e Entry>) -> Table {
    let mut table = Table::new(&["ASKS", "DIALECT", "USER", "WHAT", "FOR", "DEVICE", "SINCE"]);
    for entry in waiting {
        table.row([
            cell(&json!(entry.request())),
            entry.kind.word().into(),
            cell(&entry.value["userId"]),
            entry.about(),
            entry.may(),
            short(entry.device()),
            entry.since(),
        ]);
    }
    table
}

/// The device that asks and is meant.
fn asking<'d>(devices: &'d Devices, id: Option<&str>) -> Result<&'d Entry, Failure> {
    choose(&devices.waiting, id).map_err(|could_be| match (id, &could_be[..]) {
        (None, []) => Failure::Runtime("nobody asks to be let in".into()),
        (Some(id), []) => Failure::Runtime(format!(
            "nobody asks under {}: `moorline devices` lists who does",
            cell(&json!(id))
        )),
        (_, several) => {
            // Where what was asked for would be.
            let _ = waiting_table(several.iter().copied()).print();
            Failure::Runtime("several ask to be let in: name one of them".into())
        }
    })
}

/// The device that is in and meant.
fn paired<'d>(devices: &'d Devices, id: &str) -> Result<&'d Entry, Failure> {
    choose(&devices.paired, Some(id)).map_err(|could_be| {
        let id = cell(&json!(id));
        Failure::Runtime(match &could_be[..] {
            [] => format!("no device {id} is let in: `moorline devices` lists those that are"),
            several => format!("{} devices begin with {id}: name more of it", several.len()),
        })
    })
}

/// The role whose token is meant.
fn role_of(entry: &Entry, role: Option<DeviceRole>) -> Result<String, Failure> {
    let roles = entry.value["roles"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (role, roles) {
        (Some(DeviceRole::Operator), _) => Ok("operator".into()),
        (Some(DeviceRole::Node), _) => Ok("node".into()),
        (None, [Value::String(only)]) => Ok(only.clone()),
        (None, _) => Err(Failure::Runtime("it was let in for several roles: give --role".into())),
    }
}

fn done(entry: &Entry, what: &str, answer: Value, json: bool) -> Result<(), Failure> {
    if json {
        let device = entry.json();
        let mut out = json!({"done": what, "device": device});
        out["answer"] = answer;
        return print_json(&out);
    }
    let user = match &entry.value["userId"] {
        Value::String(user) => format!(", user {}", cell(&json!(user))),
        _ => String::new(),
    };
    print(&format!("{what}: {} ({}{user})\n", short(entry.device()), entry.about()))
}

/// The start of a device's name, which is a hash and unlike all others from there on.
fn short(device: &str) -> String {
    let start = device.get(..18).unwrap_or(device);
    cell(&json!(start))
}
