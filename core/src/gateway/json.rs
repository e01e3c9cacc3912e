//! Writes JSON into a string that is used again and again.

use std::fmt::Write as _;

/// Appends `text` as a JSON string (RFC 8259 section 7).
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => write!(out, "\\u{control:04x}").expect("a string takes everything"),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends a number.
pub(super) fn number(out: &mut String, value: u64) {
    write!(out, "{value}").expect("a string takes everything");
}

/// Appends a list, each element by `each`.
pub(super) fn list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// An object under way. Names are the program's own and need no escaping.
#[must_use = "an object needs its end"]
pub(super) struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    /// Writes the name; the value is the caller's.
    pub(super) fn key(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
        self.out
    }

    pub(super) fn str(mut self, name: &str, value: &str) -> Self {
        string(self.key(name), value);
        self
    }

    /// Nothing at all when there is no value.
    pub(super) fn maybe_str(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.str(name, value),
            None => self,
        }
    }

    pub(super) fn num(mut self, name: &str, value: u64) -> Self {
        number(self.key(name), value);
        self
    }

    pub(super) fn bool(mut self, name: &str, value: bool) -> Self {
        self.key(name).push_str(if value { "true" } else { "false" });
        self
    }

    /// A value that is JSON already.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        self.key(name).push_str(json);
        self
    }

    pub(super) fn object(
        mut self,
        name: &str,
        fill: impl for<'b> FnOnce(Object<'b>) -> Object<'b>,
    ) -> Self {
        fill(Object::new(self.key(name))).end();
        self
    }

    pub(super) fn list<T>(
        mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(&mut String, T),
    ) -> Self {
        list(self.key(name), items, each);
        self
    }

    pub(super) fn end(self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_survives_a_parser() {
        let text: String = (0..=0x10_FFFF).step_by(7).filter_map(char::from_u32).collect();
        let text = format!("{text}\u{0}\u{1f}\"\\\n\r\t/\u{7f}\u{2028}");
        let mut out = String::new();
        string(&mut out, &text);
        assert_eq!(serde_json::from_str::<String>(&out).expect("JSON"), text);
    }

    #[test]
    fn objects_nest() {
        let mut out = String::new();
        Object::new(&mut out)
            .str("a", "x")
            .object("b", |o| o.num("n", 1).bool("t", true))
            .list("c", [1, 2], number)
            .end();
        assert_eq!(out, r#"{"a":"x","b":{"n":1,"t":true},"c":[1,2]}"#);
    }
}
