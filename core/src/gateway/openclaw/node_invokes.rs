//! What nodes were told to do and have not answered, at the loop of their connections; and for a while what
//! they have answered, for callers who ask again with the same key.

use super::super::bus::NodeId;
use super::super::conn::ConnId;
use super::super::request::Fingerprint;
use super::super::retained::Held;
use super::super::send::{Body, ReplyTo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who asks once: a user, a node and a key.
pub(super) type Key = (Arc<str>, Arc<str>, Arc<str>);

/// Callers that may wait for one node at once. A node works on few things at a time; more would only wait
/// longer.
pub(super) const MOST_OF_NODE: usize = 64;

/// Answers of nodes that one connection may wait for at once: no caller fills a node alone.
pub(super) const MOST_OF_CALLER: usize = 16;

/// How long an answer is told again: as long as clients repeat their requests.
const TOLD_WITHIN: Duration = Duration::from_secs(300);

/// Answers that are told again, and bytes of them. Beyond that the oldest is known no more.
const MOST_TOLD: usize = 1000;
const MOST_TOLD_BYTES: usize = 4 * 1024 * 1024;

/// Somebody waits for an answer.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Its name, at the caller's loop and here.
    pub(super) ask: Arc<str>,
    pub(super) to: ReplyTo,
}

/// A node was told to do something.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) conn: ConnId,
    pub(super) node: Arc<str>,
    pub(super) command: Arc<str>,
    pub(super) key: Option<Key>,
    print: Fingerprint,
    pub(super) waiters: Vec<Waiter>,
    deadline: Instant,
}

#[derive(Debug)]
struct Told {
    print: Fingerprint,
    body: Body,
    until: Instant,
    _held: Held,
}

/// What is known of a request that came before.
#[derive(Debug)]
pub(super) enum Known {
    Nothing,
    /// It is open under this name.
    Open(Arc<str>),
    Told(Body),
    /// It was another request.
    Other,
}

#[derive(Debug, Default)]
pub(in crate::gateway) struct Invokes {
    open: BTreeMap<Arc<str>, Open>,
    /// The same by connections, and by who waits.
    conns: BTreeMap<ConnId, BTreeSet<Arc<str>>>,
    waiting: BTreeMap<Arc<str>, Arc<str>>,
    keys: BTreeMap<Key, Arc<str>>,
    due: BTreeSet<(Instant, Arc<str>)>,
    /// When the timer is armed for.
    pub(super) timer: Option<Instant>,
    told: BTreeMap<Key, Told>,
    /// The oldest first.
    order: VecDeque<Key>,
    told_bytes: usize,
    /// What connections of this loop wait for, and at which loop the node is.
    asked: BTreeMap<(ConnId, Arc<str>), NodeId>,
}

impl Invokes {
    // --- the caller's loop ---------------------------------------------------------------------------

    pub(super) fn asked_by(&self, conn: ConnId) -> usize {
        self.asks(conn).count()
    }

    pub(super) fn ask(&mut self, conn: ConnId, ask: Arc<str>, at: NodeId) {
        self.asked.insert((conn, ask), at);
    }

    pub(super) fn answered(&mut self, conn: ConnId, ask: &Arc<str>) {
        self.asked.remove(&(conn, ask.clone()));
    }

    /// Nobody waits for these any more.
    pub(super) fn forget_caller(&mut self, conn: ConnId) -> Vec<(Arc<str>, NodeId)> {
        let asks: Vec<_> = self.asks(conn).collect();
        for (ask, _) in &asks {
            self.asked.remove(&(conn, ask.clone()));
        }
        asks
    }

    fn asks(&self, conn: ConnId) -> impl Iterator<Item = (Arc<str>, NodeId)> {
        let asks = self.asked.range((conn, Arc::from(""))..);
        let own = asks.take_while(move |((of, _), _)| *of == conn);
        own.map(|((_, ask), at)| (ask.clone(), *at))
    }

    // --- the node's loop -----------------------------------------------------------------------------

    pub(super) fn known(&mut self, key: &Key, print: Fingerprint, now: Instant) -> Known {
        self.expire(now);
        let open = self.keys.get(key).and_then(|id| Some((id, self.open.get(id)?)));
        match (open, self.told.get(key)) {
            (Some((id, open)), _) if open.print == print => Known::Open(id.clone()),
            (None, Some(told)) if told.print == print => Known::Told(told.body.clone()),
            (None, None) => Known::Nothing,
            _ => Known::Other,
        }
    }

    /// Callers that wait for this connection.
    pub(super) fn waiting_for(&self, conn: ConnId) -> usize {
        let ids = self.conns.get(&conn).into_iter().flatten();
        ids.filter_map(|id| self.open.get(id)).map(|open| open.waiters.len()).sum()
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, and what it has at hand")]
    pub(super) fn open(
        &mut self,
        id: Arc<str>,
        conn: ConnId,
        (node, command): (Arc<str>, Arc<str>),
        key: Option<Key>,
        print: Fingerprint,
        deadline: Instant,
        waiter: Waiter,
    ) {
        if let Some(key) = &key {
            self.keys.insert(key.clone(), id.clone());
        }
        self.due.insert((deadline, id.clone()));
        self.conns.entry(conn).or_default().insert(id.clone());
        self.waiting.insert(waiter.ask.clone(), id.clone());
        let waiters = vec![waiter];
        self.open.insert(id, Open { conn, node, command, key, print, waiters, deadline });
    }

    pub(super) fn join(&mut self, id: &Arc<str>, waiter: Waiter) {
        if let Some(open) = self.open.get_mut(id) {
            self.waiting.insert(waiter.ask.clone(), id.clone());
            open.waiters.push(waiter);
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Open> {
        self.open.get(id)
    }

    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// It has ended.
    pub(super) fn close(&mut self, id: &str) -> Option<Open> {
        let (id, open) = self.open.remove_entry(id)?;
        if let Some(key) = &open.key {
            self.keys.remove(key);
        }
        for waiter in &open.waiters {
            self.waiting.remove(&waiter.ask);
        }
        if let Some(ids) = self.conns.get_mut(&open.conn) {
            ids.remove(&id);
            if ids.is_empty() {
                self.conns.remove(&open.conn);
            }
        }
        self.due.remove(&(open.deadline, id));
        Some(open)
    }

    /// What a connection was told to do.
    pub(super) fn of_conn(&self, conn: ConnId) -> Vec<Arc<str>> {
        self.conns.get(&conn).into_iter().flatten().cloned().collect()
    }

    /// A caller has gone: gives its place, and the name of what nobody waits for any more.
    pub(super) fn leave(&mut self, ask: &str) -> Option<(Waiter, Option<Arc<str>>)> {
        let id = self.waiting.remove(ask)?;
        let open = self.open.get_mut(&id)?;
        let at = open.waiters.iter().position(|waiter| *waiter.ask == *ask)?;
        let waiter = open.waiters.remove(at);
        let is_last = open.waiters.is_empty();
        Some((waiter, is_last.then_some(id)))
    }

    /// When the first one is over, or the first answer is not told again any more.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let told = self.order.front().and_then(|key| self.told.get(key));
        due.into_iter().chain(told.map(|told| told.until)).min()
    }

    pub(super) fn overdue(&self, now: Instant) -> Option<Arc<str>> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, id)| id.clone())
    }

    /// A node has answered: whoever asks again is told the same.
    pub(super) fn tell_again(&mut self, open: &Open, body: &Body, now: Instant, held: Held) {
        let Some(key) = &open.key else { return };
        self.expire(now);
        if body.json.len() > MOST_TOLD_BYTES / 4 {
            return;
        }
        self.told_bytes += body.json.len();
        let until = now + TOLD_WITHIN;
        let told = Told { print: open.print, body: body.clone(), until, _held: held };
        self.told.insert(key.clone(), told);
        self.order.push_back(key.clone());
        while self.told.len() > MOST_TOLD || self.told_bytes > MOST_TOLD_BYTES {
            self.forget_oldest();
        }
    }

    /// Forgets answers whose time is over: nobody need come for that, as they count for their users.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front()
            && self.told.get(oldest).is_none_or(|told| told.until <= now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(key) = self.order.pop_front() else { return };
        if let Some(told) = self.told.remove(&key) {
            self.told_bytes -= told.body.json.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bus::CallId;
    use super::super::super::epoch::epoch;
    use super::super::super::retained::Retained;
    use super::*;

    fn key(name: &str) -> Key {
        ("ann".into(), "node".into(), name.into())
    }

    fn begin(invokes: &mut Invokes, name: &str, now: Instant) -> Arc<str> {
        let to = ReplyTo::Remote { node: NodeId(1), call: CallId(1) };
        let waiter = Waiter { ask: format!("ask-{name}").into(), to };
        let (id, what): (Arc<str>, _) = (name.into(), ("node".into(), "c".into()));
        let print = Fingerprint::of("c");
        let deadline = now + Duration::from_secs(1);
        invokes.open(id.clone(), ConnId(1), what, Some(key(name)), print, deadline, waiter);
        id
    }

    fn end(invokes: &mut Invokes, retained: &mut Retained, id: &str, bytes: usize, now: Instant) {
        let open = invokes.close(id).expect("it is open");
        let held = retained.hold(&"ann".into(), bytes);
        let body = Body { json: "x".repeat(bytes), error: None };
        invokes.tell_again(&open, &body, now, held);
    }

    #[test]
    fn answers_are_told_again_within_their_time_their_number_and_their_bytes() {
        let (mut invokes, mut retained, now) = (Invokes::default(), Retained::default(), epoch());
        let print = Fingerprint::of("c");
        let id = begin(&mut invokes, "first", now);
        assert!(matches!(invokes.known(&key("first"), print, now), Known::Open(_)));
        assert!(matches!(invokes.known(&key("first"), Fingerprint::of("d"), now), Known::Other));
        end(&mut invokes, &mut retained, &id, 10, now);
        let last = now + TOLD_WITHIN - Duration::from_millis(1);
        assert!(matches!(invokes.known(&key("first"), print, last), Known::Told(_)));
        assert!(matches!(invokes.known(&key("first"), Fingerprint::of("d"), last), Known::Other));
        let over = now + TOLD_WITHIN;
        assert!(matches!(invokes.known(&key("first"), print, over), Known::Nothing));
        assert_eq!(retained.total(), 0);
        for n in 0..=MOST_TOLD {
            let id = begin(&mut invokes, &n.to_string(), now);
            end(&mut invokes, &mut retained, &id, 10, now);
        }
        assert!(matches!(invokes.known(&key("0"), print, now), Known::Nothing));
        assert!(matches!(invokes.known(&key("1"), print, now), Known::Told(_)));
        for n in 0..5 {
            let id = begin(&mut invokes, &format!("large {n}"), now);
            end(&mut invokes, &mut retained, &id, MOST_TOLD_BYTES / 4, now);
        }
        assert!(matches!(invokes.known(&key("large 0"), print, now), Known::Nothing));
        assert!(matches!(invokes.known(&key("large 1"), print, now), Known::Told(_)));
        assert_eq!(retained.total(), MOST_TOLD_BYTES);
        let id = begin(&mut invokes, "too large", now);
        end(&mut invokes, &mut retained, &id, MOST_TOLD_BYTES / 4 + 1, now);
        assert!(matches!(invokes.known(&key("too large"), print, now), Known::Nothing));
        assert_eq!(invokes.next_end(), Some(over));
        invokes.expire(over);
        assert_eq!((invokes.next_end(), retained.total()), (None, 0));
    }

    #[test]
    fn what_a_caller_waits_for_is_its_own() {
        let mut invokes = Invokes::default();
        for (conn, ask) in [(1, "a"), (2, "a"), (2, "b"), (3, "")] {
            invokes.ask(ConnId(conn), ask.into(), NodeId(0));
        }
        invokes.answered(ConnId(2), &"a".into());
        let left: Vec<_> = (1..=3).map(|conn| invokes.asked_by(ConnId(conn))).collect();
        assert_eq!(left, [1, 1, 1]);
        assert_eq!(invokes.forget_caller(ConnId(2)), [("b".into(), NodeId(0))]);
        assert_eq!((invokes.asked_by(ConnId(2)), invokes.asked_by(ConnId(3))), (0, 1));
    }

    #[test]
    fn the_last_caller_who_goes_leaves_nobody_waiting() {
        let (mut invokes, now) = (Invokes::default(), epoch());
        let id = begin(&mut invokes, "x", now);
        let to = ReplyTo::Remote { node: NodeId(1), call: CallId(2) };
        invokes.join(&id, Waiter { ask: "other".into(), to });
        assert_eq!(invokes.waiting_for(ConnId(1)), 2);
        let (_, over) = invokes.leave("ask-x").expect("it waits");
        assert_eq!(over, None);
        let (_, over) = invokes.leave("other").expect("it waits");
        assert_eq!(over, Some(id));
        assert!(invokes.leave("other").is_none());
        assert!(invokes.close("x").is_some());
        assert!(invokes.conns.is_empty() && invokes.waiting.is_empty());
    }
}
