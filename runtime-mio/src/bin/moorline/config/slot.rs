//! One setting's place: what may be put there, and how it is shown.

use super::agents::{self, AgentSettings};
use super::files::Files;
use super::jwt::{self, NamedJwtKey};
use super::secret::{self, NamedSecret};
use super::tree::{Member, Node, Value};
use crate::cli::LogFormat;
use crate::environment;
use moorline_core::gateway::{ConfigError, ForwardedHeader, MetricsAccess};
use serde_json::{Value as Json, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A place in the settings.
pub(super) enum Slot<'s> {
    U16(&'s mut u16),
    U32(&'s mut u32),
    Usize(&'s mut usize),
    Millis(&'s mut Duration),
    Flag(&'s mut bool),
    Ip(&'s mut IpAddr),
    Path(&'s mut Option<PathBuf>),
    Level(&'s mut String),
    Format(&'s mut LogFormat),
    Header(&'s mut ForwardedHeader),
    Metrics(&'s mut MetricsAccess),
    Names(&'s mut Vec<String>, Check),
    Agents(&'s mut Vec<AgentSettings>),
    Secret(&'s mut Option<NamedSecret>),
    Secrets(&'s mut Vec<NamedSecret>),
    Jwt(&'s mut Vec<NamedJwtKey>),
}

/// What an entry of a list must be.
pub(super) type Check = fn(&str) -> Result<(), ConfigError>;

/// What is wrong with a value, and which part of it.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) message: String,
}

/// What values mean besides themselves.
pub(super) struct Context<'c> {
    /// The folder that paths start from.
    pub(super) folder: &'c Path,
    /// Each file that is read is noted here first.
    pub(super) files: &'c mut Files,
    /// What the operator should know, though it works.
    pub(super) warnings: &'c mut Vec<String>,
    /// Variables that are not set, where that is no mistake.
    pub(super) unset: Option<&'c mut Vec<String>>,
}

/// Stands for a secret that is not known here; long enough for all that must have a length.
const UNKNOWN: &str = "a secret that is known to the gateway that runs, and not to this command";

/// Tokens that are valid at once: the old and the new.
const MAX_TOKENS: usize = 2;

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const HEADERS: [(&str, ForwardedHeader); 2] = [
    ("x-forwarded-for", ForwardedHeader::XForwardedFor),
    ("forwarded", ForwardedHeader::Forwarded),
];

const METRICS: [(&str, MetricsAccess); 4] = [
    (MetricsAccess::Local.as_str(), MetricsAccess::Local),
    (MetricsAccess::Token.as_str(), MetricsAccess::Token),
    (MetricsAccess::Open.as_str(), MetricsAccess::Open),
    (MetricsAccess::Off.as_str(), MetricsAccess::Off),
];

impl Slot<'_> {
    /// What may stand here, in words. `least` and `most` bound numbers.
    pub(super) fn allowed(&self, least: u64, most: u64) -> String {
        match self {
            Self::U16(_) | Self::U32(_) | Self::Usize(_) => {
                format!("a whole number from {least} to {most}")
            }
            Self::Millis(_) => format!("milliseconds, a whole number from {least} to {most}"),
            Self::Flag(_) => "true or false".into(),
            Self::Ip(_) => "an IP address".into(),
            Self::Path(_) => "a path".into(),
            Self::Level(_) => "error, warn, info, debug or trace, or filter directives".into(),
            Self::Format(_) => words(&LOG_FORMATS),
            Self::Header(_) => words(&HEADERS),
            Self::Metrics(_) => words(&METRICS),
            Self::Names(..) => "a list of texts".into(),
            Self::Agents(_) => agents::ALLOWED.into(),
            Self::Secret(_) => "a text, {file: \"path\"} or {env: \"NAME\"}".into(),
            Self::Jwt(_) => jwt::ALLOWED.into(),
            Self::Secrets(_) => {
                format!(
                    "a list of at most {MAX_TOKENS}, each a text, {{file: \"path\"}} or {{env: \"NAME\"}}"
                )
            }
        }
    }

    /// The value as it may be shown.
    pub(super) fn show(&self) -> Json {
        match self {
            Self::U16(number) => json!(number),
            Self::U32(number) => json!(number),
            Self::Usize(number) => json!(number),
            Self::Millis(time) => json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            Self::Flag(flag) => json!(flag),
            Self::Ip(ip) => json!(ip.to_string()),
            Self::Path(path) => json!(path.as_ref().map(|path| path.display().to_string())),
            Self::Level(level) => json!(level),
            Self::Format(format) => json!(word(&LOG_FORMATS, format)),
            Self::Header(header) => json!(word(&HEADERS, header)),
            Self::Metrics(access) => json!(access.as_str()),
            Self::Names(names, _) => json!(names),
            Self::Agents(agents) => Json::Array(agents.iter().map(AgentSettings::show).collect()),
            Self::Secret(secret) => json!(secret.as_ref().map(NamedSecret::shown)),
            Self::Jwt(keys) => Json::Array(keys.iter().map(NamedJwtKey::show).collect()),
            Self::Secrets(secrets) => {
                Json::Array(secrets.iter().map(|s| json!(s.shown())).collect())
            }
        }
    }

    /// The value that a variable's or a flag's words mean; what they mean wrongly, [`Slot::put`] says.
    pub(super) fn read(&self, words: &[String]) -> Result<Node, String> {
        let text = || words.last().cloned().unwrap_or_default();
        let value = match self {
            Self::U16(_) | Self::U32(_) | Self::Usize(_) | Self::Millis(_) => {
                text().trim().parse().map_or_else(|_| Value::Text(text()), Value::Whole)
            }
            Self::Flag(_) => match text().trim() {
                "true" | "1" => Value::Flag(true),
                "false" | "0" => Value::Flag(false),
                _ => Value::Text(text()),
            },
            Self::Agents(_) | Self::Jwt(_) => {
                return super::tree::parse(&text()).map_err(|error| {
                    format!("{} at column {}", error.message, error.position.column)
                });
            }
            Self::Names(..) | Self::Secrets(_) => {
                let node = |text: &String| Node { at: 0, value: Value::Text(text.clone()) };
                Value::List(words.iter().map(node).collect())
            }
            _ => Value::Text(text()),
        };
        Ok(Node { at: 0, value })
    }

    /// Puts a value here. Nothing is changed when it is wrong.
    pub(super) fn put(
        self,
        node: &Node,
        (least, most): (u64, u64),
        context: &mut Context<'_>,
    ) -> Result<(), Wrong> {
        let allowed = self.allowed(least, most);
        let expected = |node: &Node| Wrong {
            at: node.at,
            message: format!("expected {allowed}, found {}", node.value.kind()),
        };
        let number =
            || whole(node).filter(|n| (least..=most).contains(n)).ok_or_else(|| expected(node));
        let text = || match &node.value {
            Value::Text(text) => Ok(text.as_str()),
            _ => Err(expected(node)),
        };
        match self {
            Self::U16(place) => *place = number()?.try_into().map_err(|_| expected(node))?,
            Self::U32(place) => *place = number()?.try_into().map_err(|_| expected(node))?,
            Self::Usize(place) => *place = number()?.try_into().map_err(|_| expected(node))?,
            Self::Millis(place) => *place = Duration::from_millis(number()?),
            Self::Flag(place) => match node.value {
                Value::Flag(flag) => *place = flag,
                _ => return Err(expected(node)),
            },
            Self::Ip(place) => *place = text()?.parse().map_err(|_| expected(node))?,
            Self::Path(place) => match text()? {
                "" => return Err(expected(node)),
                path => *place = Some(context.folder.join(path)),
            },
            Self::Level(place) => {
                let level = text()?;
                crate::log::check_level(level).map_err(|error| Wrong {
                    at: node.at,
                    message: format!("expected {allowed}: {error}"),
                })?;
                *place = level.into();
            }
            Self::Format(place) => {
                *place = pick(&LOG_FORMATS, text()?).ok_or_else(|| expected(node))?;
            }
            Self::Header(place) => {
                *place = pick(&HEADERS, text()?).ok_or_else(|| expected(node))?;
            }
            Self::Metrics(place) => {
                *place = pick(&METRICS, text()?).ok_or_else(|| expected(node))?;
            }
            Self::Names(place, check) => {
                let Value::List(list) = &node.value else { return Err(expected(node)) };
                *place = list.iter().map(|node| entry(node, check)).collect::<Result<_, _>>()?;
            }
            Self::Agents(place) => {
                let Value::List(list) = &node.value else { return Err(expected(node)) };
                *place = list
                    .iter()
                    .map(|node| AgentSettings::read(node, context))
                    .collect::<Result<_, _>>()?;
            }
            Self::Jwt(place) => {
                let Value::List(list) = &node.value else { return Err(expected(node)) };
                *place = list
                    .iter()
                    .map(|node| NamedJwtKey::read(node, context))
                    .collect::<Result<_, _>>()?;
            }
            Self::Secret(place) => *place = Some(read_secret(node, &allowed, context)?),
            Self::Secrets(place) => {
                let Value::List(list) = &node.value else { return Err(expected(node)) };
                if !(1..=MAX_TOKENS).contains(&list.len()) {
                    let message = format!("expected {allowed}, found {}", list.len());
                    return Err(Wrong { at: node.at, message });
                }
                *place = list
                    .iter()
                    .map(|node| read_secret(node, &allowed, context))
                    .collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }
}

pub(super) fn whole(node: &Node) -> Option<u64> {
    match node.value {
        Value::Whole(number) => number.try_into().ok(),
        // 1e6 is a whole number, too.
        Value::Fraction(number) if number.fract() == 0.0 && (0.0..1e15).contains(&number) => {
            Some(number as u64)
        }
        _ => None,
    }
}

fn words<T>(table: &[(&str, T)]) -> String {
    let words: Vec<_> = table.iter().map(|(word, _)| *word).collect();
    words.join(" or ")
}

fn word<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    table.iter().find(|(_, other)| other == value).map(|(word, _)| *word)
}

fn pick<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(other, _)| *other == word).map(|(_, value)| *value)
}

fn entry(node: &Node, check: Check) -> Result<String, Wrong> {
    let Value::Text(text) = &node.value else {
        let message = format!("expected a text, found {}", node.value.kind());
        return Err(Wrong { at: node.at, message });
    };
    check(text).map_err(|error| Wrong { at: node.at, message: error.to_string() })?;
    Ok(text.clone())
}

pub(super) fn read_secret(
    node: &Node,
    allowed: &str,
    context: &mut Context<'_>,
) -> Result<NamedSecret, Wrong> {
    read_secret_text(node, allowed, context).map(|text| NamedSecret::new(&text))
}

pub(super) fn read_secret_text(
    node: &Node,
    allowed: &str,
    context: &mut Context<'_>,
) -> Result<String, Wrong> {
    let wrong = |at, message| Wrong { at, message };
    let expected = || format!("expected {allowed}, found {}", node.value.kind());
    let members = match &node.value {
        Value::Text(text) if text.is_empty() => {
            return Err(wrong(node.at, "a token is empty".into()));
        }
        Value::Text(text) => return Ok(text.clone()),
        Value::Object(members) => members,
        _ => return Err(wrong(node.at, expected())),
    };
    let [Member { at, key, node: Node { at: value_at, value: Value::Text(source) } }] =
        members.as_slice()
    else {
        return Err(wrong(node.at, expected()));
    };
    match key.as_str() {
        "file" => {
            let path = context.folder.join(source);
            context.files.note(&path);
            if secret::is_open_to_others(&path) {
                let path = path.display();
                context.warnings.push(format!("{path} can be read by others: run chmod 600 on it"));
            }
            secret::from_file(&path).map_err(|message| wrong(*value_at, message))
        }
        "env" => match (environment::variable(source), &mut context.unset) {
            (None, Some(unset)) => {
                unset.push(source.clone());
                Ok(UNKNOWN.into())
            }
            _ => secret::from_env(source).map_err(|message| wrong(*value_at, message)),
        },
        _ => Err(wrong(*at, expected())),
    }
}
