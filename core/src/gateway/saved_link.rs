//! A link as a record of the store: from the drain of one gateway to the start of the next.

use super::bus::NodeId;
use super::json::Object;
use super::link::{Dialect, LinkId, Links, ResumeToken};
use super::principal::{Principal, Role};
use super::proof::Proof;
use super::record::{Record, RecordKind};
use super::resume::write_token;
use super::retained::Retained;
use super::ring::Ring;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Instant;

#[derive(Deserialize)]
struct Saved<'a> {
    user: String,
    role: String,
    /// Absent in what versions before wrote: such a link is not taken up.
    by: Option<String>,
    /// The number given last.
    seq: u64,
    #[serde(borrow)]
    events: Vec<SavedEvent<'a>>,
}

/// An event, or a hole.
#[derive(Deserialize)]
pub(super) struct SavedEvent<'a> {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) event: Option<String>,
    #[serde(borrow)]
    pub(super) payload: Option<&'a RawValue>,
}

impl Links {
    /// All links as records, which are of no use to anybody from `expires` on.
    pub(super) fn save(&self, expires: u64) -> Vec<Record> {
        let record = |(_, link): (LinkId, &super::link::Link)| {
            let mut value = String::with_capacity(link.ring.bytes() + 128);
            Object::new(&mut value)
                .str("user", &link.who.user)
                .str("role", link.who.role.as_str())
                .str("by", &link.who.proof.write())
                .num("seq", link.ring.seq())
                .list("events", link.ring.saved(), |out, entry| entry.write_saved(out))
                .end();
            let key = write_token(link.named, &link.token);
            let (kind, expires) = (RecordKind::Link, Some(expires));
            Record { kind, key: key.into(), value: value.into(), expires }
        };
        let kept = |(_, link): &(LinkId, &super::link::Link)| {
            link.dialect == Dialect::Base && link.who.proof != Proof::Local
        };
        self.iter().filter(kept).map(record).collect()
    }

    /// The link of a record; none if it is not what [`Links::save`] wrote.
    pub(super) fn restore(
        &mut self,
        now: Instant,
        token: (NodeId, ResumeToken),
        value: &str,
        retained: &mut Retained,
    ) -> Option<LinkId> {
        let saved: Saved<'_> = serde_json::from_str(value).ok()?;
        let proof = Proof::parse(&saved.by?)?;
        let who = Principal { user: saved.user.into(), role: Role::parse(&saved.role)?, proof };
        let ring = Ring::restore(now, saved.seq, &saved.events)?;
        Some(self.insert(who, token, ring, retained))
    }
}
