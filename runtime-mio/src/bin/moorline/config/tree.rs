//! JSON5 as a tree that knows where everything stands.
//!
//! The reader tells positions of errors only. So each key and value gets a number in reading order, and
//! a position is asked for by reading again with an error at that number. A configuration is short,
//! and few positions are wanted.

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// A value, and its number in reading order. It has no `Debug`, as it may be a secret.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Value {
    Null,
    Flag(bool),
    Whole(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Member {
    /// The number of the key.
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) node: Node,
}

/// Line and column, from 1; columns count characters.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Why a text is no JSON5, or more than is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) position: Position,
    pub(super) message: String,
}

/// Objects in objects. More than any configuration has, and far less than a thread's stack takes.
const MAX_DEPTH: usize = 16;

impl Value {
    /// What kind of value it is, in words.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Flag(flag) => flag.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            // It may be a secret in the wrong place.
            Self::Text(_) => "a text".into(),
            Self::List(_) => "a list".into(),
            Self::Object(_) => "an object".into(),
        }
    }
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Node, Malformed> {
    read(text, None).map_err(|error| malformed(text, &error))
}

/// Where the key or value with this number stands.
pub(super) fn position(text: &str, at: usize) -> Position {
    match read(text, Some(at)) {
        Err(error) => malformed(text, &error).position,
        Ok(_) => end(text),
    }
}

fn read(text: &str, stop_at: Option<usize>) -> Result<Node, json5::Error> {
    let count = Cell::new(0);
    let mut reader = json5::Deserializer::from_str(text);
    let node = Seed { count: &count, stop_at, depth: 0 }.deserialize(&mut reader)?;
    // Only the end may follow.
    match IgnoredAny::deserialize(&mut reader) {
        Err(error) if error.code() == Some(json5::ErrorCode::EofParsingValue) => Ok(node),
        Err(error) => Err(error),
        Ok(_) => Err(json5::Error::custom("something follows the end of the value")),
    }
}

fn malformed(text: &str, error: &json5::Error) -> Malformed {
    use json5::ErrorCode::{EofParsingArray, EofParsingObject, EofParsingString, EofParsingValue};
    let position = error.position().map_or_else(
        || end(text),
        |position| Position { line: position.line + 1, column: position.column + 1 },
    );
    let whole = error.to_string();
    let message = match (error.code(), error.position()) {
        // What is open is shown where it was opened.
        (
            Some(EofParsingObject | EofParsingArray | EofParsingValue | EofParsingString),
            Some(_),
        ) => "what begins here is not closed".into(),
        (_, Some(position)) => {
            whole.strip_suffix(&format!(" at {position}")).unwrap_or(&whole).into()
        }
        (_, None) => whole,
    };
    Malformed { position, message }
}

fn end(text: &str) -> Position {
    let position = json5::Position::from_offset(text.len(), text);
    Position { line: position.line + 1, column: position.column + 1 }
}

/// Reads one value.
#[derive(Copy, Clone)]
struct Seed<'c> {
    count: &'c Cell<usize>,
    stop_at: Option<usize>,
    depth: usize,
}

/// Reads one key.
struct KeySeed<'c>(Seed<'c>);

impl Seed<'_> {
    fn enter<E: serde::de::Error>(&self) -> Result<usize, E> {
        let at = self.count.get();
        self.count.set(at + 1);
        if self.stop_at == Some(at) {
            return Err(E::custom("here"));
        }
        if self.depth > MAX_DEPTH {
            return Err(E::custom("nested too deep"));
        }
        Ok(at)
    }

    fn leaf<E: serde::de::Error>(&self, value: Value) -> Result<Node, E> {
        Ok(Node { at: self.enter()?, value })
    }

    fn deeper(&self) -> Self {
        Self { depth: self.depth + 1, ..*self }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = (usize, String);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Node, E> {
        self.leaf(Value::Flag(flag))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Node, E> {
        self.leaf(Value::Whole(number.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
        self.leaf(Value::Whole(number.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<Node, E> {
        self.leaf(Value::Whole(number))
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<Node, E> {
        self.leaf(Value::Whole(number.try_into().unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Node, E> {
        self.leaf(Value::Fraction(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.leaf(Value::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let at = self.enter()?;
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(self.deeper())? {
            nodes.push(node);
        }
        Ok(Node { at, value: Value::List(nodes) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let at = self.enter()?;
        let mut members: Vec<Member> = Vec::new();
        while let Some((at, key)) = object.next_key_seed(KeySeed(self.deeper()))? {
            let node = object.next_value_seed(self.deeper())?;
            members.push(Member { at, key, node });
        }
        Ok(Node { at, value: Value::Object(members) })
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = (usize, String);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok((self.0.enter()?, key.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "// A comment\n{\n  one: 1,\n  'two': [true, -0x10, 1.5,\r\n\t\"äö\\\n\"],\n  \
        three: { four: null, }, // ü\n  \"five\": +5,\n}\n";

    #[test]
    fn everything_has_the_position_where_it_stands() {
        let tree = parse(TEXT).expect("JSON5");
        let at = |number| {
            let Position { line, column } = position(TEXT, number);
            (line, column)
        };
        let Value::Object(members) = &tree.value else { panic!("an object") };
        let keys: Vec<_> =
            members.iter().map(|member| (member.key.as_str(), at(member.at))).collect();
        assert_eq!(keys, [("one", (3, 3)), ("two", (4, 3)), ("three", (7, 3)), ("five", (8, 3))]);
        let values: Vec<_> = members.iter().map(|member| at(member.node.at)).collect();
        assert_eq!(values, [(3, 8), (4, 10), (7, 10), (8, 11)]);
        let Value::List(list) = &members[1].node.value else { panic!("a list") };
        let list: Vec<_> = list.iter().map(|node| (node.value.clone(), at(node.at))).collect();
        assert_eq!(
            list,
            [
                (Value::Flag(true), (4, 11)),
                (Value::Whole(-16), (4, 17)),
                (Value::Fraction(1.5), (4, 24)),
                (Value::Text("äö".into()), (5, 2)),
            ]
        );
        assert_eq!(at(tree.at), (2, 1));
    }

    #[test]
    fn what_is_wrong_has_a_position() {
        for (text, line, column, what) in [
            ("", 1, 1, "EOF"),
            ("{\n a: 1\n b: 2 }", 3, 2, "expected"),
            ("{ a: }", 1, 6, "expected"),
            ("{ a: 1 }\n x", 2, 2, "expected"),
            ("[1, { a: 1,", 1, 5, "not closed"),
            ("{ a: [1,", 1, 6, "not closed"),
            ("{ a: 'x\n' }", 1, 8, "line terminator"),
            ("{\n\n  a b }", 3, 5, "expected"),
        ] {
            let error = parse(text).expect_err(text);
            let Position { line: at_line, column: at_column } = error.position;
            assert_eq!((at_line, at_column), (line, column), "{text:?}: {}", error.message);
            assert!(error.message.contains(what), "{text:?}: {}", error.message);
        }
        assert!(parse("{} {}").is_err());
        assert!(parse("1 2").is_err());
    }

    #[test]
    fn a_hundred_thousand_brackets_are_refused_at_the_seventeenth() {
        for bracket in ["[", "{a:"] {
            let error = parse(&bracket.repeat(100_000)).expect_err("deep");
            assert_eq!(error.message, "nested too deep");
        }
    }
}
