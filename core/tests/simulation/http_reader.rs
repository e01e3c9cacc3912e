//! What a client of plain HTTP makes of the bytes that it gets: one answer, of which nothing is missing and behind
//! which nothing comes.

/// What has come of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Status(u16),
    /// The data of an event of a stream.
    Data(String),
    /// Its end; the body, unless that is a stream.
    Whole(String),
}

#[derive(Debug, Default)]
pub struct HttpReader {
    /// What is not understood yet.
    raw: Vec<u8>,
    head: Option<Head>,
    body: Vec<u8>,
    whole: bool,
}

#[derive(Debug)]
struct Head {
    /// Bytes of the body; none: it comes in chunks.
    length: Option<usize>,
    streams: bool,
}

impl HttpReader {
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Part>, String> {
        self.raw.extend_from_slice(bytes);
        let mut parts = Vec::new();
        if self.head.is_none() {
            let Some(at) = find(&self.raw, b"\r\n\r\n") else { return Ok(parts) };
            let head: Vec<u8> = self.raw.drain(..at + 4).collect();
            let head = String::from_utf8(head).map_err(|_| "a head that is no text")?;
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            parts.push(Part::Status(status.ok_or("no status")?));
            self.head = Some(Head::parse(&head)?);
        }
        let Some(Head { length, streams }) = &self.head else { return Ok(parts) };
        match length {
            Some(length) => {
                self.body.append(&mut self.raw);
                if self.body.len() > *length {
                    return Err("bytes behind the end of the answer".into());
                }
                self.whole = self.body.len() == *length;
            }
            None => self.whole = unchunk(&mut self.raw, &mut self.body)?,
        }
        if *streams {
            while let Some(at) = find(&self.body, b"\n\n") {
                let event: Vec<u8> = self.body.drain(..at + 2).collect();
                let event = std::str::from_utf8(&event).map_err(|_| "an event that is no text")?;
                match event.trim_end().strip_prefix("data: ") {
                    Some(data) => parts.push(Part::Data(data.into())),
                    None if event.starts_with(':') => {}
                    None => return Err(format!("an event {event}")),
                }
            }
            if self.whole && !self.body.is_empty() {
                return Err("a stream ends in the midst of an event".into());
            }
        }
        if self.whole {
            let body = String::from_utf8(std::mem::take(&mut self.body));
            parts.push(Part::Whole(body.map_err(|_| "a body that is no text")?));
        }
        Ok(parts)
    }
}

impl Head {
    fn parse(head: &str) -> Result<Self, String> {
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let length = header("Content-Length").map(str::parse).transpose();
        let length = length.map_err(|_| "a length that is no number")?;
        if length.is_some() == header("Transfer-Encoding").is_some() {
            return Err(format!("nobody knows where this ends: {head}"));
        }
        let kind = header("Content-Type").unwrap_or_default();
        Ok(Self { length, streams: kind.starts_with("text/event-stream") })
    }
}

/// Moves whole chunks (RFC 9112 section 7.1); says whether the last one has come.
fn unchunk(raw: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<bool, String> {
    while let Some(at) = find(raw, b"\r\n") {
        let size = std::str::from_utf8(&raw[..at]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or("no size")?;
        let end = at + 2 + size;
        let Some(last) = raw.get(end..end + 2) else { return Ok(false) };
        if last != b"\r\n" {
            return Err("a chunk that is longer than it says".into());
        }
        body.extend_from_slice(&raw[at + 2..end]);
        raw.drain(..end + 2);
        if size == 0 {
            return if raw.is_empty() {
                Ok(true)
            } else {
                Err("bytes behind the last chunk".into())
            };
        }
    }
    Ok(false)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
