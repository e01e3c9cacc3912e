//! The store that keeps nothing: sessions in memory, bounded, as a pure value.

mod browse;
mod records;
mod requests;

use super::request::{Known, Mark, RunEnd};
use super::work::{Message, NewSession, SessionInfo, StoreError, StoreOutcome, StoreWork};
use records::Records;
use requests::{Request, Requests};
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
    /// Idempotency keys of one user. Default 1,000. More make those that expire first go.
    pub keys: usize,
    /// Bytes of all idempotency keys with their answers. Default 64 MiB. More make those that expire
    /// first go.
    pub key_bytes: usize,
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
            keys: 1000,
            key_bytes: 64 * 1024 * 1024,
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
    requests: Requests,
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
            StoreWork::Append { session, create, author, text, media, label, stop, at, mark } => {
                let key = mark.as_ref().map(|mark| mark.key().clone());
                let message = Message { id: 0, author, text, media, label, stop, at, key };
                self.append(&session, create, message, mark)
            }
            StoreWork::Settle { user, key, end, at, expires } => {
                self.end((user, key), end, at, expires);
                StoreOutcome::Stored
            }
            StoreWork::History { session, before, limit, bytes } => {
                match self.sessions.get(&session) {
                    Some(session) => session.history(before, limit, bytes),
                    None => StoreOutcome::Absent,
                }
            }
            StoreWork::Create { session, new, label, at } => self.begin(&session, new, label, at),
            StoreWork::List { filter, texts, limit, offset } => {
                self.list(&filter, texts, limit, offset)
            }
            StoreWork::Count { owner } => self.count(owner.as_deref()),
            StoreWork::Patch { session, label } => match self.sessions.get_mut(&session) {
                Some(session) => {
                    let cost = |label: &Option<String>| label.as_ref().map_or(0, String::len);
                    let (old, new) = (cost(&session.info.label), cost(&label));
                    session.bytes = session.bytes - old + new;
                    self.bytes = self.bytes - old + new;
                    session.info.label = label;
                    StoreOutcome::Opened(session.info.clone())
                }
                None => StoreOutcome::Absent,
            },
            StoreWork::Delete { session } => StoreOutcome::Removed(self.remove(&session)),
            StoreWork::Reset { session } => self.trim(&session, 0),
            StoreWork::Compact { session, keep } => self.trim(&session, keep),
            StoreWork::Probe => StoreOutcome::Stored,
            StoreWork::Put { records, at } => {
                self.records.put(records, at, (self.bounds.records, self.bounds.record_bytes))
            }
            StoreWork::Remove { kind, key, at } => self.records.remove(kind, key, at),
            StoreWork::Clear { kind, at } => self.records.clear(kind, at),
            StoreWork::Load { at } => self.records.load(at),
        }
    }

    /// Sessions, and bytes held for them, for idempotency keys and for records.
    pub fn size(&self) -> (usize, usize) {
        let bytes = self.bytes + self.requests.bytes() + self.records.bytes();
        (self.sessions.len(), bytes)
    }

    fn append(
        &mut self,
        key: &Arc<str>,
        create: Option<NewSession>,
        mut message: Message,
        mark: Option<Mark>,
    ) -> StoreOutcome {
        if let Some(Mark::Begin { user, key, print, .. }) = &mark
            && let Some(request) = self.requests.get(&(user.clone(), key.clone()), message.at)
        {
            return match self.sessions.get(&request.session) {
                Some(session) if request.print == *print => StoreOutcome::Known(Box::new(Known {
                    session: session.info.clone(),
                    message: request.message,
                    run: request.run.clone(),
                    end: request.end.clone(),
                })),
                _ => StoreOutcome::Conflict,
            };
        }
        let cost = cost(&message);
        if cost > self.bounds.bytes {
            return StoreOutcome::Failed(StoreError::Full);
        }
        match (self.sessions.get(key), create) {
            (Some(session), Some(new)) if session.info.owner != new.owner => {
                return StoreOutcome::Taken;
            }
            (Some(_), _) => {}
            (None, Some(new)) => self.create(key, new, message.at),
            (None, None) => return StoreOutcome::Absent,
        }
        self.touch(key);
        let session = self.sessions.get_mut(key).expect("it is there or was created");
        let id = session.next_id;
        session.next_id += 1;
        message.id = id;
        let (at, text, stop) = (message.at, message.text.clone(), message.stop);
        session.messages.push_back(message);
        session.info.messages += 1;
        session.info.updated = at;
        session.bytes += cost;
        self.bytes += cost;
        while session.messages.len() > self.bounds.messages.max(1) {
            self.bytes -= session.drop_oldest();
        }
        match mark {
            Some(Mark::Begin { user, key: name, print, run, expires }) => {
                let session = key.clone();
                let request = Request { print, session, message: id, run, end: None, expires };
                let (keys, bytes) = (self.bounds.keys, self.bounds.key_bytes);
                self.requests.insert((user, name), request, keys, bytes);
            }
            Some(Mark::End { user, key, usage, expires }) => {
                let end = RunEnd::Completed { message: id, content: text, usage, stop };
                self.end((user, key), end, at, expires);
            }
            None => {}
        }
        self.evict(key);
        StoreOutcome::Appended { id }
    }

    fn end(&mut self, name: requests::Name, end: RunEnd, at: u64, expires: u64) {
        let (keys, bytes) = (self.bounds.keys, self.bounds.key_bytes);
        self.requests.end(name, end, (at, expires), keys, bytes);
    }

    fn create(&mut self, key: &Arc<str>, new: NewSession, at: u64) {
        let info = SessionInfo {
            key: key.clone(),
            owner: new.owner,
            agent: new.agent,
            label: None,
            messages: 0,
            created: at,
            updated: at,
        };
        let bytes = key.len() + OVERHEAD;
        self.bytes += bytes;
        let session = Session { info, used: 0, next_id: 1, messages: VecDeque::new(), bytes };
        self.sessions.insert(key.clone(), session);
    }

    /// It is the one that was used last now.
    fn touch(&mut self, key: &Arc<str>) {
        self.uses += 1;
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.by_use.remove(&(session.used, key.clone()));
        session.used = self.uses;
        self.by_use.insert((session.used, key.clone()));
    }

    /// Makes room, at the cost of the sessions that were idle longest and in the end of the oldest
    /// messages of the one in use.
    fn evict(&mut self, keep: &Arc<str>) {
        while self.sessions.len() > self.bounds.sessions.max(1) || self.bytes > self.bounds.bytes {
            let oldest = self.by_use.first().cloned();
            match oldest {
                Some((_, key)) if key != *keep => {
                    self.remove(&key);
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

    fn remove(&mut self, key: &Arc<str>) -> bool {
        let Some(session) = self.sessions.remove(key) else { return false };
        self.by_use.remove(&(session.used, key.clone()));
        self.bytes -= session.bytes;
        self.requests.drop_session(key);
        true
    }

    /// Removes all but the newest messages.
    fn trim(&mut self, key: &Arc<str>, keep: u64) -> StoreOutcome {
        let Some(session) = self.sessions.get_mut(key) else { return StoreOutcome::Absent };
        let before = session.info.messages;
        while session.info.messages > keep {
            self.bytes -= session.drop_oldest();
        }
        let left = session.info.messages;
        let first = session.messages.front().map_or(session.next_id, |message| message.id);
        self.requests.drop_unanswered(key, first);
        StoreOutcome::Trimmed { removed: before - left, left }
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
        let Some(message) = self.messages.pop_front() else { return 0 };
        let dropped = cost(&message);
        self.info.messages -= 1;
        self.bytes -= dropped;
        dropped
    }
}

fn cost(message: &Message) -> usize {
    let media: usize = message.media.iter().map(|path| path.len() + size_of::<Arc<str>>()).sum();
    let key = message.key.as_ref().map_or(0, |key| key.len());
    message.text.len() + media + message.label.as_ref().map_or(0, String::len) + key + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::agent_work::StopReason;
    use super::super::work::Author;
    use super::*;

    fn append(store: &mut MemoryStore, session: &str, text: &str) -> StoreOutcome {
        store.execute(StoreWork::Append {
            session: session.into(),
            create: Some(NewSession { owner: "u".into(), agent: "echo".into() }),
            author: Author::User,
            text: text.into(),
            media: Vec::new(),
            label: None,
            stop: StopReason::Stop,
            at: 7,
            mark: None,
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
                media: Vec::new(),
                label: None,
                stop: StopReason::Stop,
                at: 7,
                mark: None,
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
