//! Devices that were let in without a credential, and those that ask to be.
//!
//! ```text
//!  connect without a credential ──▶ asks, with a code ── approved ──▶ device: connect with `sender_id`
//!                                      │                                │
//!                                      └─ denied, or too late ─▶ gone ◀─┘ revoked, or too old
//! ```
//!
//! A `sender_id` is a secret like a token: it is told to the device once, and only its SHA-256 is kept.
//! Everybody else knows the device by its name, which is the start of that hash.

use super::api_keys::{hex, unhex};
use super::config::Secret;
use super::json::Object;
use super::record::{Record, RecordKind};
use crate::Address;
use core::net::IpAddr;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What people read to each other: without letters and digits that look alike.
const CODE_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

const CODE: usize = 8;

/// Bytes of a `sender_id` that a client makes up: fewer are no secret.
const SENDER: std::ops::RangeInclusive<usize> = 16..=128;

/// What proves a device: the hash of its `sender_id`, and the name that the hash gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) name: Arc<str>,
    hash: [u8; 32],
}

impl Sender {
    pub(super) fn of(sender_id: &Secret) -> Self {
        Self::hashed(Sha256::digest(sender_id.expose().as_bytes()).into())
    }

    fn hashed(hash: [u8; 32]) -> Self {
        Self { name: format!("d-{}", hex(&hash[..8])).into(), hash }
    }

    fn is(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.hash.ct_eq(&other.hash).into()
    }
}

/// A device that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairRequest {
    pub(super) sender: Sender,
    pub(super) code: Arc<str>,
    /// Who it says it is: it will be that user's.
    pub(super) user: Arc<str>,
    pub(super) address: IpAddr,
    /// Unix milliseconds.
    pub(super) created: u64,
    pub(super) expires: u64,
}

/// A device that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub(super) sender: Sender,
    pub(super) user: Arc<str>,
    /// Unix milliseconds.
    pub(super) since: u64,
    /// Who has let it in.
    pub(super) by: Arc<str>,
    pub(super) expires: u64,
}

#[derive(Deserialize)]
struct SavedRequest {
    hash: String,
    code: String,
    user: String,
    address: IpAddr,
    created: u64,
}

#[derive(Deserialize)]
struct SavedDevice {
    hash: String,
    user: String,
    since: u64,
    by: String,
}

impl PairRequest {
    pub(super) fn record(&self) -> Record {
        let mut value = String::new();
        Object::new(&mut value)
            .str("hash", &hex(&self.sender.hash))
            .str("code", &self.code)
            .str("user", &self.user)
            .str("address", &self.address.to_string())
            .num("created", self.created)
            .end();
        let (kind, key) = (RecordKind::Pairing, self.sender.name.clone());
        Record { kind, key, value: value.into(), expires: Some(self.expires) }
    }

    pub(super) fn of(record: &Record) -> Option<Self> {
        let saved: SavedRequest = serde_json::from_str(&record.value).ok()?;
        Some(Self {
            sender: Sender::hashed(unhex(&saved.hash)?),
            code: saved.code.into(),
            user: saved.user.into(),
            address: saved.address,
            created: saved.created,
            expires: record.expires?,
        })
    }

    /// The device that it becomes.
    pub(super) fn device(&self, by: &Arc<str>, since: u64, expires: u64) -> Device {
        let (sender, user) = (self.sender.clone(), self.user.clone());
        Device { sender, user, since, by: by.clone(), expires }
    }

    /// For admins.
    pub(super) fn write<'a>(&self, object: Object<'a>) -> Object<'a> {
        object
            .str("code", &self.code)
            .str("senderId", &self.sender.name)
            .str("channel", CHANNEL)
            .str("userId", &self.user)
            .str("address", &self.address.to_string())
            .num("createdAt", self.created)
            .num("expiresAt", self.expires)
    }
}

impl Device {
    pub(super) fn record(&self) -> Record {
        let mut value = String::new();
        Object::new(&mut value)
            .str("hash", &hex(&self.sender.hash))
            .str("user", &self.user)
            .num("since", self.since)
            .str("by", &self.by)
            .end();
        let (kind, key) = (RecordKind::Device, self.sender.name.clone());
        Record { kind, key, value: value.into(), expires: Some(self.expires) }
    }

    pub(super) fn of(record: &Record) -> Option<Self> {
        let saved: SavedDevice = serde_json::from_str(&record.value).ok()?;
        Some(Self {
            sender: Sender::hashed(unhex(&saved.hash)?),
            user: saved.user.into(),
            since: saved.since,
            by: saved.by.into(),
            expires: record.expires?,
        })
    }

    /// For admins.
    pub(super) fn write<'a>(&self, object: Object<'a>) -> Object<'a> {
        object
            .str("senderId", &self.sender.name)
            .str("channel", CHANNEL)
            .str("userId", &self.user)
            .num("pairedAt", self.since)
            .str("pairedBy", &self.by)
            .num("expiresAt", self.expires)
    }
}

/// What devices come by: there is nothing else yet.
pub(super) const CHANNEL: &str = "browser";

/// Whether a client may have made this up as a `sender_id`.
pub(super) fn is_sender_id(text: &str) -> bool {
    SENDER.contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}

/// A code of random bytes, each of which gives a letter.
pub(super) fn code(random: [u8; 16]) -> Arc<str> {
    let letter = |byte: &u8| char::from(CODE_LETTERS[usize::from(byte & 31)]);
    random[..CODE].iter().map(letter).collect::<String>().into()
}

/// All of them, the same at all nodes.
#[derive(Debug, Default)]
pub(super) struct Pairings {
    requests: BTreeMap<Arc<str>, PairRequest>,
    devices: BTreeMap<Arc<str>, Device>,
}

impl Pairings {
    pub(super) fn requests(&self) -> impl Iterator<Item = &PairRequest> {
        self.requests.values()
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    pub(super) fn request(&self, sender: &Sender, at: u64) -> Option<&PairRequest> {
        let request = self.requests.get(&sender.name)?;
        (request.expires > at && request.sender.is(sender)).then_some(request)
    }

    pub(super) fn request_named(&self, name: &str) -> Option<&PairRequest> {
        self.requests.get(name)
    }

    pub(super) fn by_code(&self, code: &str, at: u64) -> Option<&PairRequest> {
        let fits = |request: &&PairRequest| {
            request.expires > at && request.code.eq_ignore_ascii_case(code)
        };
        self.requests.values().find(fits)
    }

    /// The device, even when its time is over.
    pub(super) fn device(&self, sender: &Sender) -> Option<&Device> {
        self.devices.get(&sender.name).filter(|device| device.sender.is(sender))
    }

    pub(super) fn device_named(&self, name: &str) -> Option<&Device> {
        self.devices.get(name)
    }

    pub(super) fn ask(&mut self, request: PairRequest) {
        self.requests.insert(request.sender.name.clone(), request);
    }

    pub(super) fn forget_request(&mut self, name: &str) -> Option<PairRequest> {
        self.requests.remove(name)
    }

    pub(super) fn let_in(&mut self, device: Device) {
        self.requests.remove(&device.sender.name);
        self.devices.insert(device.sender.name.clone(), device);
    }

    pub(super) fn forget_device(&mut self, name: &str) -> Option<Device> {
        self.devices.remove(name)
    }

    pub(super) fn expire_devices(&mut self, at: u64) {
        self.devices.retain(|_, device| device.expires > at);
    }

    /// A request whose time is over.
    pub(super) fn overdue(&self, at: u64) -> Option<Arc<str>> {
        let due = |request: &&PairRequest| request.expires <= at;
        self.requests.values().find(due).map(|request| request.sender.name.clone())
    }

    /// When the next request is over, in Unix milliseconds.
    pub(super) fn next_end(&self) -> Option<u64> {
        self.requests.values().map(|request| request.expires).min()
    }

    /// How many requests there are, how many of them from this address, and when the first of all of
    /// them ends.
    pub(super) fn crowd(&self, address: Address) -> (usize, usize) {
        let here = |request: &&PairRequest| Address::of(request.address) == address;
        (self.requests.len(), self.requests.values().filter(here).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> PairRequest {
        PairRequest {
            sender: Sender::of(&Secret::new("0123456789abcdef")),
            code: code([7; 16]),
            user: "ann \"a\"".into(),
            address: "2001:db8::1".parse().expect("an address"),
            created: 7,
            expires: 9,
        }
    }

    #[test]
    fn records_give_back_what_they_were_made_of_and_hold_no_secret() {
        let request = request();
        let device = request.device(&"root".into(), 8, 99);
        assert_eq!(PairRequest::of(&request.record()), Some(request.clone()));
        assert_eq!(Device::of(&device.record()), Some(device.clone()));
        let texts = format!("{request:?} {device:?} {:?} {:?}", request.record(), device.record());
        assert!(!texts.contains("0123456789abcdef"));
        assert_eq!(Device::of(&request.record()), None);
        assert_eq!(PairRequest::of(&Record { expires: None, ..request.record() }), None);
    }

    #[test]
    fn codes_have_eight_letters_that_cannot_be_mistaken() {
        let mut bytes = [0; 16];
        for first in 0..=255 {
            bytes[0] = first;
            let code = code(bytes);
            assert_eq!(code.len(), CODE);
            assert!(!code.contains(['0', 'O', '1', 'I']), "{code}");
        }
    }

    #[test]
    fn only_what_is_long_enough_can_be_a_sender_id() {
        for good in ["0123456789abcdef", "a.b:c@d-e_f".replace('_', "0").repeat(2).as_str()] {
            assert!(is_sender_id(good), "{good}");
        }
        assert!(is_sender_id(&"x".repeat(128)) && !is_sender_id(&"x".repeat(129)));
        for wrong in
            ["", "0123456789abcde", "-0123456789abcdef", "0123456789 abcdef", "ä123456789abcdef"]
        {
            assert!(!is_sender_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_found_by_all_of_its_secret_and_until_its_end() {
        let mut all = Pairings::default();
        let request = request();
        all.ask(request.clone());
        assert_eq!(all.request(&request.sender, 8), Some(&request));
        assert_eq!(all.request(&request.sender, 9), None);
        let mut other = request.sender.clone();
        other.hash[31] ^= 1;
        assert_eq!(all.request(&other, 8), None);
        assert!(all.by_code(&request.code.to_lowercase(), 8).is_some());
        assert_eq!((all.by_code(&request.code, 9), all.by_code("", 8)), (None, None));
    }
}
