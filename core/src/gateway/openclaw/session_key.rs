//! What clients call a session, and the one name that it has.
//!
//! Clients compare the names in events with the canonical one, so events and answers have no other.

use super::super::api_keys::hex;
use super::super::authenticate::DEFAULT_USER;
use super::super::chat::MAX_KEY;
use super::super::session::agent_of;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::sync::Arc;

/// What every client calls the main session, whatever its key is.
pub(in crate::gateway) const MAIN: &str = "main";

/// How the keys of main sessions begin.
const OF_USER: &str = "user:";

/// Bytes of a user id for which a key has room.
const LONG: usize = 200;

/// The key of a user's main session. Names belong to whoever says something there first, so users who
/// are told apart have main sessions of their own; the one that nobody names has the name that all
/// clients know.
pub(in crate::gateway) fn main_of(user: &str) -> Cow<'static, str> {
    match user {
        DEFAULT_USER => Cow::Borrowed(MAIN),
        user if user.len() > LONG => {
            Cow::Owned(format!("{OF_USER}{}", hex(&Sha256::digest(user.as_bytes())[..16])))
        }
        user => Cow::Owned(format!("{OF_USER}{user}")),
    }
}

/// Whether a user may begin a session of this name: main sessions are begun by those whose they are, or
/// whoever says something there first would hear what they say.
pub(in crate::gateway) fn may_begin(user: &str, key: &str) -> bool {
    let Some((_, rest)) = split(key) else { return true };
    rest != MAIN && !rest.starts_with(OF_USER) || *rest == *main_of(user)
}

/// The one name of a session: `agent:<agent>:<rest>`. Any other name is short for one of the default
/// agent `agent`, and [`MAIN`] for the one whose rest is `main`. None if there is nothing left to name, or
/// if it would be longer than the keys of the gateway.
///
/// Letter case counts, as it does in every dialect.
pub(in crate::gateway) fn canonical(name: &str, agent: &str, main: &str) -> Option<Arc<str>> {
    let name = name.trim();
    let (agent, rest) = split(name).unwrap_or((agent, name));
    let rest = if rest == MAIN { main } else { rest };
    let length = "agent::".len() + agent.len() + rest.len();
    (!rest.is_empty() && length <= MAX_KEY).then(|| format!("agent:{agent}:{rest}").into())
}

/// The agent and the rest of a name that is canonical already.
fn split(name: &str) -> Option<(&str, &str)> {
    let agent = agent_of(name)?;
    let rest = name.strip_prefix("agent:")?.strip_prefix(agent)?.strip_prefix(':')?;
    (!rest.is_empty()).then_some((agent, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn named(name: &str) -> Option<Arc<str>> {
        canonical(name, "support", MAIN)
    }

    #[test]
    fn short_names_are_of_the_default_agent() {
        for (name, canonical) in [
            ("main", "agent:support:main"),
            (" main\n", "agent:support:main"),
            ("acp-bridge:X", "agent:support:acp-bridge:X"),
            ("Main", "agent:support:Main"),
            ("agent:other:main", "agent:other:main"),
            ("agent:other:a:b", "agent:other:a:b"),
            // What has no agent or no rest is no canonical name, and so a short one.
            ("agent:other", "agent:support:agent:other"),
            ("agent:other:", "agent:support:agent:other:"),
            ("agent::x", "agent:support:agent::x"),
        ] {
            assert_eq!(named(name).as_deref(), Some(canonical), "{name}");
        }
        assert_eq!((named(""), named("  ")), (None, None));
    }

    #[test]
    fn main_is_whatever_the_main_session_is_called() {
        let named = |name| canonical(name, "support", "home");
        for name in ["main", "home", "agent:support:main"] {
            assert_eq!(named(name).as_deref(), Some("agent:support:home"), "{name}");
        }
        assert_eq!(named("agent:other:main").as_deref(), Some("agent:other:home"));
    }

    #[test]
    fn no_name_is_longer_than_the_gateways_keys() {
        let room = MAX_KEY - "agent:support:".len();
        let longest = named(&"x".repeat(room)).expect("it fits");
        assert_eq!(longest.len(), MAX_KEY);
        assert_eq!(named(&longest), Some(longest));
        assert_eq!(named(&"x".repeat(room + 1)), None);
        assert_eq!(named(&format!("agent:a:{}", "x".repeat(MAX_KEY))), None);
    }

    quickcheck! {
        fn the_canonical_name_of_a_canonical_name_is_itself(parts: Vec<u8>, main: bool) -> bool {
            let words = ["agent", ":", "main", "home", "x", " ", "\u{e4}", "agent:a:"];
            let name: String = parts.iter().map(|part| words[usize::from(part & 7)]).collect();
            let main = if main { "home" } else { MAIN };
            let Some(key) = canonical(&name, "support", main) else { return true };
            let agent = agent_of(&key);
            let kept = split(name.trim()).is_none_or(|(own, _)| agent == Some(own));
            let given = split(name.trim()).is_some() || agent == Some("support");
            key.len() <= MAX_KEY && kept && given && canonical(&key, "other", main) == Some(key.clone())
        }
    }
}
