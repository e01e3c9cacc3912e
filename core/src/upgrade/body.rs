//! A request's body on the wire (RFC 9112 sections 6 and 7.1): where its content is, and where it ends.
//!
//! Nothing of the content is kept. Of the framing only the place in it is, so a size line or a trailer
//! may straddle any number of reads. Whatever parsers disagree on is refused: a bare CR or LF, a size
//! without digits, a folded trailer line.

use super::head::is_token;
use crate::error::UpgradeError;
use std::ops::Range;

/// How a request says where its body ends.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum BodyLength {
    /// After this many bytes (`Content-Length`); 0 where the request says nothing of a body.
    Known(u64),
    /// Where its last chunk is (`Transfer-Encoding: chunked`).
    Chunked,
}

/// Bytes of a size line, extensions included. Nobody is known to use those.
const MAX_LINE: u16 = 256;

/// Bytes of all trailer lines, which are checked and thrown away.
const MAX_TRAILERS: u16 = 4 * 1024;

/// Reads a body piece by piece.
#[derive(Debug)]
pub(crate) struct BodyReader {
    at: At,
    /// Bytes of content, or of the present chunk, that are missing; while its size is read, the size.
    left: u64,
    /// What chunks to come may have.
    room: u64,
    limit: u64,
    /// Bytes of the present size line, or of all trailer lines.
    line: u16,
}

#[derive(Debug, Copy, Clone, PartialEq)]
enum At {
    /// In a body of known length.
    Content,
    SizeStart,
    Size,
    /// White space behind the size, which only an extension may follow.
    Space,
    Extension,
    SizeEnd,
    Chunk,
    ChunkCr,
    ChunkLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
}

/// What [`BodyReader::next`] found.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// The input is used up.
    Nothing,
    /// Content, at this place of the input.
    Content(Range<usize>),
    /// The end of the body.
    End,
}

impl BodyReader {
    /// For a body of at most `limit` bytes, which a known length was compared with.
    pub(crate) fn new(length: BodyLength, limit: u64) -> Self {
        let (at, left) = match length {
            BodyLength::Known(length) => (At::Content, length),
            BodyLength::Chunked => (At::SizeStart, 0),
        };
        Self { at, left, room: limit, limit, line: 0 }
    }

    /// Goes on in `input` from `from`, which is moved.
    pub(crate) fn next(&mut self, input: &[u8], from: &mut usize) -> Result<Found, UpgradeError> {
        loop {
            let rest = &input[*from..];
            if matches!(self.at, At::Content | At::Chunk) {
                let taken = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                if taken > 0 {
                    let start = *from;
                    *from += taken;
                    self.left -= taken as u64;
                    return Ok(Found::Content(start..*from));
                }
                if self.left > 0 {
                    return Ok(Found::Nothing);
                }
                if self.at == At::Content {
                    return Ok(Found::End);
                }
                self.at = At::ChunkCr;
            }
            let Some(byte) = rest.first() else { return Ok(Found::Nothing) };
            *from += 1;
            if self.at == At::LastLf {
                return if *byte == b'\n' { Ok(Found::End) } else { Err(bad("CR without LF")) };
            }
            self.at = self.frame(*byte)?;
        }
    }

    /// One byte that is no content.
    fn frame(&mut self, byte: u8) -> Result<At, UpgradeError> {
        self.line += 1;
        match self.at {
            At::SizeStart | At::Size | At::Space | At::Extension if self.line > MAX_LINE => {
                return Err(bad("a chunk's size line is too long"));
            }
            At::TrailerStart | At::TrailerName | At::TrailerValue if self.line > MAX_TRAILERS => {
                return Err(UpgradeError::HeadSize);
            }
            _ => {}
        }
        Ok(match (self.at, byte) {
            (At::SizeStart | At::Size, byte) if byte.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(byte).to_digit(16).unwrap_or_default());
                self.left = (self.left.checked_mul(16))
                    .and_then(|size| size.checked_add(digit))
                    .filter(|size| *size <= self.room)
                    .ok_or(UpgradeError::BodySize { limit: self.limit })?;
                At::Size
            }
            (At::Size | At::Space, b' ' | b'\t') => At::Space,
            (At::Size | At::Space, b';') => At::Extension,
            (At::Size | At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, byte) if is_text(byte) => At::Extension,
            (At::SizeEnd, b'\n') => {
                self.line = 0;
                self.room -= self.left;
                if self.left == 0 { At::TrailerStart } else { At::Chunk }
            }
            (At::ChunkCr, b'\r') => At::ChunkLf,
            (At::ChunkLf, b'\n') => {
                self.line = 0;
                At::SizeStart
            }
            (At::TrailerStart, b'\r') => At::LastLf,
            (At::TrailerStart | At::TrailerName, byte) if is_token(&[byte]) => At::TrailerName,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerEnd,
            (At::TrailerValue, byte) if is_text(byte) => At::TrailerValue,
            (At::TrailerEnd, b'\n') => At::TrailerStart,
            (At::SizeEnd | At::TrailerEnd, _) => return Err(bad("CR without LF")),
            (At::ChunkCr | At::ChunkLf, _) => return Err(bad("a chunk is longer than its size")),
            (At::TrailerStart | At::TrailerName | At::TrailerValue, _) => {
                return Err(bad("a trailer line"));
            }
            _ => return Err(bad("a chunk's size")),
        })
    }
}

/// What lines may have beside their grammar's own: no control characters.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= 0x20 && byte != 0x7F
}

fn bad(what: &'static str) -> UpgradeError {
    UpgradeError::Malformed(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, and how much of the input the body took.
    fn read(body: &[u8], limit: u64) -> Result<(Vec<u8>, usize), UpgradeError> {
        let mut reader = BodyReader::new(BodyLength::Chunked, limit);
        let (mut content, mut at) = (Vec::new(), 0);
        loop {
            match reader.next(body, &mut at)? {
                Found::Content(range) => content.extend_from_slice(&body[range]),
                Found::End => return Ok((content, at)),
                Found::Nothing => panic!("{} has no end", body.escape_ascii()),
            }
        }
    }

    #[test]
    fn what_the_grammar_allows_is_taken() {
        for body in [
            &b"5\r\nhello\r\n0\r\n\r\n"[..],
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            b"0005\r\nhello\r\n00\r\n\r\n",
            b"5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n",
            b"5 \t;a\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n",
        ] {
            let behind = [body, b"more"].concat();
            assert_eq!(read(&behind, 5), Ok((b"hello".to_vec(), body.len())));
        }
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        for (body, what) in [
            (&b"\r\n"[..], "a chunk's size"),
            (b" 5\r\n", "a chunk's size"),
            (b"+5\r\n", "a chunk's size"),
            (b"0x5\r\n", "a chunk's size"),
            (b"5 \r\n", "a chunk's size"),
            (b"5\n", "a chunk's size"),
            (b"5;a\nhello", "a chunk's size"),
            (b"5;a\0\r\n", "a chunk's size"),
            (b"5\rhello", "CR without LF"),
            (b"5\r\nhello0\r\n", "a chunk is longer than its size"),
            (b"5\r\nhello\n0\r\n", "a chunk is longer than its size"),
            (b"5\r\nhello\r0\r\n", "a chunk is longer than its size"),
            (b"0\r\n\n", "a trailer line"),
            (b"0\r\n folded\r\n\r\n", "a trailer line"),
            (b"0\r\n: x\r\n\r\n", "a trailer line"),
            (b"0\r\nA b: x\r\n\r\n", "a trailer line"),
            (b"0\r\nA: b\nC: d\r\n\r\n", "a trailer line"),
            (b"0\r\nA: b\rC", "CR without LF"),
            (b"0\r\n\rx", "CR without LF"),
        ] {
            assert_eq!(read(body, 5), Err(bad(what)), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn lines_and_sizes_are_bounded() {
        let line = |len: usize| [&b"1;"[..], &b"x".repeat(len - 2), b"\r\na\r\n0\r\n\r\n"].concat();
        assert!(read(&line(usize::from(MAX_LINE) - 1), 1).is_ok());
        let long = bad("a chunk's size line is too long");
        assert_eq!(read(&line(usize::from(MAX_LINE)), 1), Err(long));
        let trailers = |len: usize| [&b"0\r\nA:"[..], &b"x".repeat(len), b"\r\n\r\n"].concat();
        let most = usize::from(MAX_TRAILERS);
        assert!(read(&trailers(most - 5), 1).is_ok());
        assert_eq!(read(&trailers(most), 1), Err(UpgradeError::HeadSize));
        let size = |limit| Err(UpgradeError::BodySize { limit });
        assert!(read(b"1\r\na\r\n4\r\nbcde\r\n0\r\n\r\n", 5).is_ok());
        // It is told by the size, before there is any content.
        assert_eq!(read(b"1\r\na\r\n5", 5), size(5));
        assert_eq!(read(b"ffffffffffffffffff", u64::MAX), size(u64::MAX));
    }
}
