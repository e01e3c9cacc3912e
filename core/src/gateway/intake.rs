//! Reads a message as a request: bounded depth, no recursion on it, no copies.

use super::refusal::{Refusal, cut};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Objects and lists inside each other. Requests have two; 32 leaves room for structured parameters
/// and keeps every parser behind this far from its stack's end.
pub(super) const MAX_DEPTH: usize = 32;

/// Bytes of a request id. Clients count or use UUIDs.
pub(super) const MAX_ID: usize = 128;

/// Members of an envelope that mean nothing here: forward compatibility, at a bounded cost.
const MAX_UNKNOWN: usize = 8;

/// A request whose envelope is in order.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) method: Cow<'a, str>,
    pub(super) params: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// The checks up to the envelope, in their order.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        check_shape(text).map_err(|what| Refusal::invalid(format!("invalid frame: {what}")))?;
        let envelope = Envelope::parse(text).map_err(|error| {
            let error = error.to_string();
            Refusal::invalid(format!("invalid frame: {}", cut(&error, 200)))
        })?;
        let kind = match envelope.kind.map(text_of) {
            None => Cow::Borrowed(""),
            Some(Some(kind)) => kind,
            Some(None) => return Err(Refusal::invalid("invalid frame: type must be a string")),
        };
        if kind != "req" {
            let kind = cut(&kind, 64);
            return Err(Refusal::invalid(format!("unexpected frame type: {kind}")));
        }
        let malformed =
            |what: &str| Refusal::invalid(format!("malformed request: {}", cut(what, 128)));
        if let Some(duplicate) = envelope.duplicate {
            return Err(malformed(&format!("duplicate member {duplicate}")));
        }
        if envelope.unknown.len() > MAX_UNKNOWN {
            return Err(malformed("too many members"));
        }
        let string = |raw: Option<&'a RawValue>, name| match raw.map(text_of) {
            None => Ok(Cow::Borrowed("")),
            Some(Some(text)) => Ok(text),
            Some(None) => Err(malformed(&format!("{name} must be a string"))),
        };
        let id = string(envelope.id, "id")?;
        if id.len() > MAX_ID {
            return Err(malformed("id is longer than 128 bytes"));
        }
        if envelope.method.is_none() {
            return Err(malformed("method is missing"));
        }
        Ok(Self { id, method: string(envelope.method, "method")?, params: envelope.params })
    }
}

/// The members of an envelope, not looked into.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    unknown: Vec<String>,
    duplicate: Option<String>,
}

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(text);
        let envelope = parser.deserialize_any(EnvelopeVisitor)?;
        parser.end()?;
        Ok(envelope)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    /// `null` reads as an empty object, as it does in the base dialect.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Envelope::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let member = match &*name {
                "type" => &mut envelope.kind,
                "id" => &mut envelope.id,
                "method" => &mut envelope.method,
                "params" => &mut envelope.params,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    if envelope.unknown.iter().any(|other| *other == *name) {
                        envelope.duplicate.get_or_insert(name.into_owned());
                    } else if envelope.unknown.len() <= MAX_UNKNOWN {
                        envelope.unknown.push(name.into_owned());
                    }
                    continue;
                }
            };
            let value = map.next_value()?;
            if member.is_some() {
                envelope.duplicate.get_or_insert(name.into_owned());
            } else {
                *member = Some(value);
            }
        }
        Ok(envelope)
    }
}

/// A string, borrowed where it needs no unescaping.
pub(super) struct Name<'a>(pub(super) Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.into())))
            }
        }
        parser.deserialize_str(NameVisitor)
    }
}

/// The text of a JSON string; `null` is the empty one; `None` for anything else.
pub(super) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    if raw.get() == "null" {
        return Some(Cow::Borrowed(""));
    }
    serde_json::from_str::<Name<'_>>(raw.get()).ok().map(|name| name.0)
}

/// One pass over the text, without recursion: nothing is nested too deep, and no string has half of
/// a surrogate pair, which parsers that skip a value do not look at. All else is the parser's.
pub(super) fn check_shape(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err("nested too deep");
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = check_string(bytes, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// Looks at a string's escapes; gives the place after its end.
fn check_string(bytes: &[u8], mut at: usize) -> Result<usize, &'static str> {
    const LONE: &str = "half of a surrogate pair";
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(run) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            // The parser will say that the string does not end.
            return Ok(bytes.len());
        };
        at += run + 1;
        if rest[run] == b'"' {
            return Ok(at);
        }
        match escaped_unit(bytes, at) {
            Some(0xD800..=0xDBFF) => {
                let low = (bytes.get(at + 5) == Some(&b'\\'))
                    .then(|| escaped_unit(bytes, at + 6))
                    .flatten();
                if !matches!(low, Some(0xDC00..=0xDFFF)) {
                    return Err(LONE);
                }
                at += 11;
            }
            Some(0xDC00..=0xDFFF) => return Err(LONE),
            _ => at += 1,
        }
    }
}

/// The UTF-16 unit of `uXXXX` at this place.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 5)?.strip_prefix(b"u")?;
    digits
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let mut out = String::new();
        Request::parse(text).expect_err(text).write(&mut out);
        let start = out.find("\"message\":\"").expect("a message") + 11;
        out[start..].split("\",").next().unwrap_or_default().into()
    }

    #[test]
    fn each_check_speaks_in_its_turn() {
        for (text, start) in [
            ("", "invalid frame: "),
            ("nonsense", "invalid frame: "),
            ("[]", "invalid frame: "),
            ("1", "invalid frame: "),
            ("\"req\"", "invalid frame: "),
            ("{} {}", "invalid frame: "),
            ("{\"type\":\"req\"", "invalid frame: "),
            ("{\"type\":1}", "invalid frame: "),
            ("{\"type\":\"req\",\"x\":\"\\ud800\"}", "invalid frame: half"),
            ("{\"type\":\"req\",\"x\":\"\\udc00\\ud800\"}", "invalid frame: half"),
            ("{\"type\":\"req\",\"x\":\"\\ud800\\u0041\"}", "invalid frame: half"),
            ("{\"type\":\"req\",\"\\ud8zz\":1}", "invalid frame: "),
            ("{}", "unexpected frame type: "),
            ("null", "unexpected frame type: "),
            ("{\"type\":null}", "unexpected frame type: "),
            ("{\"type\":\"event\",\"event\":\"x\"}", "unexpected frame type: event"),
            ("{\"type\":\"event\",\"id\":1}", "unexpected frame type: event"),
            ("{\"type\":\"req\",\"id\":1,\"method\":\"a\"}", "malformed request: id must"),
            ("{\"type\":\"req\",\"id\":\"a\",\"method\":7}", "malformed request: method must"),
            ("{\"type\":\"req\",\"id\":\"a\"}", "malformed request: method is missing"),
            ("{\"type\":\"req\",\"type\":\"req\",\"method\":\"a\"}", "malformed request: dup"),
            ("{\"type\":\"req\",\"id\":\"a\",\"\\u0069d\":\"b\"}", "malformed request: dup"),
            ("{\"type\":\"req\",\"x\":1,\"x\":1,\"method\":\"a\"}", "malformed request: dup"),
        ] {
            assert!(error(text).starts_with(start), "{text}: {}", error(text));
        }
        let id = format!("{{\"type\":\"req\",\"id\":\"{}\",\"method\":\"m\"}}", "x".repeat(129));
        assert!(error(&id).contains("128 bytes"));
        let many: String = (0..100_000).map(|n| format!("\"k{n}\":0,")).collect();
        let many = format!("{{{many}\"type\":\"req\",\"method\":\"a\"}}");
        assert!(error(&many).contains("too many members"));
    }

    #[test]
    fn the_depth_limit_holds_at_its_value() {
        let nested = |n: usize| {
            let (open, close) = ("[".repeat(n), "]".repeat(n));
            format!("{{\"type\":\"req\",\"method\":\"m\",\"params\":{open}{close}}}")
        };
        assert!(Request::parse(&nested(MAX_DEPTH - 1)).is_ok());
        assert!(error(&nested(MAX_DEPTH)).contains("nested too deep"));
        assert!(error(&"[".repeat(500_000)).contains("nested too deep"));
        let text = format!("{{\"type\":\"req\",\"method\":\"m\",\"x\":\"{}\"}}", "[{".repeat(99));
        assert!(Request::parse(&text).is_ok(), "brackets in strings are text");
    }

    #[test]
    fn what_is_missing_is_empty_and_pairs_pass() {
        let text = "{\"type\":\"req\",\"method\":\"m\",\"extra\":[1,{\"a\":\"\\ud83d\\ude00\"}]}";
        let request = Request::parse(text).expect("a request");
        assert_eq!((&*request.id, &*request.method), ("", "m"));
        assert!(request.params.is_none());
        let request = Request::parse("{\"type\":\"req\",\"id\":null,\"method\":\"\\u006d\"}");
        assert_eq!(request.expect("a request").method, "m");
    }
}
