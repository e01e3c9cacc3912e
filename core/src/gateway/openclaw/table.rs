//! The table of methods, for the docs and for tests.

use super::methods::{METHODS, Method};
use super::schema::Field;
use std::fmt::Write as _;

/// A method of the dialect of OpenClaw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenClawMethod {
    /// Its name in requests.
    pub name: &'static str,
    /// The role of connections that may call it: `operator` or `node`.
    pub role: &'static str,
    /// The scopes that they need.
    pub scopes: Vec<&'static str>,
    /// Parameters that must be there.
    pub required: Vec<&'static str>,
    /// Whether the answer to `connect` lists it.
    pub listed: bool,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

impl From<&Method> for OpenClawMethod {
    fn from(method: &Method) -> Self {
        let required = method.params.iter().filter(|field| field.required);
        Self {
            name: method.name,
            role: method.role.as_str(),
            scopes: method.scope.words().collect(),
            required: required.map(|field| field.name).collect(),
            listed: method.listed,
            summary: method.summary,
        }
    }
}

/// All methods of the dialect of OpenClaw.
pub fn openclaw_methods() -> Vec<OpenClawMethod> {
    METHODS.iter().map(OpenClawMethod::from).collect()
}

/// The same as a table in Markdown.
pub fn openclaw_methods_markdown() -> String {
    let mut out = String::from(
        "| method | scope | cost | parameters | what it does |\n|---|---|---|---|---|\n",
    );
    for method in METHODS {
        let cost = method.cost;
        let scope = match (method.role.as_str(), method.scope.is_empty()) {
            ("operator", true) => "none".into(),
            ("operator", false) => method.scope.to_string().replace("operator.", ""),
            (role, _) => format!("role {role}"),
        };
        write!(out, "| `{}` | {scope} | {}.{} | ", method.name, cost / 10, cost % 10)
            .expect("a string takes everything");
        let named = method.params.iter().filter(|field| **field != Field::OTHERS);
        for (at, field) in named.enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let optional = if field.required { "" } else { "?" };
            write!(out, "{comma}`{}{optional}`", field.name).expect("a string takes everything");
        }
        writeln!(out, " | {} |", method.summary).expect("a string takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_is_there_once_and_says_what_it_does() {
        let names: BTreeSet<_> = METHODS.iter().map(|method| method.name).collect();
        assert_eq!(names.len(), METHODS.len());
        for method in METHODS {
            assert!(method.summary.ends_with('.'), "{}", method.name);
        }
    }
}
