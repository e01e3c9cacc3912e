//! The check itself: visitors of the parser that know where they are.

use super::super::super::intake::Name;
use super::super::super::refusal::cut;
use super::{Field, Kind, MAX_FIELDS};
use serde::Deserialize as _;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;

/// The check of an object's members.
pub(super) struct Members<'c, 'de> {
    fields: &'static [Field],
    /// Where the members are kept, and whether they must be checked; those of inner objects are only
    /// checked.
    kept: Option<(&'c mut [Option<&'de RawValue>; MAX_FIELDS], bool)>,
    path: &'c Path<'c>,
    fault: &'c mut Option<String>,
}

impl<'c, 'de> Members<'c, 'de> {
    /// Puts the members of the text's object where `kept` has their places.
    pub(super) fn collect(
        text: &'de str,
        fields: &'static [Field],
        kept: &'c mut [Option<&'de RawValue>; MAX_FIELDS],
        check: bool,
    ) -> Result<(), String> {
        let mut fault = None;
        let members =
            Members { fields, kept: Some((kept, check)), path: &Path::Root, fault: &mut fault };
        let mut parser = serde_json::Deserializer::from_str(text);
        let checked = parser.deserialize_any(members);
        checked.map_err(|_| fault.unwrap_or_else(|| "must be an object".into()))
    }
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0u64;
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let path = &Path::Name(self.path, &name);
            let Some(at) = self.fields.iter().position(|field| *field.name == *name) else {
                if self.fields.last() == Some(&Field::OTHERS) {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                return Err(fail(self.fault, path, "unknown key"));
            };
            if seen & 1 << at != 0 {
                return Err(fail(self.fault, path, "came twice"));
            }
            seen |= 1 << at;
            let Field { kind, required, .. } = self.fields[at];
            let check = Check { kind, nullable: !required, path, fault: self.fault };
            let Some((members, is_checked)) = &mut self.kept else {
                map.next_value_seed(check)?;
                continue;
            };
            let raw: &'de RawValue = map.next_value()?;
            if *is_checked {
                let mut parser = serde_json::Deserializer::from_str(raw.get());
                check.deserialize(&mut parser).map_err(A::Error::custom)?;
            }
            members[at] = Some(raw);
        }
        let missing = |(at, field): &(usize, &Field)| field.required && seen & 1 << at == 0;
        match self.fields.iter().enumerate().find(missing) {
            None => Ok(()),
            Some((_, field)) => {
                Err(fail(self.fault, &Path::Name(self.path, field.name), "required"))
            }
        }
    }
}

/// The check of one value.
struct Check<'c> {
    kind: Kind,
    /// Whether `null` will do.
    nullable: bool,
    path: &'c Path<'c>,
    fault: &'c mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        let Self { kind, nullable, path, fault } = self;
        let check = Check { kind, nullable, path, fault: &mut *fault };
        // Whatever the visitor does not take comes back as an error that has no fault yet.
        let checked = match kind {
            Kind::Any => IgnoredAny::deserialize(parser).map(|_| ()),
            _ => parser.deserialize_any(check),
        };
        checked.map_err(|_| fail(fault, path, format_args!("must be {kind}")))
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        verdict(self.nullable)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        verdict(self.kind == Kind::Boolean)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => verdict(self.kind == Kind::Number),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        let fits = match self.kind {
            Kind::Integer { min, max } => (min..=max).contains(&value),
            kind => kind == Kind::Number,
        };
        verdict(fits)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match self.kind {
            Kind::Integer { .. } if value.fract() == 0.0 && value.abs() <= EXACT => {
                self.visit_i64(value as i64)
            }
            kind => verdict(kind == Kind::Number),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let fits = match self.kind {
            Kind::Text { min, max } => (min..=max).contains(&text.len()),
            Kind::OneOf(words) => words.contains(&text),
            _ => false,
        };
        verdict(fits)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Kind::List(kind, most) = self.kind else { return verdict(false) };
        for at in 0.. {
            let path = &Path::Index(self.path, at);
            let element = Check { kind: *kind, nullable: false, path, fault: self.fault };
            if at == most {
                // One more would be too many.
                return match list.next_element::<IgnoredAny>()? {
                    None => Ok(()),
                    Some(_) => verdict(false),
                };
            }
            if list.next_element_seed(element)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (kind, most) = match self.kind {
            Kind::Map(kind, most) => (kind, most),
            Kind::Object(fields) => {
                let Self { path, fault, .. } = self;
                return Members { fields, kept: None, path, fault }.visit_map(map);
            }
            _ => return verdict(false),
        };
        let mut seen = BTreeSet::new();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if seen.len() == most {
                return verdict(false);
            }
            let path = &Path::Name(self.path, &name);
            if name.len() > MAX_NAME {
                return Err(fail(self.fault, path, "name too long"));
            }
            if seen.contains(&name) {
                return Err(fail(self.fault, path, "came twice"));
            }
            map.next_value_seed(Check { kind: *kind, nullable: false, path, fault: self.fault })?;
            seen.insert(name);
        }
        Ok(())
    }
}

fn verdict<E: serde::de::Error>(fits: bool) -> Result<(), E> {
    if fits { Ok(()) } else { Err(E::custom("refused")) }
}

/// Where the check is, kept on the stack.
enum Path<'p> {
    Root,
    Name(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

/// As a JSON pointer (RFC 6901 section 3), with the names cut.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Index(parent, at) => write!(f, "{parent}/{at}"),
            Self::Name(parent, name) => {
                write!(f, "{parent}/")?;
                cut(name, QUOTED).chars().try_for_each(|letter| match letter {
                    '~' => f.write_str("~0"),
                    '/' => f.write_str("~1"),
                    letter if letter.is_control() => f.write_str("\u{fffd}"),
                    letter => write!(f, "{letter}"),
                })
            }
        }
    }
}

/// Keeps the first fault, which is the innermost. The parser's own error carries nothing.
fn fail<E: serde::de::Error>(
    fault: &mut Option<String>,
    path: &Path<'_>,
    what: impl fmt::Display,
) -> E {
    fault.get_or_insert_with(|| match path {
        Path::Root => what.to_string(),
        _ => format!("at {path}: {what}"),
    });
    E::custom("refused")
}

/// Bytes of a name in a [`Kind::Map`].
const MAX_NAME: usize = 256;

/// Bytes of a name that an error quotes.
const QUOTED: usize = 64;

/// Above it a JSON number in a client is not the one that was meant.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::super::Values;
    use super::super::tests::{SCHEMA, raw};
    use super::*;

    fn fault(text: &str) -> String {
        Values::read(Some(raw(text)), SCHEMA).err().unwrap_or_else(|| panic!("{text} has passed"))
    }

    /// The fault of an object that has `key` and this member.
    fn fault_of(member: &str) -> String {
        fault(&format!(r#"{{"key":"k",{member}}}"#))
    }

    #[test]
    fn a_fault_says_where_and_what() {
        for (member, says) in [
            (r#""foo":1"#, "at /foo: unknown key"),
            (r#""a/b~\n":1"#, "at /a~1b~0\u{fffd}: unknown key"),
            (r#""mode":"c""#, "at /mode: must be one of a, b"),
            (r#""mode":1"#, "at /mode: must be one of a, b"),
            (r#""on":"true""#, "at /on: must be true or false"),
            (r#""share":"1""#, "at /share: must be a number"),
            (r#""share":1e999"#, "at /share: must be a number"),
            (r#""part":[]"#, "at /part: must be an object"),
            (r#""part":{}"#, "at /part/name: required"),
            (r#""part":{"name":"n","x":1}"#, "at /part/x: unknown key"),
            (r#""part":{"name":null}"#, "at /part/name: must be a string of 1 to 4 bytes"),
            (
                r#""parts":[{"name":"n"},{"name":7}]"#,
                "at /parts/1/name: must be a string of 1 to 4 bytes",
            ),
            (r#""words":["a",null]"#, "at /words/1: must be a string of at most 3 bytes"),
            (r#""words":{}"#, "at /words: must be a list of at most 2"),
            (r#""flags":{"a":1}"#, "at /flags/a: must be true or false"),
            (r#""flags":{"a":null}"#, "at /flags/a: must be true or false"),
        ] {
            assert_eq!(fault_of(member), says);
        }
        let long = fault_of(&format!(r#""{}":1"#, "x".repeat(10_000)));
        assert_eq!(long.len(), "at /: unknown key".len() + QUOTED);
        assert_eq!(fault(r#"{"key":null}"#), "at /key: must be a string of 1 to 6 bytes");
    }

    #[test]
    fn nothing_may_come_twice_however_it_is_written() {
        assert_eq!(fault_of(r#""on":true,"\u006fn":null"#), "at /on: came twice");
        assert_eq!(fault_of(r#""part":{"name":"a","name":"a"}"#), "at /part/name: came twice");
        assert_eq!(fault_of(r#""flags":{"x":true,"\u0078":true}"#), "at /flags/x: came twice");
    }

    #[test]
    fn limits_hold_at_their_values() {
        let ok = |member: &str| {
            let text = format!(r#"{{"key":"k",{member}}}"#);
            assert_eq!(Values::read(Some(raw(&text)), SCHEMA).err(), None, "{text}");
        };
        ok(r#""words":["",""]"#);
        fault_of(r#""words":["","",""]"#);
        ok(r#""words":["abc"]"#);
        fault_of(r#""words":["abcd"]"#);
        // Bytes, not letters: this has two of four bytes.
        fault_of(r#""words":["\u00e4\u00e4"]"#);
        ok(r#""flags":{"a":true,"b":true}"#);
        fault_of(r#""flags":{"a":true,"b":true,"c":true}"#);
        ok(&format!(r#""flags":{{"{}":true}}"#, "n".repeat(MAX_NAME)));
        fault_of(&format!(r#""flags":{{"{}":true}}"#, "n".repeat(MAX_NAME + 1)));
        fault(r#"{"key":""}"#);
        fault(r#"{"key":"1234567"}"#);
        for good in ["0", "-0", "1.0", "1e3", "9007199254740992"] {
            ok(&format!(r#""count":{good}"#));
        }
        for wrong in ["-1", "0.5", "9007199254740993", "18446744073709551615", "1e30", "true"] {
            fault_of(&format!(r#""count":{wrong}"#));
        }
    }

    #[test]
    fn depth_is_the_schemas_and_not_the_texts() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(
            fault_of(&format!(r#""words":{deep}"#)),
            "at /words/0: must be a string of at most 3 bytes"
        );
        let text = format!(r#"{{"key":"k","any":{deep}}}"#);
        assert!(Values::read(Some(raw(&text)), SCHEMA).is_ok());
    }
}
