//! Messages for which a connection has no room now: they wait until what is queued for it has left.
//!
//! Events wait in their ring, where they can be merged. What is here cannot be: answers, and events of a link
//! that another node has. It goes out in the order in which it was said.

use super::Gateway;
use super::conn::ConnId;
use super::retained::Held;
use super::send::Cx;
use std::collections::VecDeque;

/// What waits for one connection, each with what is kept for it.
pub(super) type Late = VecDeque<(String, Held)>;

impl Gateway {
    /// Sends a message now if there is room for it, and as soon as there is if there is none. Beyond what may be
    /// kept for its user the connection is given up, as one whose peer does not read.
    pub(super) fn send_in_time(&mut self, cx: &mut Cx<'_>, conn: ConnId, text: &str) {
        let waits = self.is_late(conn) || !self.has_room_for(cx, conn, text.len());
        let user = self.conns.get(&conn).and_then(|state| state.principal.as_ref());
        let user = user.map(|who| who.user.clone());
        match user {
            Some(user) if waits && self.room_for(&user, text.len()).is_ok() => {
                let held = self.retained.hold(&user, text.len());
                if let Some(state) = self.conns.get_mut(&conn) {
                    state.late.push_back((text.to_owned(), held));
                }
            }
            _ => self.send_text(cx, conn, text),
        }
    }

    /// Whether something waits for room in the outbox of this connection.
    pub(super) fn is_late(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|state| !state.late.is_empty())
    }

    /// Whether a message of so many bytes is taken. One is whenever nothing else is queued.
    pub(super) fn has_room_for(&self, cx: &mut Cx<'_>, conn: ConnId, bytes: usize) -> bool {
        let queued = match cx.outbox(conn) {
            Some(outbox) => outbox.queued(),
            None => {
                let held = self.conns.get(&conn).and_then(|state| state.queued.as_ref());
                // Headers of frames are not known here.
                held.map_or(0, |held| held.bytes() + held.bytes() / HEADERS)
            }
        };
        queued == 0 || queued + bytes <= self.config.raw.limits.outbox as usize
    }

    /// What was queued has left: sends what waited, as far as there is room.
    pub(super) fn send_late(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        while let Some(next) = self.conns.get(&conn).and_then(|state| state.late.front())
            && self.has_room_for(cx, conn, next.0.len())
            && let Some(state) = self.conns.get_mut(&conn)
            && let Some((text, held)) = state.late.pop_front()
        {
            if state.late.is_empty() {
                // No heap while idle.
                state.late = Late::new();
            }
            drop(held);
            self.send_text(cx, conn, &text);
        }
    }
}

/// Of small messages the headers are so small a part, at most.
const HEADERS: usize = 16;
