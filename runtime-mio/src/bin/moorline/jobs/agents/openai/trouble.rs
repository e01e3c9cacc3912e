//! What goes wrong between the gateway and an endpoint: what it says about the endpoint, whether it passes, and
//! what users are told.
//!
//! | what | to the breaker | again | the user gets |
//! |---|---|---|---|
//! | no connection, 408, 5xx, no byte in time | failed | before the first byte | `UNAVAILABLE` |
//! | 429 | failed | before the first byte | `RESOURCE_EXHAUSTED` |
//! | cut off, silent, or broken in the middle | failed | never: something was said | `UNAVAILABLE`, or `INTERNAL` for what is no answer |
//! | 401, 403, 404, and 3xx | nothing: it works, the configuration is wrong, which the agent's link tells once it is sure | never | `FAILED_PRECONDITION` |
//! | other 4xx | nothing: the request is wrong | never | `INVALID_REQUEST` |
//! | more time than a run may take | nothing: it answers | never | `AGENT_TIMEOUT` |

use super::super::upstream::{Refusal, Upstream};
use super::SOON;
use super::completion::Broken;
use moorline_core::gateway::{CallEnd, Code, RunFailure};
use std::time::Duration;

/// What an endpoint asks for may be nonsense: nobody is told to wait for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Characters of an endpoint's own text.
const MAX_TOLD: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no connection: why.
    Connect(String),
    /// The connection ended before the answer did.
    Cut(String),
    /// A step took longer than this.
    Late(Step, Duration),
    /// The endpoint refuses, by a status of HTTP or by one in an event.
    Status { status: u16, message: Option<String>, retry_after: Option<Duration> },
    /// What it sends is no answer.
    Malformed(String),
    /// An event has more than so many bytes.
    TooLarge(usize),
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    /// The connection is there, and TLS is not.
    Tls,
    FirstByte,
    Silence,
    Total,
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Malformed(why) => Self::Malformed(why),
            Broken::TooManyCalls => Self::Malformed("its tool calls do not end".into()),
            Broken::Told { message, status } => {
                let status = status.filter(|status| (400..600).contains(status)).unwrap_or(500);
                Self::Status { status, message: Some(message), retry_after: None }
            }
        }
    }
}

impl Trouble {
    /// What it says about the endpoint.
    pub(super) fn call_end(&self) -> CallEnd {
        match self {
            Self::Status { status: 408 | 429 | 500..=599, .. } => CallEnd::Failed,
            Self::Status { .. } | Self::Late(Step::Total, _) => CallEnd::Neither,
            _ => CallEnd::Failed,
        }
    }

    /// Whether the endpoint refuses whatever the gateway asks for, as it is configured.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Status { status: 401, .. } => Some(Refusal::Certain),
            Self::Status { status: 300..=399 | 403 | 404, .. } => Some(Refusal::Likely),
            _ => None,
        }
    }

    /// Whether the same request may work in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Cut(_) | Self::Late(Step::Connect, _) => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            // Who has waited for so long is not made to wait as long again.
            Self::Late(..) | Self::Malformed(_) | Self::TooLarge(_) => false,
        }
    }

    /// When the endpoint wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => retry_after.map(|wait| wait.min(LONGEST_WAIT)),
            _ => None,
        }
    }

    /// For all who see the agent: nothing of what the endpoint says, which may quote somebody's run.
    pub(super) fn reason(&self, upstream: &Upstream) -> String {
        let model = model(upstream);
        match self {
            Self::Status { status: 401, .. } => self.text(upstream),
            Self::Status { status, .. } if self.refusal().is_some() => {
                let key = if *status == 403 { "its key may not do this, or " } else { "" };
                format!(
                    "{model} answers {status} to the gateway's requests: {key}base_url or model are wrong"
                )
            }
            Self::Status { status, .. } => format!("{model} answered {status}"),
            Self::Malformed(_) => format!("{model} gave an answer that is none"),
            _ => self.text(upstream),
        }
    }

    /// For who has the run. It names the endpoint, so that nobody looks for the trouble on the way to the
    /// gateway.
    pub(super) fn text(&self, upstream: &Upstream) -> String {
        let model = model(upstream);
        match self {
            Self::Connect(why) => format!("{model} cannot be reached: {why}"),
            Self::Cut(why) => format!("{model} ended its answer in the middle: {why}"),
            Self::Late(step, within) => {
                let ms = within.as_millis();
                match step {
                    Step::Connect => format!("{model} did not take a connection within {ms} ms"),
                    Step::Tls => format!(
                        "{model} took a connection and did not answer by TLS within {ms} ms: is its base_url \
                         http://, not https://?"
                    ),
                    Step::FirstByte => format!("{model} did not begin to answer within {ms} ms"),
                    Step::Silence => {
                        format!("{model} sent nothing for {ms} ms in the middle of its answer")
                    }
                    Step::Total => format!("{model} did not finish its answer within {ms} ms"),
                }
            }
            Self::Status { status: status @ (401 | 403), .. } => {
                // Its own text may repeat a part of the key.
                format!("{model} refuses the gateway's key (status {status})")
            }
            Self::Status { status, message: None, .. } => format!("{model} answered {status}"),
            Self::Status { status, message: Some(message), .. } => {
                format!("{model} answered {status}: {}", shown(message, upstream))
            }
            // Why may quote it.
            Self::Malformed(why) => {
                format!("{model} gave an answer that is none: {}", shown(why, upstream))
            }
            Self::TooLarge(most) => {
                format!("{model} sent more than {most} bytes at once")
            }
        }
    }

    /// What the user is told. `closed_for`: how long the endpoint will not be asked.
    pub(super) fn failure(&self, upstream: &Upstream, closed_for: Option<Duration>) -> RunFailure {
        let code = match self {
            Self::Connect(_) | Self::Cut(_) => Code::Unavailable,
            Self::Late(Step::Total, _) => Code::AgentTimeout,
            Self::Late(..) => Code::Unavailable,
            Self::Status { status: 429, .. } => Code::ResourceExhausted,
            Self::Status { status: 408 | 500..=599, .. } => Code::Unavailable,
            Self::Status { .. } if self.refusal().is_some() => Code::FailedPrecondition,
            Self::Status { .. } => Code::InvalidRequest,
            Self::Malformed(_) | Self::TooLarge(_) => Code::Internal,
        };
        let failure = RunFailure::new(code, self.text(upstream));
        match code {
            Code::Unavailable | Code::ResourceExhausted => {
                let wait = self.retry_after().max(closed_for);
                failure.retry_after(wait.unwrap_or(SOON))
            }
            _ => failure,
        }
    }
}

fn model(upstream: &Upstream) -> String {
    format!("the agent's model at {}", upstream.settings.base_url.authority())
}

/// The beginning of what an endpoint says, without what is secret and what is no text.
fn shown(message: &str, upstream: &Upstream) -> String {
    let settings = &upstream.settings;
    let secrets = settings.api_key.iter().chain(settings.headers.iter().map(|(_, value)| value));
    let mut text = message.to_string();
    for secret in secrets {
        // A header's value may be a scheme and the secret itself, which an endpoint repeats alone.
        for part in [secret.expose(), secret.expose().rsplit(' ').next().unwrap_or_default()] {
            if !part.is_empty() {
                text = text.replace(part, "***");
            }
        }
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TOLD).collect()
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3), which is this long after `now_unix`.
pub(super) fn retry_after(value: &str, now_unix: Duration) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(now_unix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_retry_is_read_in_both_forms() {
        let now = Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn what_passes_is_the_endpoints_fault_and_what_is_the_requests_is_not_tried_again() {
        let status = |status| Trouble::Status { status, message: None, retry_after: None };
        for (trouble, end, passing) in [
            (status(429), CallEnd::Failed, true),
            (status(503), CallEnd::Failed, true),
            (status(408), CallEnd::Failed, true),
            (status(401), CallEnd::Neither, false),
            (status(400), CallEnd::Neither, false),
            (status(302), CallEnd::Neither, false),
            (Trouble::Connect("x".into()), CallEnd::Failed, true),
            (Trouble::Late(Step::FirstByte, SOON), CallEnd::Failed, false),
            (Trouble::Late(Step::Total, SOON), CallEnd::Neither, false),
            (Trouble::TooLarge(1), CallEnd::Failed, false),
        ] {
            assert_eq!((trouble.call_end(), trouble.is_passing()), (end, passing), "{trouble:?}");
        }
    }
}
