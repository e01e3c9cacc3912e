//! What the doctor has found: each with an id that stays the same, a severity, and a line that mends it.

use super::ids::Id;
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing, or could not be tested.
    Info,
    /// Works, and will cause trouble.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// A colour of a terminal (ECMA-48 SGR).
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Info => "\x1b[36m",
            Self::Warning => "\x1b[33m",
            Self::Error => "\x1b[31m",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) id: &'static Id,
    /// What was seen; what peers wrote is escaped in it.
    about: String,
    /// One line to paste, or one that says what to change.
    fix: Option<String>,
}

/// What a peer wrote, as it may stand in a line to paste: nothing that means something to a shell.
pub(super) fn pasted(text: &str) -> &str {
    let harmless = |c: char| c.is_ascii_alphanumeric() || ".:/[]_-*".contains(c);
    match !text.is_empty()
        && !text.starts_with('-')
        && text.len() <= 256
        && text.chars().all(harmless)
    {
        true => text,
        false => "NAME",
    }
}

impl Finding {
    pub(crate) fn new(id: &'static Id, about: impl Into<String>) -> Self {
        Self { id, about: about.into(), fix: None }
    }

    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id.name,
            "severity": self.id.severity.as_str(),
            "about": self.about,
            "fix": self.fix,
        })
    }

    /// A line, and one with what mends it.
    pub(crate) fn text(&self, coloured: bool) -> String {
        let severity = self.id.severity;
        let (on, off) = if coloured { (severity.colour(), "\x1b[0m") } else { ("", "") };
        let mut text =
            format!("{on}{:<7}{off} {:<28} {}\n", severity.as_str(), self.id.name, self.about);
        if let Some(fix) = &self.fix {
            let _ = writeln!(text, "{:36} fix: {fix}", "");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_act_on_is_not_there_to_be_pasted() {
        for harmless in ["https://chat.example.com:8443", "10.0.0.1", "wss://[::1]:80/ws", "a_b-c"]
        {
            assert_eq!(pasted(harmless), harmless);
        }
        for text in ["", "--help", "https://x;curl${IFS}y|sh", "`id`", "a b", "a\u{202e}b", "$HOME"]
        {
            assert_eq!(pasted(text), "NAME", "{text}");
        }
    }
}
