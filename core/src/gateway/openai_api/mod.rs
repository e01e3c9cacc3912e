//! The HTTP API of OpenAI: the same agents and sessions for clients that know `chat.completions` and
//! nothing of WebSockets.
//!
//! ```text
//! request -> token, role, rate, room -> body whole -> read ─▶ Op::Send, as `chat.send` has it
//!                                                              │
//!   begun, or waits its turn: 200 and an event stream  ◀───────┤  at the node of the session
//!   pieces of the text       ◀── events of the run  ◀──────────┤
//!   its end, or one answer   ◀── the event of its end  ◀───────┘
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `completion` | one request for a completion, from its head to its end |
//! | `body` `messages` `members` | what is asked, read from JSON |
//! | `model` | agents as models |
//! | `session_name` | which session a request is for |
//! | `run_end` | what is heard of a run |
//! | `stream` | how what a run says leaves, at the reader's pace |
//! | `answer` | what is sent |
//! | `error` | why a request is not done, in this API's shape |

mod answer;
mod body;
mod completion;
mod error;
mod members;
mod messages;
mod model;
mod run_end;
mod session_name;
mod stream;

pub(super) use completion::Completions;
pub(super) use session_name::may_begin;

use super::Gateway;
use super::conn::ConnId;
use super::cors;
use super::fact::Why;
use super::http::Refused;
use super::send::Cx;
use crate::upgrade::RequestHead;
use error::ApiError;

/// Where completions are asked for.
pub(super) const COMPLETIONS: &str = "/v1/chat/completions";

/// Where models are listed; below it, each has its own path.
pub(super) const MODELS: &str = "/v1/models";

/// What a path of this API is.
#[derive(Debug, Copy, Clone, PartialEq)]
pub(super) enum Page<'h> {
    Completions,
    Models,
    /// One, by what stands behind the last slash, as sent.
    Model(&'h str),
}

impl<'h> Page<'h> {
    /// The page of a request that is none for a WebSocket.
    pub(super) fn of(head: &RequestHead<'h>) -> Option<Self> {
        if head.is_upgrade() {
            return None;
        }
        match head.path() {
            COMPLETIONS => Some(Self::Completions),
            MODELS => Some(Self::Models),
            path => {
                let id = path.strip_prefix(MODELS)?.strip_prefix('/')?;
                Some(if id.is_empty() { Self::Models } else { Self::Model(id) })
            }
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Completions => "POST",
            Self::Models | Self::Model(_) => "GET",
        }
    }

    fn takes(self, method: &str) -> bool {
        method == self.method() || method == "HEAD" && self != Self::Completions
    }
}

impl Gateway {
    /// A request of this API; `checked`: what holds for every request.
    pub(super) fn api_request(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        head: &RequestHead<'_>,
        page: Page<'_>,
        checked: Result<(), Refused>,
    ) {
        // An origin is named to a browser only once it is known to be allowed.
        let origin = checked.is_ok().then(|| cors::origin(head)).flatten();
        if let (Some(origin), Some(outbox)) = (&origin, cx.outbox(conn))
            && cors::is_preflight(head)
        {
            // There is a request, the one at hand.
            let answer = |answer: &crate::upgrade::Response<'_>| outbox.respond(answer);
            let _ = cors::preflight_any(origin, page.method(), answer);
            return;
        }
        let done = checked.map_err(ApiError::from).and_then(|()| {
            if !page.takes(head.method()) {
                let body = format!("only {} is answered here", page.method());
                let refused = Refused::new(405, Why::Method, body);
                return Err(refused.header("Allow", page.method()).into());
            }
            self.check_open(head).map_err(ApiError::from)?;
            match page {
                Page::Completions => self.begin_completion(cx, conn, head),
                Page::Models => self.models_page(cx, conn, head, None),
                Page::Model(id) => self.models_page(cx, conn, head, Some(id)),
            }
        });
        if let Err(error) = done {
            self.refuse_api(cx, conn, origin, &error);
        }
    }

    fn refuse_api(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        origin: Option<String>,
        error: &ApiError,
    ) {
        self.respond(cx, conn, error.answer().readable_by(origin));
        self.refused(conn, error.status, error.why, error.value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn each_path_is_one_page_or_none() {
        for (path, page) in [
            ("/v1/chat/completions", Some(Page::Completions)),
            ("/v1/models", Some(Page::Models)),
            ("/v1/models/", Some(Page::Models)),
            ("/v1/models/echo", Some(Page::Model("echo"))),
            ("/v1/models/openclaw%2Fecho", Some(Page::Model("openclaw%2Fecho"))),
            ("/v1/models/openclaw/echo?x", Some(Page::Model("openclaw/echo"))),
            ("/v1/chat/completions/", None),
            ("/v1/modelsx", None),
            ("/v1/chat", None),
            ("/V1/models", None),
        ] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
            assert_eq!(Page::of(&head), page, "{path}");
        }
    }
}
