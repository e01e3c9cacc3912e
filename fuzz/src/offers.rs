//! `Sec-WebSocket-Extensions` read by the grammar of RFC 6455 section 9.1 and the rules of RFC 7692
//! section 7.1, with none of the core's code.

/// An extension with its parameters, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extension {
    name: String,
    params: Vec<(String, Option<String>)>,
}

/// The elements of one header value; `None` for each that breaks the grammar.
pub(crate) fn elements(value: &[u8]) -> Vec<Option<Extension>> {
    lex(value)
        .split(|lexeme| *lexeme == Lexeme::Symbol(b','))
        .filter(|element| !element.is_empty())
        .map(parse)
        .collect()
}

/// What a permessage-deflate element says, when every parameter is known, alone and in its range.
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub(crate) struct Terms {
    pub(crate) server_alone: bool,
    pub(crate) client_alone: bool,
    pub(crate) server_bits: Option<u8>,
    /// With or without a value.
    pub(crate) client_bits: Option<Option<u8>>,
}

impl Terms {
    /// `None` for another extension and for one that may not be accepted.
    pub(crate) fn of(extension: &Extension) -> Option<Self> {
        if !extension.name.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut terms = Self::default();
        for (at, (name, value)) in extension.params.iter().enumerate() {
            if extension.params[..at].iter().any(|(other, _)| other == name) {
                return None;
            }
            let bits = value.as_deref().map(|value| {
                let legal = ["8", "9", "10", "11", "12", "13", "14", "15"];
                legal.iter().position(|bits| *bits == value).map(|at| at as u8 + 8)
            });
            match (name.as_str(), bits) {
                ("server_no_context_takeover", None) => terms.server_alone = true,
                ("client_no_context_takeover", None) => terms.client_alone = true,
                ("server_max_window_bits", Some(bits)) => terms.server_bits = Some(bits?),
                ("client_max_window_bits", None) => terms.client_bits = Some(None),
                ("client_max_window_bits", Some(bits)) => terms.client_bits = Some(Some(bits?)),
                _ => return None,
            }
        }
        Some(terms)
    }

    /// Whether a server may answer an offer with this.
    pub(crate) fn answers(&self, offer: &Self) -> bool {
        let server_fits = match (self.server_bits, offer.server_bits) {
            (Some(answered), Some(offered)) => answered <= offered,
            (None, Some(_)) => false,
            (_, None) => true,
        };
        let client_fits = match (self.client_bits, offer.client_bits) {
            (None, _) => true,
            (Some(Some(answered)), Some(offered)) => answered <= offered.unwrap_or(15),
            (Some(_), _) => false,
        };
        server_fits && client_fits && (self.server_alone || !offer.server_alone)
    }
}

#[derive(Debug, PartialEq)]
enum Lexeme {
    Token(String),
    /// Without its quotes; a value must be a token without them.
    Quoted(String),
    Symbol(u8),
    Wrong,
}

fn lex(mut rest: &[u8]) -> Vec<Lexeme> {
    let mut lexemes = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        let (lexeme, len) = match first {
            b' ' | b'\t' => {
                rest = after;
                continue;
            }
            b',' | b';' | b'=' => (Lexeme::Symbol(first), 1),
            b'"' => match after.iter().position(|byte| *byte == b'"') {
                // A quoted pair is not understood; what follows an open quote belongs to it.
                Some(end) if !after[..end].contains(&b'\\') => match token(&after[..end]) {
                    Some(text) if text.len() == end => (Lexeme::Quoted(text), end + 2),
                    _ => (Lexeme::Wrong, end + 2),
                },
                _ => (Lexeme::Wrong, rest.len()),
            },
            _ => match token(rest) {
                Some(text) => {
                    let len = text.len();
                    (Lexeme::Token(text), len)
                }
                None => (Lexeme::Wrong, 1),
            },
        };
        lexemes.push(lexeme);
        rest = &rest[len..];
    }
    lexemes
}

/// The token that these bytes begin with (RFC 9110 section 5.6.2).
fn token(bytes: &[u8]) -> Option<String> {
    const SEPARATORS: &[u8] = b"()<>@,;:\\\"/[]?={}";
    let is_token = |byte: &u8| byte.is_ascii_graphic() && !SEPARATORS.contains(byte);
    let len = bytes.iter().take_while(|byte| is_token(byte)).count();
    (len > 0).then(|| String::from_utf8_lossy(&bytes[..len]).into_owned())
}

fn parse(element: &[Lexeme]) -> Option<Extension> {
    use Lexeme::{Quoted, Symbol, Token};
    let mut parts = element.split(|lexeme| *lexeme == Symbol(b';'));
    let Some([Token(name)]) = parts.next() else { return None };
    let params = parts.map(|part| match part {
        [Token(name)] => Some((name.clone(), None)),
        [Token(name), Symbol(b'='), Token(value) | Quoted(value)] => {
            Some((name.clone(), Some(value.clone())))
        }
        _ => None,
    });
    Some(Extension { name: name.clone(), params: params.collect::<Option<_>>()? })
}
