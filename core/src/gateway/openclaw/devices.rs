//! The devices of this dialect: who asks to be let in, who was, and by which tokens they come back.
//!
//! ```text
//!  signed device ── standing ──▶ Known ────────────────────────────────────▶ in, with a token
//!                      │                                                        ▲
//!                      └─ anything else ──▶ ask ──▶ request ── admit, learn ────┤
//!                                                     │                         └─ remove ──▶ gone
//!                                                     └─ reject, expire, another wish ──▶ gone
//! ```
//!
//! Every node has all of it. What a node changes it tells the others, who `learn` it; news overtake each
//! other on the way, so what is gone is remembered for a while.

use super::super::bounded::Forgetful;
use super::super::json::Object;
use super::connect_params::PeerRole;
use super::device_request::{DeviceRequest, Wish};
use super::device_tokens::Grant;
use super::paired_device::{About, PairedDevice, Standing, Via};
use super::scopes::Scopes;
use crate::Address;
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

/// Why a device cannot be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum AdmitError {
    /// Nobody lets others do what they may not do themselves: these are missing.
    Scopes(Scopes),
    /// There are too many devices.
    Crowded(Crowded),
}

/// What a node has put into the store of one device, or taken out of it.
#[derive(Debug)]
pub(in crate::gateway) struct Write {
    pub(super) device: Arc<str>,
    number: u64,
}

/// The last one: when, in Unix milliseconds, and which of all.
#[derive(Debug, Clone, Copy)]
struct Written {
    at: u64,
    number: u64,
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
    /// When this node has written a device to the store, or out of it: news of another node may be
    /// older than that there, and newer than what was written.
    written: Forgetful<Arc<str>, Written>,
    /// All that was written.
    writes: u64,
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
            written: Forgetful::new(REMEMBERED),
            writes: 0,
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

    /// Requests, as another node is told that has just begun.
    pub(in crate::gateway) fn requests(&self) -> impl Iterator<Item = &DeviceRequest> {
        self.requests.values()
    }

    /// A request that still waits.
    pub(in crate::gateway) fn request(&self, id: &str, at: u64) -> Option<&DeviceRequest> {
        self.requests.get(id).filter(|request| !request.is_expired(at))
    }

    /// What a device that has proved its name is to whom asks for this on behalf of this user. One that
    /// is let in is one user's: for others it is as if it were not.
    pub(in crate::gateway) fn standing(
        &self,
        (device, user): (&str, &str),
        role: PeerRole,
        scopes: Scopes,
        about: &About,
    ) -> Standing {
        let known = self.devices.get(device).filter(|known| *known.user == *user);
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

    /// The device that a wish would make, in addition to what it was let in for before. `by` are the
    /// scopes of who decides. Whoever has made it durable lets it in with [`Devices::learn`].
    ///
    /// # Errors
    /// [`AdmitError`].
    pub(in crate::gateway) fn admit(
        &self,
        wish: &Wish,
        (via, by): (Via, Scopes),
        bounds: &DeviceBounds,
        at: u64,
    ) -> Result<PairedDevice, AdmitError> {
        let missing = wish.scopes.implied().without(by.implied());
        if !missing.is_empty() {
            return Err(AdmitError::Scopes(missing));
        }
        let id = wish.key.id();
        let known = self.devices.get(&id);
        if known.is_none() && self.devices.len() >= bounds.devices {
            return Err(AdmitError::Crowded(Crowded::Devices));
        }
        let Wish { key, user, about, role, scopes, .. } = wish.clone();
        let mut device = match known.filter(|known| known.user == user).cloned() {
            Some(known) => {
                // What was let in later counts, in whatever order nodes learn of it.
                let approved = at.max(known.approved.saturating_add(1));
                PairedDevice { about, via, approved, ..known }
            }
            // Of another user it is another device: its tokens were for the one that it belonged to. It
            // must not be taken for that one, whatever the clock says.
            None => {
                let gone = self.removed.get(&id).copied();
                let earlier = [gone, known.map(|known| known.created)].into_iter().flatten();
                PairedDevice {
                    created: earlier.fold(at, |at, old| at.max(old.saturating_add(1))),
                    approved: at,
                    seen: None,
                    grants: BTreeMap::new(),
                    id,
                    key,
                    user,
                    about,
                    via,
                }
            }
        };
        let grant = device.grants.entry(role).or_insert_with(|| Grant::new(scopes));
        grant.scopes = grant.scopes.or(scopes);
        Ok(device)
    }

    /// Takes out the requests for what a device is let in for by now. They count as approved.
    pub(in crate::gateway) fn settled(&mut self, device: &str) -> Vec<DeviceRequest> {
        let of_device = self.requests.values().filter(|request| *request.device == *device);
        let settled: Vec<_> = of_device
            .filter(|request| self.is_settled(request))
            .map(|request| request.id.clone())
            .collect();
        settled.iter().filter_map(|id| self.decide(id)).collect()
    }

    fn is_settled(&self, request: &DeviceRequest) -> bool {
        let Wish { user, about, role, scopes, .. } = &request.wish;
        self.standing((&request.device, user), *role, *scopes, about) == Standing::Known
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
        let open = self.reject_all(device);
        Some((gone, open))
    }

    fn reject_all(&mut self, device: &str) -> Vec<DeviceRequest> {
        let open = self.requests.values().filter(|request| *request.device == *device);
        let open: Vec<_> = open.map(|request| request.id.clone()).collect();
        open.iter().filter_map(|id| self.decide(id)).collect()
    }

    /// This node writes a device to the store, or out of it.
    pub(in crate::gateway) fn written(&mut self, device: &Arc<str>, at: u64) -> Write {
        self.writes += 1;
        let now = Written { at, number: self.writes };
        *self.written.entry(&**device, || now) = now;
        Write { device: device.clone(), number: now.number }
    }

    /// Whether this node has written a device since then.
    pub(in crate::gateway) fn has_written(&self, device: &str, since: u64) -> bool {
        self.written.get(device).is_some_and(|written| written.at >= since)
    }

    /// Whether this node has written nothing else of its device behind this.
    pub(in crate::gateway) fn is_last(&self, write: &Write) -> bool {
        let last = self.written.get(&*write.device);
        last.is_some_and(|written| written.number == write.number)
    }

    /// Another node has a request. Says whether it was news.
    pub(in crate::gateway) fn learn_request(&mut self, request: DeviceRequest) -> bool {
        let (device, role) = (&*request.device, request.wish.role);
        let rival = self.requests.values().find(|other| other.is_rival(device, role));
        let age = |request: &DeviceRequest| (request.created, request.id.clone());
        let is_older = rival.is_some_and(|rival| age(rival) > age(&request));
        let is_known = self.requests.contains_key(&request.id);
        if self.decided.get(&request.id).is_some()
            || is_known
            || is_older
            || self.is_settled(&request)
        {
            return false;
        }
        let rival = rival.map(|rival| rival.id.clone());
        rival.and_then(|rival| self.requests.remove(&rival));
        self.requests.insert(request.id.clone(), request);
        true
    }

    /// Another node has decided against a request.
    pub(in crate::gateway) fn learn_rejected(&mut self, id: &str) -> Option<DeviceRequest> {
        self.decide(id)
    }

    /// This node, another one, or the store has a device. Says whether it is in: it may have been
    /// removed since.
    pub(in crate::gateway) fn learn(&mut self, device: PairedDevice) -> bool {
        if self.removed.get(&device.id).is_some_and(|gone| device.created <= *gone) {
            return false;
        }
        // Let in for two users in the same millisecond it is one of them, the same everywhere.
        let which = |device: &PairedDevice| (device.created, device.user.clone());
        match self.devices.get_mut(&device.id) {
            Some(known) if which(known) > which(&device) => return false,
            Some(known) if which(known) == which(&device) => known.merge(device),
            _ => {
                self.devices.insert(device.id.clone(), device);
            }
        }
        true
    }

    /// Another node has removed the device that was first let in at `created`. Gives its requests, which
    /// count as rejected.
    pub(in crate::gateway) fn learn_removed(
        &mut self,
        device: &str,
        created: u64,
    ) -> Vec<DeviceRequest> {
        let gone = self.removed.entry(device, || created);
        *gone = created.max(*gone);
        if self.devices.get(device).is_some_and(|known| known.created > created) {
            return Vec::new();
        }
        self.devices.remove(device);
        self.reject_all(device)
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
            .list("paired", self.devices.values(), |out, device| {
                device.write(is_connected(&device.id), out);
            })
            .end();
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
