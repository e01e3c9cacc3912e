//! A device's wish to be let in, or to be let in for more, until somebody decides.

use super::super::json::{self, Object};
use super::connect_params::PeerRole;
use super::device_proof::DeviceKey;
use super::paired_device::About;
use super::scopes::Scopes;
use crate::Address;
use core::net::IpAddr;
use std::sync::Arc;

/// How long a wish waits, in milliseconds. Clients show its id for that long and tell people to hurry.
const OPEN_MS: u64 = 5 * 60 * 1000;

/// What a device wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Wish {
    /// Its key, proved.
    pub(in crate::gateway) key: DeviceKey,
    /// Whose it will be.
    pub(in crate::gateway) user: Arc<str>,
    /// What it says it is.
    pub(in crate::gateway) about: About,
    /// In which role.
    pub(in crate::gateway) role: PeerRole,
    /// For what, within what its credential allows.
    pub(in crate::gateway) scopes: Scopes,
    /// Where it comes from.
    pub(in crate::gateway) address: IpAddr,
}

/// A wish that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Its own name.
    pub(in crate::gateway) id: Arc<str>,
    /// The device's.
    pub(in crate::gateway) device: Arc<str>,
    /// What it wants.
    pub(in crate::gateway) wish: Wish,
    /// Whether the device is known already.
    pub(in crate::gateway) is_repair: bool,
    /// When it came, in Unix milliseconds.
    pub(in crate::gateway) created: u64,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is in.
    Approved,
    /// It is not, or it has changed its wish.
    Rejected,
}

impl DeviceRequest {
    /// From when on it is too late, in Unix milliseconds.
    pub(in crate::gateway) fn expires(&self) -> u64 {
        self.created.saturating_add(OPEN_MS)
    }

    /// Whether it is too late.
    pub(in crate::gateway) fn is_expired(&self, at: u64) -> bool {
        self.expires() <= at
    }

    /// What counts as the place that it comes from.
    pub(super) fn address(&self) -> Address {
        Address::of(self.wish.address)
    }

    /// Whether one waits for the same device in the same role, so that there is room for one of them.
    pub(super) fn is_rival(&self, device: &str, role: PeerRole) -> bool {
        *self.device == *device && self.wish.role == role
    }

    /// Whether asking for this is asking for the same again.
    pub(super) fn is_same(&self, wish: &Wish) -> bool {
        self.wish.scopes == wish.scopes
            && self.wish.user == wish.user
            && !self.wish.about.is_other(&wish.about)
    }

    /// For `device.pair.list`, and the payload of `device.pair.requested`.
    pub(in crate::gateway) fn write(&self, out: &mut String) {
        let Wish { key, about, role, scopes, .. } = &self.wish;
        let object = Object::new(out)
            .str("requestId", &self.id)
            .str("deviceId", &self.device)
            .str("userId", &self.wish.user)
            .str("publicKey", &key.text());
        let mut object =
            about
                .write(object)
                .str("role", role.as_str())
                .list("roles", [role], |out, role| json::string(out, role.as_str()));
        scopes.write(object.key("scopes"));
        object
            // Nobody is asked about what is let in silently.
            .bool("silent", false)
            .bool("isRepair", self.is_repair)
            .num("ts", self.created)
            .end();
    }

    /// The payload of `device.pair.resolved`.
    pub(in crate::gateway) fn write_resolved(&self, decision: Decision, at: u64, out: &mut String) {
        Object::new(out)
            .str("requestId", &self.id)
            .str("deviceId", &self.device)
            .str("decision", decision.as_str())
            .num("ts", at)
            .end();
    }
}

impl Decision {
    /// The word as sent.
    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}
