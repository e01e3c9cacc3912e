//! Text in pieces.

use crate::input::{Input, Pieces};
use moorline_core::frame::Utf8Stream;

/// A text in any pieces is judged as the standard library judges the whole, and refused with the
/// piece that made it wrong; until then the text so far is all of its complete code points.
///
/// The input: four lengths of pieces, the text.
pub fn utf8_stream(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pieces = Pieces::new(&mut input);
    let bytes = input.rest();
    let (mut stream, mut text) = (Utf8Stream::default(), String::new());
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + pieces.next());
        let pushed = stream.push(&mut text, &bytes[at..end]);
        let wrong = std::str::from_utf8(&bytes[..end]).err().and_then(|error| error.error_len());
        assert_eq!(pushed.is_err(), wrong.is_some(), "after {end} bytes");
        if pushed.is_err() {
            return;
        }
        let whole = std::str::from_utf8(&bytes[..end]).map_or_else(|e| e.valid_up_to(), str::len);
        assert_eq!(text.as_bytes(), &bytes[..whole], "after {end} bytes");
        at = end;
    }
    assert_eq!(stream.finish().is_ok(), std::str::from_utf8(bytes).is_ok());
}
