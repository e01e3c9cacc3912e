//! HTTP answers as client commands read them (RFC 9112): whole ones, one after the other and within limits,
//! or as much of one as there is, for people who want to know whose it is.

use crate::peer_text::PeerText;
use httparse::{EMPTY_HEADER, ParserConfig, Status};
use std::io::{self, ErrorKind, Read};

/// Bytes of a head. Those of gateways and proxies are a few hundred; longer ones are none of theirs.
const HEAD: usize = 16 << 10;

/// Bytes of a body, with what cuts it into chunks: a page of a proxy, or a JSON object of a gateway.
const BODY: usize = 64 << 10;

const HEADERS: usize = 64;

/// Characters of a body that are shown.
const SHOWN: usize = 200;

/// An answer to a request. Everything in it is the peer's: escape it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// What there is of an answer that may have broken off; `None` where it does not begin as HTTP/1 does
    /// (RFC 9112 section 4).
    pub(crate) fn begun(bytes: &[u8]) -> Option<Self> {
        let (head, end) = Head::parse(bytes);
        let head = head?;
        let after = end.ok().flatten().map_or(&[][..], |end| &bytes[end..]);
        let body = match head.body(after) {
            Ok(body) => body.content,
            // However it is cut: its text says whose it is.
            Err(_) => after.into(),
        };
        Some(head.with(&body))
    }

    /// The request goes on, and its answer is still to come (RFC 9110 section 15.2).
    pub(crate) fn is_interim(&self) -> bool {
        is_interim(self.status)
    }

    /// The first header of this name, any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// What the body says, in one line: a page's title and text without its markup.
    pub(crate) fn said(&self) -> String {
        let mut text = String::new();
        let mut hidden = false;
        for c in self.body.chars() {
            match c {
                '<' => hidden = true,
                '>' if hidden => {
                    hidden = false;
                    text.push(' ');
                }
                c if !hidden => text.push(c),
                _ => {}
            }
        }
        let words: Vec<_> = text.split_whitespace().collect();
        let line: String = words.join(" ").chars().take(SHOWN).collect();
        PeerText(&line).to_string()
    }
}

/// Reads the answers of a connection.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    /// What came and belongs to no answer that was given.
    bytes: Vec<u8>,
}

impl AnswerReader {
    /// The next answer, when it is there whole. After an error that time can mend, such as
    /// [`ErrorKind::WouldBlock`], it may be called again.
    ///
    /// # Errors
    /// What the stream says; it ends within an answer; what comes is not HTTP, or too long.
    pub(crate) fn next(&mut self, stream: &mut impl Read) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.take(false)? {
                return Ok(answer);
            }
            if self.bytes.len() >= HEAD + BODY {
                return Err(io::Error::other("the answer is too long"));
            }
            let mut more = [0; 4096];
            match stream.read(&mut more)? {
                0 => {
                    return self.take(true)?.ok_or_else(|| ErrorKind::UnexpectedEof.into());
                }
                count => self.bytes.extend_from_slice(&more[..count]),
            }
        }
    }

    /// The next answer that is there whole; with `ended`, one without a length ends here.
    fn take(&mut self, ended: bool) -> io::Result<Option<Answer>> {
        let (head, end) = Head::parse(&self.bytes);
        let end = end.map_err(|error| other(format!("the answer is not HTTP: {error}")))?;
        let (Some(head), Some(end)) = (head, end) else {
            return match self.bytes.len() {
                ..HEAD => Ok(None),
                _ => Err(io::Error::other("the head of the answer is too long")),
            };
        };
        let body = head.body(&self.bytes[end..]).map_err(other)?;
        let after = match body.end {
            End::At(after) => after,
            End::Connection if ended => self.bytes.len() - end,
            End::Connection | End::Later => return Ok(None),
        };
        let answer = head.with(&body.content);
        self.bytes.drain(..end + after);
        Ok(Some(answer))
    }
}

/// A head, or the beginning of one with its status.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

/// What there is of a body.
struct Body {
    content: Vec<u8>,
    end: End,
}

/// Where a body ends.
enum End {
    /// After so many bytes, which are there.
    At(usize),
    /// It goes on.
    Later,
    /// With its connection.
    Connection,
}

impl Head {
    /// As much as is there; then where it ends, if it does. What proxies and devices get wrong without
    /// harm is let through.
    fn parse(bytes: &[u8]) -> (Option<Self>, Result<Option<usize>, httparse::Error>) {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let end = ParserConfig::default()
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .ignore_invalid_headers_in_responses(true)
            .parse_response(&mut response, bytes);
        let head = response.code.map(|status| {
            let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_string();
            let all = response.headers.iter().filter(|header| !header.name.is_empty());
            let headers = all.map(|header| (header.name.to_string(), text(header.value)));
            Self { status, headers: headers.collect() }
        });
        let end = end.map(|status| match status {
            Status::Complete(end) => Some(end),
            Status::Partial => None,
        });
        (head, end)
    }

    /// The body in what comes behind the head (RFC 9112 section 6.3).
    fn body(&self, bytes: &[u8]) -> Result<Body, &'static str> {
        if is_interim(self.status) || matches!(self.status, 204 | 304) {
            return Ok(Body { content: Vec::new(), end: End::At(0) });
        }
        let coding =
            find(&self.headers, "Transfer-Encoding").and_then(|all| all.rsplit(',').next());
        if coding.is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked")) {
            return chunks(bytes);
        }
        if coding.is_some() {
            return Ok(Body { content: bytes.into(), end: End::Connection });
        }
        let Some(length) = find(&self.headers, "Content-Length") else {
            return Ok(Body { content: bytes.into(), end: End::Connection });
        };
        let length = length.parse().map_err(|_| "the answer has a length that is no number")?;
        Ok(match bytes.get(..length) {
            Some(whole) => Body { content: whole.into(), end: End::At(length) },
            None => Body { content: bytes.into(), end: End::Later },
        })
    }

    fn with(self, body: &[u8]) -> Answer {
        let Self { status, headers } = self;
        Answer { status, headers, body: String::from_utf8_lossy(body).into_owned() }
    }
}

/// What chunks hold, as far as they have come (RFC 9112 section 7.1).
fn chunks(bytes: &[u8]) -> Result<Body, &'static str> {
    const DAMAGED: &str = "the answer has chunks that are none";
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let later = |content| Ok(Body { content, end: End::Later });
        let size = match httparse::parse_chunk_size(&bytes[at..]).map_err(|_| DAMAGED)? {
            Status::Complete((line, size)) => {
                at += line;
                size
            }
            Status::Partial => return later(content),
        };
        if size == 0 {
            let mut trailers = [EMPTY_HEADER; HEADERS];
            return match httparse::parse_headers(&bytes[at..], &mut trailers)
                .map_err(|_| DAMAGED)?
            {
                Status::Complete((end, _)) => Ok(Body { content, end: End::At(at + end) }),
                Status::Partial => later(content),
            };
        }
        let rest = &bytes[at..];
        let whole = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size));
        let Some((chunk, rest)) = whole else {
            content.extend_from_slice(rest);
            return later(content);
        };
        content.extend_from_slice(chunk);
        match rest {
            [b'\r', b'\n', ..] => at += chunk.len() + 2,
            [] | [b'\r'] => return later(content),
            _ => return Err(DAMAGED),
        }
    }
}

fn is_interim(status: u16) -> bool {
    (100..200).contains(&status)
}

fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let mut all = headers.iter();
    all.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn other(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drip<'b>(&'b [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            (into[0], self.0) = (*first, rest);
            Ok(1)
        }
    }

    /// Status and body of each answer, and what ends the reading.
    fn read(bytes: &[u8]) -> (Vec<(u16, String)>, String) {
        let one_by_one = all(&mut Drip(bytes));
        assert_eq!(all(&mut &*bytes), one_by_one, "{}", String::from_utf8_lossy(bytes));
        one_by_one
    }

    fn all(stream: &mut impl Read) -> (Vec<(u16, String)>, String) {
        let (mut reader, mut found) = (AnswerReader::default(), Vec::new());
        loop {
            match reader.next(stream) {
                Ok(answer) => found.push((answer.status, answer.body)),
                Err(error) => return (found, error.to_string()),
            }
        }
    }

    fn answers(text: &str) -> Vec<(u16, String)> {
        let (found, end) = read(text.as_bytes());
        assert_eq!(end, io::Error::from(ErrorKind::UnexpectedEof).to_string(), "{text}");
        found
    }

    #[test]
    fn answers_are_read_whole_and_one_after_the_other_however_they_are_cut() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let last =
            "HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlargeHTTP/1.1 204 No\r\n\r\n";
        let expected = [(100, ""), (103, ""), (413, "large"), (204, "")];
        assert_eq!(answers(&format!("{interim}{last}")), expected.map(|(at, it)| (at, it.into())));
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        assert_eq!(answers("HTTP/1.0 502 Bad Gateway\r\n\r\nno"), [(502, "no".into())]);
        assert_eq!(answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"), []);
    }

    #[test]
    fn chunks_are_put_together_and_their_trailers_left_out() {
        let head =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n";
        let body = "5;name=value\r\n{\"pat\r\n0C\r\nh\":\"media/\"}\r\n0\r\nDigest: x\r\n\r\n";
        let expected = (200, "{\"path\":\"media/\"}".to_string());
        let two = answers(&format!("{head}{body}{head}{body}"));
        assert_eq!(two, [expected.clone(), expected]);
        for damaged in ["5\r\nhello, 0\r\n\r\n", "x\r\n", "fffffffffffffffff\r\n"] {
            let (found, end) = read(format!("{head}{damaged}").as_bytes());
            assert_eq!((found.len(), end.as_str()), (0, "the answer has chunks that are none"));
        }
        assert_eq!(answers(&format!("{head}ffffffffffffffff\r\nmore")), []);
    }

    #[test]
    fn what_is_longer_than_an_answer_of_a_gateway_is_not_read_on() {
        let head = |length: usize| {
            let start = "HTTP/1.1 200 OK\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
        };
        let body = |length| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length));
        let end = |text: String| read(text.as_bytes()).1;
        assert_eq!(answers(&head(HEAD)).len(), 1);
        assert_eq!(end(head(HEAD + 4096) + "x"), "the head of the answer is too long");
        assert_eq!(answers(&body(BODY)).len(), 1);
        assert_eq!(end(body(HEAD + BODY)), "the answer is too long");
    }

    #[test]
    fn what_is_not_http_is_told_as_soon_as_it_is_seen() {
        let mut endless = b"SSH-2.0-OpenSSH_9.2\r\n".chain(io::repeat(b'x'));
        let why = all(&mut endless).1;
        assert!(why.starts_with("the answer is not HTTP: "), "{why}");
        let (found, why) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n");
        assert_eq!((found.len(), &*why), (0, "the answer has a length that is no number"));
    }

    #[test]
    fn a_page_is_shown_without_its_markup() {
        let raw = b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n\r\n<html>\r\n<h1>502 Bad\x1b \
                    Gateway</h1></html>";
        let answer = Answer::begun(raw).expect("HTTP");
        assert_eq!((answer.status, answer.header("server")), (502, Some("nginx")));
        assert_eq!(answer.said(), "502 Bad\\u{1b} Gateway");
    }

    #[test]
    fn of_an_answer_that_breaks_off_there_is_what_came() {
        for (raw, status, server, body) in [
            ("HTTP/1.0 400", 400, None, ""),
            ("HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nDa", 502, Some("nginx"), ""),
            ("HTTP/1.1 502 Bad\r\nContent-Length: 9\r\n\r\nBad G", 502, None, "Bad G"),
            ("HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nBad", 502, None, "Bad"),
            ("HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\nOops", 502, None, "Oops"),
            ("HTTP/1.1 101 Switching\r\nServer: nginx\r\n\r\n\u{1}\u{2}", 101, Some("nginx"), ""),
        ] {
            let answer = Answer::begun(raw.as_bytes()).expect(raw);
            assert_eq!((answer.status, answer.header("Server")), (status, server), "{raw}");
            assert_eq!(answer.body, body, "{raw}");
        }
        for raw in
            [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1"]
        {
            assert_eq!(Answer::begun(raw), None, "{raw:?}");
        }
    }
}
