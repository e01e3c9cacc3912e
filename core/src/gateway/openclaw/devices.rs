//! The devices of this dialect: who asks to be let in, who was, and by which tokens they come back.
//!
//! ```text
//!  signed device ── standing ──▶ Known ──────────────────────────────▶ in, with a token
//!                      │                                                  ▲
//!                      └─ anything else ──▶ ask ──▶ request ── approve ───┤
//!                                                     │                   └─ remove ──▶ gone
//!                                                     └─ reject, expire, another wish ──▶ gone
//! ```
//!
//! Every node has all of it. What a node changes it tells the others, who `learn` it; news overtake each
//! other on the way, so what is gone is remembered for a while.

use super::super::bounded::Forgetful;
use super::super::budget::Address;
use super::super::config::Secret;
use super::super::json::Object;
use super::connect_params::PeerRole;
use super::device_request::{DeviceRequest, Wish};
use super::device_tokens::{Grant, TokenError};
use super::paired_device::{About, PairedDevice, Standing, Via};
use super::scopes::Scopes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct DeviceBounds {
    /// Requests. More: memory and a longer list to decide on; fewer: a few that nobody decides on keep
    /// others out.
    pub(in crate::gateway) requests: usize,
    /// Of them from one address.
    pub(in crate::gateway) requests_per_address: usize,
    /// Devices that were let in.
    pub(in crate::gateway) devices: usize,
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Asked {
    /// The request that stands for it.
    pub(in crate::gateway) request: DeviceRequest,
    /// Whether it is a new one.
    pub(in crate::gateway) is_new: bool,
    /// The earlier one whose place it took, which counts as rejected.
    pub(in crate::gateway) superseded: Option<DeviceRequest>,
}

/// Which bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Crowded {
    /// [`DeviceBounds::requests`].
    Requests,
    /// [`DeviceBounds::requests_per_address`].
    Address,
    /// [`DeviceBounds::devices`].
    Devices,
}

/// Why a request cannot be approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum ApproveError {
    /// There is no such request, or not any more.
    Unknown,
    /// Nobody lets others do what they may not do themselves: these are missing.
    Scopes(Scopes),
    /// There are too many devices.
    Crowded(Crowded),
}

/// Why a token cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum ChangeError {
    /// There is no such device, or not in this role.
    Unknown,
    /// The device was not let in for these scopes.
    Scopes,
}

/// All of them, the same at all nodes.
#[derive(Debug)]
pub(in crate::gateway) struct Devices {
    requests: BTreeMap<Arc<str>, DeviceRequest>,
    devices: BTreeMap<Arc<str>, PairedDevice>,
    /// Requests that were decided.
    decided: Forgetful<Arc<str>, ()>,
    /// Devices that were removed, with the time at which they were first let in.
    removed: Forgetful<Arc<str>, u64>,
}

/// How many that are gone are remembered: as many as may go while news are under way.
const REMEMBERED: usize = 1024;

impl Default for Devices {
    fn default() -> Self {
        Self {
            requests: BTreeMap::new(),
            devices: BTreeMap::new(),
            decided: Forgetful::new(REMEMBERED),
            removed: Forgetful::new(REMEMBERED),
        }
    }
}

impl Devices {
    /// A device that was let in.
    pub(in crate::gateway) fn get(&self, device: &str) -> Option<&PairedDevice> {
        self.devices.get(device)
    }

    /// The same, to say that it was seen.
    pub(in crate::gateway) fn get_mut(&mut self, device: &str) -> Option<&mut PairedDevice> {
        self.devices.get_mut(device)
    }

    /// Those that were let in, by their names.
    pub(in crate::gateway) fn iter(&self) -> impl Iterator<Item = &PairedDevice> {
        self.devices.values()
    }

    /// A request that still waits.
    pub(in crate::gateway) fn request(&self, id: &str, at: u64) -> Option<&DeviceRequest> {
        self.requests.get(id).filter(|request| !request.is_expired(at))
    }

    /// What a device that has proved its name is to whom asks for this.
    pub(in crate::gateway) fn standing(
        &self,
        device: &str,
        role: PeerRole,
        scopes: Scopes,
        about: &About,
    ) -> Standing {
        let known = self.devices.get(device);
        known.map_or(Standing::NotPaired, |device| device.standing(role, scopes, about))
    }

    /// A device asks, under the name `id` if it has not asked for the same before.
    ///
    /// # Errors
    /// [`Crowded`]; then nothing has changed.
    pub(in crate::gateway) fn ask(
        &mut self,
        wish: Wish,
        id: Arc<str>,
        bounds: &DeviceBounds,
        at: u64,
    ) -> Result<Asked, Crowded> {
        self.expire(at);
        let device = wish.key.id();
        let rival = self.requests.values().find(|other| other.is_rival(&device, wish.role));
        if let Some(same) = rival.filter(|rival| rival.is_same(&wish)) {
            return Ok(Asked { request: same.clone(), is_new: false, superseded: None });
        }
        let rival = rival.map(|rival| rival.id.clone());
        let others = self.requests.values().filter(|other| Some(&other.id) != rival.as_ref());
        let address = Address::of(wish.address);
        let (all, here) = others.fold((0, 0), |(all, here), other| {
            (all + 1, here + usize::from(other.address() == address))
        });
        if here >= bounds.requests_per_address {
            return Err(Crowded::Address);
        } else if all >= bounds.requests {
            return Err(Crowded::Requests);
        }
        let superseded = rival.and_then(|rival| self.decide(&rival));
        let is_repair = self.devices.contains_key(&device);
        let request = DeviceRequest { id, device, wish, is_repair, created: at };
        self.requests.insert(request.id.clone(), request.clone());
        Ok(Asked { request, is_new: true, superseded })
    }

    /// Lets a device in, for what it has asked for in addition to what it had. `by` are the scopes of
    /// who decides.
    ///
    /// # Errors
    /// [`ApproveError`]; then the request still waits.
    pub(in crate::gateway) fn approve(
        &mut self,
        id: &str,
        (via, by): (Via, Scopes),
        bounds: &DeviceBounds,
        at: u64,
    ) -> Result<(DeviceRequest, &PairedDevice), ApproveError> {
        let request = self.request(id, at).ok_or(ApproveError::Unknown)?;
        let missing = request.wish.scopes.implied().without(by.implied());
        if !missing.is_empty() {
            return Err(ApproveError::Scopes(missing));
        }
        let (device, is_full) = (request.device.clone(), self.devices.len() >= bounds.devices);
        if is_full && !self.devices.contains_key(&device) {
            return Err(ApproveError::Crowded(Crowded::Devices));
        }
        let request = self.decide(id).ok_or(ApproveError::Unknown)?;
        let Wish { key, user, about, role, scopes, .. } = request.wish.clone();
        let earlier = [
            self.removed.get(&device).copied(),
            self.devices.get(&device).map(|known| known.created),
        ];
        let paired = match self.devices.remove(&device).filter(|known| known.user == user) {
            Some(known) => PairedDevice { about, via, approved: at, ..known },
            // Of another user it is another device: its tokens were for the one that it belonged to. It
            // must not be taken for that one, whatever the clock says.
            None => PairedDevice {
                id: device.clone(),
                key,
                user,
                about,
                via,
                created: earlier
                    .into_iter()
                    .flatten()
                    .fold(at, |at, old| at.max(old.saturating_add(1))),
                approved: at,
                seen: None,
                grants: BTreeMap::new(),
            },
        };
        let paired = self.devices.entry(device).or_insert(paired);
        let grant = paired.grants.entry(role).or_insert_with(|| Grant::new(scopes));
        grant.scopes = grant.scopes.or(scopes);
        Ok((request, paired))
    }

    /// Takes a request out that was decided against.
    pub(in crate::gateway) fn reject(&mut self, id: &str, at: u64) -> Option<DeviceRequest> {
        self.request(id, at)?;
        self.decide(id)
    }

    /// Takes out the requests whose time is over.
    pub(in crate::gateway) fn expire(&mut self, at: u64) {
        self.requests.retain(|_, request| !request.is_expired(at));
    }

    /// When the next request is over, in Unix milliseconds.
    pub(in crate::gateway) fn next_end(&self) -> Option<u64> {
        self.requests.values().map(DeviceRequest::expires).min()
    }

    /// Throws a device out, and its requests, which count as rejected.
    pub(in crate::gateway) fn remove(
        &mut self,
        device: &str,
    ) -> Option<(PairedDevice, Vec<DeviceRequest>)> {
        let gone = self.devices.remove(device)?;
        *self.removed.entry(device, || 0) = gone.created;
        let open = self.requests.values().filter(|request| *request.device == *device);
        let open: Vec<_> = open.map(|request| request.id.clone()).collect();
        let open = open.iter().filter_map(|id| self.decide(id)).collect();
        Some((gone, open))
    }

    /// A new token for a device, of random bytes. None if it was not let in for that.
    pub(in crate::gateway) fn issue(
        &mut self,
        (device, role): (&str, PeerRole),
        scopes: Scopes,
        random: &[u8; 32],
        at: u64,
    ) -> Option<String> {
        self.grant(device, role)?.issue(scopes, random, at)
    }

    /// The scopes of a token that a device offers for `asked`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(in crate::gateway) fn prove(
        &mut self,
        (device, role): (&str, PeerRole),
        offered: &Secret,
        asked: Scopes,
        at: u64,
    ) -> Result<Scopes, TokenError> {
        let grant = self.grant(device, role).ok_or(TokenError::Mismatch)?;
        let scopes = grant.prove(offered, asked)?;
        grant.used(at);
        Ok(scopes)
    }

    /// One new token instead of all that a device has in a role, and its scopes; without `scopes`, those
    /// of the newest.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing has changed.
    pub(in crate::gateway) fn rotate(
        &mut self,
        (device, role): (&str, PeerRole),
        scopes: Option<Scopes>,
        random: &[u8; 32],
        at: u64,
    ) -> Result<(String, Scopes), ChangeError> {
        let grant = self.grant(device, role).ok_or(ChangeError::Unknown)?;
        grant.rotate(scopes, random, at).ok_or(ChangeError::Scopes)
    }

    /// Takes back all tokens that a device has in a role. It is still let in.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub(in crate::gateway) fn revoke(
        &mut self,
        (device, role): (&str, PeerRole),
        at: u64,
    ) -> Result<(), ChangeError> {
        self.grant(device, role).ok_or(ChangeError::Unknown)?.revoke(at);
        Ok(())
    }

    /// Another node, or the store, has a request.
    pub(in crate::gateway) fn learn_request(&mut self, request: DeviceRequest) {
        let (device, role) = (&*request.device, request.wish.role);
        let rival = self.requests.values().find(|other| other.is_rival(device, role));
        let age = |request: &DeviceRequest| (request.created, request.id.clone());
        let is_older = rival.is_some_and(|rival| age(rival) > age(&request));
        if self.decided.get(&request.id).is_some() || is_older {
            return;
        }
        let rival = rival.map(|rival| rival.id.clone());
        rival.and_then(|rival| self.requests.remove(&rival));
        self.requests.insert(request.id.clone(), request);
    }

    /// Another node has decided on a request.
    pub(in crate::gateway) fn learn_decided(&mut self, id: &str) {
        self.decide(id);
    }

    /// Another node, or the store, has a device.
    pub(in crate::gateway) fn learn(&mut self, device: PairedDevice) {
        if self.removed.get(&device.id).is_some_and(|gone| device.created <= *gone) {
            return;
        }
        // Let in for two users in the same millisecond it is one of them, the same everywhere.
        let which = |device: &PairedDevice| (device.created, device.user.clone());
        match self.devices.get_mut(&device.id) {
            Some(known) if which(known) > which(&device) => {}
            Some(known) if which(known) == which(&device) => known.merge(device),
            _ => {
                self.devices.insert(device.id.clone(), device);
            }
        }
    }

    /// Another node has removed the device that was first let in at `created`.
    pub(in crate::gateway) fn learn_removed(&mut self, device: &str, created: u64) {
        let gone = self.removed.entry(device, || created);
        *gone = created.max(*gone);
        if self.devices.get(device).is_some_and(|known| known.created <= created) {
            self.devices.remove(device);
        }
    }

    /// The payload of `device.pair.list`.
    pub(in crate::gateway) fn write(
        &self,
        is_connected: impl Fn(&str) -> bool,
        at: u64,
        out: &mut String,
    ) {
        let open = self.requests.values().filter(|request| !request.is_expired(at));
        Object::new(out)
            .list("pending", open, |out, request| request.write(out))
            .list("paired", self.iter(), |out, device| device.write(is_connected(&device.id), out))
            .end();
    }

    fn grant(&mut self, device: &str, role: PeerRole) -> Option<&mut Grant> {
        self.devices.get_mut(device)?.grants.get_mut(&role)
    }

    fn decide(&mut self, id: &str) -> Option<DeviceRequest> {
        self.decided.entry(id, || ());
        self.requests.remove(id)
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
