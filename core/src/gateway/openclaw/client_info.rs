//! What a client says it is: the programs of the dialect, by their own words.

use super::schema::{Field, Kind, Values};

/// What a client says it is. Only what a device has signed is more than its word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct ClientInfo {
    /// One of a fixed list.
    pub(in crate::gateway) id: &'static str,
    /// One of a fixed list.
    pub(in crate::gateway) mode: &'static str,
    /// For people.
    pub(in crate::gateway) display_name: Option<Box<str>>,
    /// Of the program.
    pub(in crate::gateway) version: Box<str>,
    /// Which build of that version.
    pub(in crate::gateway) build: Option<Box<str>>,
    /// The operating system.
    pub(in crate::gateway) platform: Box<str>,
    /// What kind of machine.
    pub(in crate::gateway) device_family: Option<Box<str>>,
    /// Which machine of that kind.
    pub(in crate::gateway) model: Option<Box<str>>,
    /// Which of several programs of the same machine.
    pub(in crate::gateway) instance: Option<Box<str>>,
}

impl ClientInfo {
    pub(super) fn of(values: &Values<'_>) -> Option<Self> {
        Some(Self {
            id: known(CLIENT_IDS, &values.text("id")?)?,
            mode: known(CLIENT_MODES, &values.text("mode")?)?,
            display_name: owned(values, "displayName"),
            version: owned(values, "version").unwrap_or_default(),
            build: owned(values, "buildId"),
            platform: owned(values, "platform").unwrap_or_default(),
            device_family: owned(values, "deviceFamily"),
            model: owned(values, "modelIdentifier"),
            instance: owned(values, "instanceId"),
        })
    }

    /// Whether it is the administration page.
    pub(in crate::gateway) fn is_control_ui(&self) -> bool {
        matches!(self.id, "openclaw-control-ui" | "clawdbot-control-ui")
    }

    /// Whether somebody looks at it: then that a machine has become another one is theirs to judge.
    pub(in crate::gateway) fn is_seen(&self) -> bool {
        self.is_page() || self.mode == "ui"
    }

    /// Whether it runs in a web page, so that a browser says of which origin.
    pub(in crate::gateway) fn is_page(&self) -> bool {
        self.is_control_ui()
            || matches!(self.id, "webchat" | "webchat-ui")
            || self.mode == "webchat"
    }
}

/// An empty text is none.
pub(super) fn owned(values: &Values<'_>, name: &str) -> Option<Box<str>> {
    values.text(name).filter(|text| !text.is_empty()).map(Into::into)
}

fn known(words: &[&'static str], word: &str) -> Option<&'static str> {
    words.iter().copied().find(|known| *known == word)
}

/// The programs that there are: those of protocol 4, then those that only speak protocol 3.
pub(super) const CLIENT_IDS: &[&str] = &[
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-browser-copilot",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-linux",
    "openclaw-ios",
    "openclaw-watchos",
    "openclaw-android",
    "node-host",
    "openclaw-worker",
    "test",
    "fingerprint",
    "openclaw-probe",
    "clawdbot-control-ui",
    "clawdbot-macos",
    "clawdbot-ios",
    "clawdbot-android",
    "clawdbot-probe",
];

pub(super) const CLIENT_MODES: &[&str] =
    &["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];

/// Names, versions and ids: what a line of a list has room for.
pub(super) const WORD: Kind = Kind::Text { min: 1, max: 256 };

/// What clients may send empty, which says nothing.
pub(super) const MAYBE: Kind = Kind::Text { min: 0, max: 256 };

pub(super) const CLIENT: &[Field] = &[
    Field::required("id", Kind::OneOf(CLIENT_IDS)),
    Field::optional("displayName", MAYBE),
    Field::required("version", WORD),
    Field::optional("buildId", Kind::Text { min: 0, max: 96 }),
    Field::required("platform", WORD),
    Field::optional("deviceFamily", MAYBE),
    Field::optional("modelIdentifier", MAYBE),
    Field::optional("timeZone", Kind::Text { min: 0, max: 64 }),
    Field::required("mode", Kind::OneOf(CLIENT_MODES)),
    Field::optional("instanceId", MAYBE),
];
