//! Events on their way through a link: into its ring, and from there to its connection, as fast as that reads.

use super::super::bus::{BusMessage, NodeId, Route};
use super::super::conn::ConnId;
use super::super::openclaw::{self, Audience};
use super::super::ring::{Event, Ring};
use super::super::send::Cx;
use super::super::{Action, Gateway};
use super::{Attached, Dialect, Link, LinkAt, LinkId};
use std::sync::Arc;

/// Bytes of events on their way to a client: more wait in the ring, where they can be merged.
const WINDOW: u64 = 64 * 1024;

impl Gateway {
    /// Gives an event to the links of these users at this node. `from`: the node that says it.
    pub(in super::super) fn event_here(
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
        self.openclaw_event(cx, Audience { from, users }, event);
        self.completion_event(cx, event);
    }

    /// Gives an event to one link, in its dialect.
    pub(in super::super) fn link_event(&mut self, cx: &mut Cx<'_>, id: LinkId, event: Event) {
        match self.links.get(id).map(|link| link.dialect) {
            None => {}
            Some(Dialect::Base) => self.push_event(cx, id, event),
            Some(Dialect::OpenClaw(_)) => self.openclaw_link_event(cx, id, &event),
        }
    }

    /// Gives an event to one link, whose dialect it is in.
    pub(in super::super) fn push_event(&mut self, cx: &mut Cx<'_>, id: LinkId, event: Event) {
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
    pub(in super::super) fn flush_link(&mut self, cx: &mut Cx<'_>, id: LinkId) {
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

    /// Everything that was given to the connection has left.
    pub(in super::super) fn conn_flushed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
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
    pub(in super::super) fn left_elsewhere(
        &mut self,
        cx: &mut Cx<'_>,
        id: LinkId,
        conn: ConnId,
        bytes: u64,
    ) {
        if let Some(link) = self.links.get_mut(id)
            && matches!(link.attached, Attached::There(_, at) if at == conn)
        {
            link.left = link.given.min(link.left + bytes);
            self.flush_link(cx, id);
        }
    }

    /// Tells a link who is connected: at once, or when its client has caught up.
    pub(in super::super) fn link_presence(&mut self, cx: &mut Cx<'_>, id: LinkId, payload: &str) {
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
            Dialect::Base => super::super::send::write_event(out, "presence", payload, Some(seq)),
            Dialect::OpenClaw(_) => self.write_versioned(out, "presence", payload, seq),
        }
    }

    /// Ends a connection whose peer does not read.
    pub(in super::super) fn give_up(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
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
}
