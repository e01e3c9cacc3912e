//! How requests to be let in begin and end: connections that wait, admins who are told, the store.

use super::bus::{BusMessage, Route};
use super::config::Secret;
use super::conn::ConnId;
use super::fact::Fact;
use super::jobs::Job;
use super::json::Object;
use super::pairing::{CHANNEL, Device, PairRequest, Sender, code};
use super::record::{Record, RecordKind};
use super::refusal::{Code, Refusal};
use super::ring::Event;
use super::send::{Cx, ReplyTo};
use super::work::{StoreOutcome, StoreWork};
use super::{Gateway, Timer};
use crate::frame::CloseCode;
use core::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that is not logged in and waits to be let in.
#[derive(Clone)]
pub(super) struct Waiting {
    /// What it was told.
    pub(super) sender_id: Secret,
    name: Arc<str>,
}

/// How a request to be let in ended, for events and the log.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairAction {
    /// A device asks.
    Requested,
    /// An admin lets it in.
    Approved,
    /// An admin does not.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// A device that was let in is so no more.
    Revoked,
}

impl PairAction {
    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Who has asked, while the request is made durable.
pub(super) struct Asked {
    pub(super) sender_id: Secret,
    /// The connection that waits to be let in.
    pub(super) waits: Option<ConnId>,
    pub(super) to: ReplyTo,
}

impl Gateway {
    /// Nobody can guess it: 128 random bits.
    pub(super) fn sender_id(&mut self) -> Secret {
        Secret::new(&super::api_keys::hex(&self.random()))
    }

    /// A request, if there is room for one.
    pub(super) fn make_request(
        &mut self,
        sender: Sender,
        user: Arc<str>,
        address: IpAddr,
        at: u64,
    ) -> Result<PairRequest, Refusal> {
        let bounds = self.config.bounds();
        let (all, here) = self.pairings.crowd(crate::Address::of(address));
        if all >= bounds.pairings || here >= bounds.pairings_per_address {
            let left = self.pairings.next_end().map_or(0, |end| end.saturating_sub(at)).max(1000);
            let text = if here >= bounds.pairings_per_address {
                "too many devices at this address ask to be let in: an admin decides"
            } else {
                "too many devices ask to be let in: an admin decides"
            };
            return Err(Refusal::exhausted(text, Duration::from_millis(left)));
        }
        let within = u64::try_from(bounds.pairing_within.as_millis()).unwrap_or(u64::MAX);
        let mut letters = code(self.random());
        while self.pairings.by_code(&letters, at).is_some() {
            letters = code(self.random());
        }
        let expires = at.saturating_add(within);
        Ok(PairRequest { sender, code: letters, user, address, created: at, expires })
    }

    /// A `connect` without a credential: the connection waits, for what it asked for before or for
    /// something new.
    pub(super) fn wait_for_pairing(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        user: Arc<str>,
        sender_id: Option<Secret>,
        to: ReplyTo,
    ) {
        let at = self.ms(cx.now);
        let Some(state) = self.conns.get(&conn) else { return };
        let peer = state.peer.ip();
        let own = state.waiting.as_ref().map(|waiting| waiting.sender_id.clone());
        for known in [sender_id, own].into_iter().flatten() {
            if let Some(request) = self.pairings.request(&Sender::of(&known), at) {
                let request = request.clone();
                return self.begin_to_wait(cx, conn, known, &request, to);
            }
        }
        let sender_id = self.sender_id();
        match self.make_request(Sender::of(&sender_id), user, peer, at) {
            Ok(request) => {
                self.keep_request(cx, &request, Asked { sender_id, waits: Some(conn), to });
            }
            Err(refusal) => self.reply_error(cx, to, &refusal),
        }
    }

    pub(super) fn keep_request(&mut self, cx: &mut Cx<'_>, request: &PairRequest, asked: Asked) {
        // It takes its place at once: many at a time must not get past the bound.
        self.pairings.ask(request.clone());
        self.arm_pairing(cx.now);
        let (at, name) = (self.ms(cx.now), request.sender.name.clone());
        let work = StoreWork::Put { records: vec![request.record()], at };
        self.start_store(cx, work, Job::Ask { name, asked });
    }

    /// A request is durable, or is none.
    pub(super) fn request_kept(
        &mut self,
        cx: &mut Cx<'_>,
        name: &Arc<str>,
        asked: Asked,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let Asked { sender_id, waits, to } = asked;
        if let Err(refusal) = outcome {
            self.pairings.forget_request(name);
            return self.reply_error(cx, to, refusal);
        }
        let Some(request) = self.pairings.request_named(name).cloned() else {
            return self.reply_error(cx, to, &no_code());
        };
        self.publish(Route::Others, BusMessage::PairAsked { request: request.clone() });
        self.pair_asked(cx, request.clone());
        self.note_pairing(name, PairAction::Requested, None);
        match waits {
            Some(conn) => self.begin_to_wait(cx, conn, sender_id, &request, to),
            None => self.reply_ok(cx, to, |_, out| {
                Object::new(out)
                    .str("code", &request.code)
                    .str("senderId", sender_id.expose())
                    .num("expiresAtMs", request.expires)
                    .end();
            }),
        }
    }

    /// From now on the connection has as long to log in as the request is open.
    fn begin_to_wait(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        sender_id: Secret,
        request: &PairRequest,
        to: ReplyTo,
    ) {
        let name = request.sender.name.clone();
        if self.conns.get(&conn).is_some_and(|state| state.principal.is_some()) {
            let refusal = Refusal::new(Code::Unavailable, "another login came before the answer");
            return self.reply_error(cx, to, &refusal);
        }
        // One connection waits at each node: more would only take room.
        if let Some(other) = self.waiting_for(&name).filter(|other| *other != conn) {
            self.close(cx, other, CloseCode::POLICY, super::resume::ELSEWHERE, None);
        }
        let left = Duration::from_millis(request.expires.saturating_sub(self.ms(cx.now)));
        // The end of the request comes first, and gives the connection its own time again.
        self.await_connect_for(cx.now, conn, left + self.config.bounds().connect_within);
        let text = sender_id.clone();
        if let Some(state) = self.conns.get_mut(&conn) {
            self.waiters.insert(name.clone(), conn);
            state.waiting = Some(Waiting { sender_id, name });
        }
        self.reply_ok(cx, to, |gateway, out| {
            Object::new(out)
                .num("protocol", super::PROTOCOL)
                .str("status", "pending_pairing")
                .str("pairing_code", &request.code)
                .str("sender_id", text.expose())
                .num("expiresAtMs", request.expires)
                .object("server", |o| gateway.write_server(o, conn))
                .end();
        });
    }

    /// The connection of this node that waits for this request.
    fn waiting_for(&self, name: &str) -> Option<ConnId> {
        let id = self.waiters.get(name)?;
        let conn = self.conns.get(id).filter(|conn| conn.closing.is_none())?;
        conn.waiting.as_ref().is_some_and(|own| *own.name == *name).then_some(*id)
    }

    /// A device asks, at this node or another.
    pub(super) fn pair_asked(&mut self, cx: &mut Cx<'_>, request: PairRequest) {
        let mut payload = String::new();
        request.write(Object::new(&mut payload)).end();
        self.pairings.ask(request);
        self.arm_pairing(cx.now);
        self.tell_admins(cx, "device.pair.requested", &payload);
    }

    /// A request has ended: admins are told, and who waits.
    pub(super) fn pair_over(&mut self, cx: &mut Cx<'_>, name: &Arc<str>, action: PairAction) {
        if !self.has_started() {
            self.gone_before_start.push(name.clone());
        }
        if self.pairings.forget_request(name).is_none() && action != PairAction::Approved {
            return;
        }
        self.tell_resolved(cx, name, action);
        let mut payload = String::new();
        write_resolved(&mut payload, name, action);
        if let Some(conn) = self.waiting_for(name) {
            self.send_unnumbered(cx, conn, "device.pair.resolved", &payload);
            self.await_connect(cx.now, conn);
        }
        self.waiters.remove(name);
    }

    fn tell_resolved(&mut self, cx: &mut Cx<'_>, name: &str, action: PairAction) {
        let mut payload = String::new();
        write_resolved(&mut payload, name, action);
        self.tell_admins(cx, "device.pair.resolved", &payload);
    }

    /// Gives an event to the links of admins at this node.
    fn tell_admins(&mut self, cx: &mut Cx<'_>, name: &'static str, payload: &str) {
        let admins = self.links.iter().filter(|(_, link)| link.who.role.sees_all());
        let admins: Vec<_> = admins.map(|(id, _)| id).collect();
        for link in admins {
            self.link_event(cx, link, Event::plain(name, payload));
        }
    }

    /// A device is durable, or is none.
    pub(super) fn device_kept(
        &mut self,
        cx: &mut Cx<'_>,
        device: &Device,
        to: ReplyTo,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let name = device.sender.name.clone();
        if let Err(refusal) = outcome {
            // The store may still do it: who was told no must not be let in by the next start.
            self.forget_record(cx, RecordKind::Device, name);
            return self.reply_error(cx, to, refusal);
        }
        if self.pairings.request_named(&name).is_none() {
            // Denied meanwhile, or too late; or another admin was faster.
            if self.pairings.device_named(&name).is_none() {
                self.forget_record(cx, RecordKind::Device, name);
            }
            return self.reply_error(cx, to, &no_code());
        }
        self.forget_record(cx, RecordKind::Pairing, name.clone());
        self.publish(Route::Others, BusMessage::PairApproved { device: device.clone() });
        self.device_known(cx, device.clone());
        self.note_pairing(&name, PairAction::Approved, Some(&device.by));
        self.reply_ok(cx, to, |_, out| {
            Object::new(out).object("paired", |o| device.write(o)).end();
        });
    }

    pub(super) fn device_known(&mut self, cx: &mut Cx<'_>, device: Device) {
        let name = device.sender.name.clone();
        self.pairings.let_in(device);
        self.pair_over(cx, &name, PairAction::Approved);
    }

    pub(super) fn device_gone(&mut self, cx: &mut Cx<'_>, name: &Arc<str>) {
        if !self.has_started() {
            self.gone_before_start.push(name.clone());
        }
        if self.pairings.forget_device(name).is_some() {
            self.tell_resolved(cx, name, PairAction::Revoked);
            self.judge_logins(cx);
        }
    }

    /// An earlier gateway's device, or what it had asked.
    pub(super) fn load_pairing(&mut self, cx: &Cx<'_>, record: &Record) {
        if self.gone_before_start.contains(&record.key) {
            return;
        }
        if record.kind == RecordKind::Device {
            if let Some(device) = Device::of(record) {
                self.pairings.let_in(device);
            }
        } else if self.pairings.device_named(&record.key).is_none()
            && let Some(request) = PairRequest::of(record)
        {
            self.pairings.ask(request);
            self.arm_pairing(cx.now);
        }
    }

    /// Takes a record out; nobody waits for that.
    pub(super) fn forget_record(&mut self, cx: &Cx<'_>, kind: RecordKind, key: Arc<str>) {
        let at = self.ms(cx.now);
        self.start_store(cx, StoreWork::Remove { kind, key, at }, Job::Forget);
    }

    pub(super) fn note_pairing(
        &mut self,
        name: &Arc<str>,
        action: PairAction,
        by: Option<&Arc<str>>,
    ) {
        self.note(Fact::Pairing { sender: name.clone(), action, by: by.cloned() });
    }

    // --- time ----------------------------------------------------------------------------------

    pub(super) fn arm_pairing(&mut self, now: Instant) {
        let Some(end) = self.pairings.next_end() else { return };
        let at = self.clock.when(now, end);
        if let Some(old) = self.pairing_timer.replace(at) {
            self.timers.remove(&(old, Timer::Pairing));
        }
        self.timers.insert((at, Timer::Pairing));
    }

    /// Requests end by themselves; the store forgets them at the same time.
    pub(super) fn pairing_due(&mut self, cx: &mut Cx<'_>) {
        self.pairing_timer = None;
        while let Some(name) = self.pairings.overdue(self.ms(cx.now)) {
            self.pair_over(cx, &name, PairAction::Expired);
            // It may have ended while the store still worked on it.
            self.pairings.forget_request(&name);
        }
        self.arm_pairing(cx.now);
    }
}

fn write_resolved(out: &mut String, name: &str, action: PairAction) {
    Object::new(out)
        .str("action", action.as_str())
        .str("senderId", name)
        .str("channel", CHANNEL)
        .end();
}

pub(super) fn no_code() -> Refusal {
    Refusal::new(Code::NotFound, "nobody asks with this code, or not any more")
}
