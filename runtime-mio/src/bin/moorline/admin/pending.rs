//! Devices of both dialects, as one list: those that ask, and those that are in.

use super::args::Common;
use super::client::Client;
use super::output::{ago, cell, cells};
use crate::failure::Failure;
use serde_json::{Value, json};

/// Which dialect a device speaks, and so which methods decide about it.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has a `sender_id`.
    Paired,
    /// It has a key, in OpenClaw's dialect.
    Keyed,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Paired => "moorline",
            Self::Keyed => "openclaw",
        }
    }
}

/// A device, or its request, as its dialect's list has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) value: Value,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) waiting: Vec<Entry>,
    pub(super) paired: Vec<Entry>,
}

/// One connection of each dialect.
pub(super) struct Both {
    pub(super) base: Client,
    pub(super) openclaw: Client,
}

impl Both {
    pub(super) fn connect(common: &Common) -> Result<Self, Failure> {
        Ok(Self { base: Client::connect(common)?, openclaw: Client::connect_openclaw(common)? })
    }

    pub(super) fn devices(&mut self) -> Result<Devices, Failure> {
        let mut devices = Devices { waiting: Vec::new(), paired: Vec::new() };
        for (kind, client) in [(Kind::Paired, &mut self.base), (Kind::Keyed, &mut self.openclaw)] {
            let mut lists = client.call("device.pair.list", json!({}))?;
            let mut take = |name: &str| match lists[name].take() {
                Value::Array(list) => list,
                _ => Vec::new(),
            };
            let entry = |value| Entry { kind, value };
            devices.waiting.extend(take("pending").into_iter().map(entry));
            devices.paired.extend(take("paired").into_iter().map(entry));
        }
        Ok(devices)
    }
}

impl Entry {
    /// What people name it by while it asks: a code, or the id of its request.
    pub(super) fn request(&self) -> &str {
        let name = match self.kind {
            Kind::Paired => "code",
            Kind::Keyed => "requestId",
        };
        self.value[name].as_str().unwrap_or_default()
    }

    /// Its own name.
    pub(super) fn device(&self) -> &str {
        let name = match self.kind {
            Kind::Paired => "senderId",
            Kind::Keyed => "deviceId",
        };
        self.value[name].as_str().unwrap_or_default()
    }

    /// Whether it is this one, or begins like this: a whole name is never the start of another's.
    fn is(&self, id: &str) -> (bool, bool) {
        let names = [self.request(), self.device()];
        let whole = names.iter().any(|name| name.eq_ignore_ascii_case(id));
        let starts =
            |name: &&str| name.get(..id.len()).is_some_and(|start| start.eq_ignore_ascii_case(id));
        (whole, !id.is_empty() && names.iter().any(starts))
    }

    /// What it says it is.
    pub(super) fn about(&self) -> String {
        match self.kind {
            Kind::Paired => cell(&self.value["channel"]),
            Kind::Keyed => {
                let name = ["displayName", "clientId"].map(|name| &self.value[name]);
                let name = name.into_iter().find(|name| name.is_string()).unwrap_or(&Value::Null);
                format!("{} on {}", cell(name), cell(&self.value["platform"]))
            }
        }
    }

    /// What it may do, or asks to.
    pub(super) fn may(&self) -> String {
        match self.kind {
            Kind::Paired => "operator".into(),
            Kind::Keyed if self.value["scopes"] == json!([]) => cells(&self.value["roles"]),
            Kind::Keyed => {
                format!("{}: {}", cells(&self.value["roles"]), cells(&self.value["scopes"]))
            }
        }
    }

    /// Since when it asks, or is in.
    pub(super) fn since(&self) -> String {
        let names = ["createdAt", "ts", "pairedAt", "approvedAtMs"];
        let time = names.iter().map(|name| &self.value[*name]).find(|time| time.is_u64());
        ago(time.unwrap_or(&Value::Null))
    }

    /// For programs: as its dialect has it, and which that is.
    pub(super) fn json(&self) -> Value {
        let mut value = self.value.clone();
        value["dialect"] = self.kind.word().into();
        value
    }
}

/// The one that is meant; `Err` are those that could be.
pub(super) fn choose<'e>(
    entries: &'e [Entry],
    id: Option<&str>,
) -> Result<&'e Entry, Vec<&'e Entry>> {
    let Some(id) = id else {
        return match entries {
            [only] => Ok(only),
            several => Err(several.iter().collect()),
        };
    };
    let whole: Vec<_> = entries.iter().filter(|entry| entry.is(id).0).collect();
    if let [only] = whole[..] {
        return Ok(only);
    }
    let starts: Vec<_> = entries.iter().filter(|entry| entry.is(id).1).collect();
    match starts[..] {
        [only] => Ok(only),
        _ => Err(starts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let base = |code: &str, name: &str| Entry {
            kind: Kind::Paired,
            value: json!({"code": code, "senderId": name}),
        };
        let keyed = |request: &str, device: &str| Entry {
            kind: Kind::Keyed,
            value: json!({"requestId": request, "deviceId": device}),
        };
        vec![base("ABCD2345", "d-01"), keyed("ab12-x", "99aa"), keyed("cd34-y", "99aab")]
    }

    #[test]
    fn a_device_is_named_by_its_code_its_request_itself_or_the_start_of_one() {
        let all = entries();
        for (id, at) in
            [("abcd2345", 0), ("ABC", 0), ("d-0", 0), ("ab1", 1), ("99aa", 1), ("cd", 2)]
        {
            assert_eq!(choose(&all, Some(id)), Ok(&all[at]), "{id}");
        }
        assert_eq!(choose(&all[..1], None), Ok(&all[0]));
    }

    #[test]
    fn what_could_be_several_is_none() {
        let all = entries();
        assert_eq!(choose(&all, None).expect_err("three").len(), 3);
        assert_eq!(choose(&all, Some("ab")).expect_err("two").len(), 2);
        for id in ["", "zz", "ABCD23456", "ü"] {
            assert_eq!(choose(&all, Some(id)), Err(Vec::new()), "{id}");
        }
        assert_eq!(choose(&[], None), Err(Vec::new()));
    }
}
