//! The beginning: what an earlier gateway left in the store. Nobody is let in before it is known.

use super::jobs::Job;
use super::principal::Principal;
use super::record::{Record, RecordKind};
use super::resume::read_token;
use super::send::Cx;
use super::work::{StoreOutcome, StoreWork};
use super::{Gateway, Timer};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long until a store that failed is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// How far the beginning is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loading {
    /// The store is asked. These users had events meanwhile: their links miss something, so they are
    /// of no use any more.
    Asked {
        missed: Missed,
    },
    /// It has answered; so many links are not taken out of it yet. A link is there once: after a
    /// crash, its client must be told of the gap.
    Taking(usize),
    Done,
}

/// Users who had events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missed {
    These(BTreeSet<Arc<str>>),
    /// More than are remembered.
    All,
}

impl Missed {
    fn add(&mut self, users: &[Arc<str>]) {
        const MOST: usize = 10_000;
        if let Self::These(known) = self {
            known.extend(users.iter().cloned());
            if known.len() > MOST {
                *self = Self::All;
            }
        }
    }

    fn contains(&self, user: &Arc<str>) -> bool {
        match self {
            Self::These(known) => known.contains(user),
            Self::All => true,
        }
    }
}

impl Loading {
    pub(super) const BEGUN: Self = Self::Asked { missed: Missed::These(BTreeSet::new()) };

    /// Another node, or this one for another, says something before the links are there.
    pub(super) fn miss(&mut self, users: &[Arc<str>]) {
        if let Self::Asked { missed } = self {
            missed.add(users);
        }
    }
}

impl Gateway {
    pub(super) fn load(&mut self, cx: &mut Cx<'_>) {
        let at = self.ms(cx.now);
        self.start_store(cx, StoreWork::Load { at }, Job::Load);
    }

    pub(super) fn loaded(&mut self, cx: &mut Cx<'_>, outcome: Option<StoreOutcome>) {
        let Some(StoreOutcome::Loaded(records)) = outcome else {
            self.timers.insert((cx.now + AGAIN, Timer::Load));
            return;
        };
        let Loading::Asked { missed } = std::mem::replace(&mut self.loading, Loading::Done) else {
            return;
        };
        let mut links = 0;
        let mut taken = Vec::new();
        for record in records {
            match record.kind {
                RecordKind::ApiKey => self.load_key(&record),
                RecordKind::Revocation => self.load_revocation(&record),
                RecordKind::Link => taken.push(record),
                RecordKind::Device | RecordKind::Pairing => self.load_pairing(cx, &record),
                RecordKind::DeviceKey => self.load_device(&record),
                RecordKind::Node => self.load_node(&record),
            }
        }
        self.gone_before_start = Vec::new();
        // A link is as good as what its client logged in by, which is known only now.
        for record in taken {
            links += usize::from(self.take_link(cx, &record, &missed));
        }
        self.loading = if links == 0 { Loading::Done } else { Loading::Taking(links) };
    }

    /// Says whether the link was one of this node's.
    fn take_link(&mut self, cx: &mut Cx<'_>, record: &Record, missed: &Missed) -> bool {
        let Some((node, token)) = read_token(&record.key) else { return false };
        if node.0 % self.node.count != self.node.index {
            return false;
        }
        if let Some(link) =
            self.links.restore(cx.now, (node, token), &record.value, &mut self.retained)
        {
            let who = self.links.get(link).map(|link| &link.who);
            let good =
                |who: &Principal| self.role_now(who).is_some() && !missed.contains(&who.user);
            if who.is_some_and(good) {
                self.arm_restored(cx.now, link);
            } else {
                self.drop_link(link);
            }
        }
        let (kind, key, at) = (record.kind, record.key.clone(), self.ms(cx.now));
        self.start_store(cx, StoreWork::Remove { kind, key, at }, Job::TakeLink { token });
        true
    }

    /// A link is out of the store, or could not be taken out: then it cannot be given to anybody.
    pub(super) fn link_taken(&mut self, token: &super::link::ResumeToken, is_out: bool) {
        if !is_out && let Some(link) = self.links.by_token(token) {
            self.drop_link(link);
        }
        if let Loading::Taking(left) = &mut self.loading {
            *left -= 1;
            if *left == 0 {
                self.loading = Loading::Done;
            }
        }
    }

    /// Whether the gateway knows what an earlier one left. Upgrades are refused with 503 until then, so
    /// a host that waits for it before it accepts anybody lets nobody see that.
    pub fn has_started(&self) -> bool {
        self.loading == Loading::Done
    }
}
