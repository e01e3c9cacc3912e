//! Devices on their way to the store, and what is done when they are there.

use super::super::Gateway;
use super::super::conn::ConnId;
use super::super::jobs::Job;
use super::super::json::Object;
use super::super::record::RecordKind;
use super::super::refusal::{Code, Refusal};
use super::super::send::{Cx, ReplyTo};
use super::super::waiting::PairAction;
use super::super::work::{StoreOutcome, StoreWork};
use super::connect_params::PeerRole;
use super::device_methods::{unknown_device, unknown_request};
use super::device_news::Change;
use super::devices::Write;
use super::paired_device::PairedDevice;
use super::scopes::Scopes;
use std::sync::Arc;

/// What a change of a device in the store is for.
pub(in crate::gateway) enum DeviceJob {
    /// A `connect` waits for it.
    Join { conn: ConnId, device: Box<PairedDevice> },
    /// A request is approved.
    Approve { request: Arc<str>, by: Arc<str>, device: Box<PairedDevice>, to: ReplyTo },
    /// A device has another token.
    Rotate { device: Box<PairedDevice>, rotated: Rotated, to: ReplyTo },
    /// A device has no token in a role any more.
    Revoke { device: Arc<str>, role: PeerRole, conn: ConnId, to: ReplyTo },
    /// A device is thrown out. `known`: it was there.
    Remove { device: Arc<str>, known: bool, conn: ConnId, to: ReplyTo },
}

/// A token that takes the place of others.
pub(in crate::gateway) struct Rotated {
    pub(super) role: PeerRole,
    pub(super) scopes: Scopes,
    pub(super) token: String,
    /// Unix milliseconds.
    pub(super) made: u64,
    /// Who has asked; and whether that is the device itself.
    pub(super) conn: ConnId,
    pub(super) is_own: bool,
}

impl Gateway {
    /// Begins to make a device durable that is not in by that.
    pub(super) fn keep_device(
        &mut self,
        cx: &Cx<'_>,
        device: PairedDevice,
        job: impl FnOnce(Box<PairedDevice>) -> DeviceJob,
    ) {
        let at = self.ms(cx.now);
        let write = self.devices.written(&device.id, at);
        let work = StoreWork::Put { records: vec![device.record()], at };
        self.start_store(cx, work, Job::Device(job(Box::new(device)), write));
    }

    /// Gives the store what is known of a device here; nobody waits for that.
    pub(super) fn write_device(&mut self, cx: &Cx<'_>, id: &Arc<str>) {
        let at = self.ms(cx.now);
        self.devices.written(id, at);
        let Some(device) = self.devices.get(id) else {
            return self.forget_record(cx, RecordKind::DeviceKey, id.clone());
        };
        let work = StoreWork::Put { records: vec![device.record()], at };
        self.start_store(cx, work, Job::Forget);
    }

    /// The store has done it, or has not.
    pub(in crate::gateway) fn device_job_done(
        &mut self,
        cx: &mut Cx<'_>,
        job: DeviceJob,
        write: &Write,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let is_last = self.devices.is_last(write);
        self.device_stored(cx, job, outcome);
        if outcome.is_ok() && !is_last {
            // What was written behind it, such as that an earlier try has failed, did not know of it.
            self.write_device(cx, &write.device);
        }
    }

    fn device_stored(
        &mut self,
        cx: &mut Cx<'_>,
        job: DeviceJob,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        match job {
            DeviceJob::Join { conn, device } => self.join_kept(cx, conn, *device, outcome),
            DeviceJob::Approve { request, by, device, to } => {
                self.approval_kept(cx, &request, &by, *device, to, outcome);
            }
            DeviceJob::Rotate { device, rotated, to } => {
                self.rotation_kept(cx, *device, &rotated, to, outcome);
            }
            DeviceJob::Revoke { device, role, conn, to } => {
                let at = self.ms(cx.now);
                match outcome {
                    Ok(_) => self.reply_ok(cx, to, |_, out| {
                        let object = Object::new(out).str("deviceId", &device);
                        object.str("role", role.as_str()).num("revokedAtMs", at).end();
                    }),
                    Err(_) => self.reply_error(cx, to, &for_now_only()),
                }
                self.judge_conn(cx, conn);
            }
            DeviceJob::Remove { device, known, conn, to } => {
                match outcome {
                    Ok(StoreOutcome::Removed(there)) if known || *there => {
                        self.reply_ok(cx, to, |_, out| {
                            Object::new(out).str("deviceId", &device).end();
                        });
                    }
                    Ok(_) => self.reply_error(cx, to, &unknown_device()),
                    Err(_) => self.reply_error(cx, to, &for_now_only()),
                }
                self.judge_conn(cx, conn);
            }
        }
    }

    fn approval_kept(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Arc<str>,
        by: &Arc<str>,
        device: PairedDevice,
        to: ReplyTo,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let (id, at) = (device.id.clone(), self.ms(cx.now));
        if let Err(refusal) = outcome {
            // The store may still do it: who was told no must not be let in by the next start.
            self.write_device(cx, &id);
            return self.reply_error(cx, to, refusal);
        }
        if self.devices.request(request, at).is_none() {
            // Decided meanwhile, here or elsewhere, or too late.
            self.write_device(cx, &id);
            return self.reply_error(cx, to, &unknown_request());
        }
        if !self.take_device(cx, device, Some(Change::Approved), Some(by)) {
            return self.reply_error(cx, to, &unknown_request());
        }
        let is_connected = self.is_device_connected(&id);
        self.reply_ok(cx, to, |gateway, out| {
            let mut object = Object::new(out).str("requestId", request);
            if let Some(device) = gateway.devices.get(&id) {
                device.write(is_connected, object.key("device"));
            }
            object.end();
        });
    }

    fn rotation_kept(
        &mut self,
        cx: &mut Cx<'_>,
        device: PairedDevice,
        rotated: &Rotated,
        to: ReplyTo,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let id = device.id.clone();
        if let Err(refusal) = outcome {
            self.write_device(cx, &id);
            return self.reply_error(cx, to, refusal);
        }
        let &Rotated { role, scopes, made, conn, is_own, .. } = rotated;
        if is_own {
            self.go_on_by(conn, &id, role, made);
        }
        let is_in = self.take_device(cx, device, Some(Change::Rotated), None);
        if !is_in || !self.devices.get(&id).is_some_and(|device| device.is_valid(role, made)) {
            return self.reply_error(cx, to, &unknown_device());
        }
        self.reply_ok(cx, to, |_, out| {
            let mut object = Object::new(out).str("deviceId", &id).str("role", role.as_str());
            scopes.write(object.key("scopes"));
            object = object.num("rotatedAtMs", made);
            object = match is_own {
                true => object.str("tokenDelivery", "in-band").str("token", &rotated.token),
                false => object.str("tokenDelivery", "withheld-cross-device"),
            };
            object.end();
        });
    }

    /// Whether a connection of any node is a device's.
    pub(super) fn is_device_connected(&self, id: &str) -> bool {
        self.presence
            .iter()
            .any(|(_, entry)| entry.openclaw.as_ref().is_some_and(|shown| shown.is(id)))
    }

    /// An earlier gateway's device.
    pub(in crate::gateway) fn load_device(&mut self, record: &super::super::record::Record) {
        if let Some(device) = PairedDevice::of(record) {
            self.devices.learn(device);
        }
    }

    /// For operators of the gateway itself.
    pub(super) fn note_removed(&mut self, device: &Arc<str>, by: &Arc<str>) {
        self.note_pairing(device, PairAction::Revoked, Some(by));
    }
}

fn for_now_only() -> Refusal {
    let text =
        "it is so until the gateway starts again, but the store could not keep that: try again";
    Refusal::new(Code::Unavailable, text)
}
