//! A device that was let in: by its key, in one role or more, each with scopes and tokens of its own.

use super::super::config::Secret;
use super::super::json::{self, Object};
use super::super::record::{Record, RecordKind};
use super::client_info::ClientInfo;
use super::connect_params::PeerRole;
use super::device_proof::{DeviceKey, normal};
use super::device_tokens::{Grant, SavedGrant, TokenError};
use super::scopes::Scopes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A device that was let in. Everybody knows its name and its key; its tokens are only here as hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedDevice {
    /// The hash of its key.
    pub(in crate::gateway) id: Arc<str>,
    /// Its key.
    pub(in crate::gateway) key: DeviceKey,
    /// Whose it is.
    pub(in crate::gateway) user: Arc<str>,
    /// What it says it is.
    pub(in crate::gateway) about: About,
    /// How it was let in last.
    pub(in crate::gateway) via: Via,
    /// When it was let in first, in Unix milliseconds. One that was removed and let in again is another.
    pub(in crate::gateway) created: u64,
    /// When it was let in last.
    pub(in crate::gateway) approved: u64,
    /// When it was seen last, and doing what.
    pub(in crate::gateway) seen: Option<(u64, Seen)>,
    pub(super) grants: BTreeMap<PeerRole, Grant>,
}

/// What a device says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::gateway) struct About {
    /// Its operating system.
    pub(in crate::gateway) platform: Box<str>,
    /// What kind of machine.
    pub(in crate::gateway) family: Option<Box<str>>,
    /// For people.
    pub(in crate::gateway) name: Option<Box<str>>,
    /// The program that has asked last.
    pub(in crate::gateway) client: Box<str>,
    /// What that program is for.
    pub(in crate::gateway) mode: Box<str>,
}

/// How a device was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Via {
    /// By itself: it came from the gateway's own machine.
    Silent,
    /// Somebody has decided it.
    Owner,
}

/// What a device was seen doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// It came.
    Connect,
    /// It went.
    Disconnect,
}

/// What a device is to the gateway that has proved to be the one it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Standing {
    /// It was let in for this.
    Known,
    /// It was not let in.
    NotPaired,
    /// Not in this role.
    RoleUpgrade,
    /// In this role, for less.
    ScopeUpgrade,
    /// It says it is another machine than the one that was let in.
    MetadataUpgrade,
}

impl Via {
    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Owner => "owner",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Silent, Self::Owner].into_iter().find(|via| via.as_str() == word)
    }
}

impl Seen {
    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Connect, Self::Disconnect].into_iter().find(|seen| seen.as_str() == word)
    }
}

impl About {
    /// What a client says in `connect`.
    pub(in crate::gateway) fn of(client: &ClientInfo) -> Self {
        Self {
            platform: client.platform.clone(),
            family: client.device_family.clone(),
            name: client.display_name.clone(),
            client: client.id.into(),
            mode: client.mode.into(),
        }
    }

    /// Whether it is another machine. Who says less is not: programs of one machine do not all say
    /// everything.
    pub(super) fn is_other(&self, now: &Self) -> bool {
        let differs = |old: &str, new: &str| {
            let (old, new) = (normal(old), normal(new));
            !old.is_empty() && !new.is_empty() && old != new
        };
        let family = |about: &Self| about.family.clone().unwrap_or_default();
        differs(&self.platform, &now.platform) || differs(&family(self), &family(now))
    }

    /// For people.
    pub(super) fn write<'o>(&self, object: Object<'o>) -> Object<'o> {
        object
            .str("platform", &self.platform)
            .maybe_str("deviceFamily", self.family.as_deref())
            .maybe_str("displayName", self.name.as_deref())
            .str("clientId", &self.client)
            .str("clientMode", &self.mode)
    }
}

impl PairedDevice {
    /// What it was let in for in a role.
    pub(in crate::gateway) fn grant(&self, role: PeerRole) -> Option<&Grant> {
        self.grants.get(&role)
    }

    /// The roles in which it was let in.
    pub(in crate::gateway) fn roles(&self) -> impl Iterator<Item = PeerRole> {
        self.grants.keys().copied()
    }

    /// What it was let in for in all roles together.
    pub(in crate::gateway) fn scopes(&self) -> Scopes {
        self.grants.values().fold(Scopes::NONE, |all, grant| all.or(grant.scopes))
    }

    /// What it is to whom asks for this.
    pub(in crate::gateway) fn standing(
        &self,
        role: PeerRole,
        scopes: Scopes,
        about: &About,
    ) -> Standing {
        match self.grants.get(&role) {
            None => Standing::RoleUpgrade,
            Some(grant) if !grant.scopes.allows(scopes) => Standing::ScopeUpgrade,
            Some(_) if self.about.is_other(about) => Standing::MetadataUpgrade,
            Some(_) => Standing::Known,
        }
    }

    /// It was seen, and a program of it said this about it.
    pub(in crate::gateway) fn seen(&mut self, what: Seen, about: Option<&About>, at: u64) {
        self.seen = self.seen.max(Some((at, what)));
        if let Some(about) = about.filter(|about| !self.about.is_other(about)) {
            let About { platform, family, .. } = self.about.clone();
            // What it was let in as stays; what it did not say then is taken over.
            self.about = About { family: family.or(about.family.clone()), ..about.clone() };
            if !platform.is_empty() {
                self.about.platform = platform;
            }
        }
    }

    /// A new token for a role, of random bytes, and when it was made. None if the device was not let in
    /// for that.
    pub(in crate::gateway) fn issue(
        &mut self,
        role: PeerRole,
        scopes: Scopes,
        random: &[u8; 32],
        at: u64,
    ) -> Option<(String, u64)> {
        // A device that was removed and let in again within a millisecond is younger than the clock.
        let at = at.max(self.created);
        let grant = self.grants.get_mut(&role)?;
        let text = grant.issue(scopes, random, at)?;
        Some((text, grant.newest()))
    }

    /// When a token was made that is offered for `asked`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(in crate::gateway) fn prove(
        &self,
        role: PeerRole,
        offered: &Secret,
        asked: Scopes,
    ) -> Result<u64, TokenError> {
        self.grants.get(&role).ok_or(TokenError::Mismatch)?.prove(offered, asked)
    }

    /// One new token instead of all there are in a role, and when it was made. None if the device was
    /// not let in for that; then nothing has changed.
    pub(in crate::gateway) fn rotate(
        &mut self,
        role: PeerRole,
        scopes: Scopes,
        random: &[u8; 32],
        at: u64,
    ) -> Option<(String, u64)> {
        let grant = self.grants.get_mut(&role)?;
        let text = grant.rotate(scopes, random, at)?;
        Some((text, grant.newest()))
    }

    /// Takes back all tokens that there are in a role; says whether the device was let in for it, which
    /// it still is.
    pub(in crate::gateway) fn revoke(&mut self, role: PeerRole, at: u64) -> bool {
        let grant = self.grants.get_mut(&role);
        grant.map(|grant| grant.revoke(at)).is_some()
    }

    /// Whether a token that was made then still counts.
    pub(in crate::gateway) fn is_valid(&self, role: PeerRole, token: u64) -> bool {
        self.created <= token && self.grants.get(&role).is_some_and(|grant| grant.is_valid(token))
    }

    /// A token was offered, and was right.
    pub(in crate::gateway) fn used(&mut self, role: PeerRole, at: u64) {
        if let Some(grant) = self.grants.get_mut(&role) {
            grant.used(at);
        }
    }

    /// Takes over what another node knows of the same device.
    pub(super) fn merge(&mut self, other: Self) {
        if (other.approved, other.seen) > (self.approved, self.seen) {
            self.about = other.about;
        }
        if other.approved > self.approved {
            (self.via, self.approved) = (other.via, other.approved);
        }
        self.seen = self.seen.max(other.seen);
        for (role, grant) in other.grants {
            self.grants.entry(role).or_insert_with(|| grant.clone()).merge(&grant);
        }
    }

    /// For `device.pair.list`.
    pub(in crate::gateway) fn write(&self, is_connected: bool, out: &mut String) {
        let mut object =
            Object::new(out).str("deviceId", &self.id).str("publicKey", &self.key.text());
        object = self.about.write(object);
        if let Some(role) = self.roles().next() {
            object = object.str("role", role.as_str());
        }
        object = object.list("roles", self.roles(), |out, role| json::string(out, role.as_str()));
        self.scopes().write(object.key("scopes"));
        object = object
            .str("approvedVia", self.via.as_str())
            .num("createdAtMs", self.created)
            .num("approvedAtMs", self.approved);
        if let Some((at, what)) = self.seen {
            object = object.num("lastSeenAtMs", at).str("lastSeenReason", what.as_str());
        }
        let with_token = self.grants.iter().filter(|(_, grant)| grant.has_token());
        object
            .bool("connected", is_connected)
            .list("tokens", with_token, |out, (role, grant)| grant.write_token(role.as_str(), out))
            .end();
    }

    /// For the store.
    pub(in crate::gateway) fn record(&self) -> Record {
        let mut value = String::new();
        let mut object = Object::new(&mut value)
            .str("key", &self.key.text())
            .str("user", &self.user)
            .object("about", |object| {
                object
                    .str("platform", &self.about.platform)
                    .maybe_str("family", self.about.family.as_deref())
                    .maybe_str("name", self.about.name.as_deref())
                    .str("client", &self.about.client)
                    .str("mode", &self.about.mode)
            })
            .str("via", self.via.as_str())
            .num("created", self.created)
            .num("approved", self.approved);
        if let Some((at, what)) = self.seen {
            object = object.num("seen", at).str("seen_doing", what.as_str());
        }
        let grants = &self.grants;
        object.list("grants", grants, |out, (role, grant)| grant.save(role.as_str(), out)).end();
        let (kind, key) = (RecordKind::DeviceKey, self.id.clone());
        Record { kind, key, value: value.into(), expires: None }
    }

    /// The device of a record; none if it is not what [`PairedDevice::record`] wrote.
    pub(in crate::gateway) fn of(record: &Record) -> Option<Self> {
        let saved: Saved = serde_json::from_str(&record.value).ok()?;
        let key = DeviceKey::parse(&saved.key).filter(|key| key.id() == record.key)?;
        let grant = |saved: SavedGrant| Some((PeerRole::parse(&saved.role)?, saved.restore()?));
        let doing = saved.seen_doing.as_deref().and_then(Seen::parse);
        Some(Self {
            id: record.key.clone(),
            key,
            user: saved.user.into(),
            about: saved.about,
            via: Via::parse(&saved.via)?,
            created: saved.created,
            approved: saved.approved,
            seen: saved.seen.zip(doing),
            grants: saved.grants.into_iter().map(grant).collect::<Option<_>>()?,
        })
    }
}

#[derive(Deserialize)]
struct Saved {
    key: String,
    user: String,
    about: About,
    via: String,
    created: u64,
    approved: u64,
    seen: Option<u64>,
    seen_doing: Option<String>,
    grants: Vec<SavedGrant>,
}
