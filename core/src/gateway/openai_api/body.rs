//! The body of a request for a completion.
//!
//! What would be understood otherwise than it is meant is refused by its name. What only shapes how a
//! model answers (`temperature`, `max_tokens`, `seed` and the like) is the agent's own to decide, and is
//! ignored, as is what nobody knows.

use super::super::intake::check_shape;
use super::error::ApiError;
use super::members::Members;
use super::messages::{self, Talk};
use serde_json::value::RawValue;

/// Bytes of the member `user`: an id, or a hash.
const MAX_USER: usize = 128;

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) stream: bool,
    /// A stream tells at its end what it cost.
    pub(super) include_usage: bool,
    /// Whom of the client's users it is for.
    pub(super) user: Option<String>,
    pub(super) talk: Talk,
}

/// Lists that change what is answered, unless they are empty, and what is said of them.
const LISTS: [(&str, &str); 3] = [
    ("tools", "tools of the client are not called: agents have their own"),
    ("functions", "functions of the client are not called: agents have their own tools"),
    ("stop", "stop sequences are not heeded: the agent's answer is given whole"),
];

impl Asked {
    /// Reads a body.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let wrong = |what: &str| {
            ApiError::invalid(String::new(), format!("the body is no JSON object: {what}"))
        };
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| wrong("not UTF-8"))?;
        check_shape(text).map_err(wrong)?;
        let body = Members::parse(text, String::new())?;
        let model = body.text("model")?.unwrap_or_default();
        if model.is_empty() {
            return Err(ApiError::invalid("model".into(), "you must provide a model parameter"));
        }
        refuse_what_would_be_lost(&body)?;
        let user = body.text("user")?.filter(|user| !user.is_empty());
        if user
            .as_ref()
            .is_some_and(|user| user.len() > MAX_USER || user.contains(char::is_control))
        {
            let text = format!("user must have at most {MAX_USER} bytes and no control characters");
            return Err(ApiError::invalid("user".into(), text));
        }
        let options = body.object("stream_options")?;
        Ok(Self {
            model: model.into_owned(),
            stream: body.flag("stream")?,
            include_usage: options.map_or(Ok(false), |options| options.flag("include_usage"))?,
            user: user.map(Into::into),
            talk: messages::read(&body)?,
        })
    }
}

fn refuse_what_would_be_lost(body: &Members<'_>) -> Result<(), ApiError> {
    for (name, text) in LISTS {
        if !body
            .get(name)
            .map_or("", RawValue::get)
            .trim_matches(['[', ']', ' ', '\t', '\r', '\n'])
            .is_empty()
        {
            return Err(ApiError::unsupported(name.into(), text));
        }
    }
    if body.get("n").is_some_and(|n| n.get() != "1") {
        let text = "n must be 1: an agent gives one answer";
        return Err(ApiError::unsupported("n".into(), text));
    }
    if body.flag("logprobs")? {
        let text = "logprobs are not known: agents tell texts";
        return Err(ApiError::unsupported("logprobs".into(), text));
    }
    if let Some(format) = body.object("response_format")?
        && format.text("type")?.is_none_or(|kind| kind != "text")
    {
        let text = "response_format can only be text: the agent decides what it answers";
        return Err(ApiError::unsupported("response_format".into(), text));
    }
    if body.list("modalities", 16)?.iter().any(|kind| kind.get() != "\"text\"") {
        let text = "modalities can only be text";
        return Err(ApiError::unsupported("modalities".into(), text));
    }
    Ok(())
}
