//! `tick`: a sign of life for clients that do not see the Pings of their WebSocket.
//!
//! One timer for all connections that want ticks, none while nobody does. A tick says nothing that the next
//! one does not say: it has no number, no link keeps it, and one at most waits for a client that does
//! not read, which then gets the time of its reading.

use super::conn::ConnId;
use super::json::Object;
use super::send::Cx;
use super::{Gateway, Timer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often. Clients give a connection up after twice this time without one.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// What a connection has of its ticks.
#[derive(Debug, Copy, Clone, PartialEq)]
enum Sent {
    /// Everything.
    All,
    /// One is on its way.
    OnItsWay,
    /// One is on its way, and another was due meanwhile.
    Behind,
}

/// Who wants ticks.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    by_conn: BTreeMap<ConnId, Sent>,
    due: Option<Instant>,
}

impl Ticks {
    pub(super) fn has(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }
}

impl Gateway {
    /// From now on the connection gets ticks, or none.
    pub(super) fn set_ticks(&mut self, now: Instant, conn: ConnId, wanted: bool) {
        if !wanted {
            self.ticks.by_conn.remove(&conn);
            if self.ticks.by_conn.is_empty()
                && let Some(due) = self.ticks.due.take()
            {
                self.timers.remove(&(due, Timer::Tick));
            }
            return;
        }
        self.ticks.by_conn.entry(conn).or_insert(Sent::All);
        if self.ticks.due.is_none() {
            self.arm_tick(now);
        }
    }

    fn arm_tick(&mut self, now: Instant) {
        let due = now + EVERY;
        self.ticks.due = Some(due);
        self.timers.insert((due, Timer::Tick));
    }

    /// Work in proportion to the connections that want ticks.
    pub(super) fn tick_due(&mut self, cx: &mut Cx<'_>) {
        self.ticks.due = None;
        let mut ready = Vec::new();
        for (conn, sent) in &mut self.ticks.by_conn {
            match sent {
                Sent::All => {
                    *sent = Sent::OnItsWay;
                    ready.push(*conn);
                }
                Sent::OnItsWay | Sent::Behind => *sent = Sent::Behind,
            }
        }
        for conn in ready {
            self.send_tick(cx, conn);
        }
        if !self.ticks.by_conn.is_empty() {
            self.arm_tick(cx.now);
        }
    }

    /// The client has read what it was sent.
    pub(super) fn tick_flushed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.ticks.by_conn.is_empty() {
            return;
        }
        let Some(sent) = self.ticks.by_conn.get_mut(&conn) else { return };
        match std::mem::replace(sent, Sent::All) {
            Sent::Behind => {
                *sent = Sent::OnItsWay;
                self.send_tick(cx, conn);
            }
            Sent::All | Sent::OnItsWay => {}
        }
    }

    fn send_tick(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let mut payload = String::new();
        Object::new(&mut payload).num("ts", self.ms(cx.now)).end();
        self.send_unnumbered(cx, conn, "tick", &payload);
    }
}
