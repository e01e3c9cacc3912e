//! Negotiation of permessage-deflate (RFC 7692 section 7.1). Strict: what is unknown, repeated or out
//! of range declines an offer and fails an answer.

use super::head::is_token;
use crate::limits::Deflate;

const NAME: &[u8] = b"permessage-deflate";

/// The window bits a compressor can have here. RFC 7692 allows 8, which zlib cannot do in raw form.
const SUPPORTED: std::ops::RangeInclusive<u8> = 9..=15;

/// What both ends agreed on.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Every message of the server stands alone.
    pub(crate) server_no_context_takeover: bool,
    /// Every message of the client stands alone.
    pub(crate) client_no_context_takeover: bool,
    /// The server compresses with a window of at most this many bits, 8 to 15.
    pub(crate) server_bits: u8,
    /// The client compresses with a window of at most this many bits, 8 to 15.
    pub(crate) client_bits: u8,
}

/// The parameters of one offer or answer; each at most once.
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_bits: Option<u8>,
    client_bits: Option<ClientBits>,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum ClientBits {
    /// Without a value: the client understands the parameter.
    Any,
    Max(u8),
}

/// Server: the first offer that can be accepted, from the header values in their order. A list that
/// cannot be read offers nothing.
pub(crate) fn choose<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    config: &Deflate,
) -> Option<Agreed> {
    let mut chosen = None;
    for value in values {
        for extension in Extensions(Some(value)) {
            let extension = extension.ok()?;
            if extension.params().any(|param| param.is_err()) {
                return None;
            }
            if chosen.is_none() && extension.name.eq_ignore_ascii_case(NAME) {
                chosen = Params::parse(&extension).and_then(|params| accept(params, config));
            }
        }
    }
    chosen
}

fn accept(offer: Params, config: &Deflate) -> Option<Agreed> {
    let server_bits = offer.server_bits.unwrap_or(15).min(config.window_bits);
    if !SUPPORTED.contains(&server_bits) {
        return None;
    }
    let client_bits = match offer.client_bits {
        // RFC 7692 section 7.1.2.2: the answer may limit only a client that offered to be limited.
        None => 15,
        Some(ClientBits::Any) => config.window_bits,
        Some(ClientBits::Max(bits)) => bits.min(config.window_bits),
    };
    Some(Agreed {
        server_no_context_takeover: offer.server_no_context_takeover || config.no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover || config.no_context_takeover,
        server_bits,
        client_bits,
    })
}

/// Server: the answer's header value.
pub(crate) fn answer(agreed: &Agreed) -> String {
    let mut text = String::from("permessage-deflate");
    push_flags(&mut text, agreed.server_no_context_takeover, agreed.client_no_context_takeover);
    if agreed.server_bits < 15 {
        text += &format!("; server_max_window_bits={}", agreed.server_bits);
    }
    if agreed.client_bits < 15 {
        text += &format!("; client_max_window_bits={}", agreed.client_bits);
    }
    text
}

/// Client: the offer's header value.
pub(crate) fn offer(config: &Deflate) -> String {
    let mut text = String::from("permessage-deflate");
    push_flags(&mut text, config.no_context_takeover, config.no_context_takeover);
    if config.window_bits < 15 {
        text += &format!("; server_max_window_bits={}", config.window_bits);
    }
    text + "; client_max_window_bits"
}

fn push_flags(text: &mut String, server: bool, client: bool) {
    if server {
        *text += "; server_no_context_takeover";
    }
    if client {
        *text += "; client_no_context_takeover";
    }
}

/// Client: what the server's answer agrees to; `None` when it declined.
///
/// # Errors
/// What is wrong with the answer: the connection fails (RFC 7692 section 7.1).
pub(crate) fn check<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    offered: Option<&Deflate>,
) -> Result<Option<Agreed>, &'static str> {
    let mut agreed = None;
    for value in values {
        for extension in Extensions(Some(value)) {
            let extension = extension.map_err(|Unreadable| "Sec-WebSocket-Extensions")?;
            let Some(config) =
                offered.filter(|_| extension.name.eq_ignore_ascii_case(NAME) && agreed.is_none())
            else {
                return Err("an extension that was not offered");
            };
            let Some(params) = Params::parse(&extension) else {
                return Err("a parameter of permessage-deflate");
            };
            agreed = Some(confirm(params, config)?);
        }
    }
    Ok(agreed)
}

fn confirm(answer: Params, config: &Deflate) -> Result<Agreed, &'static str> {
    let server_bits = answer.server_bits.unwrap_or(15);
    if server_bits > config.window_bits {
        return Err("server_max_window_bits is larger than offered");
    }
    if config.no_context_takeover && !answer.server_no_context_takeover {
        return Err("server_no_context_takeover was asked for");
    }
    let client_bits = match answer.client_bits {
        None => 15,
        Some(ClientBits::Max(bits)) => bits,
        Some(ClientBits::Any) => return Err("client_max_window_bits has no value"),
    };
    Ok(Agreed {
        server_no_context_takeover: answer.server_no_context_takeover,
        client_no_context_takeover: answer.client_no_context_takeover || config.no_context_takeover,
        server_bits,
        client_bits: client_bits.min(config.window_bits),
    })
}

impl Params {
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut params = Self::default();
        for param in extension.params() {
            let (name, value) = param.ok()?;
            // `replace` tells whether it was there before.
            let repeated = match name {
                b"server_no_context_takeover" if value.is_none() => {
                    std::mem::replace(&mut params.server_no_context_takeover, true)
                }
                b"client_no_context_takeover" if value.is_none() => {
                    std::mem::replace(&mut params.client_no_context_takeover, true)
                }
                b"server_max_window_bits" => {
                    params.server_bits.replace(window_bits(value?)?).is_some()
                }
                b"client_max_window_bits" => {
                    let bits = match value {
                        None => ClientBits::Any,
                        Some(value) => ClientBits::Max(window_bits(value)?),
                    };
                    params.client_bits.replace(bits).is_some()
                }
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(params)
    }
}

/// 8 to 15 without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The header cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

/// The elements of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), one pass, no allocation.
struct Extensions<'a>(Option<&'a [u8]>);

#[derive(Debug)]
struct Extension<'a> {
    name: &'a [u8],
    /// From the first `;` on.
    params: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.0?;
            let Some(end) = unquoted(rest, b',') else {
                self.0 = None;
                return Some(Err(Unreadable));
            };
            self.0 = rest.get(end + 1..);
            let element = rest[..end].trim_ascii();
            if element.is_empty() {
                continue;
            }
            let name_end = element.iter().position(|b| *b == b';').unwrap_or(element.len());
            let (name, params) = element.split_at(name_end);
            let name = name.trim_ascii();
            return Some(if is_token(name) {
                Ok(Extension { name, params })
            } else {
                Err(Unreadable)
            });
        }
    }
}

impl<'a> Extension<'a> {
    /// Names with their values, quotes removed.
    fn params(&self) -> impl Iterator<Item = Result<(&'a [u8], Option<&'a [u8]>), Unreadable>> {
        let mut rest = self.params;
        std::iter::from_fn(move || {
            rest = rest.strip_prefix(b";")?;
            // The element's quotes are closed: there is an end.
            let end = unquoted(rest, b';').unwrap_or(rest.len());
            let (param, after) = rest.split_at(end);
            rest = after;
            let (name, value) = match param.iter().position(|byte| *byte == b'=') {
                Some(at) => (&param[..at], Some(param[at + 1..].trim_ascii())),
                None => (param, None),
            };
            let value = value.map(|value| match value {
                [b'"', inner @ .., b'"'] => inner,
                bare => bare,
            });
            let name = name.trim_ascii();
            // RFC 6455 section 9.1: a quoted value must be a token once its quotes are gone.
            let fine = is_token(name) && value.is_none_or(is_token);
            Some(if fine { Ok((name, value)) } else { Err(Unreadable) })
        })
    }
}

/// Where the first `separator` outside quotes stands, or the end; `None` when a quote is left open.
fn unquoted(bytes: &[u8], separator: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(value: &str) -> Option<String> {
        choose(std::iter::once(value.as_bytes()), &Deflate::default()).map(|agreed| answer(&agreed))
    }

    #[test]
    fn the_first_acceptable_offer_is_taken() {
        for (offer, expected) in [
            ("permessage-deflate", "permessage-deflate"),
            ("Permessage-Deflate", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
            (
                "permessage-deflate;server_no_context_takeover ; client_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits=9",
                "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
            ),
            (
                "x-other, permessage-deflate; server_max_window_bits=8, permessage-deflate; \
                 server_max_window_bits=9, permessage-deflate",
                "permessage-deflate; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; client_max_window_bits=8",
                "permessage-deflate; client_max_window_bits=8",
            ),
            (",, permessage-deflate ,", "permessage-deflate"),
        ] {
            assert_eq!(chosen(offer).as_deref(), Some(expected), "{offer}");
        }
    }

    #[test]
    fn what_is_unknown_repeated_or_out_of_range_is_declined() {
        for params in [
            "; x",
            "; x=1",
            ";",
            "; =1",
            "; server_no_context_takeover=1",
            "; server_no_context_takeover; server_no_context_takeover",
            "; client_no_context_takeover=true",
            "; server_max_window_bits",
            "; server_max_window_bits=",
            "; server_max_window_bits=8",
            "; server_max_window_bits=9; server_max_window_bits=9",
            "; server_max_window_bits=015",
            "; server_max_window_bits=\"10",
            "; server_max_window_bits=\"1\\0\"",
            "; client_max_window_bits; client_max_window_bits=10",
            "; client_max_window_bits=",
        ] {
            assert_eq!(chosen(&format!("permessage-deflate{params}")), None, "{params}");
        }
        for bits in (0..=20).filter(|bits| !(8..=15).contains(bits)) {
            for name in ["server", "client"] {
                let offer = format!("permessage-deflate; {name}_max_window_bits={bits}");
                assert_eq!(chosen(&offer), None, "{offer}");
            }
        }
    }

    #[test]
    fn a_list_that_breaks_the_grammar_anywhere_offers_nothing() {
        for other in
            ["x-other; \"a\"", "x-other; a=\"b c\"", "x-other;", "x other", "x-other; a=\""]
        {
            assert_eq!(chosen(&format!("{other}, permessage-deflate")), None, "{other}");
            assert_eq!(chosen(&format!("permessage-deflate, {other}")), None, "{other}");
        }
        assert!(chosen("x-other; a=\"b\"; a, permessage-deflate").is_some());
    }

    #[test]
    fn an_answer_must_fit_the_offer() {
        let check = |value: &str, config: Option<&Deflate>| {
            check(std::iter::once(value.as_bytes()), config).map(|agreed| agreed.is_some())
        };
        let plain = Deflate::default();
        let alone = Deflate { no_context_takeover: true, ..Deflate::default() };
        let narrow = Deflate { window_bits: 10, ..Deflate::default() };
        assert_eq!(check("", Some(&plain)), Ok(false));
        for (value, config) in [
            ("permessage-deflate", &plain),
            ("permessage-deflate; client_max_window_bits=8", &plain),
            ("permessage-deflate; server_max_window_bits=8", &plain),
            ("permessage-deflate; server_no_context_takeover", &alone),
            ("permessage-deflate; server_max_window_bits=10", &narrow),
        ] {
            assert_eq!(check(value, Some(config)), Ok(true), "{value}");
        }
        for (value, config) in [
            ("permessage-deflate", None),
            ("x-other", Some(&plain)),
            ("permessage-deflate, permessage-deflate", Some(&plain)),
            ("permessage-deflate; client_max_window_bits", Some(&plain)),
            ("permessage-deflate; server_max_window_bits=7", Some(&plain)),
            ("permessage-deflate; y", Some(&plain)),
            ("permessage-deflate; \"", Some(&plain)),
            ("permessage-deflate", Some(&alone)),
            ("permessage-deflate; server_max_window_bits=11", Some(&narrow)),
            ("permessage-deflate", Some(&narrow)),
        ] {
            assert!(check(value, config).is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_offered_is_accepted_by_a_server_of_the_same_settings() {
        for no_context_takeover in [false, true] {
            for window_bits in 9..=15 {
                let config = Deflate { no_context_takeover, window_bits, ..Deflate::default() };
                let offer = offer(&config);
                let agreed = choose(std::iter::once(offer.as_bytes()), &config).expect("accepted");
                let back = super::check(std::iter::once(answer(&agreed).as_bytes()), Some(&config));
                assert_eq!(back, Ok(Some(agreed)), "{offer}");
            }
        }
    }
}
