//! A user's device: what it knows, and what it waits for.

use super::reader::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

#[derive(Debug)]
pub struct Device {
    pub user: &'static str,
    /// The connection that it uses, until it gives that up.
    pub wire: Option<u64>,
    pub logged_in: bool,
    pub reader: Reader,
    /// What gets its link back.
    pub claim: Option<Claim>,
    /// Requests without an answer, by their ids.
    pub asked: BTreeMap<String, Asked>,
    /// Messages that may have to be sent again, by their place in the ledger.
    pub unsettled: BTreeSet<usize>,
    pub requests: u64,
    /// Connections that failed one after the other.
    pub failures: u32,
    /// It comes back when its connection is lost.
    pub stays: bool,
    /// It will do something then.
    pub armed: Option<Instant>,
}

/// A resume token, and what is known about the chances of getting its link back.
#[derive(Debug)]
pub struct Claim {
    pub token: String,
    /// The connection that it was given to.
    pub wire: u64,
    /// When something last came on it.
    pub heard: Instant,
    /// When the gateway gave that connection up.
    pub over: Option<Instant>,
    /// It was offered: whether that was taken is not known.
    pub offered: bool,
    /// Nothing that is known speaks against it.
    pub good: bool,
}

#[derive(Debug)]
pub enum Asked {
    /// `resumes`: with a claim. `must`: it has to be honoured. `wrong`: the token is wrong.
    Connect {
        resumes: bool,
        must: bool,
        wrong: bool,
    },
    Send(usize),
    /// Somebody else's history: the session is theirs.
    Foreign,
    /// The history of an own session.
    History(String),
    Abort,
}

impl Device {
    pub fn new(user: &'static str) -> Self {
        Self {
            user,
            wire: None,
            logged_in: false,
            reader: Reader::default(),
            claim: None,
            asked: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            requests: 0,
            failures: 0,
            stays: true,
            armed: None,
        }
    }

    /// Its connection is no use any more: what was asked on it has no answer.
    pub fn offline(&mut self) {
        self.wire = None;
        self.logged_in = false;
        self.asked.clear();
    }

    /// Nothing is certain about its link any more.
    pub fn doubt(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.good = false;
        }
    }

    /// Messages that it is not asking about at present.
    pub fn to_retry(&self) -> Vec<usize> {
        let asks = |at: &usize| {
            self.asked.values().any(|asked| matches!(asked, Asked::Send(n) if n == at))
        };
        self.unsettled.iter().copied().filter(|at| !asks(at)).collect()
    }
}
