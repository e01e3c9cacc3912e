//! An HTTP answer as it came, for people who want to know whose it is.

use crate::peer_text::PeerText;

/// Characters of a body that are shown.
const SHOWN: usize = 200;

/// The head of an answer and the beginning of its body. Everything in it is the peer's: escape it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Reads what came; `None` where it does not begin as HTTP/1 does (RFC 9112 section 4).
    pub(crate) fn parse(raw: &[u8]) -> Option<Self> {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = match end {
            Some(end) => (&raw[..end], &raw[end + 4..]),
            None => (raw, &[][..]),
        };
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_string(), value.trim().to_string()))
            .collect();
        Some(Self { status, headers, body: String::from_utf8_lossy(body).into_owned() })
    }

    /// The first header of this name, any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_shown_without_its_markup() {
        let raw = b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n\r\n<html>\r\n<h1>502 Bad\x1b \
                    Gateway</h1></html>";
        let answer = Answer::parse(raw).expect("HTTP");
        assert_eq!((answer.status, answer.header("server")), (502, Some("nginx")));
        assert_eq!(answer.said(), "502 Bad\\u{1b} Gateway");
    }

    #[test]
    fn what_is_not_http_is_none() {
        for raw in
            [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1"]
        {
            assert_eq!(Answer::parse(raw), None, "{raw:?}");
        }
        assert_eq!(Answer::parse(b"HTTP/1.0 400").map(|answer| answer.status), Some(400));
    }
}
