//! What a node can be told to do: what it says, what of that was approved, and who may approve or use it.

use super::super::json::{self, Object};
use super::client_info::ClientInfo;
use super::connect_params::ConnectParams;
use super::scopes::Scopes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a node can do: what it declares when it connects, or what somebody has approved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(in crate::gateway) struct Surface {
    /// Kinds of things, for people.
    pub(super) caps: BTreeSet<Box<str>>,
    /// What it can be told to do.
    pub(super) commands: BTreeSet<Box<str>>,
    /// What its operating system lets it do.
    pub(super) permissions: BTreeMap<Box<str>, bool>,
}

/// What a node says it is. Nothing of it is more than its word.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::gateway) struct NodeAbout {
    pub(super) name: Option<Box<str>>,
    pub(super) platform: Box<str>,
    pub(super) version: Box<str>,
    pub(super) family: Option<Box<str>>,
    pub(super) model: Option<Box<str>>,
    pub(super) client: Box<str>,
    pub(super) mode: Box<str>,
}

/// What a node says when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Manifest {
    pub(super) about: NodeAbout,
    pub(super) surface: Surface,
}

/// Whether a command does whatever its parameters say on the node's machine: programs, and what may be run
/// there without asking. Notifications show a text and no more.
pub(super) fn is_powerful(command: &str) -> bool {
    command.starts_with("system.") && !matches!(command, "system.notify" | "system.which")
}

impl Surface {
    /// Whether this has all of the other.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.caps.is_subset(&self.caps)
            && other.commands.is_subset(&self.commands)
            && other
                .permissions
                .iter()
                .all(|(name, granted)| !granted || self.permissions.get(name) == Some(&true))
    }

    /// What both have.
    pub(super) fn within(&self, limit: &Self) -> Self {
        let both = |own: &BTreeSet<Box<str>>, other: &BTreeSet<Box<str>>| {
            own.intersection(other).cloned().collect()
        };
        let permissions = self.permissions.iter();
        Self {
            caps: both(&self.caps, &limit.caps),
            commands: both(&self.commands, &limit.commands),
            permissions: permissions
                .filter(|(name, granted)| limit.permissions.get(*name) == Some(granted))
                .map(|(name, granted)| (name.clone(), *granted))
                .collect(),
        }
    }

    /// What it takes to approve it: nobody lets a node do what they could not tell it to do.
    pub(super) fn to_approve(&self) -> Scopes {
        if self.commands.iter().any(|command| is_powerful(command)) {
            Scopes::PAIRING.or(Scopes::ADMIN)
        } else if self.commands.is_empty() {
            Scopes::PAIRING
        } else {
            Scopes::PAIRING.or(Scopes::WRITE)
        }
    }

    /// `names`: what the three are called.
    pub(super) fn write<'o>(&self, object: Object<'o>, names: [&str; 3]) -> Object<'o> {
        let [caps, commands, permissions] = names;
        let mut object = object.list(caps, words(&self.caps), json::string).list(
            commands,
            words(&self.commands),
            json::string,
        );
        let out = object.key(permissions);
        out.push('{');
        for (at, (name, granted)) in self.permissions.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            json::string(out, name);
            out.push_str(if *granted { ":true" } else { ":false" });
        }
        out.push('}');
        object
    }

    fn bytes(&self) -> usize {
        let words = self.caps.iter().chain(&self.commands).chain(self.permissions.keys());
        words.map(|word| word.len() + PLACE).sum()
    }
}

fn words(words: &BTreeSet<Box<str>>) -> impl Iterator<Item = &str> {
    words.iter().map(|word| &**word)
}

/// What a word costs besides its bytes.
const PLACE: usize = 48;

/// The usual names in lists.
pub(super) const SURFACE: [&str; 3] = ["caps", "commands", "permissions"];

impl NodeAbout {
    fn of(client: &ClientInfo) -> Self {
        Self {
            name: client.display_name.clone(),
            platform: client.platform.clone(),
            version: client.version.clone(),
            family: client.device_family.clone(),
            model: client.model.clone(),
            client: client.id.into(),
            mode: client.mode.into(),
        }
    }

    /// `name`: what people have called it instead.
    pub(super) fn write<'o>(&self, object: Object<'o>, name: Option<&str>) -> Object<'o> {
        object
            .maybe_str("displayName", name.or(self.name.as_deref()))
            .str("platform", &self.platform)
            .str("version", &self.version)
            .maybe_str("deviceFamily", self.family.as_deref())
            .maybe_str("modelIdentifier", self.model.as_deref())
            .str("clientId", &self.client)
            .str("clientMode", &self.mode)
    }
}

impl Manifest {
    pub(super) fn of(params: &ConnectParams) -> Self {
        let words = |words: &[Box<str>]| words.iter().cloned().collect();
        Self {
            about: NodeAbout::of(&params.client),
            surface: Surface {
                caps: words(&params.caps),
                commands: words(&params.commands),
                permissions: params.permissions.clone(),
            },
        }
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        super::super::retained::ENTRY + self.surface.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(commands: &[&str], granted: &[(&str, bool)]) -> Surface {
        Surface {
            caps: BTreeSet::from(["canvas".into()]),
            commands: commands.iter().map(|word| (*word).into()).collect(),
            permissions: granted.iter().map(|(name, granted)| ((*name).into(), *granted)).collect(),
        }
    }

    #[test]
    fn more_of_anything_is_not_covered() {
        let known = surface(&["a", "b"], &[("camera", true), ("files", false)]);
        for (other, covered) in [
            (known.clone(), true),
            (surface(&["a"], &[]), true),
            (surface(&["a"], &[("camera", false), ("screen", false)]), true),
            (surface(&["a", "c"], &[]), false),
            (surface(&["a"], &[("files", true)]), false),
            (surface(&["a"], &[("screen", true)]), false),
            (Surface { caps: BTreeSet::from(["x".into()]), ..Surface::default() }, false),
        ] {
            assert_eq!(known.covers(&other), covered, "{other:?}");
            assert!(known.covers(&other.within(&known)), "{other:?}");
        }
    }

    #[test]
    fn who_approves_could_use_it_too() {
        for (commands, needed) in [
            (&[][..], Scopes::PAIRING),
            (&["canvas.present", "system.notify"], Scopes::PAIRING.or(Scopes::WRITE)),
            (&["canvas.present", "system.run"], Scopes::PAIRING.or(Scopes::ADMIN)),
            (&["system.which"], Scopes::PAIRING.or(Scopes::WRITE)),
        ] {
            assert_eq!(surface(commands, &[]).to_approve(), needed, "{commands:?}");
        }
    }
}
