//! One node with what its loop does around it: the same as the mio adapter's.

use bytes::Bytes;
use moorline_core::gateway::{Action, ConnId, Gateway, HttpAnswer, deliver};
use moorline_core::{CloseCode, Connection, Event, Frame, Outbox};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

#[derive(Debug)]
pub struct Host {
    pub gateway: Gateway,
    /// What was said to connections whose turn it was not.
    later: BTreeMap<ConnId, Vec<Later>>,
    /// Actions that are no connection's.
    pub todo: Vec<Action>,
    /// When its timer woke it last, and how often at that moment.
    woken: (Option<Instant>, u32),
    /// When it is to be woken.
    pub armed: Option<Instant>,
}

#[derive(Debug)]
pub enum Later {
    Send(Frame),
    Close(CloseCode, Cow<'static, str>),
    GiveUp,
    Respond(HttpAnswer),
    Body(Bytes),
    EndBody,
}

impl Later {
    pub fn say(self, connection: &mut Connection, now: Instant) {
        match self {
            Self::Send(frame) => deliver(connection.outbox(now), &frame),
            Self::Close(code, reason) => connection.close(now, code, &reason),
            Self::GiveUp => connection.outbox(now).give_up(),
            Self::Respond(answer) => answer.write(connection.outbox(now)),
            // It fails when the connection has ended.
            Self::Body(piece) => drop(connection.outbox(now).body(piece)),
            Self::EndBody => drop(connection.outbox(now).end_body()),
        }
    }
}

impl Host {
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway, later: BTreeMap::new(), todo: Vec::new(), woken: (None, 0), armed: None }
    }

    /// Its timer wakes it.
    pub fn wake(&mut self, now: Instant) {
        // A failure may be told a moment after what it is of, and that may be begun by another one.
        let (last, times) = self.woken;
        self.woken = (Some(now), if last == Some(now) { times + 1 } else { 1 });
        assert!(self.woken.1 < 50, "a timer spins");
        self.gateway.handle_deadline(now);
    }

    pub fn event(&mut self, now: Instant, id: ConnId, event: Event<'_>, outbox: &mut Outbox) {
        self.say_before(id, outbox);
        self.gateway.handle(now, id, event, outbox);
        self.take_actions(Some((id, outbox)));
    }

    pub fn flushed(&mut self, now: Instant, id: ConnId, outbox: &mut Outbox) {
        self.say_before(id, outbox);
        self.gateway.handle_flushed(now, id, outbox);
        self.take_actions(Some((id, outbox)));
    }

    pub fn take_actions(&mut self, mut own: Option<(ConnId, &mut Outbox)>) {
        while let Some(action) = self.gateway.poll_action() {
            match action {
                Action::Send { to, frame } => match &mut own {
                    Some((id, outbox)) if *id == to => deliver(outbox, &frame),
                    _ => self.say_later(to, Later::Send(frame)),
                },
                Action::Close { conn, code, reason } => match &mut own {
                    Some((id, outbox)) if *id == conn && outbox.is_open() => {
                        outbox.close(code, &reason);
                    }
                    _ => self.say_later(conn, Later::Close(code, reason)),
                },
                Action::GiveUp { conn } => match &mut own {
                    Some((id, outbox)) if *id == conn => outbox.give_up(),
                    _ => self.say_later(conn, Later::GiveUp),
                },
                Action::Respond { conn, answer } => match &mut own {
                    Some((id, outbox)) if *id == conn => answer.write(outbox),
                    _ => self.say_later(conn, Later::Respond(answer)),
                },
                Action::Body { conn, piece } => match &mut own {
                    Some((id, outbox)) if *id == conn => drop(outbox.body(piece)),
                    _ => self.say_later(conn, Later::Body(piece)),
                },
                Action::EndBody { conn } => match &mut own {
                    Some((id, outbox)) if *id == conn => drop(outbox.end_body()),
                    _ => self.say_later(conn, Later::EndBody),
                },
                action => self.todo.push(action),
            }
        }
    }

    /// What waits for its connection's turn.
    pub fn take_later(&mut self) -> BTreeMap<ConnId, Vec<Later>> {
        std::mem::take(&mut self.later)
    }

    fn say_later(&mut self, conn: ConnId, later: Later) {
        self.later.entry(conn).or_default().push(later);
    }

    fn say_before(&mut self, id: ConnId, outbox: &mut Outbox) {
        for later in self.later.remove(&id).unwrap_or_default() {
            match later {
                Later::Send(frame) => deliver(outbox, &frame),
                Later::Close(code, reason) if outbox.is_open() => outbox.close(code, &reason),
                Later::GiveUp => outbox.give_up(),
                Later::Respond(answer) => answer.write(outbox),
                Later::Body(piece) => drop(outbox.body(piece)),
                Later::EndBody => drop(outbox.end_body()),
                // What is still HTTP is closed from outside its turn.
                close @ Later::Close(..) => self.say_later(id, close),
            }
        }
    }
}
