//! Sessions as clients list them: one shape for lists and for single ones.

use super::super::Gateway;
use super::super::json::{self, Object};
use super::super::session::agent_of;
use super::super::work::{Listed, SessionInfo};
use super::answers::{PROVIDER, session_id};
use super::session_key::main_of;

/// What of a conversation a row shows.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Show {
    /// A name for a session without a label, made of how it began.
    pub(super) titles: bool,
    /// How what was said last begins.
    pub(super) lasts: bool,
}

impl Show {
    pub(super) const ALL: Self = Self { titles: true, lasts: true };
}

/// Characters of a name that is made of a message.
const TITLE: usize = 60;

impl Gateway {
    pub(super) fn write_row(&self, out: &mut String, listed: &Listed, show: Show, now_ms: u64) {
        let Listed { info, first, last } = listed;
        let agent = self.agent_of_session(info);
        let runs = self.openclaw.runs_of(&info.key);
        let mut object = Object::new(out)
            .str("key", &info.key)
            .str("kind", "direct")
            .str("agentId", agent)
            .bool("isMain", *info.key == *format!("agent:{agent}:{}", main_of(&info.owner)))
            .str("sessionId", &session_id(&info.key))
            .num("createdAt", info.created)
            .num("updatedAt", info.updated)
            .num("lastInteractionAt", info.updated)
            .maybe_str("label", info.label.as_deref())
            .maybe_str("displayName", info.label.as_deref());
        if show.titles {
            object = object.maybe_str("derivedTitle", first.as_deref().map(title).as_deref());
        }
        if show.lasts {
            object = object.maybe_str("lastMessagePreview", last.as_deref());
        }
        object
            .str("modelProvider", PROVIDER)
            .str("model", PROVIDER)
            .num("messageCount", info.messages)
            .str("status", if runs.is_empty() { "done" } else { "running" })
            .bool("hasActiveRun", !runs.is_empty())
            .list("activeRunIds", runs, json::string)
            .bool("archived", false)
            .bool("pinned", false)
            .bool("unread", false)
            .num("snapshotAt", now_ms)
            .end();
    }

    /// What clients call the agent of a session.
    pub(super) fn agent_of_session<'a>(&self, info: &'a SessionInfo) -> &'a str {
        agent_of(&info.key).unwrap_or_else(|| self.agent_shown(&info.agent))
    }
}

/// A line of at most [`TITLE`] characters.
fn title(text: &str) -> String {
    let words = text.split_whitespace();
    let mut title = String::new();
    for word in words {
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(word);
        if let Some((end, _)) = title.char_indices().nth(TITLE) {
            title.truncate(end);
            title.push('…');
            return title;
        }
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_short_line() {
        assert_eq!(title("  two\n\tlines "), "two lines");
        assert_eq!(title(""), "");
        let long = "ä".repeat(TITLE);
        assert_eq!(title(&long), long);
        assert_eq!(title(&format!("{long}x")), format!("{long}…"));
    }
}
