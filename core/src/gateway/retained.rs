//! What is kept in memory for clients, by user: one count for everything whose size clients decide.
//!
//! ```text
//! request without an answer ┐
//! turn that waits or runs   ├─▶ Held ─▶ bytes of its user ─▶ `user_bytes`    what would exceed a bound is
//! answer of a run so far    │       └─▶ bytes of all users ─▶ `held_bytes`   refused before it is kept
//! of a run, to another loop │
//! queued for a connection   │
//! events of a link          ┘
//! ```
//!
//! Whoever keeps something keeps a [`Held`] with it: when that is dropped, wherever that happens, it is not
//! counted any more. The counts are atomic only so that a gateway can move to its thread.

use super::Gateway;
use super::config::Bounds;
use super::proof::Proof;
use super::refusal::{Refusal, SOON};
use super::send::{Cx, ReplyTo};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a thing costs besides its text: names, places in maps, timers.
pub(super) const ENTRY: usize = 512;

/// The count. As large as the number of users for whom something is kept, and at most twice that.
#[derive(Debug, Default)]
pub(super) struct Retained {
    all: Arc<AtomicUsize>,
    users: BTreeMap<Arc<str>, Arc<AtomicUsize>>,
    /// With so many users, those for whom nothing is kept are looked for.
    purge_at: usize,
}

/// Bytes that are kept for a user, as long as this is.
#[derive(Debug)]
pub(super) struct Held {
    all: Arc<AtomicUsize>,
    user: Arc<AtomicUsize>,
    bytes: usize,
}

impl Retained {
    pub(super) fn hold(&mut self, user: &Arc<str>, bytes: usize) -> Held {
        let count = match self.users.get(user) {
            Some(count) => count.clone(),
            None => {
                self.purge();
                self.users.entry(user.clone()).or_default().clone()
            }
        };
        let mut held = Held { all: self.all.clone(), user: count, bytes: 0 };
        held.set(bytes);
        held
    }

    pub(super) fn total(&self) -> usize {
        self.all.load(Relaxed)
    }

    fn of(&self, user: &str) -> usize {
        self.users.get(user).map_or(0, |count| count.load(Relaxed))
    }

    /// Whether this many bytes more may be kept.
    pub(super) fn check(&self, user: &str, bytes: usize, bounds: &Bounds) -> Result<(), Refusal> {
        let over = |used: usize, most: usize| used.saturating_add(bytes) > most;
        let text = if over(self.of(user), bounds.user_bytes) {
            "this user's requests, runs and unread answers take too much memory"
        } else if over(self.total(), bounds.held_bytes) {
            "the requests, runs and unread answers of all users take too much memory"
        } else {
            return Ok(());
        };
        Err(Refusal::exhausted(text, SOON))
    }

    /// Work in proportion to the users, each time that they have doubled.
    fn purge(&mut self) {
        if self.users.len() >= self.purge_at {
            self.users.retain(|_, count| Arc::strong_count(count) > 1);
            self.purge_at = (self.users.len() * 2).max(64);
        }
    }
}

impl Held {
    pub(super) fn set(&mut self, bytes: usize) {
        for count in [&self.all, &self.user] {
            // What was added by this is there to be taken off.
            count.fetch_add(bytes, Relaxed);
            count.fetch_sub(self.bytes, Relaxed);
        }
        self.bytes = bytes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.set(self.bytes.saturating_add(bytes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Gateway {
    /// Whether there is room for this many bytes more of a user.
    pub(super) fn room_for(&self, user: &str, bytes: usize) -> Result<(), Refusal> {
        self.retained.check(user, bytes, self.config.bounds())
    }

    /// What a request is to be answered with takes this many bytes. Where they are too many by now, and
    /// it only reads, so that it may be made again, it is refused instead: it was let in before anybody
    /// knew how much it would bring, as others were.
    pub(super) fn room_to_answer(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        bytes: usize,
    ) -> Option<ReplyTo> {
        let ReplyTo::Local { conn, method, .. } = &to else { return Some(to) };
        let who = self.conns.get(conn).and_then(|state| state.principal.as_ref());
        let room = who
            .filter(|who| method.reads && who.proof != Proof::Local)
            .map_or(Ok(()), |who| self.room_for(&who.user, bytes));
        match room {
            Ok(()) => Some(to),
            Err(refusal) => {
                self.reply_error(cx, to, &refusal);
                None
            }
        }
    }

    /// Whether all users together have less than they may.
    pub(super) fn has_room(&self) -> bool {
        self.retained.total() <= self.config.bounds().held_bytes
    }

    /// Bytes that are kept in memory for clients, of all users: requests without an answer, turns, answers
    /// of runs, what is queued for connections, and events of links.
    pub fn retained(&self) -> usize {
        self.retained.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_at_under_and_over_and_a_drop_gives_back() {
        let bounds = Bounds { user_bytes: 100, held_bytes: 150, ..Bounds::default() };
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let mut retained = Retained::default();
        let mut first = retained.hold(&ann, 60);
        for (user, bytes, fits) in
            [(&ann, 39, true), (&ann, 40, true), (&ann, 41, false), (&bob, 90, true)]
        {
            assert_eq!(retained.check(user, bytes, &bounds).is_ok(), fits, "{user} {bytes}");
        }
        let second = retained.hold(&bob, 50);
        assert!(retained.check(&bob, 40, &bounds).is_ok());
        let refusal = retained.check(&bob, 41, &bounds).expect_err("all have too much");
        assert!(refusal.message().contains("all users"));
        first.add(10);
        assert_eq!((retained.of("ann"), retained.total()), (70, 120));
        first.set(20);
        drop(second);
        assert_eq!((retained.of("ann"), retained.of("bob"), retained.total()), (20, 0, 20));
    }

    #[test]
    fn users_for_whom_nothing_is_kept_are_forgotten() {
        let mut retained = Retained::default();
        let kept: Vec<_> = (0..100).map(|n| retained.hold(&format!("k{n}").into(), 1)).collect();
        for n in 0..100_000 {
            retained.hold(&format!("u{n}").into(), 1);
        }
        assert!(retained.users.len() <= 2 * 200, "{}", retained.users.len());
        assert_eq!(retained.total(), kept.len());
    }
}
