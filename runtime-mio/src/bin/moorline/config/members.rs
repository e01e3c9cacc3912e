//! An object of the configuration whose members are not settings of their own: each is there once at most, and
//! nothing else is.

use super::slot::Wrong;
use super::tree::{Member, Node, Value};
use std::time::Duration;

/// The members of one object.
pub(super) struct Members<'n> {
    at: usize,
    found: Vec<(&'static str, &'n Node)>,
}

impl<'n> Members<'n> {
    /// Reads an object that may have members of these names. `what` it is, in words, such as `an agent`.
    pub(super) fn read(node: &'n Node, what: &str, names: &[&'static str]) -> Result<Self, Wrong> {
        let Value::Object(members) = &node.value else {
            let message = format!("expected {what}, an object, found {}", node.value.kind());
            return Err(Wrong { at: node.at, message });
        };
        let mut found: Vec<(&'static str, &Node)> = Vec::new();
        for Member { at, key, node } in members {
            let Some(name) = names.iter().find(|name| **name == key.as_str()) else {
                let nearest = super::keys::nearest(key, names.iter().copied(), '.');
                let message = match nearest {
                    Some(near) => format!("{what} has no key {key:?}; did you mean {near}?"),
                    None => format!("{what} has no key {key:?}, only {}", names.join(", ")),
                };
                return Err(Wrong { at: *at, message });
            };
            if found.iter().any(|(other, _)| other == name) {
                return Err(Wrong { at: *at, message: format!("{key} stands here twice") });
            }
            found.push((name, node));
        }
        Ok(Self { at: node.at, found })
    }

    pub(super) fn node(&self, name: &str) -> Option<&'n Node> {
        self.found.iter().find(|(other, _)| *other == name).map(|(_, node)| *node)
    }

    /// One that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<&'n Node, Wrong> {
        self.node(name).ok_or_else(|| Wrong { at: self.at, message: format!("{name} is missing") })
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'n str>, Wrong> {
        self.node(name).map(|node| text(node)).transpose()
    }

    /// A whole number.
    pub(super) fn number(
        &self,
        name: &str,
        (least, most): (u64, u64),
        default: u64,
    ) -> Result<u64, Wrong> {
        let Some(node) = self.node(name) else { return Ok(default) };
        super::slot::whole(node).filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            let found = node.value.kind();
            let message =
                format!("expected {name}, a whole number from {least} to {most}, found {found}");
            Wrong { at: node.at, message }
        })
    }

    /// Milliseconds.
    pub(super) fn millis(
        &self,
        name: &str,
        range: (u64, u64),
        default: Duration,
    ) -> Result<Duration, Wrong> {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        self.number(name, range, default).map(Duration::from_millis)
    }

    /// A number that need not be whole.
    pub(super) fn fraction(
        &self,
        name: &str,
        (least, most): (f64, f64),
    ) -> Result<Option<f64>, Wrong> {
        let Some(node) = self.node(name) else { return Ok(None) };
        let number = match node.value {
            Value::Whole(number) => number as f64,
            Value::Fraction(number) => number,
            _ => f64::NAN,
        };
        if (least..=most).contains(&number) {
            return Ok(Some(number));
        }
        let found = node.value.kind();
        let message = format!("expected {name}, a number from {least} to {most}, found {found}");
        Err(Wrong { at: node.at, message })
    }
}

/// A text that is not empty.
pub(super) fn text(node: &Node) -> Result<&str, Wrong> {
    match &node.value {
        Value::Text(text) if !text.is_empty() => Ok(text),
        Value::Text(_) => Err(Wrong { at: node.at, message: "this text is empty".into() }),
        other => {
            let message = format!("expected a text, found {}", other.kind());
            Err(Wrong { at: node.at, message })
        }
    }
}
