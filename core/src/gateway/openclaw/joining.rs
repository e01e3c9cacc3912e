//! The end of a `connect` that was not refused: at once, or when what it makes of its device is durable.

use super::super::Gateway;
use super::super::authenticate::Login;
use super::super::client::Client;
use super::super::conn::ConnId;
use super::super::principal::{Principal, Role};
use super::super::refusal::Refusal;
use super::super::send::Cx;
use super::super::work::StoreOutcome;
use super::connect::Refused;
use super::connect_params::{ConnectParams, PeerRole};
use super::credentials::Issued;
use super::device_jobs::DeviceJob;
use super::device_news::Change;
use super::paired_device::{About, PairedDevice, Seen};
use super::peer::Peer;
use crate::frame::CloseCode;
use std::sync::Arc;
use std::time::Duration;

/// Somebody who will be let in.
pub(in crate::gateway) struct Newcomer {
    /// The request's id.
    id: Box<str>,
    principal: Principal,
    expires: Option<u64>,
    client: Arc<Client>,
    pub(super) peer: Peer,
    /// The token that its device has or gets.
    pub(super) token: Option<Issued>,
    /// What its device has signed about itself.
    pub(super) about: Option<About>,
}

impl Newcomer {
    pub(super) fn new(id: &str, params: &ConnectParams, login: Login, peer: Peer) -> Self {
        let Login { mut principal, expires, .. } = login;
        // Claims narrow: what was not asked for is not used by any check further on either.
        principal.role = peer.scopes.role(principal.role).unwrap_or(Role::Viewer);
        let info = &params.client;
        let client = Client::named(info.id, &info.version, &info.platform);
        Self { id: id.into(), principal, expires, client, peer, token: None, about: None }
    }
}

/// A `connect` that waits for the store, and what its client has said meanwhile.
pub(in crate::gateway) struct Joining {
    newcomer: Newcomer,
    said: Vec<Box<str>>,
}

/// Messages that a client may send behind its `connect`.
const MAX_SAID: usize = 15;

/// Bytes of them.
const MAX_SAID_BYTES: usize = 1024 * 1024;

impl Gateway {
    /// Lets somebody in as soon as their device is durable as it is now.
    pub(super) fn join(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        newcomer: Newcomer,
        device: PairedDevice,
    ) {
        if let Some(outbox) = cx.outbox(conn) {
            // The credential was right. There is no outbox at hand when the store has answered.
            outbox.limit_messages(u32::MAX);
        }
        if let Some(state) = self.conns.get_mut(&conn) {
            state.joining = Some(Box::new(Joining { newcomer, said: Vec::new() }));
        }
        self.keep_device(cx, device, |device| DeviceJob::Join { conn, device });
    }

    /// A message behind a `connect` that waits.
    pub(in crate::gateway) fn said_while_joining(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        text: Option<&str>,
    ) {
        let joining = self.conns.get_mut(&conn).and_then(|state| state.joining.as_mut());
        let (Some(joining), Some(text)) = (joining, text) else { return };
        let bytes: usize = joining.said.iter().map(|said| said.len()).sum();
        if joining.said.len() >= MAX_SAID || bytes + text.len() > MAX_SAID_BYTES {
            let reason = "too many pending handshake frames";
            return self.close(cx, conn, CloseCode::POLICY, reason, None);
        }
        joining.said.push(text.into());
    }

    /// The device of a `connect` that waits is durable, or is not.
    pub(super) fn join_kept(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        device: PairedDevice,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let id = device.id.clone();
        let is_news = self.devices.get(&id).is_none_or(|known| known.approved < device.approved);
        match outcome {
            Ok(_) => {
                let change = is_news.then_some(Change::Approved);
                self.take_device(cx, device, change, None);
            }
            Err(_) => self.write_device(cx, &id),
        }
        let state = self.conns.get_mut(&conn).filter(|state| state.closing.is_none());
        let Some(joining) = state.and_then(|state| state.joining.take()) else { return };
        let Joining { mut newcomer, said } = *joining;
        let is_in = self.is_let_in(&newcomer.peer, &newcomer.principal.user);
        // Who was let in before needs no new token to come in; nor is one told that was taken back.
        let role = newcomer.peer.role;
        let known = self.devices.get(&id).filter(|_| outcome.is_ok());
        let is_valid = |token: &Issued| known.is_some_and(|known| known.is_valid(role, token.at));
        newcomer.token = newcomer.token.filter(is_valid);
        let refused: Refused = if self.role_now(&newcomer.principal).is_none() {
            Refusal::invalid("unauthorized: the credential was revoked").into()
        } else if outcome.is_err() && is_news || !is_in {
            Refused::later("the device could not be let in", Duration::from_secs(1))
        } else {
            self.welcome(cx, conn, newcomer);
            // Its credential may allow less by now.
            self.judge_conn(cx, conn);
            for text in said {
                self.message(cx, conn, Some(&text));
            }
            return;
        };
        self.refuse_connect(cx, conn, &newcomer.id, &refused);
    }

    /// Logs somebody in, and answers.
    pub(super) fn welcome(&mut self, cx: &mut Cx<'_>, conn: ConnId, newcomer: Newcomer) {
        let Newcomer { id, principal, expires, client, peer, token, about } = newcomer;
        let (view, role) = (peer.view(), peer.role);
        if let Some(device) = peer.device.clone().filter(|_| peer.paired.is_some()) {
            let at = self.ms(cx.now);
            if let Some(known) = self.devices.get_mut(&device).filter(|_| token.is_some()) {
                known.used(role, at);
            }
            self.device_seen(&device, Seen::Connect, about.as_ref(), at);
        }
        if let Some(state) = self.conns.get_mut(&conn) {
            state.openclaw = Some(Box::new(peer));
        }
        self.log_in(cx, conn, principal.clone(), Some(client), false);
        self.arm_expiry(cx.now, conn, expires);
        // These clients take a connection without ticks for dead, whatever pings it answers.
        self.set_ticks(cx.now, conn, true);
        let link = self.openclaw_link(cx.now, conn, &principal, view);
        let now = cx.now;
        self.write_answer(cx, conn, &id, None, |gateway, out| {
            out.push_str("\"ok\":true,\"payload\":");
            gateway.write_openclaw_hello(out, now, conn, token.as_ref());
        });
        self.catch_up(cx, link);
        if role == PeerRole::Operator {
            let viewer = (!principal.role.sees_all()).then(|| principal.user.clone());
            self.health_soon(cx.now, viewer);
        }
        if role == PeerRole::Node {
            self.node_arrived(cx, conn);
        }
    }
}
