//! All links of a node: found by what names them, counted by user, and which of them go first.

use super::super::bus::NodeId;
use super::super::config::Bounds;
use super::super::principal::Principal;
use super::super::retained::Retained;
use super::super::ring::Ring;
use super::{Attached, Dialect, Link, LinkId, ResumeToken};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// All links of a node.
#[derive(Debug, Default)]
pub(in super::super) struct Links {
    links: BTreeMap<LinkId, Link>,
    tokens: BTreeMap<ResumeToken, LinkId>,
    users: BTreeMap<Arc<str>, UserLinks>,
    /// Those without a connection, the oldest first.
    detached: BTreeSet<(Instant, LinkId)>,
    /// What all rings hold.
    pub(super) bytes: usize,
    next: u64,
}

#[derive(Debug, Default)]
struct UserLinks {
    /// What their rings hold.
    bytes: usize,
    all: BTreeSet<LinkId>,
    detached: BTreeSet<(Instant, LinkId)>,
}

impl Links {
    pub(in super::super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(in super::super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    pub(in super::super) fn by_token(&self, token: &ResumeToken) -> Option<LinkId> {
        self.tokens.get(token).copied()
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// Links, those of them without a connection, and the bytes that all hold.
    pub(in super::super) fn size(&self) -> (usize, usize, usize) {
        (self.links.len(), self.detached.len(), self.bytes)
    }

    pub(in super::super) fn insert(
        &mut self,
        who: Principal,
        (named, token): (NodeId, ResumeToken),
        ring: Ring,
        retained: &mut Retained,
    ) -> LinkId {
        let id = LinkId(self.next);
        self.next += 1;
        let user = self.users.entry(who.user.clone()).or_default();
        user.all.insert(id);
        user.bytes += ring.bytes();
        let held = retained.hold(&who.user, ring.bytes());
        self.tokens.insert(token, id);
        self.bytes += ring.bytes();
        let link = Link {
            who,
            token,
            named,
            ring,
            held,
            attached: Attached::Nowhere,
            detached: None,
            given: 0,
            left: 0,
            presence_stale: false,
            dialect: Dialect::Base,
            awaiting: Vec::new(),
            timer: None,
        };
        self.links.insert(id, link);
        id
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        self.tokens.remove(&link.token);
        self.bytes -= link.ring.bytes();
        if let Some(user) = self.users.get_mut(&link.who.user) {
            user.all.remove(&id);
            user.bytes -= link.ring.bytes();
            if let Some(since) = link.detached {
                user.detached.remove(&(since, id));
                self.detached.remove(&(since, id));
            }
            if user.all.is_empty() {
                self.users.remove(&link.who.user);
            }
        }
        Some(link)
    }

    /// A token is good once.
    pub(in super::super) fn renew(&mut self, id: LinkId, (named, token): (NodeId, ResumeToken)) {
        if let Some(link) = self.links.get_mut(&id) {
            link.named = named;
            self.tokens.remove(&std::mem::replace(&mut link.token, token));
            self.tokens.insert(token, id);
        }
    }

    pub(super) fn set_attached(&mut self, id: LinkId, attached: Attached, now: Instant) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(user) = self.users.get_mut(&link.who.user) else { return };
        if let Some(since) = link.detached.take() {
            user.detached.remove(&(since, id));
            self.detached.remove(&(since, id));
        }
        link.attached = attached;
        (link.given, link.left) = (0, 0);
        if attached == Attached::Nowhere {
            link.detached = Some(now);
            user.detached.insert((now, id));
            self.detached.insert((now, id));
        }
    }

    /// A node will not tell which runs are under way there: it has none.
    pub(in super::super) fn forget_awaiting(&mut self, node: NodeId) {
        for link in self.links.values_mut() {
            link.awaiting.retain(|awaited| *awaited != node);
        }
    }

    /// Does something to a ring and keeps the books.
    pub(in super::super) fn with_ring<T>(
        &mut self,
        id: LinkId,
        f: impl FnOnce(&mut Ring) -> T,
    ) -> Option<T> {
        let link = self.links.get_mut(&id)?;
        let before = link.ring.bytes();
        let value = f(&mut link.ring);
        let after = link.ring.bytes();
        if before != after {
            self.bytes = self.bytes - before + after;
            link.held.set(after);
            if let Some(user) = self.users.get_mut(&link.who.user) {
                user.bytes = user.bytes - before + after;
            }
        }
        Some(value)
    }

    /// The next link of a user.
    pub(in super::super) fn next_of(&self, user: &str, after: Option<LinkId>) -> Option<LinkId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let links = &self.users.get(user)?.all;
        links.range((after.map_or(Unbounded, Excluded), Unbounded)).next().copied()
    }

    /// How much may wait for each link of a user whose links hold more than their share; none if they
    /// do not.
    pub(super) fn pinched(&self, user: &str, bounds: &Bounds) -> Option<usize> {
        let user = self.users.get(user).filter(|user| user.bytes > user_share(bounds))?;
        Some(user_share(bounds) / user.all.len().max(1))
    }

    /// The detached link that has to go first when there are too many, or when they hold too much:
    /// the oldest of a user who has more than half of them, or the oldest of all.
    pub(super) fn surplus(&self, user: &str, bounds: &Bounds) -> Option<LinkId> {
        let greedy = self.users.get(user).filter(|user| user.bytes > user_share(bounds));
        if let Some((_, id)) = greedy.and_then(|user| user.detached.first()) {
            return Some(*id);
        }
        if self.detached.len() <= bounds.detached_links && self.bytes <= bounds.links_bytes {
            return None;
        }
        let own = self.users.get(user).map(|user| &user.detached);
        let greedy = own.filter(|own| own.len() > self.detached.len() / 2);
        greedy.unwrap_or(&self.detached).first().map(|(_, id)| *id)
    }
}

/// What the links of a user may hold: half of what may be kept for them, so that events which nobody
/// fetches leave room to ask for something.
const fn user_share(bounds: &Bounds) -> usize {
    bounds.user_bytes / 2
}
