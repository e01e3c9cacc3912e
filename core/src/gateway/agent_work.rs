//! What agents tell while they work, and how their work ends, as a host hands it over.

use super::refusal::Code;
use std::time::Duration;

/// What an agent does before its end, besides saying something. More follows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A piece of what it thinks: shown apart from the answer and not kept with it.
    Thinking(String),
    /// It has a tool do something.
    ToolCall(ToolCall),
    /// The tool is done.
    ToolResult(ToolResult),
    /// What it depends on failed, and it tries again.
    Retrying(Retrying),
}

impl Progress {
    /// What there is of it, for whoever counts what agents tell.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Thinking(text) => text.len(),
            Self::ToolCall(ToolCall { id, name, arguments }) => {
                id.len() + name.len() + arguments.len()
            }
            Self::ToolResult(ToolResult { id, name, result, .. }) => {
                id.len() + name.len() + result.len()
            }
            Self::Retrying(retrying) => retrying.error.len(),
        }
    }
}

/// What an agent has a tool do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Tells the calls of one run apart.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON, as the model wrote it. What is no JSON is passed on as a text, and what is longer than
    /// [`MAX_ARGUMENTS`] as the beginning of one.
    pub arguments: String,
}

/// What a tool has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// That of the [`ToolCall`].
    pub id: String,
    /// The tool.
    pub name: String,
    /// It failed.
    pub is_error: bool,
    /// What came of it, for people: clients are told [`MAX_RESULT`] characters.
    pub result: String,
}

/// What a run depends on failed, and is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrying {
    /// Which try comes now: 2 is the first again.
    pub attempt: u32,
    /// How many there are at most.
    pub most: u32,
    /// How long until then.
    pub after: Duration,
    /// What went wrong, for people.
    pub error: String,
}

/// Why an agent said no more.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StopReason {
    /// It had said all of it.
    #[default]
    Stop,
    /// It may say no more at once.
    Length,
    /// Something kept the rest back.
    ContentFilter,
    /// It waits for tools that nobody here runs.
    ToolCalls,
}

impl StopReason {
    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
        }
    }

    /// What a word stands for, if it is one of these.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Stop, Self::Length, Self::ContentFilter, Self::ToolCalls]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }

    /// The word for an answer that is not all there; none for one that is.
    pub fn cut_short(self) -> Option<&'static str> {
        (self != Self::Stop).then_some(self.as_str())
    }
}

/// Why an agent gives no answer. Its user is told all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailure {
    /// [`Code::Unavailable`] and [`Code::ResourceExhausted`] are failures that pass: a client that sends its
    /// message again, with the same idempotency key, has it answered anew.
    pub code: Code,
    /// For people. It should say which of the two links it is about: that of the client to the gateway
    /// works, or nobody could be told.
    pub error: String,
    /// When it can work again, if that is known.
    pub retry_after: Option<Duration>,
}

impl RunFailure {
    /// A failure without a time.
    pub fn new(code: Code, error: impl Into<String>) -> Self {
        Self { code, error: error.into(), retry_after: None }
    }

    /// The same, and when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

/// A failure of the agent itself: [`Code::Internal`].
impl From<&str> for RunFailure {
    fn from(error: &str) -> Self {
        Self::new(Code::Internal, error)
    }
}

impl From<String> for RunFailure {
    fn from(error: String) -> Self {
        Self::new(Code::Internal, error)
    }
}

/// Bytes of a tool's arguments that clients are told: a page of them. A link has place for dozens.
pub const MAX_ARGUMENTS: usize = 16 * 1024;

/// Characters of a tool's result that clients are told, as in the base dialect.
pub const MAX_RESULT: usize = 1000;

/// Bytes of a tool's name, and of a call's id.
pub(super) const MAX_TOOL_NAME: usize = 128;
