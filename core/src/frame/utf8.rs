//! UTF-8 that arrives in pieces (RFC 6455 section 8.1), refused at the first wrong byte.

/// The end of a text was not UTF-8: a byte that cannot stand there, or a sequence left open.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct InvalidUtf8;

/// Carries a code point that straddles two pieces. The pieces' text is appended to a `String`, so
/// that what was checked once need not be checked again when the message is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Utf8Stream {
    open: [u8; 4],
    len: u8,
}

impl Utf8Stream {
    /// Checks `piece` and appends its complete code points to `text`; at most three bytes stay here.
    ///
    /// # Errors
    /// As soon as a byte makes the text provably wrong, even within a code point.
    pub fn push(&mut self, text: &mut String, mut piece: &[u8]) -> Result<(), InvalidUtf8> {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.open[usize::from(self.len)] = byte;
            self.len += 1;
            match std::str::from_utf8(&self.open[..usize::from(self.len)]) {
                Ok(code_point) => {
                    text.push_str(code_point);
                    self.len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {}
            }
        }
        let (whole, open) = piece.split_at(piece.len() - open_suffix(piece));
        text.push_str(simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?);
        if !open.is_empty() {
            match std::str::from_utf8(open) {
                Err(error) if error.error_len().is_none() => {}
                _ => return Err(InvalidUtf8),
            }
            self.open[..open.len()].copy_from_slice(open);
            self.len = open.len() as u8;
        }
        Ok(())
    }

    /// How many bytes of an open code point wait here: 0 to 3.
    pub(crate) fn open_len(&self) -> usize {
        usize::from(self.len)
    }

    /// The text ends here.
    ///
    /// # Errors
    /// When a code point is still open.
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        if std::mem::take(&mut self.len) == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }
}

/// How many bytes at the end of `bytes` begin a sequence that needs more: 0 to 3.
fn open_suffix(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let needs = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => 1,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) -> Result<String, usize> {
        let (mut stream, mut text) = (Utf8Stream::default(), String::new());
        for (index, piece) in pieces.iter().enumerate() {
            stream.push(&mut text, piece).map_err(|_| index)?;
        }
        stream.finish().map_err(|_| pieces.len())?;
        Ok(text)
    }

    #[test]
    fn a_code_point_may_be_cut_anywhere() {
        let text = "κόσμε \u{10FFFF} ü\u{FFFF}";
        let bytes = text.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(check(&pieces).as_deref(), Ok(text));
            }
        }
    }

    #[test]
    fn the_first_wrong_byte_is_refused_though_more_could_follow() {
        // U+110000 is wrong from its second byte on, a surrogate from its second, 0xFF at once.
        assert_eq!(check(&[b"\xf4", b"\x90"]), Err(1));
        assert_eq!(check(&[b"\xed", b"\xa0"]), Err(1));
        assert_eq!(check(&[b"abc\xff"]), Err(0));
        assert_eq!(check(&[b"\xf4\x90"]), Err(0));
        assert_eq!(check(&[b"abc\xe2\x82"]), Err(1), "open at the end");
        assert_eq!(check(&[b"\x80"]), Err(0));
    }
}
