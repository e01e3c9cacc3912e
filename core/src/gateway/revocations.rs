//! `tokens.revoke`: credentials that the configuration or another service still thinks valid.

use super::bus::{BusMessage, Route};
use super::call::{Call, Done};
use super::jobs::Job;
use super::json::Object;
use super::record::{Record, RecordKind};
use super::refusal::{Code, Refusal};
use super::send::{Cx, ReplyTo};
use super::work::{StoreOutcome, StoreWork};
use super::{Gateway, authenticate};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a JWT's id that can be revoked.
const MAX_ID: usize = 255;

/// What is valid no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// The gateway token with this fingerprint, in whichever role it is configured.
    Token(Arc<str>),
    /// The JWT with this `jti`.
    JwtId(Arc<str>),
    /// Every JWT of this `sub` that was issued up to then, in Unix milliseconds.
    Subject(Arc<str>, u64),
}

#[derive(Deserialize)]
struct Saved {
    before: Option<u64>,
}

impl Revocation {
    fn record(&self) -> Record {
        let mut value = String::new();
        let key = match self {
            Self::Token(print) => format!("token:{print}"),
            Self::JwtId(id) => format!("jti:{id}"),
            Self::Subject(subject, _) => format!("sub:{subject}"),
        };
        match self {
            Self::Subject(_, before) => Object::new(&mut value).num("before", *before).end(),
            _ => Object::new(&mut value).end(),
        }
        let kind = RecordKind::Revocation;
        Record { kind, key: key.into(), value: value.into(), expires: None }
    }

    fn of(record: &Record) -> Option<Self> {
        let saved: Saved = serde_json::from_str(&record.value).ok()?;
        Some(match (record.key.split_once(':')?, saved.before) {
            (("token", print), _) => Self::Token(print.into()),
            (("jti", id), _) => Self::JwtId(id.into()),
            (("sub", subject), Some(before)) => Self::Subject(subject.into(), before),
            _ => return None,
        })
    }
}

/// All of them, the same at all nodes. They are never forgotten: nobody here knows until when another
/// service's tokens would be valid, or when a file gets its old token back.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    tokens: BTreeSet<Arc<str>>,
    ids: BTreeSet<Arc<str>>,
    subjects: BTreeMap<Arc<str>, u64>,
}

impl Revocations {
    pub(super) fn has_token(&self, fingerprint: &str) -> bool {
        self.tokens.contains(fingerprint)
    }

    /// `issued`: Unix milliseconds; 0 where a JWT does not tell, so that it is older than any.
    pub(super) fn has_jwt(&self, id: Option<&str>, subject: &str, issued: u64) -> bool {
        id.is_some_and(|id| self.ids.contains(id))
            || self.subjects.get(subject).is_some_and(|before| issued <= *before)
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.ids.len() + self.subjects.len()
    }

    fn add(&mut self, what: &Revocation) {
        match what {
            Revocation::Token(print) => {
                self.tokens.insert(print.clone());
            }
            Revocation::JwtId(id) => {
                self.ids.insert(id.clone());
            }
            Revocation::Subject(subject, before) => {
                let known = self.subjects.entry(subject.clone()).or_default();
                *known = (*known).max(*before);
            }
        }
    }
}

/// `tokens.revoke`: in force everywhere before it is durable.
pub(super) fn revoke(gateway: &mut Gateway, cx: &mut Cx<'_>, call: &mut Call<'_>) -> Done {
    let at = gateway.ms(cx.now);
    let what = match (
        call.params.text("token")?,
        call.params.text("jti")?,
        call.params.text("subject")?,
    ) {
        (Some(print), None, None) => {
            let print = print.strip_prefix("sha256:").unwrap_or(&print).to_ascii_lowercase();
            let config = &gateway.config.raw;
            let workers = config.workers.iter().filter_map(|worker| worker.token.as_ref());
            let mut tokens = config.tokens.iter().map(|token| &token.secret).chain(workers);
            if !tokens.any(|token| token.fingerprint() == print) {
                return Err(Refusal::new(
                    Code::NotFound,
                    "no gateway token has this fingerprint: `moorline check-config` shows them",
                ));
            }
            Revocation::Token(print.into())
        }
        (None, Some(id), None) if id.len() <= MAX_ID => Revocation::JwtId(id.into()),
        (None, Some(_), None) => {
            return Err(Refusal::invalid("jti must have at most 255 bytes"));
        }
        (None, None, Some(subject)) => {
            authenticate::check_user(&subject, "subject")?;
            Revocation::Subject(subject.into(), at)
        }
        _ => return Err(Refusal::invalid("give one of token, jti and subject")),
    };
    if gateway.revocations.len() >= gateway.config.bounds().revocations {
        let text = "there are too many revocations: change the keys that sign, or the tokens";
        return Err(Refusal::exhausted(text, Duration::from_secs(60)));
    }
    if let Some(to) = call.to.take() {
        let work = StoreWork::Put { records: vec![what.record()], at };
        gateway.start_store(cx, work, Job::Revoke { to });
        gateway.publish(Route::Others, BusMessage::Revoked { what: what.clone() });
        gateway.revoked(cx, &what);
    }
    Ok(())
}

impl Gateway {
    pub(super) fn revoked(&mut self, cx: &mut Cx<'_>, what: &Revocation) {
        self.revocations.add(what);
        self.judge_logins(cx);
    }

    /// A revocation is durable, or cannot be.
    pub(super) fn revocation_kept(
        &mut self,
        cx: &mut Cx<'_>,
        to: ReplyTo,
        outcome: &Result<StoreOutcome, Refusal>,
    ) {
        if outcome.is_ok() {
            return self.reply_ok(cx, to, |_, out| Object::new(out).str("status", "revoked").end());
        }
        let text = "it is revoked until the gateway starts again, but the store could not keep \
                    that: try again";
        self.reply_error(cx, to, &Refusal::new(Code::Unavailable, text));
    }

    /// An earlier gateway's revocation.
    pub(super) fn load_revocation(&mut self, record: &Record) {
        if let Some(what) = Revocation::of(record) {
            self.revocations.add(&what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_the_revocation_back() {
        for what in [
            Revocation::Token("ba7816bf".into()),
            Revocation::JwtId("a:b".into()),
            Revocation::Subject("auth0|ann".into(), 7),
        ] {
            assert_eq!(Revocation::of(&what.record()), Some(what));
        }
    }

    #[test]
    fn a_subject_is_revoked_up_to_a_time_that_never_goes_back() {
        let mut all = Revocations::default();
        for before in [5, 9, 7] {
            all.add(&Revocation::Subject("ann".into(), before));
        }
        assert!(all.has_jwt(None, "ann", 0) && all.has_jwt(Some("x"), "ann", 9));
        assert!(!all.has_jwt(None, "ann", 10) && !all.has_jwt(None, "bob", 0));
    }
}
