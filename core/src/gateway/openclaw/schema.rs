//! Closed schemas: which members the parameters of a request may have, and what may be in them.
//!
//! The check builds no tree and stops at the first fault. It goes into itself only as deep as the schema
//! says, whatever the text does. What has passed is read without errors.

mod check;
#[cfg(test)]
mod property;

use super::super::intake::{Name, text_of};
use check::Members;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Kind {
    /// A string of so many bytes of UTF-8, escapes resolved.
    Text {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A number without a fraction, written in any way: `2`, `2.0` and `2e0` are the same.
    Integer {
        /// The least.
        min: i64,
        /// The greatest; no more than 2^53, above which clients cannot tell numbers apart.
        max: i64,
    },
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of no more than so many.
    List(&'static Kind, usize),
    /// An object with these members and no others.
    Object(&'static [Field]),
    /// An object with any names and no more than so many members. Checking one keeps its names.
    Map(&'static Kind, usize),
    /// A string out of these.
    OneOf(&'static [&'static str]),
    /// Anything.
    Any,
}

/// A member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Field {
    /// Its name.
    pub(in crate::gateway) name: &'static str,
    /// What it may be. One that is not required may be `null`, too, which is as if it were not there.
    pub(in crate::gateway) kind: Kind,
    /// Whether it must be there.
    pub(in crate::gateway) required: bool,
}

impl Field {
    /// At the end of a list of members: any others may come, too, and are ignored.
    pub(in crate::gateway) const OTHERS: Self = Self::optional("", Kind::Any);

    /// A member that must be there.
    pub(in crate::gateway) const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }

    /// A member that may be missing.
    pub(in crate::gateway) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false }
    }
}

/// The most members that an [`Kind::Object`] can have: [`Values`] have a place for each.
pub(in crate::gateway) const MAX_FIELDS: usize = 48;

/// The members of an object that has passed its check. They are read by name and kind, and a name or
/// kind that the schema does not have is a mistake of the program.
#[derive(Clone, Copy)]
pub(in crate::gateway) struct Values<'a> {
    fields: &'static [Field],
    members: [Option<&'a RawValue>; MAX_FIELDS],
}

impl<'a> Values<'a> {
    /// Checks parameters. Absent ones and `null` are an empty object.
    ///
    /// # Errors
    /// What is wrong and where, for people: `at /client/id: must be one of …`.
    pub(in crate::gateway) fn read(
        raw: Option<&'a RawValue>,
        fields: &'static [Field],
    ) -> Result<Self, String> {
        let raw = raw.filter(|raw| raw.get() != "null").map_or("{}", RawValue::get);
        Self::collect(raw, fields, true)
    }

    fn collect(text: &'a str, fields: &'static [Field], check: bool) -> Result<Self, String> {
        debug_assert!(fields.len() <= MAX_FIELDS, "a schema with too many members");
        let mut values = Self { fields, members: [None; MAX_FIELDS] };
        Members::collect(text, fields, &mut values.members, check)?;
        Ok(values)
    }

    /// A string.
    pub(in crate::gateway) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let kinds = |kind: &Kind| matches!(kind, Kind::Text { .. } | Kind::OneOf(_) | Kind::Any);
        text_of(self.value(name, kinds)?)
    }

    /// A whole number.
    pub(in crate::gateway) fn integer(&self, name: &str) -> Option<i64> {
        let raw = self.value(name, |kind| matches!(kind, Kind::Integer { .. }))?.get();
        // The bounds were checked, so the conversion keeps the value.
        raw.parse().ok().or_else(|| raw.parse::<f64>().ok().map(|number| number as i64))
    }

    /// A flag.
    pub(in crate::gateway) fn flag(&self, name: &str) -> Option<bool> {
        self.value(name, |kind| *kind == Kind::Boolean).map(|raw| raw.get() == "true")
    }

    /// A list of strings; none if it is not there.
    pub(in crate::gateway) fn texts(&self, name: &str) -> Vec<Cow<'a, str>> {
        let kinds = |kind: &Kind| matches!(kind, Kind::List(Kind::Text { .. } | Kind::OneOf(_), _));
        let raw = self.value(name, kinds);
        let names = raw.and_then(|raw| serde_json::from_str::<Vec<Name<'a>>>(raw.get()).ok());
        names.unwrap_or_default().into_iter().map(|name| name.0).collect()
    }

    /// The members of an object.
    pub(in crate::gateway) fn object(&self, name: &str) -> Option<Self> {
        let raw = self.value(name, |kind| matches!(kind, Kind::Object(_)))?;
        let Kind::Object(fields) = self.kind(name)? else { return None };
        Self::collect(raw.get(), fields, false).ok()
    }

    /// The members of each object of a list; none if it is not there.
    pub(in crate::gateway) fn objects(&self, name: &str) -> impl Iterator<Item = Self> + use<'a> {
        let raw = self.value(name, |kind| matches!(kind, Kind::List(Kind::Object(_), _)));
        let items = raw.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let fields = match self.kind(name) {
            Some(Kind::List(Kind::Object(fields), _)) => *fields,
            _ => &[],
        };
        let items = items.unwrap_or_default().into_iter();
        items.filter_map(|item| Self::collect(item.get(), fields, false).ok())
    }

    /// The JSON text, and be it `null`.
    pub(in crate::gateway) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members[self.place(name)?]
    }

    /// Whether it came as `null`: methods that change settings take that for "back to the default".
    pub(in crate::gateway) fn is_null(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|raw| raw.get() == "null")
    }

    fn value(&self, name: &str, fits: impl Fn(&Kind) -> bool) -> Option<&'a RawValue> {
        debug_assert!(self.kind(name).is_none_or(|kind| fits(&kind)), "{name} is of another kind");
        self.raw(name).filter(|raw| raw.get() != "null")
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.place(name).map(|at| self.fields[at].kind)
    }

    fn place(&self, name: &str) -> Option<usize> {
        let at = self.fields.iter().position(|field| field.name == name);
        debug_assert!(at.is_some(), "{name} is not in the schema");
        at
    }
}

/// As in "must be …".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { min: 0, max } => write!(f, "a string of at most {max} bytes"),
            Self::Text { min, max } => write!(f, "a string of {min} to {max} bytes"),
            Self::Integer { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::Number => f.write_str("a number"),
            Self::Boolean => f.write_str("true or false"),
            Self::List(_, most) => write!(f, "a list of at most {most}"),
            Self::Object(_) => f.write_str("an object"),
            Self::Map(_, most) => write!(f, "an object of at most {most} members"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Any => f.write_str("JSON"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &[Field] = &[
        Field::required("name", Kind::Text { min: 1, max: 4 }),
        Field::optional("size", Kind::Integer { min: -1, max: 9 }),
    ];

    pub(super) const SCHEMA: &[Field] = &[
        Field::required("key", Kind::Text { min: 1, max: 6 }),
        Field::optional("mode", Kind::OneOf(&["a", "b"])),
        Field::optional("count", Kind::Integer { min: 0, max: 1 << 53 }),
        Field::optional("share", Kind::Number),
        Field::optional("on", Kind::Boolean),
        Field::optional("words", Kind::List(&Kind::Text { min: 0, max: 3 }, 2)),
        Field::optional("part", Kind::Object(PART)),
        Field::optional("parts", Kind::List(&Kind::Object(PART), 2)),
        Field::optional("flags", Kind::Map(&Kind::Boolean, 2)),
        Field::optional("any", Kind::Any),
    ];

    pub(super) fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn what_has_passed_is_read_by_name() {
        let text = r#"{"mode":"b","key":"a\u00e4\n","count":2.0e1,"share":-0.5,"on":false,
            "words":["x","\"y"],"part":{"size":-1,"name":"p"},"parts":[{"name":"q"},{"name":"r"}],
            "flags":{"a":true,"b":false},"any":[{}, null]}"#;
        let values = Values::read(Some(raw(text)), SCHEMA).expect("fine");
        assert_eq!(values.text("key").as_deref(), Some("aä\n"));
        assert_eq!(values.text("mode"), Some(Cow::Borrowed("b")));
        assert_eq!(values.integer("count"), Some(20));
        assert_eq!(values.raw("share").map(RawValue::get), Some("-0.5"));
        assert_eq!(values.raw("count").map(RawValue::get), Some("2.0e1"));
        assert_eq!(values.flag("on"), Some(false));
        assert_eq!(values.texts("words"), ["x", "\"y"]);
        let part = values.object("part").expect("it is there");
        assert_eq!((part.text("name").as_deref(), part.integer("size")), (Some("p"), Some(-1)));
        let names: Vec<_> = values.objects("parts").filter_map(|part| part.text("name")).collect();
        assert_eq!(names, ["q", "r"]);
        assert_eq!(values.raw("flags").map(RawValue::get), Some(r#"{"a":true,"b":false}"#));
        assert_eq!(values.raw("any").map(RawValue::get), Some("[{}, null]"));
    }

    #[test]
    fn what_is_missing_or_null_is_none_and_null_can_be_told() {
        let text = r#"{"key":"k","mode":null,"count":null,"words":null,"part":null,"parts":null}"#;
        let values = Values::read(Some(raw(text)), SCHEMA).expect("fine");
        assert_eq!((values.text("mode"), values.integer("count")), (None, None));
        assert!(values.texts("words").is_empty() && values.object("part").is_none());
        assert_eq!(values.objects("parts").count(), 0);
        assert!(values.is_null("mode") && !values.is_null("on") && !values.is_null("key"));
        assert!(values.raw("mode").is_some() && values.raw("on").is_none());
        assert_eq!((values.integer("count"), values.flag("on")), (None, None));
        assert!(values.raw("share").is_none());
    }

    #[test]
    fn no_parameters_are_an_empty_object() {
        const OPEN: &[Field] = &[Field::optional("a", Kind::Any)];
        for none in [None, Some(raw("null")), Some(raw("{}"))] {
            assert!(Values::read(none, OPEN).is_ok());
            assert_eq!(Values::read(none, SCHEMA).err().as_deref(), Some("at /key: required"));
        }
        for wrong in ["[]", "1", "true", "\"x\""] {
            let error = Values::read(Some(raw(wrong)), OPEN).err();
            assert_eq!(error.as_deref(), Some("must be an object"), "{wrong}");
        }
    }

    #[test]
    fn a_schema_can_have_as_many_members_as_there_are_places() {
        let names: Vec<&'static str> =
            (0..MAX_FIELDS).map(|at| &*Box::leak(format!("f{at}").into_boxed_str())).collect();
        let fields: Vec<_> = names.iter().map(|name| Field::required(name, Kind::Number)).collect();
        let fields: &'static [Field] = fields.leak();
        let members: Vec<_> = names.iter().rev().map(|name| format!("\"{name}\":1")).collect();
        let text = format!("{{{}}}", members.join(","));
        let values = Values::read(Some(raw(&text)), fields).expect("fine");
        assert!(names.iter().all(|name| values.raw(name).map(RawValue::get) == Some("1")));
        for missing in 0..MAX_FIELDS {
            let mut members = members.clone();
            members.remove(missing);
            let text = format!("{{{}}}", members.join(","));
            let error = Values::read(Some(raw(&text)), fields).err();
            let name = names[MAX_FIELDS - 1 - missing];
            assert_eq!(error, Some(format!("at /{name}: required")));
        }
    }
}
