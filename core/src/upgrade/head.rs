//! Finds the end of an HTTP head in one pass, however it is split.

use crate::error::UpgradeError;

/// Remembers how far the search got: feeding a head byte by byte costs the same as feeding it whole.
/// It also refuses what lenient parsers disagree on (RFC 9112 section 2.2 and 5.2): a bare CR or LF,
/// a folded line, and anything before the first line.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    at: usize,
    state: State,
    /// The first line is complete.
    first_line: bool,
}

#[derive(Debug, Default, Copy, Clone, PartialEq)]
enum State {
    #[default]
    Start,
    Text,
    Cr,
    LineStart,
    LastCr,
}

impl HeadScanner {
    /// Looks at what of `bytes` (the head so far, from its start) was not looked at before. Gives the
    /// head's length once it is complete.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        limit: usize,
    ) -> Result<Option<usize>, UpgradeError> {
        let end = bytes.len().min(limit);
        while self.at < end {
            if self.state == State::Text {
                // The long run of a line, without a state to keep.
                let line = &bytes[self.at..end];
                match line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
                    Some(run) => self.at += run,
                    None => {
                        self.at = end;
                        break;
                    }
                }
            }
            let byte = bytes[self.at];
            self.at += 1;
            self.state = match (self.state, byte) {
                (State::Start, 0x16) => return Err(UpgradeError::Tls),
                (State::Start, byte) if !byte.is_ascii_graphic() => {
                    return Err(UpgradeError::Malformed("no method at the start"));
                }
                (State::LineStart, b' ' | b'\t') => {
                    return Err(UpgradeError::Malformed("folded header line"));
                }
                (State::LineStart, b'\r') => State::LastCr,
                (State::LastCr, b'\n') => return Ok(Some(self.at)),
                (State::Cr, b'\n') => {
                    self.first_line = true;
                    State::LineStart
                }
                (State::Cr | State::LastCr, _) => {
                    return Err(UpgradeError::Malformed("CR without LF"));
                }
                (_, b'\n') => return Err(UpgradeError::Malformed("LF without CR")),
                (_, b'\r') => State::Cr,
                _ => State::Text,
            };
        }
        if bytes.len() >= limit {
            return Err(if self.first_line {
                UpgradeError::HeadSize
            } else {
                UpgradeError::Target
            });
        }
        Ok(None)
    }
}

/// Whether `bytes` are a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// The elements of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Headers that the handshake writes and judges itself: an application may not set them.
pub(crate) fn is_reserved(name: &str) -> bool {
    ["connection", "upgrade", "host", "content-length", "transfer-encoding"]
        .into_iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
        || name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("sec-websocket-"))
}

/// Whether a header that the application hands in can be written: a token and no control characters.
pub(crate) fn is_writable(name: &str, value: &str) -> bool {
    is_token(name.as_bytes())
        && !is_reserved(name)
        && value.bytes().all(|byte| byte == b'\t' || byte >= 0x20 && byte != 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_finds_the_same_end() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..head.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.scan(&head[..cut], 1000);
            let found = if first == Ok(None) { scanner.scan(head, 1000) } else { first };
            assert_eq!(found, Ok(Some(head.len() - 4)), "cut at {cut}");
        }
    }

    #[test]
    fn what_was_looked_at_is_never_looked_at_again() {
        let mut head = b"GET / HTTP/1.1\r\nA: ".to_vec();
        head.resize(16_000, b'a');
        head.extend_from_slice(b"\r\n\r\n");
        let mut scanner = HeadScanner::default();
        let mut seen = Vec::new();
        for byte in &head[..head.len() - 1] {
            seen.push(*byte);
            assert_eq!(scanner.scan(&seen, 20_000), Ok(None));
            // A second look at it would be an error.
            *seen.last_mut().expect("pushed") = b'\n';
        }
        seen.push(b'\n');
        assert_eq!(scanner.scan(&seen, 20_000), Ok(Some(head.len())));
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        for (head, error) in [
            (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], "LF without CR"),
            (b"GET / HTTP/1.1\r\nHost: a\n\n", "LF without CR"),
            (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "CR without LF"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\rx", "CR without LF"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "folded header line"),
            (b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", "folded header line"),
            (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "no method at the start"),
            (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "no method at the start"),
        ] {
            let found = HeadScanner::default().scan(head, 1000);
            assert_eq!(found, Err(UpgradeError::Malformed(error)), "{head:?}");
        }
        assert_eq!(HeadScanner::default().scan(b"\x16\x03\x01", 1000), Err(UpgradeError::Tls));
    }

    #[test]
    fn the_limit_says_which_part_was_too_long() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(100));
        assert_eq!(HeadScanner::default().scan(long.as_bytes(), 64), Err(UpgradeError::Target));
        assert_eq!(HeadScanner::default().scan(long.as_bytes(), 116), Err(UpgradeError::HeadSize));
        assert_eq!(HeadScanner::default().scan(long.as_bytes(), 117), Ok(None));
    }
}
