//! A form with one file (RFC 7578), read as it arrives.
//!
//! Only what an upload needs of RFC 2046, and strictly: the body begins with its boundary, has one part,
//! `file`, and an end. Nothing of the content is kept: the delimiter begins with a CR and has no other,
//! so bytes that looked like its beginning are known from it and need no buffer. (Crates for this read
//! from an async stream, or want the whole body.)

use super::media_name::filename_of;

/// Bytes of a part's headers.
const MAX_HEAD: usize = 4 * 1024;

/// Bytes of a boundary (RFC 2046 section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// What a form has besides its file, at most: two delimiters, the part's headers, the end.
pub(super) const OVERHEAD: u64 = (MAX_HEAD + 2 * (MAX_BOUNDARY + 8)) as u64;

/// The state of a form that arrives.
#[derive(Debug)]
pub(super) struct Multipart {
    /// `\r\n--` and the boundary.
    delimiter: Vec<u8>,
    /// How many bytes of the delimiter were just seen.
    matched: usize,
    at: At,
    head: Vec<u8>,
    parts: u32,
}

#[derive(Debug, Copy, Clone, PartialEq)]
enum At {
    /// In front of the first delimiter.
    Start,
    /// Behind a delimiter, which CR LF or `--` must follow.
    Delimited,
    Cr,
    Dash,
    Head,
    Content,
    /// Behind the last delimiter.
    End,
}

/// What [`Multipart::read`] found.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'p> {
    /// The file's headers are complete: its name as sent, and its media type.
    File { name: String, mime: Option<String> },
    /// Bytes of the file.
    Content(&'p [u8]),
}

impl Multipart {
    /// For the `Content-Type` of a request; `None` when that has no boundary that can be used.
    pub(super) fn new(content_type: &str) -> Option<Self> {
        let boundary = parameter(content_type, "boundary")?;
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        if boundary.is_empty()
            || boundary.len() > MAX_BOUNDARY
            || boundary.ends_with(' ')
            || !boundary.bytes().all(is_fine)
        {
            return None;
        }
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first delimiter needs no line end in front of it.
        Some(Self { delimiter, matched: 2, at: At::Start, head: Vec::new(), parts: 0 })
    }

    /// Reads a piece of the body, and says what was in it.
    ///
    /// # Errors
    /// What is wrong, for the client.
    pub(super) fn read(
        &mut self,
        mut input: &[u8],
        mut found: impl FnMut(Piece<'_>),
    ) -> Result<(), &'static str> {
        while let Some((first, rest)) = input.split_first() {
            match self.at {
                At::Start => {
                    if self.delimiter[self.matched] != *first {
                        return Err("the form does not begin with its boundary");
                    }
                    self.matched += 1;
                    self.end_of_delimiter();
                }
                At::Delimited => {
                    self.at = match first {
                        b'\r' => At::Cr,
                        b'-' => At::Dash,
                        _ => return Err("a boundary of the form is not alone on its line"),
                    };
                }
                At::Dash if *first == b'-' && self.parts > 0 => self.at = At::End,
                At::Cr if *first == b'\n' && self.parts == 0 => self.at = At::Head,
                At::Cr if *first == b'\n' => return Err("the form has more than one part"),
                At::Dash | At::Cr => return Err("a boundary of the form is not alone on its line"),
                At::Head => {
                    self.head.push(*first);
                    if self.head.ends_with(b"\r\n\r\n") || self.head == b"\r\n" {
                        let (name, mime) = part(&self.head)?;
                        found(Piece::File { name, mime });
                        self.head = Vec::new();
                        self.parts = 1;
                        self.matched = 0;
                        self.at = At::Content;
                    } else if self.head.len() >= MAX_HEAD {
                        return Err("the headers of the form's part are too long");
                    }
                }
                At::Content => {
                    input = self.content(input, &mut found);
                    continue;
                }
                // What follows is nobody's (RFC 2046 section 5.1.1).
                At::End => return Ok(()),
            }
            input = rest;
        }
        Ok(())
    }

    /// Whether the form had its end.
    pub(super) fn is_complete(&self) -> bool {
        self.at == At::End
    }

    /// Content up to the next byte that may belong to a delimiter, or one more byte of that.
    fn content<'i>(&mut self, input: &'i [u8], found: &mut impl FnMut(Piece<'_>)) -> &'i [u8] {
        if self.matched == 0 {
            let end = input.iter().position(|byte| *byte == b'\r').unwrap_or(input.len());
            if end > 0 {
                found(Piece::Content(&input[..end]));
                return &input[end..];
            }
        }
        if input[0] == self.delimiter[self.matched] {
            self.matched += 1;
            self.end_of_delimiter();
            return &input[1..];
        }
        // It was content after all. The byte at hand is looked at again: it may be a CR.
        found(Piece::Content(&self.delimiter[..self.matched]));
        self.matched = 0;
        input
    }

    fn end_of_delimiter(&mut self) {
        if self.matched == self.delimiter.len() {
            self.at = At::Delimited;
        }
    }
}

/// The file's name and media type, from the headers of its part.
fn part(head: &[u8]) -> Result<(String, Option<String>), &'static str> {
    let head =
        std::str::from_utf8(head).map_err(|_| "the form's part has headers that are no text")?;
    let header = |wanted: &str| {
        head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    let Some(disposition) = header("Content-Disposition") else {
        return Err("the form's part has no Content-Disposition");
    };
    if parameter(disposition, "name").as_deref() != Some("file") {
        return Err("the form's part must be called file");
    }
    let encoding = header("Content-Transfer-Encoding").unwrap_or("binary");
    if !["binary", "8bit", "7bit"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
        return Err("the form's part has a transfer encoding; send it as it is");
    }
    let name = filename_of(disposition).unwrap_or_default();
    Ok((name, header("Content-Type").map(Into::into)))
}

/// A parameter of a header's value (RFC 9110 section 5.6.6). Of the escapes in quotes only those are
/// undone that are needed: browsers leave a backslash in a name as it is.
pub(super) fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim();
        let after = after.trim_start();
        let mut text = String::new();
        let behind = if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices().peekable();
            loop {
                match chars.next()? {
                    (at, '"') => break &quoted[at + 1..],
                    (_, '\\') => match chars.next_if(|(_, c)| matches!(c, '"' | '\\')) {
                        Some((_, c)) => text.push(c),
                        None => text.push('\\'),
                    },
                    (_, c) => text.push(c),
                }
            }
        } else {
            let end = after.find(';').unwrap_or(after.len());
            text.push_str(after[..end].trim_end());
            &after[end..]
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = behind.trim_start().strip_prefix(';')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"a b\"";

    /// The name and the content of a form in pieces of this size.
    fn read(body: &[u8], size: usize) -> Result<(String, Vec<u8>, bool), &'static str> {
        let mut form = Multipart::new(TYPE).expect("a boundary");
        let (mut name, mut content) = (String::new(), Vec::new());
        for piece in body.chunks(size) {
            form.read(piece, |piece| match piece {
                Piece::File { name: found, mime } => {
                    assert_eq!(mime.as_deref(), Some("image/png"));
                    name = found;
                }
                Piece::Content(bytes) => content.extend_from_slice(bytes),
            })?;
        }
        Ok((name, content, form.is_complete()))
    }

    fn form(content: &[u8]) -> Vec<u8> {
        let head =
            b"--a b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.png\"\r\n\
            content-type: image/png\r\n\r\n";
        [head, content, b"\r\n--a b--\r\n"].concat()
    }

    #[test]
    fn content_is_found_in_any_split_however_it_looks_like_a_delimiter() {
        for content in [
            &b""[..],
            b"plain",
            b"\r",
            b"\r\n",
            b"\r\r\n--a ",
            b"\r\n--a\r\n--a \r\n--",
            b"\r\n-\r\n--a c\r\n--a B\r",
            b"--a b--\r\n",
        ] {
            for size in 1..200 {
                let found = read(&form(content), size).expect("a form");
                assert_eq!(found, ("x.png".into(), content.to_vec(), true), "{size}");
            }
        }
    }

    #[test]
    fn a_form_that_is_cut_is_not_complete() {
        let whole = form(b"content");
        let end = whole.len() - 2;
        for cut in 0..end {
            assert!(!read(&whole[..cut], 50).expect("so far").2, "{cut}");
        }
        assert!(read(&whole[..end], 50).expect("a form").2, "a last line end is not needed");
    }

    #[test]
    fn other_forms_are_refused() {
        let good = form(b"x");
        for (from, to, what) in [
            ("--a b\r\nC", "hello\r\n--a b\r\nC", "does not begin"),
            ("--a b\r\nC", "\r\n--a b\r\nC", "does not begin"),
            ("--a b\r\nC", "--a b \r\nC", "not alone"),
            ("--a b\r\nC", "--a b--\r\nC", "not alone"),
            ("name=\"file\"", "name=\"other\"", "called file"),
            ("name=\"file\"", "x=\"file\"", "called file"),
            ("Content-Disposition", "Content-Other", "no Content-Disposition"),
            ("content-type", "Content-Transfer-Encoding: base64\r\nA", "transfer encoding"),
            ("--a b--", "--a b\r\n", "more than one part"),
            ("--a b--", "--a b-x", "not alone"),
        ] {
            let text = String::from_utf8(good.clone()).expect("text");
            let broken = text.replace(from, to);
            assert_ne!(broken, text);
            let error = read(broken.as_bytes(), 7).expect_err(to);
            assert!(error.contains(what), "{to}: {error}");
        }
        let long = String::from_utf8(good).expect("text").replace("x.png", &"y".repeat(MAX_HEAD));
        assert!(read(long.as_bytes(), 9).expect_err("long").contains("too long"));
    }

    #[test]
    fn boundaries_are_those_of_rfc_2046() {
        let of =
            |boundary: &str| Multipart::new(&format!("multipart/form-data; boundary={boundary}"));
        assert!(of(&"x".repeat(70)).is_some() && of(&"x".repeat(71)).is_none());
        assert!(of("\"a b\"").is_some() && of("\"a \"").is_none());
        assert!(of("").is_none() && of("ä").is_none() && of("\"a\r\"").is_none());
        assert!(Multipart::new("multipart/form-data").is_none());
        assert!(Multipart::new("multipart/form-data; charset=x; Boundary=y").is_some());
    }

    #[test]
    fn parameters_are_found_in_quotes_and_without() {
        let value = r#"form-data; a="x;b=1\"\\\z" ; b = 2;c="#;
        assert_eq!(parameter(value, "a").as_deref(), Some(r#"x;b=1"\\z"#));
        assert_eq!(parameter(value, "B").as_deref(), Some("2"));
        assert_eq!(parameter(value, "c").as_deref(), Some(""));
        assert_eq!(parameter(value, "d"), None);
        assert_eq!(parameter("form-data; a=\"open", "a"), None);
    }
}
