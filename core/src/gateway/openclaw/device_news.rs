//! What becomes of devices, told to the other nodes and to the clients that decide about devices.

use super::super::Gateway;
use super::super::bus::{BusMessage, NodeId, Route};
use super::super::conn::ConnId;
use super::super::json::Object;
use super::super::proof::Proof;
use super::super::send::Cx;
use super::super::waiting::PairAction;
use super::connect_params::PeerRole;
use super::device_request::{Decision, DeviceRequest};
use super::devices::Asked;
use super::paired_device::{About, PairedDevice, Seen};
use super::scopes::Scopes;
use crate::frame::CloseCode;
use std::sync::Arc;

/// What one node tells the others about devices of the second dialect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DeviceNews {
    /// One asks to be let in.
    Asked(DeviceRequest),
    /// Somebody has decided against a request, or another one has taken its place.
    Rejected(Arc<str>),
    /// One was let in, or its tokens have changed.
    Changed(PairedDevice, Option<Change>),
    /// One was thrown out that was first let in then, in Unix milliseconds.
    Removed(Arc<str>, u64),
    /// One has come or gone, at this time, in Unix milliseconds.
    Seen(Arc<str>, Seen, u64),
}

/// What people are told has become of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is let in, or for more.
    Approved,
    /// It is not let in any more.
    Removed,
    /// It has another token.
    Rotated,
    /// It has no token.
    Revoked,
}

impl Change {
    /// The word as sent.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Removed => "removed",
            Self::Rotated => "token-rotated",
            Self::Revoked => "token-revoked",
        }
    }
}

/// How long news of other nodes may be older than what this node has written, in milliseconds: longer
/// than stores and buses take.
const UNDER_WAY_MS: u64 = 5 * 60 * 1000;

/// How connections of this dialect end that may not go on.
pub(in crate::gateway) const NOT_VALID: CloseCode = CloseCode(4001);

/// The reason of a Close of [`NOT_VALID`] when a device was thrown out, or its token taken back.
pub(in crate::gateway) const DEVICE_REMOVED: &str = "device removed";

/// The same when a credential that is not the device's is valid no more.
pub(in crate::gateway) const AUTH_CHANGED: &str = "gateway auth changed";

impl Gateway {
    /// Another node has news.
    pub(in crate::gateway) fn device_news(&mut self, cx: &mut Cx<'_>, news: DeviceNews) {
        let at = self.ms(cx.now);
        match news {
            DeviceNews::Asked(request) => {
                self.devices.expire(at);
                if self.devices.learn_request(request.clone()) {
                    self.tell_asked(cx, &request);
                }
            }
            DeviceNews::Rejected(id) => {
                if let Some(request) = self.devices.learn_rejected(&id) {
                    self.tell_decided(cx, &request, Decision::Rejected);
                }
            }
            DeviceNews::Changed(device, change) => {
                let id = device.id.clone();
                if self.devices.learn(device) {
                    self.device_changed(cx, &id, change);
                }
                self.write_again(cx, &id);
            }
            DeviceNews::Removed(id, created) => {
                let requests = self.devices.learn_removed(&id, created);
                self.device_gone_too(cx, &id, &requests, None);
                self.write_again(cx, &id);
            }
            DeviceNews::Seen(id, what, at) => {
                if let Some(device) = self.devices.get_mut(&id) {
                    device.seen(what, None, at);
                }
            }
        }
    }

    /// A node has begun anew: it does not know who asks.
    pub(in crate::gateway) fn tell_requests(&mut self, node: NodeId) {
        let requests: Vec<_> = self.devices.requests().cloned().collect();
        for request in requests {
            let news = DeviceNews::Asked(request);
            self.publish(Route::Node(node), BusMessage::Devices { news });
        }
    }

    /// The store may have been given something older by this node than what it knows by now.
    fn write_again(&mut self, cx: &Cx<'_>, id: &Arc<str>) {
        let since = self.ms(cx.now).saturating_sub(UNDER_WAY_MS);
        if self.devices.has_written(id, since) {
            self.write_device(cx, id);
        }
    }

    pub(super) fn publish_device(&mut self, news: DeviceNews) {
        self.publish(Route::Others, BusMessage::Devices { news });
    }

    // --- what this node has done ---------------------------------------------------------------

    /// A device has asked here.
    pub(super) fn device_asked(&mut self, cx: &mut Cx<'_>, asked: Asked) {
        if let Some(old) = asked.superseded {
            self.publish_device(DeviceNews::Rejected(old.id.clone()));
            self.note_pairing(&old.device, PairAction::Denied, None);
            self.tell_decided(cx, &old, Decision::Rejected);
        }
        if asked.is_new {
            self.publish_device(DeviceNews::Asked(asked.request.clone()));
            self.note_pairing(&asked.request.device, PairAction::Requested, None);
            self.tell_asked(cx, &asked.request);
        }
    }

    /// A device is durable as it is here. Says whether it is in: it may have been thrown out meanwhile.
    pub(super) fn take_device(
        &mut self,
        cx: &mut Cx<'_>,
        device: PairedDevice,
        change: Option<Change>,
        by: Option<&Arc<str>>,
    ) -> bool {
        let (id, kept) = (device.id.clone(), device.clone());
        let is_in = self.devices.learn(device);
        let now = self.devices.get(&id).cloned();
        if now.as_ref() != Some(&kept) {
            // Something else has become of it while the store worked.
            self.write_device(cx, &id);
        }
        if let Some(now) = now.filter(|_| is_in) {
            self.publish_device(DeviceNews::Changed(now, change));
            if change == Some(Change::Approved) {
                self.note_pairing(&id, PairAction::Approved, by);
            }
            self.device_changed(cx, &id, change);
        }
        is_in
    }

    fn device_changed(&mut self, cx: &mut Cx<'_>, id: &Arc<str>, change: Option<Change>) {
        for request in self.devices.settled(id) {
            self.tell_decided(cx, &request, Decision::Approved);
        }
        if let Some(change) = change {
            self.tell_changed(cx, id, change);
        }
        self.judge_device(cx, id, None);
    }

    /// A device is not let in any more, and its requests count as rejected. `but`: a connection that is
    /// judged later.
    pub(super) fn device_gone_too(
        &mut self,
        cx: &mut Cx<'_>,
        id: &Arc<str>,
        requests: &[DeviceRequest],
        but: Option<ConnId>,
    ) {
        for request in requests {
            self.tell_decided(cx, request, Decision::Rejected);
        }
        self.tell_changed(cx, id, Change::Removed);
        self.judge_device(cx, id, but);
        self.node_thrown_out(cx, id);
    }

    /// A device has come or gone here.
    pub(in crate::gateway) fn device_seen(
        &mut self,
        id: &Arc<str>,
        what: Seen,
        about: Option<&About>,
        at: u64,
    ) {
        if let Some(device) = self.devices.get_mut(id) {
            device.seen(what, about, at);
            self.publish_device(DeviceNews::Seen(id.clone(), what, at));
        }
    }

    // --- connections of a device ---------------------------------------------------------------

    /// Closes the connections of a device that may not go on. Work in proportion to the connections.
    pub(super) fn judge_device(&mut self, cx: &mut Cx<'_>, id: &str, but: Option<ConnId>) {
        let of_device = |peer: &super::Peer| peer.device.as_deref() == Some(id);
        let conns = self.conns.iter().filter(|(conn, _)| Some(**conn) != but);
        let conns: Vec<_> = conns
            .filter(|(_, state)| state.openclaw.as_deref().is_some_and(of_device))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in conns {
            self.judge_conn(cx, conn);
        }
    }

    /// Whether the device of this user's connection is still let in, if it had to be.
    pub(in crate::gateway) fn is_let_in(&self, peer: &super::Peer, user: &str) -> bool {
        let (Some(id), Some(paired)) = (&peer.device, peer.paired) else { return true };
        let is_same = |device: &&PairedDevice| device.created == paired && *device.user == *user;
        let device = self.devices.get(id).filter(is_same);
        device.is_some_and(|device| device.grant(peer.role).is_some())
    }

    /// A device has got another token by this connection, which goes on by that.
    pub(super) fn go_on_by(&mut self, conn: ConnId, id: &str, role: PeerRole, token: u64) {
        let renew = |proof: &mut Proof| {
            if let Proof::DeviceKey { device, role: own, token: old } = proof
                && **device == *id
                && *own == role
            {
                *old = token;
            }
        };
        let Some(state) = self.conns.get_mut(&conn) else { return };
        if let Some(principal) = &mut state.principal {
            renew(&mut principal.proof);
        }
        if let Some(super::super::link::LinkAt::Here(link)) = state.link
            && let Some(link) = self.links.get_mut(link)
        {
            renew(&mut link.who.proof);
        }
    }

    // --- what clients are told -----------------------------------------------------------------

    fn tell_asked(&mut self, cx: &mut Cx<'_>, request: &DeviceRequest) {
        let mut payload = String::new();
        request.write(&mut payload);
        self.tell_deciders(cx, "device.pair.requested", &payload);
    }

    pub(super) fn tell_decided(
        &mut self,
        cx: &mut Cx<'_>,
        request: &DeviceRequest,
        decision: Decision,
    ) {
        let at = self.ms(cx.now);
        let mut payload = String::new();
        request.write_resolved(decision, at, &mut payload);
        self.tell_deciders(cx, "device.pair.resolved", &payload);
    }

    pub(super) fn tell_changed(&mut self, cx: &mut Cx<'_>, id: &str, change: Change) {
        let at = self.ms(cx.now);
        let mut payload = String::new();
        let object = Object::new(&mut payload).str("deviceId", id);
        object.str("reason", change.as_str()).num("ts", at).end();
        self.tell_deciders(cx, "device.pair.changed", &payload);
    }

    /// Gives an event to the connections of this node that decide about devices.
    fn tell_deciders(&mut self, cx: &mut Cx<'_>, name: &'static str, payload: &str) {
        self.tell_operators(cx, Scopes::PAIRING, name, payload);
    }
}
