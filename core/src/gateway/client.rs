//! What a client says it is. Nobody proves it: it is for people who look at a list.

use super::json::Object;
use super::params::{Param, Params};
use super::refusal::{Refusal, cut};
use std::sync::Arc;

/// A client's own words: of `connect`, or else of its upgrade request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Client {
    Named { id: Option<Box<str>>, version: Option<Box<str>>, platform: Option<Box<str>> },
    UserAgent(Box<str>),
}

/// What `connect` takes as `client`; other members are for others.
const SPEC: &[Param] = &[
    Param { name: "id", aliases: &["name"], kind: "text", required: false },
    Param { name: "version", aliases: &[], kind: "text", required: false },
    Param { name: "platform", aliases: &[], kind: "text", required: false },
];

/// Bytes of each of them: a name, a version, an operating system.
const MAX: usize = 64;

/// Bytes of a User-Agent that are kept: where browsers say what they are.
const MAX_USER_AGENT: usize = 128;

impl Client {
    /// What `connect` says, if it says something.
    pub(super) fn of(params: &Params<'_>) -> Result<Option<Arc<Self>>, Refusal> {
        let Some(params) = params.nested("client", SPEC)? else { return Ok(None) };
        let not_text = |_| Refusal::invalid("client.id, version and platform must be strings");
        let word = |name: &str| match params.text(name).map_err(not_text)? {
            Some(text) if text.len() > MAX || text.chars().any(char::is_control) => {
                let text = "must have at most 64 bytes and no control characters";
                Err(Refusal::invalid(format!("client.{name} {text}")))
            }
            text => Ok(text.map(Into::into)),
        };
        let (id, version, platform) = (word("id")?, word("version")?, word("platform")?);
        let says_nothing = id.is_none() && version.is_none() && platform.is_none();
        Ok((!says_nothing).then(|| Arc::new(Self::Named { id, version, platform })))
    }

    /// What it is called.
    pub(super) fn named(id: &str, version: &str, platform: &str) -> Arc<Self> {
        let word = |text: &str| (!text.is_empty()).then(|| cut(text, MAX).into());
        Arc::new(Self::Named { id: word(id), version: word(version), platform: word(platform) })
    }

    /// Its id, version and platform, as far as it has said.
    pub(super) fn words(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        match self {
            Self::Named { id, version, platform } => {
                (id.as_deref(), version.as_deref(), platform.as_deref())
            }
            Self::UserAgent(text) => (Some(text), None, None),
        }
    }

    /// What the upgrade request says. A header is not worth refusing anybody for: what cannot be shown
    /// is left out, and what is too long is cut.
    pub(super) fn of_header(user_agent: Option<&str>) -> Option<Arc<Self>> {
        let text = cut(user_agent?.trim(), MAX_USER_AGENT);
        let fine = !text.is_empty() && !text.chars().any(char::is_control);
        fine.then(|| Arc::new(Self::UserAgent(text.into())))
    }

    pub(super) fn members<'o>(&self, object: Object<'o>) -> Object<'o> {
        match self {
            Self::Named { id, version, platform } => object
                .maybe_str("id", id.as_deref())
                .maybe_str("version", version.as_deref())
                .maybe_str("platform", platform.as_deref()),
            Self::UserAgent(text) => object.str("userAgent", text),
        }
    }
}
