//! The store that keeps nothing: sessions in memory, bounded, as a pure value.

mod records;

use super::work::{Author, Message, NewSession, SessionInfo, StoreError, StoreOutcome, StoreWork};
use records::Records;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Bounds on a [`MemoryStore`].
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Sessions. Default 10,000. More make the one that was idle longest go.
    pub sessions: usize,
    /// Messages of one session. Default 10,000. More make its oldest go.
    pub messages: usize,
    /// Bytes of all texts. Default 256 MiB. More make the sessions that were idle longest go.
    pub bytes: usize,
    /// Records. Default 100,000. More are refused.
    pub records: usize,
    /// Bytes of all records. Default 64 MiB. More are refused.
    pub record_bytes: usize,
}

impl Default for MemoryBounds {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            messages: 10_000,
            bytes: 256 * 1024 * 1024,
            records: 100_000,
            record_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Sessions and messages in memory. The host runs it on its job thread; tests use it as a model of
/// every other store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    bounds: MemoryBounds,
    sessions: BTreeMap<Arc<str>, Session>,
    /// The sessions in the order of their last use.
    by_use: BTreeSet<(u64, Arc<str>)>,
    /// Counts uses: an order that a clock which stands still cannot blur.
    uses: u64,
    bytes: usize,
    records: Records,
}

#[derive(Debug)]
struct Session {
    info: SessionInfo,
    used: u64,
    next_id: u64,
    messages: VecDeque<Message>,
    bytes: usize,
}

/// What a message costs besides its text.
const OVERHEAD: usize = 128;

impl MemoryStore {
    /// An empty store.
    pub fn new(bounds: MemoryBounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Does one piece of work.
    pub fn execute(&mut self, work: StoreWork) -> StoreOutcome {
        match work {
            StoreWork::Open { session } => match self.sessions.get(&session) {
                Some(session) => StoreOutcome::Opened(session.info.clone()),
                None => StoreOutcome::Absent,
            },
            StoreWork::Append { session, create, author, text, label, at } => {
                self.append(&session, create, author, text, label, at)
            }
            StoreWork::History { session, before, limit, bytes } => {
                match self.sessions.get(&session) {
                    Some(session) => session.history(before, limit, bytes),
                    None => StoreOutcome::Absent,
                }
            }
            StoreWork::List { owner, agent, limit, offset } => {
                self.list(owner.as_deref(), agent.as_deref(), limit, offset)
            }
            StoreWork::Put { records, at } => {
                self.records.put(records, at, (self.bounds.records, self.bounds.record_bytes))
            }
            StoreWork::Remove { kind, key, at } => self.records.remove(kind, key, at),
            StoreWork::Clear { kind, at } => self.records.clear(kind, at),
            StoreWork::Load { at } => self.records.load(at),
        }
    }

    /// Sessions, and bytes held for them and for records.
    pub fn size(&self) -> (usize, usize) {
        (self.sessions.len(), self.bytes + self.records.bytes())
    }

    fn append(
        &mut self,
        key: &Arc<str>,
        create: Option<NewSession>,
        author: Author,
        text: Arc<str>,
        label: Option<String>,
        at: u64,
    ) -> StoreOutcome {
        let cost = text.len() + label.as_ref().map_or(0, String::len) + OVERHEAD;
        if cost > self.bounds.bytes {
            return StoreOutcome::Failed(StoreError::Full);
        }
        match (self.sessions.get(key), create) {
            (Some(session), Some(new)) if session.info.owner != new.owner => {
                return StoreOutcome::Taken;
            }
            (Some(_), _) => {}
            (None, Some(new)) => self.create(key, new, at),
            (None, None) => return StoreOutcome::Absent,
        }
        self.uses += 1;
        let session = self.sessions.get_mut(key).expect("it is there or was created");
        self.by_use.remove(&(session.used, key.clone()));
        session.used = self.uses;
        self.by_use.insert((session.used, key.clone()));
        let id = session.next_id;
        session.next_id += 1;
        session.messages.push_back(Message { id, author, text, label, at });
        session.info.messages += 1;
        session.info.updated = at;
        session.bytes += cost;
        self.bytes += cost;
        while session.messages.len() > self.bounds.messages.max(1) {
            self.bytes -= session.drop_oldest();
        }
        self.evict(key);
        StoreOutcome::Appended { id }
    }

    fn create(&mut self, key: &Arc<str>, new: NewSession, at: u64) {
        let info = SessionInfo {
            key: key.clone(),
            owner: new.owner,
            agent: new.agent,
            messages: 0,
            created: at,
            updated: at,
        };
        let bytes = key.len() + OVERHEAD;
        self.bytes += bytes;
        let session = Session { info, used: 0, next_id: 1, messages: VecDeque::new(), bytes };
        self.sessions.insert(key.clone(), session);
    }

    /// Makes room, at the cost of the sessions that were idle longest and in the end of the oldest
    /// messages of the one in use.
    fn evict(&mut self, keep: &Arc<str>) {
        while self.sessions.len() > self.bounds.sessions.max(1) || self.bytes > self.bounds.bytes {
            let oldest = self.by_use.first().cloned();
            match oldest {
                Some((used, key)) if key != *keep => {
                    self.by_use.remove(&(used, key.clone()));
                    let session = self.sessions.remove(&key);
                    self.bytes -= session.map_or(0, |session| session.bytes);
                }
                _ => {
                    let Some(session) = self.sessions.get_mut(keep) else { return };
                    if session.messages.len() <= 1 {
                        return;
                    }
                    self.bytes -= session.drop_oldest();
                }
            }
        }
    }

    fn list(
        &self,
        owner: Option<&str>,
        agent: Option<&str>,
        limit: usize,
        offset: usize,
    ) -> StoreOutcome {
        let matching = || {
            self.by_use
                .iter()
                .rev()
                .filter_map(|(_, key)| self.sessions.get(key))
                .map(|session| &session.info)
                .filter(|info| owner.is_none_or(|owner| *info.owner == *owner))
                .filter(|info| agent.is_none_or(|agent| *info.agent == *agent))
        };
        StoreOutcome::List {
            sessions: matching().skip(offset).take(limit).cloned().collect(),
            total: matching().count(),
        }
    }
}

impl Session {
    fn history(&self, before: Option<u64>, limit: usize, bytes: usize) -> StoreOutcome {
        let end = before.map_or(self.messages.len(), |before| {
            self.messages.partition_point(|message| message.id < before)
        });
        let mut start = end;
        let mut size = 0;
        while start > 0 && end - start < limit {
            size += self.messages[start - 1].text.len();
            if size > bytes && start < end {
                break;
            }
            start -= 1;
        }
        StoreOutcome::History {
            messages: self.messages.range(start..end).cloned().collect(),
            more: start > 0,
        }
    }

    fn drop_oldest(&mut self) -> usize {
        let dropped = self.messages.pop_front().map_or(0, |message| {
            message.text.len() + message.label.as_ref().map_or(0, String::len) + OVERHEAD
        });
        self.bytes -= dropped;
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(store: &mut MemoryStore, session: &str, text: &str) -> StoreOutcome {
        store.execute(StoreWork::Append {
            session: session.into(),
            create: Some(NewSession { owner: "u".into(), agent: "echo".into() }),
            author: Author::User,
            text: text.into(),
            label: None,
            at: 7,
        })
    }

    fn ids(outcome: &StoreOutcome) -> (Vec<u64>, bool) {
        match outcome {
            StoreOutcome::History { messages, more } => {
                (messages.iter().map(|message| message.id).collect(), *more)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_go_backwards_without_gaps() {
        let mut store = MemoryStore::default();
        for n in 1..=5 {
            assert_eq!(append(&mut store, "a", &"x".repeat(10)), StoreOutcome::Appended { id: n });
        }
        let mut page = |before, limit, bytes| {
            let work = StoreWork::History { session: "a".into(), before, limit, bytes };
            ids(&store.execute(work))
        };
        assert_eq!(page(None, 2, 1000), (vec![4, 5], true));
        assert_eq!(page(Some(4), 2, 1000), (vec![2, 3], true));
        assert_eq!(page(Some(2), 2, 1000), (vec![1], false));
        assert_eq!(page(None, 9, 20), (vec![4, 5], true));
        assert_eq!(page(None, 9, 1), (vec![5], true));
        assert_eq!(page(Some(1), 9, 99), (vec![], false));
    }

    #[test]
    fn a_session_is_created_once() {
        let mut store = MemoryStore::default();
        append(&mut store, "a", "hello");
        let size = store.size();
        let mut create = |owner: &str| {
            store.execute(StoreWork::Append {
                session: "a".into(),
                create: Some(NewSession { owner: owner.into(), agent: "echo".into() }),
                author: Author::User,
                text: "hello".into(),
                label: None,
                at: 7,
            })
        };
        assert_eq!(create("eve"), StoreOutcome::Taken);
        assert_eq!(create("u"), StoreOutcome::Appended { id: 2 });
        assert!(store.size().1 > size.1);
    }

    #[test]
    fn each_bound_holds_and_idle_sessions_go_first() {
        let bounds =
            MemoryBounds { sessions: 3, messages: 2, bytes: 4000, ..MemoryBounds::default() };
        let mut store = MemoryStore::new(bounds);
        for key in ["a", "b", "c", "a", "d"] {
            append(&mut store, key, "hello");
        }
        let absent = store.execute(StoreWork::Open { session: "b".into() });
        assert_eq!(absent, StoreOutcome::Absent);
        for n in 0..100 {
            append(&mut store, "a", &"y".repeat(n * 10));
            let (sessions, bytes) = store.size();
            assert!(sessions <= 3 && bytes <= 4000, "{sessions} {bytes}");
        }
        let refused = append(&mut store, "a", &"z".repeat(5000));
        assert_eq!(refused, StoreOutcome::Failed(StoreError::Full));
        let sum: usize = store.sessions.values().map(|session| session.bytes).sum();
        assert_eq!(sum, store.bytes);
    }
}
