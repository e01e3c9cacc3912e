//! The beginning: what an earlier gateway left in the store. Nobody is let in before it is known.

use super::jobs::Job;
use super::record::{Record, RecordKind};
use super::resume::read_token;
use super::send::Cx;
use super::work::{StoreOutcome, StoreWork};
use super::{Gateway, Timer};
use std::time::Duration;

/// How long until a store that failed is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// How far the beginning is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loading {
    /// The store is asked.
    Asked,
    /// It has answered; so many links are not taken out of it yet. A link is there once: after a
    /// crash, its client must be told of the gap.
    Taking(usize),
    Done,
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
        let mut links = 0;
        for record in records {
            if record.kind == RecordKind::Link && self.take_link(cx, &record) {
                links += 1;
            }
        }
        self.loading = if links == 0 { Loading::Done } else { Loading::Taking(links) };
    }

    /// Says whether the link was one of this node's.
    fn take_link(&mut self, cx: &mut Cx<'_>, record: &Record) -> bool {
        let Some((node, token)) = read_token(&record.key) else { return false };
        if node.0 % self.node.count != self.node.index {
            return false;
        }
        let link = self.links.restore(cx.now, (node, token), &record.value);
        if let Some(link) = link {
            self.arm_restored(cx.now, link);
        }
        let (kind, key, at) = (record.kind, record.key.clone(), self.ms(cx.now));
        self.start_store(cx, StoreWork::Remove { kind, key, at }, Job::TakeLink { token });
        true
    }

    /// A link is out of the store, or could not be taken out: then it cannot be given to anybody.
    pub(super) fn link_taken(
        &mut self,
        token: &super::link::ResumeToken,
        outcome: Option<StoreOutcome>,
    ) {
        if !matches!(outcome, Some(StoreOutcome::Removed(_)))
            && let Some(link) = self.links.by_token(token)
        {
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
