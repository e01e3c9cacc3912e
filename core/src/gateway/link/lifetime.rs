//! A link from its login to its end: attached to a connection, waiting for another one, told of the runs that
//! are under way, forgotten.

use super::super::bus::{BusMessage, NodeId, Route};
use super::super::conn::ConnId;
use super::super::fact::Fact;
use super::super::openclaw::View;
use super::super::principal::Principal;
use super::super::ring::{Event, Ring};
use super::super::send::Cx;
use super::super::{Gateway, Timer};
use super::{Attached, Dialect, LinkAt, LinkId};
use std::time::Instant;

impl Gateway {
    /// A link of the dialect of OpenClaw for a connection that has just logged in.
    pub(in super::super) fn openclaw_link(
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
    pub(in super::super) fn attach(&mut self, now: Instant, id: LinkId, attached: Attached) {
        self.links.set_attached(id, attached, now);
        if let Attached::Here(conn) = attached
            && let Some(conn) = self.conns.get_mut(&conn)
        {
            conn.link = Some(LinkAt::Here(id));
        }
    }

    /// The connection is gone. The link stays for a while if `keep`.
    pub(in super::super) fn detach(&mut self, cx: &mut Cx<'_>, conn: ConnId, keep: bool) {
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
    pub(in super::super) fn link_detached(
        &mut self,
        cx: &mut Cx<'_>,
        id: LinkId,
        was: Attached,
        keep: bool,
    ) {
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

    pub(in super::super) fn drop_link(&mut self, id: LinkId) {
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
    pub(super) fn arm_link(&mut self, id: LinkId, at: Instant) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.timer.is_none_or(|armed| at < armed) {
            if let Some(armed) = link.timer.replace(at) {
                self.timers.remove(&(armed, Timer::Link(id)));
            }
            self.timers.insert((at, Timer::Link(id)));
        }
    }

    /// Forgets what is too old: events that were sent, and a link nobody came back for.
    pub(in super::super) fn link_due(&mut self, cx: &mut Cx<'_>, id: LinkId) {
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

    /// A link that an earlier gateway left waits for its client.
    pub(in super::super) fn arm_restored(&mut self, now: Instant, id: LinkId) {
        self.links.set_attached(id, Attached::Nowhere, now);
        self.arm_link(id, now + self.config.bounds().resume_within);
        // It may have been attached before, or another node's, or the bounds have changed.
        let Some(user) = self.links.get(id).map(|link| link.who.user.clone()) else { return };
        while let Some(surplus) = self.links.surplus(&user, self.config.bounds()) {
            self.drop_link(surplus);
        }
    }

    /// Tells a new link which runs of its user are under way, at every node.
    pub(in super::super) fn catch_up(&mut self, cx: &mut Cx<'_>, id: LinkId) {
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
    pub(in super::super) fn caught_up(
        &mut self,
        cx: &mut Cx<'_>,
        from: NodeId,
        id: LinkId,
        events: Vec<Event>,
    ) {
        let Some(link) = self.links.get_mut(id) else { return };
        // A node that has begun anew is not waited for: since it was heard of here, all that it says is told.
        let Some(at) = link.awaiting.iter().position(|node| *node == from) else { return };
        link.awaiting.swap_remove(at);
        for event in events {
            self.link_event(cx, id, event);
        }
    }

    /// What links cost, for the record.
    pub(in super::super) fn note_resumed(&mut self, conn: ConnId, replayed: usize, gap: bool) {
        self.note(Fact::Resumed { conn, replayed, gap });
    }
}
