//! The members of a JSON object, each once, not looked into.

use super::super::intake::{Name, text_of};
use super::super::refusal::cut;
use super::error::ApiError;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Members of an object. A request of the API as it is today has about forty.
const MOST: usize = 100;

/// An object of a request; `path` names it in errors, as `messages[0]`, and is empty for the whole.
#[derive(Debug)]
pub(super) struct Members<'a> {
    path: String,
    all: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// The object that this text is.
    pub(super) fn parse(text: &'a str, path: String) -> Result<Self, ApiError> {
        let read = || {
            let mut parser = serde_json::Deserializer::from_str(text);
            let read = parser.deserialize_map(ReadVisitor)?;
            parser.end()?;
            Ok::<_, serde_json::Error>(read)
        };
        let is_whole = path.is_empty();
        match read() {
            Ok(Read { many: true, .. }) => {
                Err(ApiError::invalid(path, format!("more than {MOST} members in one object")))
            }
            Ok(Read { duplicate: Some(name), .. }) => {
                let text = format!("duplicate member {}", cut(&name, 64));
                Err(ApiError::invalid(path, text))
            }
            Ok(Read { all, .. }) => Ok(Self { path, all }),
            Err(error) if is_whole => {
                let error = error.to_string();
                let text = format!("the body is no JSON object: {}", cut(&error, 200));
                Err(ApiError::invalid(path, text))
            }
            // The whole is JSON, so this is another value.
            Err(_) => {
                let text = format!("{path} must be an object");
                Err(ApiError::invalid(path, text))
            }
        }
    }

    /// What a member is called in errors.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    /// A member, unless it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.all.iter().find(|(other, _)| other == name)?;
        (value.get() != "null").then_some(*value)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, ApiError> {
        match self.get(name).map(text_of) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text)),
            Some(None) => Err(self.wrong(name, "a string")),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, ApiError> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        Self::parse(raw.get(), self.path(name)).map(Some)
    }

    /// The elements of a list, at most so many; none if it is not there.
    pub(super) fn list(&self, name: &str, most: usize) -> Result<Vec<&'a RawValue>, ApiError> {
        let Some(raw) = self.get(name) else { return Ok(Vec::new()) };
        let items: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| self.wrong(name, "a list"))?;
        if items.len() > most {
            let path = self.path(name);
            let text = format!("{path} has {} elements; at most {most} are taken", items.len());
            return Err(ApiError::invalid(path, text));
        }
        Ok(items)
    }

    pub(super) fn wrong(&self, name: &str, kind: &str) -> ApiError {
        let path = self.path(name);
        let text = format!("{path} must be {kind}");
        ApiError::invalid(path, text)
    }
}

#[derive(Default)]
struct Read<'a> {
    all: Vec<(Cow<'a, str>, &'a RawValue)>,
    duplicate: Option<String>,
    many: bool,
}

struct ReadVisitor;

impl<'de> Visitor<'de> for ReadVisitor {
    type Value = Read<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut read = Read::default();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if read.all.len() == MOST {
                read.many = true;
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value()?;
            if read.all.iter().any(|(other, _)| *other == name) {
                read.duplicate.get_or_insert(name.into_owned());
            } else {
                read.all.push((name, value));
            }
        }
        Ok(read)
    }
}
