//! API keys: credentials that an admin makes while the gateway runs, and takes back at once.
//!
//! ```text
//! mlk_0123456789abcdef_-----------43 characters-----------
//!     ^ the id, public  ^ 256 random bits, base64url
//! ```
//!
//! The id finds the key; the SHA-256 of the whole text proves it, and is all that is kept. A hash that
//! is slow on purpose would protect nothing: nobody guesses 256 bits.

use super::bus::{BusMessage, Route};
use super::call::{Call, Done};
use super::config::Secret;
use super::jobs::Job;
use super::json::{self, Object};
use super::principal::Role;
use super::record::{Record, RecordKind};
use super::refusal::{Code, Refusal, cut};
use super::send::{Cx, ReplyTo};
use super::work::{StoreOutcome, StoreWork};
use super::{Gateway, authenticate};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What every key begins with: tools that look for leaked secrets find it.
pub(super) const PREFIX: &str = "mlk_";

/// Characters of a key's name.
const MAX_NAME: usize = 100;

/// The longest life of a key that has an end: ten years. Above it a caller has mixed units up.
const MAX_LIFE_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// A key as the gateway knows it, which is without the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: Arc<str>,
    hash: [u8; 32],
    name: Arc<str>,
    role: Role,
    /// The user it belongs to; none: any that its bearer names.
    user: Option<Arc<str>>,
    /// The ids of the agents that a worker with it may answer for; none in every other role.
    agents: Arc<[Arc<str>]>,
    /// Unix milliseconds.
    created: u64,
    /// Who made it.
    by: Arc<str>,
    expires: Option<u64>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The value of a record.
#[derive(Deserialize)]
struct Saved {
    hash: String,
    name: String,
    role: String,
    user: Option<String>,
    #[serde(default)]
    agents: Vec<String>,
    created: u64,
    by: String,
}

impl ApiKey {
    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn user(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    pub(super) fn agents(&self) -> &[Arc<str>] {
        &self.agents
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn expires(&self) -> Option<u64> {
        self.expires
    }

    pub(super) fn is_expired(&self, at: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= at)
    }

    fn record(&self) -> Record {
        let mut value = String::new();
        let object = Object::new(&mut value)
            .str("hash", &hex(&self.hash))
            .str("name", &self.name)
            .str("role", self.role.as_str())
            .maybe_str("user", self.user.as_deref());
        self.write_agents(object).num("created", self.created).str("by", &self.by).end();
        let (kind, key) = (RecordKind::ApiKey, self.id.clone());
        Record { kind, key, value: value.into(), expires: self.expires }
    }

    /// The key of a record; none if it is not what [`ApiKey::record`] wrote.
    fn of(record: &Record) -> Option<Self> {
        let saved: Saved = serde_json::from_str(&record.value).ok()?;
        Some(Self {
            id: record.key.clone(),
            hash: unhex(&saved.hash)?,
            name: saved.name.into(),
            role: parse_role(&saved.role)?,
            user: saved.user.map(Into::into),
            agents: saved.agents.into_iter().map(Into::into).collect(),
            created: saved.created,
            by: saved.by.into(),
            expires: record.expires,
        })
    }

    fn write_agents<'o>(&self, object: Object<'o>) -> Object<'o> {
        if self.agents.is_empty() {
            return object;
        }
        object.list("agents", &*self.agents, |out, agent| json::string(out, agent))
    }

    fn write(&self, object: Object<'_>) {
        let object = object
            .str("id", &self.id)
            .str("name", &self.name)
            .str("role", self.role.as_str())
            .maybe_str("user", self.user.as_deref());
        let object =
            self.write_agents(object).num("createdAt", self.created).str("createdBy", &self.by);
        match self.expires {
            Some(expires) => object.num("expiresAt", expires).end(),
            None => object.end(),
        }
    }
}

/// What a key may be for: no owner is made while the gateway runs.
fn parse_role(name: &str) -> Option<Role> {
    if name == Role::Agent.as_str() {
        return Some(Role::Agent);
    }
    Role::parse(name).filter(|role| *role <= Role::Admin)
}

/// The keys that are valid, the same at all nodes.
#[derive(Debug, Default)]
pub(super) struct ApiKeys {
    keys: BTreeMap<Arc<str>, ApiKey>,
}

impl ApiKeys {
    pub(super) fn get(&self, id: &str) -> Option<&ApiKey> {
        self.keys.get(id)
    }

    /// The key that this is.
    pub(super) fn find(&self, offered: &Secret) -> Option<&ApiKey> {
        let rest = offered.expose().strip_prefix(PREFIX)?;
        let key = self.keys.get(rest.split_once('_')?.0)?;
        use subtle::ConstantTimeEq as _;
        let hash = Sha256::digest(offered.expose().as_bytes());
        bool::from(hash[..].ct_eq(&key.hash[..])).then_some(key)
    }

    fn add(&mut self, key: ApiKey) {
        self.keys.insert(key.id.clone(), key);
    }

    fn expire(&mut self, at: u64) {
        self.keys.retain(|_, key| !key.is_expired(at));
    }
}

/// `api_keys.create`.
pub(super) fn create(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let name = call.params.required("name")?;
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            "name must have at most 100 characters, none of them a control character",
        ));
    }
    let role = call.params.required("role")?;
    let role = parse_role(&role)
        .ok_or_else(|| Refusal::invalid("role must be viewer, operator, admin or agent"))?;
    if role > call.who.role() {
        return Err(Refusal::new(Code::Forbidden, "a key cannot do more than who makes it"));
    }
    let user = call.params.text("user")?;
    if let Some(user) = &user {
        authenticate::check_user(user, "user")?;
    }
    let agents = call.params.texts("agents", "id")?;
    check_agents(gateway, role, user.is_some(), &agents)?;
    let at = gateway.ms(cx.now);
    let expires = match call.params.number("expiresInMs")? {
        None => None,
        Some(life @ 1..=MAX_LIFE_MS) => Some(at + life),
        Some(_) => return Err(Refusal::invalid("expiresInMs must be from 1 to ten years")),
    };
    gateway.api_keys.expire(at);
    // Those that the store still thinks about count, too.
    let coming = gateway.store_jobs_of(|job| matches!(job, Job::MakeKey { .. }));
    if gateway.api_keys.keys.len() + coming >= gateway.config.bounds().api_keys {
        let wait = Duration::from_secs(60);
        return Err(Refusal::exhausted("there are too many API keys: revoke some", wait));
    }
    let mut id = [0; 8];
    let mut secret = [0; 32];
    gateway.entropy.fill(&mut id);
    gateway.entropy.fill(&mut secret);
    let id = hex(&id);
    let text = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let key = ApiKey {
        id: id.into(),
        hash: Sha256::digest(text.as_bytes()).into(),
        name: name.into(),
        role,
        user: user.map(Into::into),
        agents: agents.into_iter().map(Into::into).collect(),
        created: at,
        by: call.who.user().clone(),
        expires,
    };
    if let Some(to) = call.to.take() {
        let work = StoreWork::Put { records: vec![key.record()], at };
        gateway.start_store(cx, work, Job::MakeKey { key, text, to });
    }
    Ok(())
}

/// A worker's key is for agents, any other for a user.
fn check_agents(
    gateway: &Gateway,
    role: Role,
    has_user: bool,
    agents: &[String],
) -> Result<(), Refusal> {
    if role != Role::Agent {
        let fits = agents.is_empty();
        return fits.then_some(()).ok_or_else(|| Refusal::invalid("agents is for the role agent"));
    }
    if has_user || agents.is_empty() {
        return Err(Refusal::invalid("a key of the role agent needs agents, and has no user"));
    }
    match agents.iter().find(|agent| gateway.config.worker(agent).is_none()) {
        None => Ok(()),
        Some(agent) => {
            let text = format!("workers answer for no agent {}", cut(agent, 128));
            Err(Refusal::new(Code::NotFound, text))
        }
    }
}

/// `api_keys.list`.
pub(super) fn list(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let at = gateway.ms(cx.now);
    gateway.api_keys.expire(at);
    call.answer(gateway, cx, |gateway, out| {
        let keys = gateway.api_keys.keys.values();
        Object::new(out).list("keys", keys, |out, key| key.write(Object::new(out))).end();
    })
}

/// `api_keys.revoke`: in force everywhere before it is durable.
pub(super) fn revoke(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let id: Arc<str> = call.params.required("id")?.into();
    if let Some(to) = call.to.take() {
        let at = gateway.ms(cx.now);
        let known = gateway.api_keys.keys.contains_key(&id);
        // Asked of the store even when no node knows it: an earlier try may have failed there.
        let kind = RecordKind::ApiKey;
        let work = StoreWork::Remove { kind, key: id.clone(), at };
        gateway.start_store(cx, work, Job::Drop { kind, name: id.clone(), known, to });
        gateway.publish(Route::Others, BusMessage::KeyGone { id: id.clone() });
        gateway.key_gone(cx, &id);
    }
    Ok(())
}

impl Gateway {
    /// A new key is durable, or is none.
    pub(super) fn key_made(
        &mut self,
        cx: &mut Cx<'_>,
        key: &ApiKey,
        text: &str,
        to: ReplyTo,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        if let Err(refusal) = outcome {
            return self.reply_error(cx, to, refusal);
        }
        self.api_keys.add(key.clone());
        self.publish(Route::Others, BusMessage::KeyMade { key: key.clone() });
        self.reply_ok(cx, to, |_, out| key.write(Object::new(out).str("key", text)));
    }

    /// Another node has made one.
    pub(super) fn key_known(&mut self, key: ApiKey) {
        self.api_keys.add(key);
    }

    pub(super) fn key_gone(&mut self, cx: &mut Cx<'_>, id: &Arc<str>) {
        if !self.has_started() {
            self.gone_before_start.push(id.clone());
        }
        if self.api_keys.keys.remove(id).is_some() {
            self.judge_logins(cx);
        }
    }

    /// What was revoked is out of the store, or cannot be taken out. `known`: some node knew it.
    pub(super) fn dropped(
        &mut self,
        cx: &mut Cx<'_>,
        kind: RecordKind,
        name: &Arc<str>,
        known: bool,
        to: ReplyTo,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        let is_key = kind == RecordKind::ApiKey;
        if !is_key && !known && matches!(outcome, Ok(StoreOutcome::Removed(true))) {
            // It was let in while this was under way, here or elsewhere.
            self.publish(Route::Others, BusMessage::DeviceGone { name: name.clone() });
            self.device_gone(cx, name);
        }
        match outcome {
            Ok(StoreOutcome::Removed(there)) if known || *there => {
                self.reply_ok(cx, to, |_, out| {
                    let object = Object::new(out);
                    if is_key {
                        object.str("status", "revoked").end();
                    } else {
                        object.bool("revoked", true).end();
                    }
                });
            }
            Ok(_) => {
                let text = if is_key {
                    "there is no API key with this id"
                } else {
                    "there is no paired device with this senderId"
                };
                self.reply_error(cx, to, &Refusal::new(Code::NotFound, text));
            }
            Err(_) => {
                let text = "it is revoked until the gateway starts again, but the store could not \
                            forget it: try again";
                self.reply_error(cx, to, &Refusal::new(Code::Unavailable, text));
            }
        }
    }

    /// An earlier gateway's key.
    pub(super) fn load_key(&mut self, record: &Record) {
        let key = ApiKey::of(record).filter(|key| !self.gone_before_start.contains(&key.id));
        if let Some(key) = key {
            self.api_keys.add(key);
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, expires: Option<u64>) -> ApiKey {
        ApiKey {
            id: text.split('_').nth(1).expect("an id").into(),
            hash: Sha256::digest(text.as_bytes()).into(),
            name: "a \"name\"".into(),
            role: Role::Operator,
            user: Some("bob".into()),
            agents: Arc::default(),
            created: 7,
            by: "root".into(),
            expires,
        }
    }

    #[test]
    fn a_record_gives_the_key_back_and_never_holds_it() {
        let text = "mlk_0123456789abcdef_secretsecret";
        let key = key(text, Some(9));
        let record = key.record();
        let agents = [Arc::from("a"), Arc::from("b")].into();
        let worker = ApiKey { role: Role::Agent, user: None, agents, ..key.clone() };
        assert_eq!(ApiKey::of(&worker.record()), Some(worker));
        assert_eq!(ApiKey::of(&record), Some(key));
        assert!(!format!("{record:?}").contains("secretsecret"));
        for value in ["{}", "[]", "null"] {
            assert_eq!(ApiKey::of(&Record { value: value.into(), ..record.clone() }), None);
        }
        let owner = record.value.replace("operator", "owner");
        assert_eq!(ApiKey::of(&Record { value: owner.into(), ..record }), None);
    }

    #[test]
    fn only_the_whole_text_is_the_key() {
        let text = "mlk_0123456789abcdef_secretsecret";
        let mut keys = ApiKeys::default();
        keys.add(key(text, None));
        assert!(keys.find(&Secret::new(text)).is_some());
        for wrong in [
            "",
            "mlk_",
            "mlk_0123456789abcdef",
            "mlk_0123456789abcdef_",
            "mlk_0123456789abcdef_secretsecre",
            "mlk_0123456789abcdef_secretsecrett",
            "MLK_0123456789abcdef_secretsecret",
            "mlk_1123456789abcdef_secretsecret",
        ] {
            assert!(keys.find(&Secret::new(wrong)).is_none(), "{wrong}");
        }
    }
}
