//! Sessions as somebody looks for them, and those in which nothing was said yet.

use super::super::work::{
    Author, LISTED_CHARS, Listed, Message, NewSession, SessionFilter, SessionInfo, StoreOutcome,
};
use super::{MemoryStore, Session};
use std::collections::BTreeMap;
use std::sync::Arc;

impl MemoryStore {
    pub(super) fn begin(
        &mut self,
        key: &Arc<str>,
        new: NewSession,
        label: Option<String>,
        at: u64,
    ) -> StoreOutcome {
        match self.sessions.get(key) {
            Some(session) if session.info.owner != new.owner => return StoreOutcome::Taken,
            Some(session) => return StoreOutcome::Opened(session.info.clone()),
            None => {}
        }
        self.create(key, new, at);
        self.touch(key);
        let Some(session) = self.sessions.get_mut(key) else { return StoreOutcome::Absent };
        let bytes = label.as_ref().map_or(0, String::len);
        session.info.label = label;
        session.bytes += bytes;
        let info = session.info.clone();
        self.bytes += bytes;
        self.evict(key);
        StoreOutcome::Opened(info)
    }

    pub(super) fn list(
        &self,
        filter: &SessionFilter,
        texts: bool,
        limit: usize,
        offset: usize,
    ) -> StoreOutcome {
        let matching = || {
            self.by_use
                .iter()
                .rev()
                .filter_map(|(_, key)| self.sessions.get(key))
                .filter(|session| fits(&session.info, filter))
        };
        let listed = |session: &Session| {
            let mut messages = session.messages.iter().filter(|_| texts);
            let start = |message: &Message| -> Option<Arc<str>> {
                let start: String = message.text.chars().take(LISTED_CHARS).collect();
                (!start.is_empty()).then(|| start.into())
            };
            let last = messages.clone().next_back().and_then(start);
            let first = messages.find(|message| message.author == Author::User);
            Listed { info: session.info.clone(), first: first.and_then(start), last }
        };
        StoreOutcome::List {
            sessions: matching().skip(offset).take(limit).map(listed).collect(),
            total: matching().count(),
        }
    }

    pub(super) fn count(&self, owner: Option<&str>) -> StoreOutcome {
        let mut counts = BTreeMap::<Arc<str>, u64>::new();
        let infos = self.sessions.values().map(|session| &session.info);
        for info in infos.filter(|info| owner.is_none_or(|owner| *info.owner == *owner)) {
            *counts.entry(info.agent.clone()).or_default() += 1;
        }
        StoreOutcome::Counted(counts.into_iter().collect())
    }
}

fn fits(info: &SessionInfo, filter: &SessionFilter) -> bool {
    let SessionFilter { owner, agent, key, label, search, since } = filter;
    let has = |text: &str, search: &String| text.to_ascii_lowercase().contains(search.as_str());
    owner.as_ref().is_none_or(|owner| info.owner == *owner)
        && agent.as_ref().is_none_or(|agent| *info.agent == **agent)
        && key.as_ref().is_none_or(|key| info.key == *key)
        && label.as_ref().is_none_or(|label| info.label.as_ref() == Some(label))
        && since.is_none_or(|since| info.updated >= since)
        && search.as_ref().is_none_or(|search| {
            has(&info.key, search) || info.label.as_ref().is_some_and(|label| has(label, search))
        })
}
