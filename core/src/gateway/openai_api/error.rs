//! Why a request is not done: the error object that clients of the API raise as exceptions.
//!
//! | status | `type` | client libraries raise |
//! |---|---|---|
//! | 400, 405, 413, 415 | `invalid_request_error` | `BadRequestError`, or by the status |
//! | 401 | `authentication_error` | `AuthenticationError` |
//! | 403 | `permission_error` | `PermissionDeniedError` |
//! | 404 | `not_found_error` | `NotFoundError` |
//! | 409 | `conflict_error` | `ConflictError` |
//! | 429 | `rate_limit_error` | `RateLimitError` |
//! | 500, 503, 504 | `server_error` | `InternalServerError` |

use super::super::fact::Why;
use super::super::http::{HttpAnswer, Refused};
use super::super::json::Object;
use super::super::refusal::Code;
use super::super::site::Headers;
use std::borrow::Cow;
use std::time::Duration;

/// A refusal, or the failure of a run.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) why: Why,
    /// The gateway's own code for it, if an operation of its own failed.
    pub(super) failed: Option<Code>,
    told: Box<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// One word for programs.
    code: Option<Cow<'static, str>>,
    /// What of the request is wrong.
    param: Option<String>,
    message: Cow<'static, str>,
    headers: Headers,
    /// What was refused, for the record.
    value: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: u16, why: Why, message: impl Into<Cow<'static, str>>) -> Self {
        let told = Box::new(Told { message: message.into(), ..Told::default() });
        Self { status, why, failed: None, told }
    }

    /// What the request says cannot be.
    pub(super) fn invalid(param: String, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(400, Why::Request, message);
        error.told.param = Some(param).filter(|param| !param.is_empty());
        error
    }

    /// What the request wants is not to be had here.
    pub(super) fn unsupported(param: String, message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(param, message).code("unsupported_parameter")
    }

    pub(super) fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.told.code = Some(code.into());
        self
    }

    fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.told.headers.push((name, value.into()));
        self
    }

    /// What came of an operation of the gateway's own.
    pub(super) fn of(code: Code, message: String, wait: Option<Duration>) -> Self {
        let (status, why) = match code {
            Code::InvalidRequest => (400, Why::Request),
            Code::Unauthorized => (401, Why::Unauthorized),
            Code::Forbidden | Code::NotPaired => (403, Why::Forbidden),
            Code::NotFound => (404, Why::NotFound),
            Code::FailedPrecondition => (409, Why::Request),
            Code::ResourceExhausted => (429, Why::RateLimit),
            Code::Unavailable => (503, Why::Unavailable),
            Code::AgentTimeout => (504, Why::Unavailable),
            _ => (500, Why::Unavailable),
        };
        let mut error = Self::new(status, why, message).code(code.as_str().to_ascii_lowercase());
        error.failed = Some(code);
        match wait {
            Some(wait) => error.header("Retry-After", wait.as_millis().div_ceil(1000).to_string()),
            None if status == 503 => error.header("Retry-After", "1"),
            None => error,
        }
    }

    /// The run was stopped, and not by whoever waits for it: to ask again by itself would begin anew
    /// what somebody has ended.
    pub(super) fn cancelled() -> Self {
        let error = Self::new(409, Why::Cancelled, "the run was cancelled");
        error.code("run_cancelled").header("X-Should-Retry", "false")
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            409 => "conflict_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub(super) fn value(&self) -> Option<String> {
        self.told.value.clone()
    }

    /// Writes `{"error":{…}}`.
    pub(super) fn write(&self, out: &mut String) {
        Object::new(out)
            .object("error", |o| {
                let o = o.str("message", &self.told.message).str("type", self.kind());
                let o = match &self.told.param {
                    Some(param) => o.str("param", param),
                    None => o.raw("param", "null"),
                };
                match &self.told.code {
                    Some(code) => o.str("code", code),
                    None => o.raw("code", "null"),
                }
            })
            .end();
    }

    pub(super) fn answer(&self) -> HttpAnswer {
        let mut body = String::new();
        self.write(&mut body);
        HttpAnswer::json(self.status, body).with(self.told.headers.iter().cloned())
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let Refused { status, why, value, body, header, origin: _ } = refused;
        let mut error = Self::new(status, why, body);
        error.told.value = value;
        error.told.headers.extend(header.map(|(name, value)| (name, value.into())));
        error.told.code = match (status, why) {
            (401, _) => Some("invalid_api_key".into()),
            (429, Why::RateLimit) => Some("rate_limit_exceeded".into()),
            _ => None,
        };
        error
    }
}
