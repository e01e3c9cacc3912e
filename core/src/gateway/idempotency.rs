//! The same key, the same run, the same answer: what makes a retry harmless.

use super::config::Bounds;
use super::principal::Principal;
use super::refusal::Refusal;
use super::request::Fingerprint;
use super::send::{Body, ReplyTo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A user's key.
pub(super) type Key = (Arc<str>, Arc<str>);

/// What makes a request have its effect once.
#[derive(Debug, Clone)]
pub(super) struct Once {
    pub(super) key: Key,
    /// Of its text: a key stands for one.
    pub(super) print: Fingerprint,
    /// It said which session it is for.
    pub(super) named: bool,
    /// Who asks.
    pub(super) who: Principal,
    /// A repeat gets what is known by then: the start of what is under way, the end of what has ended.
    pub(super) latest: bool,
}

/// Keys, bounded per user in number and time, and in all in bytes. What is still under way is never
/// forgotten: it is bounded by the runs and their queues.
#[derive(Debug)]
pub(super) struct Idempotency {
    within: Duration,
    per_user: usize,
    max_bytes: usize,
    kept: BTreeMap<Key, Kept>,
    /// By age.
    order: BTreeMap<u64, Key>,
    users: BTreeMap<Arc<str>, BTreeSet<u64>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    serial: u64,
    since: Instant,
    bytes: usize,
    print: Fingerprint,
    /// As soon as it is known.
    session: Option<Arc<str>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Under way; these wait for it, and with `true` only for its start.
    Running { started: Option<Body>, waiting: Vec<(ReplyTo, bool)> },
    /// The answer at its start, if somebody has asked for that, and the one at its end.
    Done { started: Option<Body>, ended: Body },
}

/// What a request with a key meets.
#[derive(Debug)]
pub(super) enum Met {
    /// Nothing: it is the first.
    Nothing(ReplyTo),
    /// An answer.
    Answer(ReplyTo, Body),
    /// The same request under way: this one may wait for it.
    Running(ReplyTo),
    /// Another request with the same key.
    Conflict(ReplyTo, Refusal),
}

/// What an entry costs besides its answer.
const OVERHEAD: usize = 256;

impl Idempotency {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            within: bounds.idempotency_within,
            per_user: bounds.idempotency_keys.max(1),
            max_bytes: bounds.idempotency_bytes,
            kept: BTreeMap::new(),
            order: BTreeMap::new(),
            users: BTreeMap::new(),
            next: 0,
            bytes: 0,
        }
    }

    /// Bytes of what is remembered.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes other bounds; answers beyond lower ones go with the next key.
    pub(super) fn set_bounds(&mut self, bounds: &Bounds) {
        self.within = bounds.idempotency_within;
        self.per_user = bounds.idempotency_keys.max(1);
        self.max_bytes = bounds.idempotency_bytes;
    }

    pub(super) fn meet(
        &mut self,
        now: Instant,
        once: &Once,
        session: Option<&Arc<str>>,
        ack: bool,
        to: ReplyTo,
    ) -> Met {
        self.expire(now);
        let key = &once.key;
        if let Some(kept) = self.kept.get(key) {
            if kept.print != once.print {
                return Met::Conflict(to, other_text());
            }
            if let (Some(asked), Some(session)) = (session, &kept.session)
                && asked != session
            {
                return Met::Conflict(to, other_session());
            }
            return match &kept.state {
                State::Done { started: Some(body), .. } if ack && !once.latest => {
                    Met::Answer(to, body.clone())
                }
                State::Done { ended, .. } => Met::Answer(to, ended.clone()),
                State::Running { started: Some(body), .. } if ack => Met::Answer(to, body.clone()),
                State::Running { .. } => Met::Running(to),
            };
        }
        let serial = self.next;
        self.next += 1;
        let bytes = key.0.len() + key.1.len() + OVERHEAD;
        let state = State::Running { started: None, waiting: Vec::new() };
        let (print, session) = (once.print, session.cloned());
        let kept = Kept { serial, since: now, bytes, print, session, state };
        self.kept.insert(key.clone(), kept);
        self.order.insert(serial, key.clone());
        self.users.entry(key.0.clone()).or_default().insert(serial);
        self.bytes += bytes;
        self.make_room(&key.0);
        Met::Nothing(to)
    }

    /// The session that it is for.
    pub(super) fn found(&mut self, key: &Key, session: &Arc<str>) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.session = Some(session.clone());
        }
    }

    /// This waits for what is under way, with `ack` only for its start.
    pub(super) fn wait(&mut self, key: &Key, to: ReplyTo, ack: bool) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        if let State::Running { waiting, .. } = &mut kept.state {
            waiting.push((to, ack));
        }
    }

    /// It has begun: gives those who waited for that only.
    pub(super) fn started(&mut self, key: &Key, body: &Body) -> Vec<ReplyTo> {
        let Some(kept) = self.kept.get_mut(key) else { return Vec::new() };
        let State::Running { started, waiting } = &mut kept.state else { return Vec::new() };
        *started = Some(body.clone());
        let (now, later) = std::mem::take(waiting).into_iter().partition(|(_, ack)| *ack);
        *waiting = later;
        now.into_iter().map(|(to, _): (ReplyTo, bool)| to).collect()
    }

    /// It has ended: keeps the answer and gives those who waited for it.
    pub(super) fn finish(&mut self, key: &Key, body: &Body) -> Vec<ReplyTo> {
        let Some(kept) = self.kept.get_mut(key) else { return Vec::new() };
        let (started, waiting) = match &mut kept.state {
            State::Running { started, waiting } => (started.take(), std::mem::take(waiting)),
            State::Done { .. } => return Vec::new(),
        };
        let bytes = body.json.len() + started.as_ref().map_or(0, |body| body.json.len());
        kept.bytes += bytes;
        self.bytes += bytes;
        kept.state = State::Done { started, ended: body.clone() };
        self.make_room(&key.0);
        waiting.into_iter().map(|(to, _)| to).collect()
    }

    /// What was answered when it had to wait has ended now.
    pub(super) fn ended(&mut self, key: &Key, body: &Body) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        let State::Done { started, ended } = &mut kept.state else { return };
        let old = std::mem::replace(ended, body.clone());
        let (less, more) = match started {
            Some(_) => (old.json.len(), body.json.len()),
            None => {
                *started = Some(old);
                (0, body.json.len())
            }
        };
        kept.bytes = kept.bytes - less + more;
        self.bytes = self.bytes - less + more;
        self.make_room(&key.0);
    }

    /// It never began: gives those who waited; a retry may begin it.
    pub(super) fn forget(&mut self, key: &Key) -> Vec<ReplyTo> {
        self.abandon(key).into_iter().map(|(to, _)| to).collect()
    }

    /// The session is gone, and with it what was answered in it.
    pub(super) fn forget_session(&mut self, session: &Arc<str>) {
        let of_it = |kept: &Kept| {
            kept.session.as_ref() == Some(session) && matches!(kept.state, State::Done { .. })
        };
        let keys: Vec<_> =
            self.kept.iter().filter(|(_, kept)| of_it(kept)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// It is done elsewhere: gives those who waited, with `true` only for its start.
    pub(super) fn abandon(&mut self, key: &Key) -> Vec<(ReplyTo, bool)> {
        match self.remove(key).map(|kept| kept.state) {
            Some(State::Running { waiting, .. }) => waiting,
            _ => Vec::new(),
        }
    }

    fn expire(&mut self, now: Instant) {
        let mut after = 0;
        while let Some((serial, key)) = self.order.range(after..).next() {
            after = serial + 1;
            let Some(kept) = self.kept.get(key) else { return };
            if kept.since + self.within > now {
                return;
            }
            if let State::Done { .. } = kept.state {
                let key = key.clone();
                self.remove(&key);
            }
        }
    }

    fn make_room(&mut self, user: &Arc<str>) {
        while self.users.get(user).is_some_and(|serials| serials.len() > self.per_user) {
            let mut serials = self.users.get(user).into_iter().flatten();
            let Some(oldest) = serials.find_map(|serial| self.done(*serial)) else { break };
            self.remove(&oldest);
        }
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.order.keys().find_map(|serial| self.done(*serial)) else {
                break;
            };
            self.remove(&oldest);
        }
    }

    fn done(&self, serial: u64) -> Option<Key> {
        let key = self.order.get(&serial)?;
        matches!(self.kept.get(key)?.state, State::Done { .. }).then(|| key.clone())
    }

    fn remove(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.kept.remove(key)?;
        self.order.remove(&kept.serial);
        self.bytes -= kept.bytes;
        if let Some(serials) = self.users.get_mut(&key.0) {
            serials.remove(&kept.serial);
            if serials.is_empty() {
                self.users.remove(&key.0);
            }
        }
        Some(kept)
    }
}

pub(super) fn other_text() -> Refusal {
    Refusal::invalid("idempotencyKey was used with another message")
}

pub(super) fn other_session() -> Refusal {
    Refusal::invalid("idempotencyKey was used in another session")
}

#[cfg(test)]
mod tests {
    use super::super::bus::{CallId, NodeId};
    use super::super::epoch::epoch;
    use super::super::principal::Role;
    use super::super::proof::Proof;
    use super::*;

    fn to() -> ReplyTo {
        ReplyTo::Remote { node: NodeId(0), call: CallId(0) }
    }

    fn once(key: &Key) -> Once {
        let who = Principal { user: key.0.clone(), role: Role::Operator, proof: Proof::Nothing };
        Once { key: key.clone(), print: Fingerprint::of("x"), named: false, who, latest: false }
    }

    fn body(text: &str) -> Body {
        Body { json: text.into(), error: None }
    }

    #[test]
    fn bounds_hold_and_time_passes() {
        let now = epoch();
        let bounds =
            Bounds { idempotency_keys: 10, idempotency_bytes: 10_000, ..Bounds::default() };
        let mut keys = Idempotency::new(&bounds);
        let key = |user: &str, n: usize| (Arc::from(user), Arc::from(n.to_string()));
        for n in 0..100 {
            assert!(matches!(
                keys.meet(now, &once(&key("a", n)), None, false, to()),
                Met::Nothing(_)
            ));
            keys.finish(&key("a", n), &body("done"));
            assert!(keys.kept.len() <= 10);
        }
        assert!(matches!(keys.meet(now, &once(&key("a", 99)), None, false, to()), Met::Answer(..)));
        for n in 0..100 {
            let user = n.to_string();
            keys.meet(now, &once(&key(&user, 0)), None, false, to());
            keys.finish(&key(&user, 0), &body(&"x".repeat(1000)));
            assert!(keys.bytes <= 10_000);
        }
        keys.meet(now, &once(&key("b", 0)), None, false, to());
        let later = now + Duration::from_secs(300);
        assert!(matches!(
            keys.meet(later, &once(&key("b", 0)), None, false, to()),
            Met::Running(_)
        ));
        keys.wait(&key("b", 0), to(), false);
        assert_eq!(keys.finish(&key("b", 0), &body("done")).len(), 1);
        assert!(matches!(
            keys.meet(later, &once(&key("b", 0)), None, false, to()),
            Met::Nothing(_)
        ));
        assert_eq!(keys.forget(&key("b", 0)).len(), 0);
        assert_eq!((keys.kept.len(), keys.order.len(), keys.users.len(), keys.bytes), (0, 0, 0, 0));
    }
}
