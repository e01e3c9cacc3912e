//! A request's parameters, read by the names and aliases of the method table.

use super::intake::{Name, text_of};
use super::refusal::{Refusal, cut};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::{RawValue, Value};
use std::borrow::Cow;
use std::fmt;

/// A parameter of a method.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name in the docs.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// What it is, in a word or two.
    pub kind: &'static str,
    /// Whether a request without it is refused.
    pub required: bool,
}

/// The most parameters that a method of the table has.
pub(super) const MAX_PARAMS: usize = 9;

/// The values of a request, in the order of the table. Unknown ones are ignored.
#[derive(Debug, Copy, Clone)]
pub(super) struct Params<'a> {
    spec: &'static [Param],
    values: [Option<&'a RawValue>; MAX_PARAMS],
}

impl<'a> Params<'a> {
    /// Absent parameters and `null` are an empty object.
    pub(super) fn parse(
        raw: Option<&'a RawValue>,
        spec: &'static [Param],
    ) -> Result<Self, Refusal> {
        let mut params = Self { spec, values: [None; MAX_PARAMS] };
        if let Some(raw) = raw {
            let mut parser = serde_json::Deserializer::from_str(raw.get());
            Seed(&mut params).deserialize(&mut parser).map_err(|error| {
                let error = error.to_string();
                Refusal::invalid(format!("invalid params: {}", cut(&error, 200)))
            })?;
        }
        Ok(params)
    }

    /// A text, if it is there; an empty one is as good as none.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self.value(name).map(text_of) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(None) => Err(Refusal::invalid(format!("{name} must be a string"))),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::invalid(format!("{name} is required")))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(raw) = self.value(name).filter(|raw| raw.get() != "null") else {
            return Ok(None);
        };
        serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|_| Refusal::invalid(format!("{name} must be a whole number")))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.value(name).map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Refusal::invalid(format!("{name} must be true or false"))),
        }
    }

    /// The members of an object, if it is there.
    pub(super) fn nested(
        &self,
        name: &str,
        spec: &'static [Param],
    ) -> Result<Option<Self>, Refusal> {
        match self.value(name).filter(|raw| raw.get() != "null") {
            None => Ok(None),
            Some(raw) if raw.get().starts_with('{') => Self::parse(Some(raw), spec).map(Some),
            Some(_) => Err(Refusal::invalid(format!("{name} must be an object"))),
        }
    }

    /// Whatever came, unless it is `null`.
    pub(super) fn json(&self, name: &str) -> Option<&'a RawValue> {
        self.value(name).filter(|raw| raw.get() != "null")
    }

    /// Whether it came at all, and be it as `null`.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The elements of a list of texts, or of objects with a text of the name `member`; none if it is
    /// not there.
    pub(super) fn texts(&self, name: &str, member: &str) -> Result<Vec<String>, Refusal> {
        let Some(raw) = self.value(name).filter(|raw| raw.get() != "null") else {
            return Ok(Vec::new());
        };
        let wrong = || {
            Refusal::invalid(format!("{name} must be a list of texts or of objects with {member}"))
        };
        let text = |item| match item {
            Value::String(text) => Some(text),
            Value::Object(mut members) => match members.remove(member) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            },
            _ => None,
        };
        let items: Vec<Value> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
        items.into_iter().map(|item| text(item).ok_or_else(wrong)).collect()
    }

    fn value(&self, name: &str) -> Option<&'a RawValue> {
        let at = self.spec.iter().position(|param| param.name == name);
        debug_assert!(at.is_some(), "{name} is not in the method table");
        self.values[at?]
    }
}

struct Seed<'p, 'a>(&'p mut Params<'a>);

impl<'de> DeserializeSeed<'de> for Seed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let known = |param: &Param| *param.name == *name || param.aliases.contains(&&*name);
            match self.0.spec.iter().position(known) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(at) if self.0.values[at].is_some() => {
                    let name = self.0.spec[at].name;
                    return Err(serde::de::Error::custom(format_args!("{name} came twice")));
                }
                Some(at) => self.0.values[at] = Some(map.next_value()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &[Param] =
        &[Param { name: "message", aliases: &["content"], kind: "text", required: true }];

    fn parse(text: &str) -> Result<Option<String>, Refusal> {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        let params = Params::parse(Some(raw), SPEC)?;
        Ok(params.text("message")?.map(Cow::into_owned))
    }

    #[test]
    fn aliases_mean_the_same_and_twice_is_refused() {
        assert_eq!(parse(r#"{"message":"a"}"#).expect("fine").as_deref(), Some("a"));
        assert_eq!(parse(r#"{"content":"a","x":[1]}"#).expect("fine").as_deref(), Some("a"));
        assert_eq!(parse("null").expect("fine"), None);
        assert_eq!(parse("{}").expect("fine"), None);
        for text in [r#"{"message":"a","content":"b"}"#, r#"{"message":1}"#, "[]", "1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
