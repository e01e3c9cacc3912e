//! The methods of pairing: what who waits may ask, and what admins decide.

use super::Gateway;
use super::bus::{BusMessage, Route};
use super::call::{Call, Done};
use super::config::Secret;
use super::jobs::Job;
use super::json::Object;
use super::pairing::{CHANNEL, Sender, is_sender_id};
use super::params::Params;
use super::principal::Principal;
use super::record::RecordKind;
use super::refusal::Refusal;
use super::send::{Cx, ReplyTo};
use super::session::Op;
use super::waiting::{Asked, PairAction, no_code};
use super::work::StoreWork;
use std::sync::Arc;
use std::time::Duration;

/// `browser.pairing.status`: the one question of who waits.
pub(super) fn status(
    gateway: &mut Gateway,
    cx: &mut Cx<'_>,
    params: Params<'_>,
    to: &mut Option<ReplyTo>,
) -> Done {
    let sender_id = Secret::new(&params.required("sender_id")?);
    let Some(ReplyTo::Local { conn, .. }) = to else { return Ok(()) };
    let Some(conn) = gateway.conns.get(conn) else { return Ok(()) };
    // About others nobody is told anything: that would be a way to guess.
    let own = conn.waiting.as_ref().is_some_and(|own| own.sender_id.matches(&sender_id));
    let sender = Sender::of(&sender_id);
    let at = gateway.ms(cx.now);
    let word = if !own && conn.principal.is_none() {
        "expired"
    } else if gateway.pairings.device(&sender).is_some_and(|device| device.expires > at) {
        "approved"
    } else if gateway.pairings.request(&sender, at).is_some() {
        "pending"
    } else {
        "expired"
    };
    if let Some(to) = to.take() {
        gateway.reply_ok(cx, to, |_, out| Object::new(out).str("status", word).end());
    }
    Ok(())
}

/// `device.pair.request`: for another device of the caller's.
pub(super) fn request(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    if call.params.text("channel")?.is_some_and(|channel| channel != CHANNEL) {
        return Err(Refusal::invalid("the only channel is browser"));
    }
    let Some(ReplyTo::Local { conn, .. }) = call.to else { return Ok(()) };
    let peer = gateway.conns.get(conn).map(|conn| conn.peer.ip());
    let Some(peer) = peer else { return Ok(()) };
    let sender_id = match call.params.text("senderId")? {
        None => gateway.sender_id(),
        Some(text) if is_sender_id(&text) => Secret::new(&text),
        Some(_) => {
            return Err(Refusal::invalid(
                "senderId is a secret: 16 to 128 letters, digits and ._:@-, beginning with a letter \
                 or digit",
            ));
        }
    };
    let at = gateway.ms(cx.now);
    let sender = Sender::of(&sender_id);
    if gateway.pairings.request_named(&sender.name).is_some()
        || gateway.pairings.device_named(&sender.name).is_some()
    {
        return Err(Refusal::invalid("this senderId is pending or paired"));
    }
    let request = gateway.make_request(sender, call.who.user().clone(), peer, at)?;
    if let Some(to) = call.to.take() {
        gateway.keep_request(cx, &request, Asked { sender_id, waits: None, to });
    }
    Ok(())
}

/// `device.pair.list`.
pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let at = gateway.ms(cx.now);
    gateway.pairings.expire_devices(at);
    call.answer(gateway, cx, |gateway, out| {
        let requests = gateway.pairings.requests().filter(|request| request.expires > at);
        Object::new(out)
            .list("pending", requests, |out, request| request.write(Object::new(out)).end())
            .list("paired", gateway.pairings.devices(), |out, device| {
                device.write(Object::new(out)).end();
            })
            .end();
    })
}

/// What an admin decides about a device.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// `device.pair.approve`.
    Approve,
    /// `device.pair.deny`.
    Deny,
    /// `device.pair.revoke`.
    Revoke,
}

/// `device.pair.approve`.
pub(super) fn approve(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let device = by_code(gateway, cx, &call.params)?;
    call.route(gateway, cx, Op::Device { device, decision: Decision::Approve })
}

/// `device.pair.deny`.
pub(super) fn deny(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let device = by_code(gateway, cx, &call.params)?;
    call.route(gateway, cx, Op::Device { device, decision: Decision::Deny })
}

/// `device.pair.revoke`: in force everywhere before it is durable.
pub(super) fn revoke(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let id = call.params.required("senderId")?;
    // Its name, or what only the device should have.
    let device: Arc<str> = match gateway.pairings.device_named(&id) {
        None if !id.starts_with("d-") => Sender::of(&Secret::new(&id)).name,
        _ => id.into(),
    };
    call.route(gateway, cx, Op::Device { device, decision: Decision::Revoke })
}

fn by_code(gateway: &Gateway, cx: &Cx<'_>, params: &Params<'_>) -> Result<Arc<str>, Refusal> {
    let code = params.required("code")?;
    let request = gateway.pairings.by_code(&code, gateway.ms(cx.now)).ok_or_else(no_code)?;
    Ok(request.sender.name.clone())
}

impl Gateway {
    /// Does what was decided about a device. One node does so for each device, that of its name: so the
    /// others hear in one order that it was let in and that it was sent away.
    pub(super) fn decide(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Principal,
        (device, decision): (Arc<str>, Decision),
        to: ReplyTo,
    ) {
        match decision {
            Decision::Approve => self.let_in(cx, who, &device, to),
            Decision::Deny => self.deny(cx, who, &device, to),
            Decision::Revoke => self.send_away(cx, who, &device, to),
        }
    }

    fn let_in(&mut self, cx: &mut Cx<'_>, who: &Principal, name: &str, to: ReplyTo) {
        let at = self.ms(cx.now);
        let bounds = self.config.bounds();
        let (most, within) = (bounds.devices, bounds.device_within);
        let request = self.pairings.request_named(name).filter(|request| request.expires > at);
        let Some(request) = request else { return self.reply_error(cx, to, &no_code()) };
        let expires = at.saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let device = request.device(&who.user, at, expires);
        self.pairings.expire_devices(at);
        // Those that the store still thinks about count, too.
        let coming = self.store_jobs_of(|job| matches!(job, Job::LetIn { .. }));
        if self.pairings.devices().count() + coming >= most {
            let text = "there are too many paired devices: revoke some";
            let refusal = Refusal::exhausted(text, Duration::from_secs(60));
            return self.reply_error(cx, to, &refusal);
        }
        let work = StoreWork::Put { records: vec![device.record()], at };
        self.start_store(cx, work, Job::LetIn { device, to });
    }

    fn deny(&mut self, cx: &mut Cx<'_>, who: &Principal, name: &Arc<str>, to: ReplyTo) {
        let at = self.ms(cx.now);
        if self.pairings.request_named(name).is_none_or(|request| request.expires <= at) {
            return self.reply_error(cx, to, &no_code());
        }
        // One that the store cannot forget asks again after a restart, and has got in nowhere.
        self.forget_record(cx, RecordKind::Pairing, name.clone());
        self.publish(Route::Others, BusMessage::PairDenied { name: name.clone() });
        self.pair_over(cx, name, PairAction::Denied);
        self.note_pairing(name, PairAction::Denied, Some(&who.user));
        self.reply_ok(cx, to, |_, out| Object::new(out).bool("denied", true).end());
    }

    fn send_away(&mut self, cx: &mut Cx<'_>, who: &Principal, name: &Arc<str>, to: ReplyTo) {
        let at = self.ms(cx.now);
        let known = self.pairings.device_named(name).is_some();
        let (kind, key) = (RecordKind::Device, name.clone());
        // Asked of the store even when no node knows it: an earlier try may have failed there.
        let job = Job::Drop { kind, name: name.clone(), known, to };
        self.start_store(cx, StoreWork::Remove { kind, key, at }, job);
        if known {
            self.note_pairing(name, PairAction::Revoked, Some(&who.user));
        }
        self.publish(Route::Others, BusMessage::DeviceGone { name: name.clone() });
        self.device_gone(cx, name);
    }
}
