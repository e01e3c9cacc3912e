//! The methods about devices: who decides lets them in, throws them out, and changes their tokens.

use super::super::Gateway;
use super::super::jobs::Job;
use super::super::json::Object;
use super::super::record::RecordKind;
use super::super::refusal::{Code, Refusal};
use super::super::send::Cx;
use super::super::waiting::PairAction;
use super::super::work::StoreWork;
use super::connect_params::PeerRole;
use super::device_jobs::{DeviceJob, Rotated};
use super::device_news::{Change, DeviceNews};
use super::device_request::Decision;
use super::devices::AdmitError;
use super::dispatch::{Call, Done, missing};
use super::paired_device::Via;
use super::scopes::Scopes;
use std::borrow::Cow;
use std::sync::Arc;

pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let at = gateway.ms(cx.now);
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |gateway, out| {
            gateway.devices.write(|device| gateway.is_device_connected(device), at, out);
        });
    }
    Ok(())
}

pub(super) fn approve(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (id, at) = (text(call, "requestId"), gateway.ms(cx.now));
    let request = gateway.devices.request(&id, at).ok_or_else(unknown_request)?;
    let (request, wish) = (request.id.clone(), request.wish.clone());
    let bounds = gateway.device_bounds();
    let device =
        gateway.devices.admit(&wish, (Via::Owner, call.scopes), &bounds, at).map_err(|error| {
            match error {
                AdmitError::Scopes(scopes) => missing(scopes),
                AdmitError::Crowded(_) => {
                    let text = "there are too many paired devices: remove some";
                    Refusal::new(Code::Unavailable, text)
                }
            }
        })?;
    if let Some(to) = call.to.take() {
        let by = call.who.user().clone();
        gateway.keep_device(cx, device, |device| DeviceJob::Approve { request, by, device, to });
    }
    Ok(())
}

pub(super) fn reject(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (id, at) = (text(call, "requestId"), gateway.ms(cx.now));
    let request = gateway.devices.reject(&id, at).ok_or_else(unknown_request)?;
    gateway.publish_device(DeviceNews::Rejected(request.id.clone()));
    gateway.note_pairing(&request.device, PairAction::Denied, Some(call.who.user()));
    gateway.tell_decided(cx, &request, Decision::Rejected);
    if let Some(to) = call.to.take() {
        gateway.reply_ok(cx, to, |_, out| {
            let object = Object::new(out).str("requestId", &request.id);
            object.str("deviceId", &request.device).end();
        });
    }
    Ok(())
}

/// In force everywhere before it is durable. A device that throws itself out is told before it goes.
pub(super) fn remove(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (device, conn, at) = (device(call), call.conn, gateway.ms(cx.now));
    let Some(to) = call.to.take() else { return Ok(()) };
    let gone = gateway.devices.remove(&device);
    let known = gone.is_some();
    if let Some((gone, requests)) = gone {
        gateway.note_removed(&device, call.who.user());
        gateway.publish_device(DeviceNews::Removed(device.clone(), gone.created));
        gateway.device_gone_too(cx, &device, &requests, Some(conn));
    }
    // Asked of the store even when no node knows it: an earlier try may have failed there.
    let write = gateway.devices.written(&device, at);
    let work = StoreWork::Remove { kind: RecordKind::DeviceKey, key: device.clone(), at };
    let job = DeviceJob::Remove { device, known, conn, to };
    gateway.start_store(cx, work, Job::Device(job, write));
    Ok(())
}

/// The token is told to nobody but the device itself: another one comes with its shared secret.
pub(super) fn rotate(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (id, role, at) = (device(call), role(call)?, gateway.ms(cx.now));
    let (random, conn) = (gateway.random_token(), call.conn);
    let peer = gateway.conns.get(&conn).and_then(|state| state.openclaw.as_ref());
    let is_own =
        peer.is_some_and(|peer| peer.paired.is_some() && peer.device.as_deref() == Some(&*id));
    let mut device = gateway.devices.get(&id).cloned().ok_or_else(unknown_device)?;
    let Some(grant) = device.grant(role) else { return Err(unknown_role()) };
    let scopes = match call.values.raw("scopes") {
        Some(_) if !call.values.is_null("scopes") => {
            let (scopes, unknown) = Scopes::of(call.values.texts("scopes"));
            if let Some(word) = unknown.first() {
                return Err(Refusal::invalid(format!("unknown scope: {word}")));
            }
            scopes
        }
        _ => grant.newest_scopes(),
    };
    if !grant.scopes.allows(scopes) {
        return Err(Refusal::invalid("the device was not let in for these scopes"));
    }
    let beyond = scopes.implied().without(call.scopes.implied());
    if !beyond.is_empty() {
        return Err(missing(beyond));
    }
    let Some((token, made)) = device.rotate(role, scopes, &random, at) else {
        return Err(unknown_role());
    };
    if let Some(to) = call.to.take() {
        let rotated = Rotated { role, scopes, token, made, conn, is_own };
        gateway.keep_device(cx, device, |device| DeviceJob::Rotate { device, rotated, to });
    }
    Ok(())
}

/// In force everywhere before it is durable. A device that does this to itself is told before it goes.
pub(super) fn revoke(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let (id, role, at) = (device(call), role(call)?, gateway.ms(cx.now));
    let conn = call.conn;
    let device = gateway.devices.get_mut(&id).ok_or_else(unknown_device)?;
    if !device.revoke(role, at) {
        return Err(unknown_role());
    }
    let device = device.clone();
    let news = DeviceNews::Changed(device.clone(), Some(Change::Revoked));
    gateway.publish_device(news);
    gateway.tell_changed(cx, &id, Change::Revoked);
    gateway.judge_device(cx, &id, Some(conn));
    if let Some(to) = call.to.take() {
        gateway.keep_device(cx, device, |_| DeviceJob::Revoke { device: id, role, conn, to });
    }
    Ok(())
}

fn text<'a>(call: &Call<'a>, name: &str) -> Cow<'a, str> {
    call.values.text(name).unwrap_or_default()
}

fn device(call: &Call<'_>) -> Arc<str> {
    text(call, "deviceId").into()
}

fn role(call: &Call<'_>) -> Result<PeerRole, Refusal> {
    PeerRole::parse(&text(call, "role")).ok_or_else(unknown_role)
}

pub(super) fn unknown_request() -> Refusal {
    Refusal::invalid("unknown requestId")
}

pub(super) fn unknown_device() -> Refusal {
    Refusal::invalid("unknown deviceId")
}

fn unknown_role() -> Refusal {
    Refusal::invalid("unknown device role")
}
