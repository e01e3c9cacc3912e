//! Links: what a login owns beyond its socket. A socket dies; the link stays for a while, goes on
//! collecting events, and a `connect` with its resume token attaches it to another socket.
//!
//! A link lives at the node where it was made. A client that comes back at another node is served
//! through the bus: one node gives the numbers, so none is given twice.

use super::bus::{BusMessage, NodeId, Route};
use super::config::Bounds;
use super::conn::ConnId;
use super::fact::Fact;
use super::openclaw::{self, View};
use super::principal::Principal;
use super::retained::{Held, Retained};
use super::ring::{Event, Ring};
use super::send::Cx;
use super::{Action, Gateway, Timer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Names a link at its node.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub(super) u64);

/// The link of a connection.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum LinkAt {
    Here(LinkId),
    There(NodeId, LinkId),
}

/// The connection of a link.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Attached {
    Nowhere,
    Here(ConnId),
    There(NodeId, ConnId),
}

/// A resume token: whoever has it must still log in.
pub(super) type ResumeToken = [u8; 16];

/// Bytes of events on their way to a client: more wait in the ring, where they can be merged.
const WINDOW: u64 = 64 * 1024;

/// What a link's events look like.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Moorline's own.
    Base,
    /// That of OpenClaw, in this protocol. Its clients cannot ask for a link again.
    OpenClaw(View),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) who: Principal,
    pub(super) token: ResumeToken,
    /// The node that the token names for the client: where the link was when it got it.
    pub(super) named: NodeId,
    pub(super) ring: Ring,
    /// What the ring keeps.
    held: Held,
    pub(super) attached: Attached,
    /// Since when it is not attached.
    detached: Option<Instant>,
    /// Bytes given to the connection, and how many of them have left.
    given: u64,
    left: u64,
    /// Who is connected has changed, and the client was not told.
    presence_stale: bool,
    /// What its events look like.
    pub(super) dialect: Dialect,
    /// Nodes that have not told yet which runs are under way: their events wait for that.
    awaiting: Vec<NodeId>,
    /// When something of it is due.
    timer: Option<Instant>,
}

/// All links of a node.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
    tokens: BTreeMap<ResumeToken, LinkId>,
    users: BTreeMap<Arc<str>, UserLinks>,
    /// Those without a connection, the oldest first.
    detached: BTreeSet<(Instant, LinkId)>,
    /// What all rings hold.
    bytes: usize,
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
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    pub(super) fn by_token(&self, token: &ResumeToken) -> Option<LinkId> {
        self.tokens.get(token).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// Links, those of them without a connection, and the bytes that all hold.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        (self.links.len(), self.detached.len(), self.bytes)
    }

    pub(super) fn insert(
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

    fn remove(&mut self, id: LinkId) -> Option<Link> {
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
    pub(super) fn renew(&mut self, id: LinkId, (named, token): (NodeId, ResumeToken)) {
        if let Some(link) = self.links.get_mut(&id) {
            link.named = named;
            self.tokens.remove(&std::mem::replace(&mut link.token, token));
            self.tokens.insert(token, id);
        }
    }

    fn set_attached(&mut self, id: LinkId, attached: Attached, now: Instant) {
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
    pub(super) fn forget_awaiting(&mut self, node: NodeId) {
        for link in self.links.values_mut() {
            link.awaiting.retain(|awaited| *awaited != node);
        }
    }

    /// Does something to a ring and keeps the books.
    pub(super) fn with_ring<T>(&mut self, id: LinkId, f: impl FnOnce(&mut Ring) -> T) -> Option<T> {
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
    pub(super) fn next_of(&self, user: &str, after: Option<LinkId>) -> Option<LinkId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let links = &self.users.get(user)?.all;
        links.range((after.map_or(Unbounded, Excluded), Unbounded)).next().copied()
    }

    /// How much may wait for each link of a user whose links hold more than their share; none if they
    /// do not.
    fn pinched(&self, user: &str, bounds: &Bounds) -> Option<usize> {
        let user = self.users.get(user).filter(|user| user.bytes > user_share(bounds))?;
        Some(user_share(bounds) / user.all.len().max(1))
    }

    /// The detached link that has to go first when there are too many, or when they hold too much:
    /// the oldest of a user who has more than half of them, or the oldest of all.
    fn surplus(&self, user: &str, bounds: &Bounds) -> Option<LinkId> {
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

impl Link {
    /// Whether it still has to be told which runs are under way at a node.
    pub(super) fn is_awaiting(&self, node: NodeId) -> bool {
        self.awaiting.contains(&node)
    }

    /// Its connection, if that is one of this node.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.attached {
            Attached::Here(conn) => Some(conn),
            Attached::Nowhere | Attached::There(..) => None,
        }
    }
}

/// What the links of a user may hold: half of what may be kept for them, so that events which nobody
/// fetches leave room to ask for something.
const fn user_share(bounds: &Bounds) -> usize {
    bounds.user_bytes / 2
}

impl Gateway {
    /// A link of the dialect of OpenClaw for a connection that has just logged in.
    pub(super) fn openclaw_link(
        &mut self,
        now: Instant,
        conn: ConnId,
        who: &Principal,
        view: View,
    ) -> LinkId {
        let token = self.random();
        let id = self.links.insert(
            who.clone(),
            (self.node.id(), token),
            Ring::default(),
            &mut self.retained,
        );
        if let Some(link) = self.links.get_mut(id) {
            link.dialect = Dialect::OpenClaw(view);
        }
        self.attach(now, id, Attached::Here(conn));
        id
    }

    /// Attaches a link to a connection of this node.
    pub(super) fn attach(&mut self, now: Instant, id: LinkId, attached: Attached) {
        self.links.set_attached(id, attached, now);
        if let Attached::Here(conn) = attached
            && let Some(conn) = self.conns.get_mut(&conn)
        {
            conn.link = Some(LinkAt::Here(id));
        }
    }

    /// The connection is gone. The link stays for a while if `keep`.
    pub(super) fn detach(&mut self, cx: &mut Cx<'_>, conn: ConnId, keep: bool) {
        match self.conns.get_mut(&conn).and_then(|conn| conn.link.take()) {
            None => {}
            Some(LinkAt::Here(id)) => self.link_detached(cx, id, Attached::Here(conn), keep),
            Some(LinkAt::There(node, link)) => {
                let from = self.node.id();
                let message = BusMessage::Detached { from, conn, link, keep };
                self.publish(Route::Node(node), message);
            }
        }
    }

    /// `was`: what it was attached to; it may have moved on since.
    pub(super) fn link_detached(&mut self, cx: &mut Cx<'_>, id: LinkId, was: Attached, keep: bool) {
        let Some(link) = self.links.get(id).filter(|link| link.attached == was) else { return };
        let keep = keep && link.dialect == Dialect::Base;
        if !keep || self.config.bounds().resume_within.is_zero() {
            return self.drop_link(id);
        }
        let user = link.who.user.clone();
        self.links.set_attached(id, Attached::Nowhere, cx.now);
        self.arm_link(id, cx.now + self.config.bounds().resume_within);
        while let Some(surplus) = self.links.surplus(&user, self.config.bounds()) {
            self.drop_link(surplus);
        }
    }

    pub(super) fn drop_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.remove(id) {
            if let Some(at) = link.timer {
                self.timers.remove(&(at, Timer::Link(id)));
            }
            if let Attached::Here(conn) = link.attached
                && let Some(conn) = self.conns.get_mut(&conn)
            {
                conn.link = None;
            }
        }
    }

    /// One timer per link: it is never moved to an earlier time than it would find something to do.
    fn arm_link(&mut self, id: LinkId, at: Instant) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.timer.is_none_or(|armed| at < armed) {
            if let Some(armed) = link.timer.replace(at) {
                self.timers.remove(&(armed, Timer::Link(id)));
            }
            self.timers.insert((at, Timer::Link(id)));
        }
    }

    /// Forgets what is too old: events that were sent, and a link nobody came back for.
    pub(super) fn link_due(&mut self, cx: &mut Cx<'_>, id: LinkId) {
        let within = self.config.bounds().resume_within;
        let Some(link) = self.links.get_mut(id) else { return };
        link.timer = None;
        let until = link.detached.map(|since| since + within);
        if until.is_some_and(|until| until <= cx.now) {
            return self.drop_link(id);
        }
        let next = self.links.with_ring(id, |ring| ring.expire(cx.now, within)).flatten();
        if let Some(at) = until.into_iter().chain(next).min() {
            self.arm_link(id, at);
        }
    }

    // --- events --------------------------------------------------------------------------------

    /// Gives an event to the links of these users at this node. `from`: the node that says it.
    pub(super) fn event_here(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        users: &[Arc<str>],
        event: &Event,
    ) {
        self.loading.miss(users);
        for (at, user) in users.iter().enumerate() {
            if users[..at].contains(user) {
                continue;
            }
            // One at a time, because sending needs the whole gateway.
            let mut after = None;
            while let Some(id) = self.links.next_of(user, after) {
                let wants =
                    |link: &Link| link.dialect == Dialect::Base && !link.awaiting.contains(&from);
                if self.links.get(id).is_some_and(wants) {
                    self.push_event(cx, id, event.clone());
                }
                after = Some(id);
            }
        }
        self.openclaw_event(cx, from, users, event);
        self.completion_event(cx, event);
    }

    /// Gives an event to one link, in its dialect.
    pub(super) fn link_event(&mut self, cx: &mut Cx<'_>, id: LinkId, event: Event) {
        match self.links.get(id).map(|link| link.dialect) {
            None => {}
            Some(Dialect::Base) => self.push_event(cx, id, event),
            Some(Dialect::OpenClaw(_)) => self.openclaw_link_event(cx, id, &event),
        }
    }

    /// Gives an event to one link, whose dialect it is in.
    pub(super) fn push_event(&mut self, cx: &mut Cx<'_>, id: LinkId, event: Event) {
        if self.is_frozen() {
            return;
        }
        let (now, bounds) = (cx.now, self.config.bounds());
        let (bytes, count, within) = (bounds.link_bytes, bounds.link_events, bounds.resume_within);
        let merged = self.links.with_ring(id, |ring| ring.push(now, event));
        self.tally.events_merged += u64::from(merged == Some(true));
        self.flush_link(cx, id);
        // A closed window keeps what is not sent; nobody needs to keep what cannot be resumed.
        let gone = self.links.with_ring(id, |ring| {
            ring.expire(now, within);
            ring.make_room(bytes, count)
        });
        let gone = gone.unwrap_or_default();
        self.tally.events_told_again += gone.told_again;
        self.tally.events_lost += gone.lost;
        if gone.lost > 0 {
            self.link_overflowed(cx, id);
        }
        if self.links.get(id).is_some_and(|link| link.timer.is_none() && link.ring.len() > 0) {
            self.arm_link(id, now + within);
        }
        self.make_room_for_links(cx, id);
    }

    /// All rings together are bounded, too: who is away goes first, then what this one keeps.
    fn make_room_for_links(&mut self, cx: &mut Cx<'_>, id: LinkId) {
        let Some(user) = self.links.get(id).map(|link| link.who.user.clone()) else { return };
        while let Some(surplus) = self.links.surplus(&user, self.config.bounds()) {
            self.drop_link(surplus);
        }
        let pinched = self.links.pinched(&user, self.config.bounds());
        if self.links.bytes <= self.config.bounds().links_bytes && pinched.is_none() {
            return;
        }
        self.links.with_ring(id, Ring::forget_sent);
        let most = pinched.map_or(WINDOW, |share| WINDOW.min(share as u64));
        if self.links.get(id).is_some_and(|link| link.ring.unsent_bytes() as u64 > most) {
            self.link_overflowed(cx, id);
        }
    }

    /// The client does not read as fast as events come, even merged.
    fn link_overflowed(&mut self, cx: &mut Cx<'_>, id: LinkId) {
        match self.links.get(id).map(|link| link.attached) {
            Some(Attached::Here(conn)) => self.give_up(cx, conn),
            Some(Attached::There(node, conn)) => {
                self.publish(Route::Node(node), BusMessage::GiveUp { conn, link: id });
            }
            _ => {}
        }
    }

    /// Gives the connection as much as its window takes.
    pub(super) fn flush_link(&mut self, cx: &mut Cx<'_>, id: LinkId) {
        loop {
            let mut out = std::mem::take(&mut self.scratch);
            out.clear();
            let now_ms = self.ms(cx.now);
            let listed = self.config.bounds().presence_listed;
            let Some(link) = self.links.get_mut(id) else { break };
            let dialect = link.dialect;
            let (given, attached) = (link.given - link.left, link.attached);
            let cost = link.ring.next_event().map_or(0, |next| match dialect {
                Dialect::Base => next.message_cost(),
                Dialect::OpenClaw(view) => openclaw::message_cost(next, view, &self.openclaw),
            });
            // What is large goes alone: beside something else there may be no room for it.
            let most = u64::from(self.config.raw.limits.outbox);
            let is_open = match attached {
                Attached::Nowhere => false,
                Attached::Here(conn) => !self.is_late(conn) && self.has_room_for(cx, conn, cost),
                Attached::There(..) => given == 0 || given + cost as u64 <= most,
            };
            if given >= WINDOW || !is_open {
                self.scratch = out;
                break;
            }
            let openclaw = &self.openclaw;
            let Some(link) = self.links.get_mut(id) else { break };
            let lagged = &mut self.tally.lagged;
            let wrote = link.ring.next_unsent(cx.now, |next| {
                *lagged += u64::from(next.event.is_none());
                match dialect {
                    Dialect::Base => next.write(&mut out),
                    Dialect::OpenClaw(view) => {
                        openclaw::write_next(&mut out, next, view, openclaw, now_ms);
                    }
                }
            });
            if !wrote {
                if !std::mem::take(&mut link.presence_stale) {
                    self.scratch = out;
                    break;
                }
                let mut payload = String::new();
                match dialect {
                    Dialect::Base => self.presence.write_all(&mut payload, now_ms, listed),
                    Dialect::OpenClaw(_) => self.write_presence_event(&mut payload, cx.now),
                }
                let seq = self.links.with_ring(id, |ring| ring.pass(cx.now)).unwrap_or_default();
                self.write_presence(&mut out, dialect, &payload, seq);
            }
            if let Dialect::OpenClaw(_) = dialect {
                // Its client cannot ask for it again.
                self.links.with_ring(id, Ring::forget_sent);
            }
            self.give(cx, id, &out);
            self.give_back(out);
        }
    }

    fn give(&mut self, cx: &mut Cx<'_>, id: LinkId, text: &str) {
        if text.is_empty() {
            // A hole that the dialect has no word for.
            return;
        }
        let Some(link) = self.links.get_mut(id) else { return };
        link.given += text.len() as u64;
        match link.attached {
            Attached::Nowhere => {}
            Attached::Here(conn) => self.send_text(cx, conn, text),
            Attached::There(node, conn) => {
                let text = Arc::from(text);
                self.publish(Route::Node(node), BusMessage::Deliver { conn, link: id, text });
            }
        }
    }

    /// Tells a link who is connected: at once, or when its client has caught up.
    pub(super) fn link_presence(&mut self, cx: &mut Cx<'_>, id: LinkId, payload: &str) {
        let frozen = self.is_frozen();
        let Some(link) = self.links.get_mut(id) else { return };
        if frozen {
            return;
        }
        let dialect = link.dialect;
        let open = link.attached != Attached::Nowhere
            && link.ring.is_caught_up()
            && link.given - link.left < WINDOW;
        if !open || link.presence_stale {
            self.tally.events_merged +=
                u64::from(std::mem::replace(&mut link.presence_stale, true));
            return;
        }
        let seq = self.links.with_ring(id, |ring| ring.pass(cx.now)).unwrap_or_default();
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        self.write_presence(&mut out, dialect, payload, seq);
        self.give(cx, id, &out);
        self.give_back(out);
        if self.links.get(id).is_some_and(|link| link.timer.is_none()) {
            self.arm_link(id, cx.now + self.config.bounds().resume_within);
        }
    }

    fn write_presence(&self, out: &mut String, dialect: Dialect, payload: &str, seq: u64) {
        match dialect {
            Dialect::Base => super::send::write_event(out, "presence", payload, Some(seq)),
            Dialect::OpenClaw(_) => self.write_versioned(out, "presence", payload, seq),
        }
    }

    /// A link that an earlier gateway left waits for its client.
    pub(super) fn arm_restored(&mut self, now: Instant, id: LinkId) {
        self.links.set_attached(id, Attached::Nowhere, now);
        self.arm_link(id, now + self.config.bounds().resume_within);
        // It may have been attached before, or another node's, or the bounds have changed.
        let Some(user) = self.links.get(id).map(|link| link.who.user.clone()) else { return };
        while let Some(surplus) = self.links.surplus(&user, self.config.bounds()) {
            self.drop_link(surplus);
        }
    }

    /// Everything that was given to the connection has left.
    pub(super) fn conn_flushed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.download_flushed(cx, conn);
        self.completion_flushed(cx, conn);
        let Some(state) = self.conns.get_mut(&conn) else { return };
        if let Some(held) = &mut state.queued {
            held.set(0);
        }
        self.send_late(cx, conn);
        let Some(state) = self.conns.get_mut(&conn) else { return };
        match state.link {
            None => self.worker_flushed(cx, conn),
            Some(LinkAt::Here(id)) => {
                let is_late = self.is_late(conn);
                if let Some(link) = self.links.get_mut(id) {
                    link.left = link.given;
                    if is_late {
                        // What was said before them comes first.
                    } else if !link.ring.is_caught_up() || link.presence_stale {
                        self.flush_link(cx, id);
                    }
                }
            }
            Some(LinkAt::There(node, link)) => {
                if !state.late.is_empty() {
                    return;
                }
                let bytes = std::mem::take(&mut state.delivered);
                if bytes > 0 {
                    let message = BusMessage::Left { conn, link, bytes };
                    self.publish(Route::Node(node), message);
                }
            }
        }
    }

    /// The other node has sent this much.
    pub(super) fn left_elsewhere(&mut self, cx: &mut Cx<'_>, id: LinkId, conn: ConnId, bytes: u64) {
        if let Some(link) = self.links.get_mut(id)
            && matches!(link.attached, Attached::There(_, at) if at == conn)
        {
            link.left = link.given.min(link.left + bytes);
            self.flush_link(cx, id);
        }
    }

    // --- runs that are under way when a client comes ----------------------------------------------

    /// Tells a new link which runs of its user are under way, at every node.
    pub(super) fn catch_up(&mut self, cx: &mut Cx<'_>, id: LinkId) {
        let Some(user) = self.links.get(id).map(|link| link.who.user.clone()) else { return };
        for event in self.runs_so_far(&user) {
            self.link_event(cx, id, event);
        }
        if self.node.count > 1 {
            let own = self.node.id();
            if let Some(link) = self.links.get_mut(id) {
                link.awaiting =
                    (0..self.node.count).map(NodeId).filter(|node| *node != own).collect();
            }
            self.publish(Route::Others, BusMessage::Arrived { from: own, link: id, user });
        }
    }

    /// A node has told which runs were under way.
    pub(super) fn caught_up(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        id: LinkId,
        events: Vec<Event>,
    ) {
        if let Some(link) = self.links.get_mut(id) {
            link.awaiting.retain(|node| *node != from);
            for event in events {
                self.link_event(cx, id, event);
            }
        }
    }

    /// Ends a connection whose peer does not read.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.conns.get(&conn).is_none_or(|state| state.closing.is_some() || state.given_up) {
            return;
        }
        match cx.outbox(conn) {
            Some(outbox) => outbox.give_up(),
            None => self.actions.push_back(Action::GiveUp { conn }),
        }
        if let Some(state) = self.conns.get_mut(&conn) {
            state.given_up = true;
        }
        self.log_out(cx, conn, true);
    }

    /// What links cost, for the record.
    pub(super) fn note_resumed(&mut self, conn: ConnId, replayed: usize, gap: bool) {
        self.note(Fact::Resumed { conn, replayed, gap });
    }
}
