//! Requests of pages of other origins (Fetch standard, section 3.3): a browser shows a page the answer,
//! and sends what is not a plain form, only if the gateway says that it may.
//!
//! Uploads and the HTTP API are for the pages that may open WebSockets, `allowed_origins`. They have no cookies to steal: what
//! counts is the token, which a page must know, so credentials in the sense of the standard are not allowed.

use crate::upgrade::{RequestHead, Response};

/// What a page may send besides what it always may: the token, and what is known of a file.
const HEADERS: &str = "Authorization, Content-Disposition, Content-Type, X-GoClaw-User-Id";

/// Seconds for which a browser need not ask again. An origin that is taken away is refused all the same.
const MAX_AGE: &str = "600";

/// The origin of the page that asks. That it is allowed was checked with the head.
pub(super) fn origin(head: &RequestHead<'_>) -> Option<String> {
    head.header_str("Origin").map(Into::into)
}

/// Whether a browser asks on behalf of a page if it may ask.
pub(super) fn is_preflight(head: &RequestHead<'_>) -> bool {
    head.method() == "OPTIONS"
        && head.header("Origin").is_some()
        && head.header("Access-Control-Request-Method").is_some()
}

/// What an answer says for a page of this origin to see it.
pub(super) fn headers(origin: &str) -> [(&'static str, &str); 3] {
    [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "Retry-After"),
        ("Vary", "Origin"),
    ]
}

/// What a page may send to an API whose client libraries tell much of themselves: no header has a meaning
/// there that a page could misuse. `Authorization` is not covered by `*` (Fetch standard, section 3.3.3).
const ANY_HEADERS: &str = "Authorization, *";

/// The answer to a preflight: what may be sent with `method`, whatever the browser asked for.
pub(super) fn preflight<T>(
    origin: &str,
    method: &str,
    answer: impl FnOnce(&Response<'_>) -> T,
) -> T {
    preflight_with(origin, method, HEADERS, answer)
}

/// The same for the HTTP API.
pub(super) fn preflight_any<T>(
    origin: &str,
    method: &str,
    answer: impl FnOnce(&Response<'_>) -> T,
) -> T {
    preflight_with(origin, method, ANY_HEADERS, answer)
}

fn preflight_with<T>(
    origin: &str,
    method: &str,
    names: &str,
    answer: impl FnOnce(&Response<'_>) -> T,
) -> T {
    let [allow, _, vary] = headers(origin);
    answer(&Response {
        // Not 204, which must not have the Content-Length that every answer gets.
        status: 200,
        headers: &[
            allow,
            vary,
            ("Access-Control-Allow-Methods", method),
            ("Access-Control-Allow-Headers", names),
            ("Access-Control-Max-Age", MAX_AGE),
        ],
        body: b"",
    })
}
