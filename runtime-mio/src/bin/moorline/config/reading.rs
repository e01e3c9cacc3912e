//! Layers on their way into the settings: each entry is checked, put in its place, and noted with who
//! said it.

use super::agents::AgentSettings;
use super::files::Files;
use super::jwt::NamedJwtKey;
use super::keys::{self, KEYS, Key};
use super::origin::{Origin, Problem};
use super::slot::Context;
use super::tree::{self, Member, Node, Position, Value};
use super::{Settings, secret};
use crate::environment::Variables;
use crate::peer_text::PeerText;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What was read so far.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) settings: Settings,
    pub(super) origins: BTreeMap<&'static str, Origin>,
    pub(super) warnings: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// What was read, or looked for.
    pub(super) files: Files,
    /// The gateway of this configuration is another process, which may have other variables.
    pub(super) is_elsewhere: bool,
    pub(super) unset: Vec<Unset>,
}

/// A variable that a setting takes a secret from, and that is not set.
pub(crate) struct Unset {
    /// The setting.
    pub(crate) key: &'static str,
    pub(crate) variable: String,
}

impl Reading {
    pub(super) fn problem(
        &mut self,
        place: impl fmt::Display,
        position: Option<Position>,
        key: Option<&str>,
        message: String,
    ) {
        let position = position.map(|position| (position.line, position.column));
        let key = key.map(|key| PeerText(key).to_string());
        self.problems.push(Problem { place: place.to_string(), position, key, message });
    }

    /// Reads one layer. The two ways to give tokens are one setting: a layer that uses one of them
    /// takes away what the layers before said by the other.
    pub(super) fn layer(&mut self, read: impl FnOnce(&mut Self)) {
        const TOKENS: [&str; 2] = ["gateway.token", "gateway.tokens"];
        let before = TOKENS.map(|path| self.origins.get(path).cloned());
        read(self);
        let changed: Vec<_> = TOKENS
            .iter()
            .zip(before)
            .map(|(path, old)| self.origins.get(path) != old.as_ref())
            .collect();
        match changed[..] {
            [true, true] => {
                let place = self.origins.get(TOKENS[1]).cloned().unwrap_or(Origin::Default);
                let message = "stands beside gateway.token: give one of them".into();
                self.problem(place, None, Some(TOKENS[1]), message);
            }
            [true, false] => {
                self.settings.tokens.clear();
                self.origins.remove(TOKENS[1]);
            }
            [false, true] => {
                self.settings.token = None;
                self.origins.remove(TOKENS[0]);
            }
            _ => {}
        }
    }

    pub(super) fn file(&mut self, path: &Path, text: &str) {
        let tree = match tree::parse(text) {
            Ok(tree) => tree,
            Err(error) => {
                return self.problem(path.display(), Some(error.position), None, error.message);
            }
        };
        self.object(path, text, "", &tree);
        let inline = ["gateway.token", "gateway.tokens"]
            .iter()
            .any(|key| self.origins.contains_key(key) && has_inline_secret(&tree, key));
        let jwt = self.origins.contains_key("gateway.jwt")
            && find(&tree, "gateway.jwt").is_some_and(|node| match node.value {
                Value::List(list) => list.iter().any(NamedJwtKey::is_inline_secret),
                _ => false,
            });
        let agents = self.origins.contains_key("agents")
            && find(&tree, "agents").is_some_and(|node| match node.value {
                Value::List(list) => list.iter().any(AgentSettings::has_inline_secret),
                _ => false,
            });
        if (inline || jwt || agents) && secret::is_open_to_others(path) {
            let path = path.display();
            self.warnings.push(format!(
                "{path} holds a secret and can be read by others: run chmod 600 on it"
            ));
        }
    }

    fn object(&mut self, file: &Path, text: &str, prefix: &str, node: &Node) {
        let problem = |reading: &mut Self, at, key: &str, message| {
            let key = (!key.is_empty()).then_some(key);
            reading.problem(file.display(), Some(tree::position(text, at)), key, message);
        };
        let Value::Object(members) = &node.value else {
            let message = format!("expected an object, found {}", node.value.kind());
            return problem(self, node.at, prefix.trim_end_matches('.'), message);
        };
        for (index, Member { at, key, node }) in members.iter().enumerate() {
            let path = format!("{prefix}{key}");
            if members[..index].iter().any(|other| other.key == *key) {
                problem(self, *at, &path, "stands here twice".into());
                continue;
            }
            let group = format!("{path}.");
            if KEYS.iter().any(|key| key.path.starts_with(&group)) {
                self.object(file, text, &group, node);
                continue;
            }
            let Some(key) = keys::find(&path) else {
                let groups = KEYS.iter().filter_map(|key| key.path.split_once('.')).map(|(g, _)| g);
                let known = KEYS.iter().map(|key| key.path).chain(groups);
                let message = match keys::nearest(&path, known, '.') {
                    Some(known) => format!("unknown key; did you mean {known}?"),
                    None => "unknown key".into(),
                };
                problem(self, *at, &path, message);
                continue;
            };
            let folder = file.parent().unwrap_or(Path::new(""));
            let mut unset = Vec::new();
            let mut context = Context {
                folder,
                files: &mut self.files,
                warnings: &mut self.warnings,
                unset: self.is_elsewhere.then_some(&mut unset),
            };
            let put = key.put(&mut self.settings, node, &mut context);
            self.unset.extend(unset.into_iter().map(|variable| Unset { key: key.path, variable }));
            match put {
                Ok(()) => {
                    let line = tree::position(text, *at).line;
                    let origin = Origin::File { path: file.into(), line };
                    self.origins.insert(key.path, origin);
                }
                Err(wrong) => problem(self, wrong.at, &path, wrong.message),
            }
        }
    }

    pub(super) fn variables(&mut self, variables: &Variables) {
        for key in KEYS {
            let name = key.variable();
            let Some(value) = variables.get(&name) else { continue };
            let words: Vec<_> = value.split(',').map(|word| word.trim().to_string()).collect();
            let words = if key.is_list() { words } else { vec![value.to_string()] };
            self.words(&name, key, &words, Origin::Variable(name.clone()));
        }
        let unknown = variables.names().filter(|name| {
            !OTHER_VARIABLES.contains(name) && KEYS.iter().all(|key| key.variable() != **name)
        });
        for name in unknown {
            // What all have in common says nothing.
            let known: Vec<_> = KEYS.iter().map(Key::variable).collect();
            let known = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
            let rest = name.strip_prefix(PREFIX).unwrap_or(name);
            let near = keys::nearest(rest, known, '_');
            let name = PeerText(name);
            self.warnings.push(match near {
                Some(near) => format!("{name} is no setting; did you mean {PREFIX}{near}?"),
                None => format!("{name} is no setting"),
            });
        }
    }

    pub(super) fn flags(&mut self, flags: &[(&'static str, &'static str, Vec<String>)]) {
        for (flag, path, words) in flags {
            let Some(key) = keys::find(path) else { continue };
            self.words(flag, key, words, Origin::Flag(flag));
        }
    }

    fn words(&mut self, place: &str, key: &'static Key, words: &[String], origin: Origin) {
        let (files, warnings) = (&mut self.files, &mut self.warnings);
        let mut context = Context { folder: Path::new(""), files, warnings, unset: None };
        let put = key.read(words).and_then(|node| {
            key.put(&mut self.settings, &node, &mut context).map_err(|wrong| wrong.message)
        });
        match put {
            Ok(()) => {
                self.origins.insert(key.path, origin);
            }
            Err(message) => self.problem(place, None, Some(key.path), message),
        }
    }
}

/// Whether a token itself stands in the file, not where to find it.
fn has_inline_secret(tree: &Node, path: &str) -> bool {
    match find(tree, path).map(|node| node.value) {
        Some(Value::Text(_)) => true,
        Some(Value::List(list)) => list.iter().any(|node| matches!(node.value, Value::Text(_))),
        _ => false,
    }
}

/// The value at a path.
fn find(tree: &Node, path: &str) -> Option<Node> {
    let member = |node: &Node, key: &str| match &node.value {
        Value::Object(members) => {
            members.iter().find(|member| member.key == key).map(|member| member.node.clone())
        }
        _ => None,
    };
    path.split('.').try_fold(tree.clone(), |node, key| member(&node, key))
}

/// Variables of this program that are no settings of the gateway.
const OTHER_VARIABLES: [&str; 1] = ["MOORLINE_CONFIG"];

/// What all variables of this program begin with.
pub(super) const PREFIX: &str = "MOORLINE_";
