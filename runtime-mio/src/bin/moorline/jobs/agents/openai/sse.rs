//! Server-sent events, read as they come (WHATWG HTML section 9.2.6): bytes in, the data of events out.
//!
//! ```text
//! data: {"a":1}\n      ──▶ a line of an event
//! data: more\r\n       ──▶ another one, joined by a line feed
//! : a comment\r        ──▶ nothing; a sign of life
//! \n                   ──▶ the event is over
//! ```
//!
//! Lines end with a line feed, a carriage return or both. Names, ids and times to retry mean nothing here. A
//! pure machine: however the bytes are cut, the events are the same, and it holds no more than one event.

/// An event has more bytes than it may.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The reader.
#[derive(Debug)]
pub(super) struct Events {
    /// Bytes of an event, with the names of its fields.
    most: usize,
    /// The line that has not ended.
    line: Vec<u8>,
    /// The data of the event that has not ended, each line with a line feed after it.
    data: Vec<u8>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    was_return: bool,
    /// Nothing was read yet: a byte order mark may come.
    is_fresh: bool,
}

impl Events {
    /// A reader of events with at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { most, line: Vec::new(), data: Vec::new(), was_return: false, is_fresh: true }
    }

    /// Reads on until an event is whole, and takes what it has read off `input`. None: all of it was read.
    /// What is no UTF-8 is replaced, as the standard says.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<String>, TooLarge> {
        while !input.is_empty() {
            if self.was_return {
                self.was_return = false;
                if input[0] == b'\n' {
                    *input = &input[1..];
                    continue;
                }
            }
            let end = input.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = input.split_at(end.unwrap_or(input.len()));
            if self.line.len() + self.data.len() + part.len() > self.most {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(part);
            *input = rest;
            if end.is_none() {
                break;
            }
            self.was_return = rest[0] == b'\r';
            *input = &rest[1..];
            if let Some(event) = self.end_line() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// A line is whole; gives the event that it ends.
    fn end_line(&mut self) -> Option<String> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let mut line = self.line.as_slice();
        if std::mem::take(&mut self.is_fresh) {
            line = line.strip_prefix(MARK).unwrap_or(line);
        }
        if line.is_empty() {
            self.line.clear();
            // An event without data is none.
            self.data.pop()?;
            let event = String::from_utf8_lossy(&self.data).into_owned();
            // A large one must not keep its room.
            self.data = Vec::new();
            return Some(event);
        }
        if let Some(value) = line.strip_prefix(b"data") {
            match value {
                [] => self.data.push(b'\n'),
                [b':', value @ ..] => {
                    self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
                    self.data.push(b'\n');
                }
                // Another field, whose name only begins so.
                _ => {}
            }
        }
        self.line.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &mut Events, mut input: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut all = Vec::new();
        while let Some(event) = events.next(&mut input)? {
            all.push(event);
        }
        assert!(input.is_empty());
        Ok(all)
    }

    fn all(text: &str) -> Vec<String> {
        read(&mut Events::new(1 << 20), text.as_bytes()).expect("they are small")
    }

    #[test]
    fn the_examples_of_the_standard_are_read_as_it_says() {
        for (text, expected) in [
            ("data: YHOO\ndata: +2\ndata: 10\n\n", vec!["YHOO\n+2\n10"]),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                vec!["first event", "second event", " third event"],
            ),
            ("data\n\ndata\ndata\n\ndata:", vec!["", "\n"]),
            ("data:test\n\ndata: test\n\n", vec!["test", "test"]),
            ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", vec!["a", "b", "c"]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec!["a"]),
            ("event: x\n\ndatabase: y\n\ndata: never ended\n", vec![]),
        ] {
            assert_eq!(all(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_utf8_is_replaced_and_characters_may_be_cut_anywhere() {
        let mut events = Events::new(100);
        let read = |events: &mut Events, bytes: &[u8]| read(events, bytes).expect("small");
        assert!(read(&mut events, b"data: \xc3").is_empty());
        assert_eq!(read(&mut events, b"\xa9 \xff\n\n"), ["\u{e9} \u{fffd}"]);
    }

    #[test]
    fn an_event_has_its_bound_and_ten_megabytes_take_no_more_than_that() {
        let mut events = Events::new(1000);
        let text = format!("data: {}\n\n", "x".repeat(994));
        assert_eq!(read(&mut events, text.as_bytes()).map(|all| all[0].len()), Ok(994));
        let over = format!("data: {}\n\n", "x".repeat(995));
        assert_eq!(read(&mut events, over.as_bytes()), Err(TooLarge));
        for piece in ["x", "\ndata: x"] {
            let mut events = Events::new(1000);
            let piece = piece.repeat(100);
            let mut refused = 0;
            for _ in 0..10 * 1024 * 1024 / piece.len() {
                if read(&mut events, piece.as_bytes()).is_err() {
                    refused += 1;
                }
                assert!(events.line.capacity() + events.data.capacity() <= 4096);
            }
            assert!(refused > 0);
        }
    }

    #[test]
    fn any_split_gives_the_same_events() {
        fn same(lines: Vec<(u8, String)>, cuts: Vec<usize>) -> bool {
            let mut text = String::new();
            for (kind, value) in lines {
                let value: String = value.chars().filter(|c| !"\r\n".contains(*c)).collect();
                text += &match kind % 6 {
                    0 => format!("data: {value}\n"),
                    1 => format!("data:{value}\r\n"),
                    2 => "\n".into(),
                    3 => "\r\n".into(),
                    4 => format!(": {value}\r"),
                    _ => "\r".into(),
                };
            }
            let whole = all(&text);
            let mut events = Events::new(1 << 20);
            let (mut rest, mut parts) = (text.as_bytes(), Vec::new());
            for cut in cuts {
                let (part, after) = rest.split_at(cut % (rest.len() + 1));
                parts.extend(read(&mut events, part).expect("small"));
                rest = after;
            }
            parts.extend(read(&mut events, rest).expect("small"));
            parts == whole
        }
        quickcheck::quickcheck(same as fn(_, _) -> bool);
    }
}
