//! Requests whose effect must happen once, however often they come: what a store keeps of them.

use super::agent_work::StopReason;
use super::work::{SessionInfo, Usage};
use sha1::{Digest as _, Sha1};
use std::sync::Arc;

/// Tells one text from another without keeping it. It proves nothing to anybody: who could make two
/// texts with the same one would only deceive themselves, as keys belong to users.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 20]);

impl Fingerprint {
    /// The fingerprint of a text.
    pub fn of(text: &str) -> Self {
        Self::of_all(text, &[])
    }

    /// The fingerprint of a text and the files that go with it.
    pub(super) fn of_all(text: &str, media: &[Arc<str>]) -> Self {
        let mut digest = Sha1::new_with_prefix(text);
        for path in media {
            digest.update(b"\0");
            digest.update(path.as_bytes());
        }
        Self(digest.finalize().into())
    }
}

/// What an appended message is to a request with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It is the request's own text: nothing is appended when the user's key is known already, which
    /// is [`StoreOutcome::Known`](super::StoreOutcome::Known) or, with another text,
    /// [`StoreOutcome::Conflict`](super::StoreOutcome::Conflict).
    Begin {
        /// Whose key.
        user: Arc<str>,
        /// The key.
        key: Arc<str>,
        /// Of the text.
        print: Fingerprint,
        /// The run that shall answer.
        run: Arc<str>,
        /// When the key is forgotten, in Unix milliseconds, if the run does not end before.
        expires: u64,
    },
    /// It is the answer to it, which is kept with the key if that is still known.
    End {
        /// Whose key.
        user: Arc<str>,
        /// The key.
        key: Arc<str>,
        /// What the answer took.
        usage: Usage,
        /// When the key is forgotten now.
        expires: u64,
    },
}

impl Mark {
    /// The request's key, which its text and its answer are found by.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Begin { key, .. } | Self::End { key, .. } => key,
        }
    }
}

/// How a run ended, for those who ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// With an answer.
    Completed {
        /// The id of the answer's message.
        message: u64,
        /// The answer. It is here also when its message is not there any more.
        content: Arc<str>,
        /// What it took.
        usage: Usage,
        /// Why it ended there.
        stop: StopReason,
    },
    /// With a failure of the agent.
    Failed {
        /// It did not finish in time.
        timeout: bool,
        /// What went wrong.
        error: Arc<str>,
    },
    /// Somebody stopped it.
    Cancelled,
}

/// A request that the store has seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The session that its text was appended to.
    pub session: SessionInfo,
    /// The text's message.
    pub message: u64,
    /// The run that answers, or has answered.
    pub run: Arc<str>,
    /// How the run ended; `None` when it has not, or was cut short with the process.
    pub end: Option<RunEnd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_the_text() {
        // FIPS 180: files hold these, so they must stay what they are.
        let abc = Fingerprint::of("abc");
        assert_eq!(abc.0[..4], [0xA9, 0x99, 0x3E, 0x36]);
        assert_ne!(abc, Fingerprint::of("abd"));
    }
}
