//! What is heard of a run: that it has begun, and how it ended.

use super::super::refusal::Code;
use super::super::ring::{Event, Kind};
use super::super::send::Body;
use super::super::work::Usage;
use super::error::ApiError;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    Completed { content: String, usage: Usage, finish: &'static str },
    Failed(ApiError),
    Cancelled,
}

impl End {
    /// The text, what it cost and why it ended there, or why there is none.
    pub(super) fn result(self) -> Result<(String, Usage, &'static str), ApiError> {
        match self {
            Self::Completed { content, usage, finish } => Ok((content, usage, finish)),
            Self::Failed(error) => Err(error),
            Self::Cancelled => Err(ApiError::cancelled()),
        }
    }
}

/// What an event is for whoever waits for its run.
#[derive(Debug)]
pub(super) enum Heard {
    Began,
    Ended(End),
}

/// What came of a request for a run.
#[derive(Debug)]
pub(super) enum Start {
    /// It has begun, or waits its turn.
    Under { run: Arc<str>, session: Arc<str> },
    /// The same request came before, and its run has ended.
    Over { run: Arc<str>, end: End },
    /// There is no run.
    Refused(ApiError),
}

/// The answer of the gateway's own to a request for a run.
#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(rename = "runId", borrow)]
    run: Cow<'a, str>,
    #[serde(rename = "sessionKey", borrow)]
    session: Cow<'a, str>,
    #[serde(default)]
    cancelled: bool,
    #[serde(flatten, borrow)]
    inner: Inner<'a>,
}

/// An `agent` event of the gateway's own.
#[derive(Deserialize)]
struct AgentEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    payload: Inner<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    usage: Option<Tokens>,
    #[serde(rename = "stopReason", borrow)]
    stop: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(rename = "retryAfterMs")]
    retry_after: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// A `chat.turn` event of the gateway's own.
#[derive(Deserialize)]
struct TurnEvent<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(rename = "runId", borrow)]
    run: Cow<'a, str>,
    #[serde(default)]
    started: bool,
    #[serde(flatten, borrow)]
    inner: Inner<'a>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow)]
    error: ErrorBody<'a>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "retryAfterMs")]
    retry_after: Option<u64>,
}

impl Inner<'_> {
    fn completed(&self) -> Option<End> {
        let content = self.content.as_ref()?.to_string();
        let tokens = self.usage.as_ref();
        let usage = tokens.map_or_else(Usage::default, |tokens| Usage {
            prompt_tokens: tokens.prompt_tokens,
            completion_tokens: tokens.completion_tokens,
        });
        // The gateway's tools are no tools of the client.
        let finish = match self.stop.as_deref() {
            Some("length") => "length",
            Some("content_filter") => "content_filter",
            _ => "stop",
        };
        Some(End::Completed { content, usage, finish })
    }

    fn failed(&self) -> Option<End> {
        let text = format!("run failed: {}", self.error.as_ref()?);
        let code = self.code.as_deref().and_then(code_named).unwrap_or(Code::Internal);
        let wait = self.retry_after.map(Duration::from_millis);
        Some(End::Failed(ApiError::of(code, text, wait)))
    }
}

impl Heard {
    /// The run that an event is about.
    pub(super) fn run_of(event: &Event) -> Option<Arc<str>> {
        match &event.0 {
            Kind::Chunk(chunk) => Some(chunk.run.run.clone()),
            Kind::Plain { run: Some(run), .. } => Some(run.run.clone()),
            Kind::Plain { name: "chat.turn", payload, .. } => {
                let turn: TurnEvent<'_> = serde_json::from_str(payload).ok()?;
                Some(Arc::from(&*turn.run))
            }
            Kind::Plain { .. } => None,
        }
    }

    /// What an event says that is no piece of its text.
    pub(super) fn of(event: &Event) -> Option<Self> {
        match &event.0 {
            Kind::Plain { name: "agent", payload, .. } => {
                let event: AgentEvent<'_> = serde_json::from_str(payload).ok()?;
                match &*event.kind {
                    "run.started" => Some(Self::Began),
                    "run.completed" => event.payload.completed().map(Self::Ended),
                    "run.failed" => event.payload.failed().map(Self::Ended),
                    "run.cancelled" => Some(Self::Ended(End::Cancelled)),
                    _ => None,
                }
            }
            Kind::Plain { name: "chat.turn", payload, .. } => {
                let turn: TurnEvent<'_> = serde_json::from_str(payload).ok()?;
                match &*turn.state {
                    // It tells its end itself.
                    _ if turn.started => None,
                    "cancelled" => Some(Self::Ended(End::Cancelled)),
                    "failed" => turn.inner.failed().map(Self::Ended),
                    _ => None,
                }
            }
            Kind::Plain { .. } | Kind::Chunk(_) => None,
        }
    }
}

impl Start {
    /// What the gateway's own answer says.
    pub(super) fn of(body: &Body) -> Self {
        if let Some(code) = body.error {
            let text = format!("{{{}}}", body.json);
            let (message, wait) = match serde_json::from_str::<Refused<'_>>(&text) {
                Ok(Refused { error: ErrorBody { message, retry_after } }) => {
                    (message.into_owned(), retry_after.map(Duration::from_millis))
                }
                Err(_) => ("the gateway could not do it".into(), None),
            };
            return Self::Refused(ApiError::of(code, message, wait));
        }
        let Some(sent) =
            body.payload().and_then(|text| serde_json::from_str::<Sent<'_>>(text).ok())
        else {
            return Self::Refused(ApiError::of(Code::Internal, "the run has no name".into(), None));
        };
        let run = Arc::from(&*sent.run);
        match sent.inner.completed() {
            Some(end) => Self::Over { run, end },
            None if sent.cancelled => Self::Over { run, end: End::Cancelled },
            None => Self::Under { run, session: Arc::from(&*sent.session) },
        }
    }
}

fn code_named(name: &str) -> Option<Code> {
    let codes = [
        Code::InvalidRequest,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::ResourceExhausted,
        Code::Unavailable,
        Code::NotPaired,
        Code::AgentTimeout,
    ];
    codes.into_iter().find(|code| code.as_str() == name)
}
