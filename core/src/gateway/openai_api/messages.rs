//! The messages of a request: what is said now, what was said before, and what the agent should be.

use super::super::refusal::cut;
use super::super::work::Author;
use super::error::ApiError;
use super::members::Members;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Messages of a request. Conversations of people have hundreds.
const MOST: usize = 2000;

/// Parts of one message.
const MAX_PARTS: usize = 256;

/// A conversation as its client tells it.
#[derive(Debug, PartialEq)]
pub(super) struct Talk {
    /// What is said now: the last message.
    pub(super) text: Arc<str>,
    /// Where that stands, for errors.
    pub(super) path: String,
    /// What was said before, oldest first.
    pub(super) history: Vec<(Author, Arc<str>)>,
    /// The messages of the system and of the developer, one after the other, wherever they stood.
    pub(super) instructions: Option<Arc<str>>,
}

/// Reads the member `messages`.
pub(super) fn read(body: &Members<'_>) -> Result<Talk, ApiError> {
    let messages = body.list("messages", MOST)?;
    let mut said: Vec<(Author, Arc<str>)> = Vec::new();
    let mut path = String::new();
    let mut instructions = String::new();
    for (at, raw) in messages.iter().enumerate() {
        let members = Members::parse(raw.get(), format!("messages[{at}]"))?;
        let role = members.text("role")?;
        let author = match role.as_deref() {
            Some("user") => Author::User,
            Some("assistant") => {
                refuse_calls(&members)?;
                Author::Assistant
            }
            Some("system" | "developer") => {
                let text = content(&members)?;
                if !instructions.is_empty() && !text.is_empty() {
                    instructions.push_str("\n\n");
                }
                instructions.push_str(&text);
                continue;
            }
            Some("tool" | "function") => {
                let text = "results of tools are not taken: agents call their own";
                return Err(ApiError::unsupported(members.path("role"), text));
            }
            Some(other) => {
                let text = format!(
                    "{} is not a role that is known: {}",
                    members.path("role"),
                    cut(other, 64)
                );
                return Err(ApiError::invalid(members.path("role"), text));
            }
            None => {
                let text = format!("{} is missing", members.path("role"));
                return Err(ApiError::invalid(members.path("role"), text));
            }
        };
        said.push((author, content(&members)?.into()));
        path = members.path("content");
    }
    let wrong = |text: &'static str| Err(ApiError::invalid("messages".into(), text));
    match said.pop() {
        Some((Author::User, text)) if text.is_empty() => {
            let text = format!("{path} is empty");
            Err(ApiError::invalid(path, text))
        }
        Some((Author::User, text)) => {
            let instructions = Some(instructions).filter(|text| !text.is_empty()).map(Into::into);
            Ok(Talk { text, path, history: said, instructions })
        }
        Some((Author::Assistant, _)) => {
            wrong("the last message must be the user's: there is nothing to answer")
        }
        None => wrong("messages must have a message of the user"),
    }
}

/// A conversation in which tools were called could be read wrongly without their results.
fn refuse_calls(members: &Members<'_>) -> Result<(), ApiError> {
    let called = members.get("function_call").is_some()
        || !members.list("tool_calls", usize::MAX)?.is_empty();
    if called {
        let text = "calls of tools are not taken: agents call their own";
        return Err(ApiError::unsupported(members.path("tool_calls"), text));
    }
    Ok(())
}

/// The text of a message: a string, or parts that are texts.
fn content(members: &Members<'_>) -> Result<String, ApiError> {
    let Some(raw) = members.get("content") else { return Ok(String::new()) };
    if !raw.get().starts_with('[') {
        let text = members.text("content");
        let text = text.map_err(|_| members.wrong("content", "a string or a list of parts"))?;
        return Ok(text.unwrap_or_default().into_owned());
    }
    let mut all = String::new();
    for (at, part) in members.list("content", MAX_PARTS)?.into_iter().enumerate() {
        all.push_str(&part_text(part, format!("{}[{at}]", members.path("content")))?);
    }
    Ok(all)
}

fn part_text(part: &RawValue, path: String) -> Result<String, ApiError> {
    let part = Members::parse(part.get(), path)?;
    let kind = part.text("type")?.unwrap_or_default();
    let member = match &*kind {
        "text" => "text",
        "refusal" => "refusal",
        other => {
            let path = part.path("type");
            let text = format!("{path}: {} is not taken, only text is", cut(other, 64));
            return Err(ApiError::unsupported(path, text));
        }
    };
    match part.text(member)? {
        Some(text) => Ok(text.into_owned()),
        None => Err(part.wrong(member, "a string")),
    }
}
