//! What a store that keeps nothing remembers of requests with an idempotency key.

use super::super::request::{Fingerprint, RunEnd};
use super::OVERHEAD;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A user and a key.
pub(super) type Name = (Arc<str>, Arc<str>);

/// Requests, bounded per user in number and in all in bytes: those that expire first go first, which
/// are the ones that have ended.
#[derive(Debug, Default)]
pub(super) struct Requests {
    kept: BTreeMap<Name, Request>,
    by_expiry: BTreeSet<(u64, Name)>,
    by_user: BTreeMap<Arc<str>, BTreeSet<(u64, Arc<str>)>>,
    by_session: BTreeMap<Arc<str>, BTreeSet<Name>>,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) print: Fingerprint,
    pub(super) session: Arc<str>,
    pub(super) message: u64,
    pub(super) run: Arc<str>,
    pub(super) end: Option<RunEnd>,
    pub(super) expires: u64,
}

impl Requests {
    pub(super) fn get(&mut self, name: &Name, at: u64) -> Option<&Request> {
        self.expire(at);
        self.kept.get(name)
    }

    pub(super) fn insert(&mut self, name: Name, request: Request, per_user: usize, bytes: usize) {
        self.remove(&name);
        self.bytes += cost(&name, &request);
        self.by_expiry.insert((request.expires, name.clone()));
        let of_user = self.by_user.entry(name.0.clone()).or_default();
        of_user.insert((request.expires, name.1.clone()));
        self.by_session.entry(request.session.clone()).or_default().insert(name.clone());
        let user = name.0.clone();
        self.kept.insert(name, request);
        while let Some(of_user) = self.by_user.get(&user)
            && of_user.len() > per_user.max(1)
            && let Some((_, key)) = of_user.first().cloned()
        {
            self.remove(&(user.clone(), key));
        }
        while self.bytes > bytes
            && let Some((_, first)) = self.by_expiry.first().cloned()
        {
            self.remove(&first);
        }
    }

    /// The run of a request has ended; the first ending is the one that is kept.
    pub(super) fn end(
        &mut self,
        name: Name,
        end: RunEnd,
        (at, expires): (u64, u64),
        per_user: usize,
        bytes: usize,
    ) {
        self.expire(at);
        if self.kept.get(&name).is_none_or(|request| request.end.is_some()) {
            return;
        }
        let Some(mut request) = self.remove(&name) else { return };
        request.end = Some(end);
        request.expires = expires;
        self.insert(name, request, per_user, bytes);
    }

    /// The session is gone, and with it what was asked in it.
    pub(super) fn drop_session(&mut self, session: &str) {
        for name in self.by_session.get(session).cloned().unwrap_or_default() {
            self.remove(&name);
        }
    }

    /// Messages of the session before this one are gone: nothing can answer them any more.
    pub(super) fn drop_unanswered(&mut self, session: &str, before: u64) {
        for name in self.by_session.get(session).cloned().unwrap_or_default() {
            let gone = |request: &Request| request.end.is_none() && request.message < before;
            if self.kept.get(&name).is_some_and(gone) {
                self.remove(&name);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn expire(&mut self, at: u64) {
        while let Some((expires, name)) = self.by_expiry.first().cloned()
            && expires <= at
        {
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &Name) -> Option<Request> {
        let request = self.kept.remove(name)?;
        self.bytes -= cost(name, &request);
        self.by_expiry.remove(&(request.expires, name.clone()));
        if let Some(of_user) = self.by_user.get_mut(&name.0) {
            of_user.remove(&(request.expires, name.1.clone()));
            if of_user.is_empty() {
                self.by_user.remove(&name.0);
            }
        }
        if let Some(of_session) = self.by_session.get_mut(&request.session) {
            of_session.remove(name);
            if of_session.is_empty() {
                self.by_session.remove(&request.session);
            }
        }
        Some(request)
    }
}

fn cost(name: &Name, request: &Request) -> usize {
    let answer = match &request.end {
        Some(RunEnd::Completed { content, .. }) => content.len(),
        Some(RunEnd::Failed { error, .. }) => error.len(),
        Some(RunEnd::Cancelled) | None => 0,
    };
    // Names are in four places, but shared.
    name.0.len() + name.1.len() + request.session.len() + answer + 2 * OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_what_has_ended_goes_first() {
        let mut requests = Requests::default();
        let name = |user: &str, n: u64| (Arc::from(user), Arc::from(n.to_string()));
        let request = |expires| Request {
            print: Fingerprint::of("x"),
            session: "s".into(),
            message: 1,
            run: "r".into(),
            end: None,
            expires,
        };
        for n in 0..5 {
            requests.insert(name("a", n), request(1000 + n), 3, usize::MAX);
            assert!(requests.kept.len() <= 3);
        }
        requests.end(name("a", 4), RunEnd::Cancelled, (10, 500), 3, usize::MAX);
        requests.end(
            name("a", 4),
            RunEnd::Failed { timeout: true, error: "late".into() },
            (10, 900),
            3,
            usize::MAX,
        );
        assert_eq!(
            requests.get(&name("a", 4), 499).and_then(|r| r.end.clone()),
            Some(RunEnd::Cancelled)
        );
        requests.insert(name("a", 5), request(1000), 3, usize::MAX);
        assert!(requests.get(&name("a", 4), 499).is_none(), "it had ended");
        assert!(requests.get(&name("a", 2), 499).is_some(), "it had not");
        for n in 0..100 {
            requests.insert(name(&n.to_string(), 0), request(2000), 3, 4000);
            assert!(requests.bytes() <= 4000);
        }
        requests.drop_unanswered("s", 1);
        assert!(!requests.kept.is_empty());
        requests.drop_unanswered("s", 2);
        assert_eq!((requests.bytes(), requests.kept.len(), requests.by_expiry.len()), (0, 0, 0));
        assert_eq!((requests.by_user.len(), requests.by_session.len()), (0, 0));
    }
}
