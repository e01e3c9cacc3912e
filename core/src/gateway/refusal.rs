//! Why a request was not done: the error object of an answer.

use super::agent_work::RunFailure;
use super::json::Object;
use std::borrow::Cow;
use std::time::Duration;

/// The codes of error answers. Clients match on these, never on texts.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The frame, the envelope or the parameters are wrong.
    InvalidRequest,
    /// Not logged in, a wrong credential, or a role that is too low.
    Unauthorized,
    /// Somebody else's.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Not as things are; the text says what has to happen first.
    FailedPrecondition,
    /// Too much of something; `retryAfterMs` says when it can work again.
    ResourceExhausted,
    /// The gateway or what it depends on cannot do it now.
    Unavailable,
    /// A device that nobody has let in.
    NotPaired,
    /// The agent did not finish in time.
    AgentTimeout,
    /// Anything else.
    Internal,
}

impl Code {
    /// The code as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::NotPaired => "NOT_PAIRED",
            Self::AgentTimeout => "AGENT_TIMEOUT",
            Self::Internal => "INTERNAL",
        }
    }

    const fn is_retryable(self) -> bool {
        matches!(self, Self::ResourceExhausted | Self::Unavailable | Self::AgentTimeout)
    }
}

/// When to ask again for room that comes back as soon as something else is done.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// An error answer before it is written.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: Code,
    message: Cow<'static, str>,
    /// JSON.
    details: Option<String>,
    retry_after: Option<Duration>,
    for_good: bool,
}

impl Refusal {
    /// Anything but [`Code::ResourceExhausted`], which says when to come back.
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        debug_assert!(code != Code::ResourceExhausted, "see Refusal::exhausted");
        let message = message.into();
        Self { code, message, details: None, retry_after: None, for_good: false }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// There is too much of something; it can be otherwise after `wait`.
    pub(super) fn exhausted(message: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        let (code, message) = (Code::ResourceExhausted, message.into());
        Self { code, message, details: None, retry_after: Some(wait), for_good: false }
    }

    /// Why a run gave no answer, with this text.
    pub(super) fn of_run(failure: &RunFailure, text: String) -> Self {
        let wait = failure.retry_after;
        match (failure.code, wait) {
            (Code::ResourceExhausted, wait) => Self::exhausted(text, wait.unwrap_or(SOON)),
            (code, Some(wait)) => Self::new(code, text).retry_after(wait),
            (code, None) => Self::new(code, text),
        }
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Asking again is of no use, whatever the code.
    pub(super) fn for_good(mut self) -> Self {
        self.for_good = true;
        self
    }

    pub(super) fn details(mut self, fill: impl for<'b> FnOnce(Object<'b>) -> Object<'b>) -> Self {
        let mut out = String::new();
        fill(Object::new(&mut out)).end();
        self.details = Some(out);
        self
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Appends the members of a failed answer: `"ok":false,"error":{…}`.
    pub(super) fn write(&self, out: &mut String) {
        out.push_str("\"ok\":false,\"error\":");
        let mut error =
            Object::new(out).str("code", self.code.as_str()).str("message", &self.message);
        if let Some(details) = &self.details {
            error = error.raw("details", details);
        }
        self.write_when(error).end();
    }

    /// The code, and whether and when to ask again.
    pub(super) fn write_hints<'o>(&self, object: Object<'o>) -> Object<'o> {
        self.write_when(object.str("code", self.code.as_str()))
    }

    fn write_when<'o>(&self, object: Object<'o>) -> Object<'o> {
        let retryable = self.retry_after.is_some() || self.code.is_retryable();
        let object = object.bool("retryable", retryable && !self.for_good);
        match self.retry_after {
            // Rounded up: who waits exactly this long must not come too early.
            Some(after) => object.num("retryAfterMs", after.as_micros().div_ceil(1000) as u64),
            None => object,
        }
    }
}

/// The start of a text from the peer, for messages that quote it.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
