//! Close codes and the payload of a Close frame (RFC 6455 sections 5.5.1 and 7.4).

use super::MAX_CONTROL;
use crate::error::ProtocolError;
use std::fmt;

/// The longest reason in bytes: a control frame's payload less the code.
pub const MAX_REASON: usize = MAX_CONTROL - 2;

/// A status code of RFC 6455 section 7.4 or of the registry that section opened.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server stops, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// The peer sent a kind of data that is not accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Never on the wire: the peer's Close had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never on the wire: the connection ended without a Close.
    pub const ABNORMAL: Self = Self(1006);
    /// A text message was not UTF-8, or compressed data was broken.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer violated a policy; the reason says which.
    pub const POLICY: Self = Self(1008);
    /// A message was too big.
    pub const TOO_BIG: Self = Self(1009);
    /// The server failed.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts: reconnect after a while.
    pub const RESTART: Self = Self(1012);
    /// The server is overloaded: try again later.
    pub const TRY_AGAIN: Self = Self(1013);

    /// Whether the code may stand in a Close frame: 1000 to 1003, 1007 to 1014 and 3000 to 4999.
    /// 1004 is reserved, 1005, 1006 and 1015 are for local use only.
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Code and reason of a Close frame's payload; an empty one is [`CloseCode::NO_STATUS`].
pub(crate) fn parse_close(payload: &[u8]) -> Result<(CloseCode, &str), ProtocolError> {
    match payload {
        [] => Ok((CloseCode::NO_STATUS, "")),
        [_] => Err(ProtocolError::ShortClose),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.is_sendable() {
                return Err(ProtocolError::InvalidCloseCode(code.0));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
            Ok((code, reason))
        }
    }
}

/// Writes the payload of a Close frame. A code that may not be sent gives an empty payload, a reason
/// that is too long is cut at a code point.
pub(crate) fn emit_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    if code.is_sendable() {
        out.extend_from_slice(&code.0.to_be_bytes());
        out.extend_from_slice(truncate_reason(reason).as_bytes());
    }
}

/// The longest start of `reason` that fits a Close frame.
fn truncate_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_sendable_or_refused_as_the_registry_says() {
        for code in 0..=u16::MAX {
            let expected = (1000..=1014).contains(&code) && !(1004..=1006).contains(&code)
                || (3000..=4999).contains(&code);
            assert_eq!(CloseCode(code).is_sendable(), expected, "{code}");
            let parsed = parse_close(&code.to_be_bytes()).map(|(code, _)| code);
            let wanted = if expected {
                Ok(CloseCode(code))
            } else {
                Err(ProtocolError::InvalidCloseCode(code))
            };
            assert_eq!(parsed, wanted);
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_code_point() {
        let mut payload = Vec::new();
        emit_close(CloseCode::NORMAL, &"é".repeat(100), &mut payload);
        assert_eq!(payload.len(), 2 + 122);
        assert_eq!(parse_close(&payload), Ok((CloseCode::NORMAL, "é".repeat(61).as_str())));
    }

    #[test]
    fn one_byte_and_invalid_utf8_are_refused() {
        assert_eq!(parse_close(b"a"), Err(ProtocolError::ShortClose));
        assert_eq!(parse_close(b"\x03\xe8\xed\xa0\x80"), Err(ProtocolError::InvalidUtf8));
        assert_eq!(parse_close(b""), Ok((CloseCode::NO_STATUS, "")));
    }
}
