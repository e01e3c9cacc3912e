//! Which session a request is for.
//!
//! | the request says | the session |
//! |---|---|
//! | `x-moorline-session-key: K` | `K`, as `chat.send` has it |
//! | `x-openclaw-session-key: K` | `K`, as clients of that dialect mean it: `main` is the user's own |
//! | `"user": "u"` | one for each user of the client, of whoever is logged in |
//! | nothing | none: the client keeps the conversation |

use super::super::authenticate::DEFAULT_USER;
use super::super::chat::MAX_KEY;
use super::super::openclaw::{canonical, main_of};
use super::error::ApiError;
use crate::upgrade::RequestHead;
use std::fmt::Write as _;
use std::sync::Arc;

/// A session as a header names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named {
    Key(Arc<str>),
    OpenClaw(Arc<str>),
}

/// The headers that name one, the first that is there.
const HEADERS: [&str; 2] = ["X-Moorline-Session-Key", "X-OpenClaw-Session-Key"];

/// How the keys of sessions begin that are made for a client's users.
const OF_USER: &str = "openai-user:";

impl Named {
    /// What the headers say.
    pub(super) fn of(head: &RequestHead<'_>) -> Result<Option<Self>, ApiError> {
        for header in HEADERS {
            if head.header(header).is_none_or(<[u8]>::is_empty) {
                continue;
            }
            return match head.header_str(header).filter(|key| key.len() <= MAX_KEY) {
                Some(key) if header == HEADERS[0] => Ok(Some(Self::Key(key.into()))),
                Some(name) => Ok(Some(Self::OpenClaw(name.into()))),
                None => {
                    let text = format!("{header} must be text of at most {MAX_KEY} bytes");
                    Err(ApiError::invalid(header.into(), text))
                }
            };
        }
        Ok(None)
    }

    /// The key. `agent`: the one that was asked for, or the default one.
    pub(super) fn key(&self, who: &str, agent: &str) -> Result<Arc<str>, ApiError> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::OpenClaw(name) => canonical(name, agent, &main_of(who)).ok_or_else(|| {
                let text = format!("X-OpenClaw-Session-Key is no name of at most {MAX_KEY} bytes");
                ApiError::invalid("X-OpenClaw-Session-Key".into(), text)
            }),
        }
    }
}

/// The session of a client's user.
pub(super) fn of_user(who: &str, agent: &str, user: &str) -> Result<Arc<str>, ApiError> {
    let key = format!("agent:{agent}:{OF_USER}{}:{user}", owner(who));
    if key.len() > MAX_KEY {
        let text = "user is too long for the name of a session: shorten it, or name one in X-Moorline-Session-Key";
        return Err(ApiError::invalid("user".into(), text));
    }
    Ok(key.into())
}

/// Whether somebody may begin a session of this name: those of a client's users are begun by who is logged
/// in there only, or others would have what they will say.
pub(in super::super) fn may_begin(who: &str, key: &str) -> bool {
    let rest = key.strip_prefix("agent:").and_then(|rest| rest.split_once(':'));
    let Some(own) = rest.and_then(|(_, rest)| rest.strip_prefix(OF_USER)) else { return true };
    own.strip_prefix(&*owner(who)).is_some_and(|rest| rest.starts_with(':'))
}

/// A user id without what ends it in a key.
fn owner(who: &str) -> String {
    let mut out = String::new();
    for c in if who.is_empty() { DEFAULT_USER } else { who }.chars() {
        match c {
            ':' | '%' => write!(out, "%{:02X}", u32::from(c)).expect("a string takes everything"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_two_who_are_logged_in_never_share_a_session() {
        let mut keys = std::collections::BTreeMap::new();
        for who in ["a", "a:b", "a%3Ab", "b", "default"] {
            for user in ["c", "b:c", "", ":", "x"] {
                let key = of_user(who, "echo", user).expect("short enough");
                assert!(may_begin(who, &key), "{key}");
                for other in ["a", "a:b", "a%3Ab", "b", "default", "aa", ""] {
                    let same = other == who || other.is_empty() && who == "default";
                    assert_eq!(may_begin(other, &key), same, "{other} {key}");
                }
                assert_eq!(keys.insert(key, (who, user)), None);
            }
        }
        assert!(of_user(&"u".repeat(200), "echo", &"v".repeat(40)).is_err());
    }

    #[test]
    fn other_names_are_anybodys() {
        for key in
            ["", "main", "agent:echo:main", "agent:echo:x:openai-user:a:b", "openai-user:a:b"]
        {
            assert!(may_begin("u", key), "{key}");
        }
        assert!(!may_begin("u", "agent:echo:openai-user:u"), "it is nobody's");
    }
}
