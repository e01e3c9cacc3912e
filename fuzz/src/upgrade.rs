//! What may stand where a request should.

use crate::input::{Input, Pieces};
use crate::run::{App, REQUEST, run, server, small_limits};
use moorline_core::Limits;

/// Any bytes to a new server: none or one response, never a panic; a refusal has a status and says
/// it; any split gives the same.
///
/// The input: where the bytes go (alone, into a good request's headers, behind it), four lengths of
/// pieces, the bytes.
pub fn upgrade_request(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte();
    let pieces = Pieces::new(&mut input);
    let bytes = input.rest();
    let limits = if options & 1 == 0 { Limits::default() } else { small_limits() };
    let stream = match options >> 1 & 3 {
        0 => bytes.to_vec(),
        1 => [&REQUEST[..REQUEST.len() - 2], bytes, b"\r\n\r\n"].concat(),
        2 => [b"GET ", bytes, &REQUEST[7..]].concat(),
        _ => [REQUEST, bytes].concat(),
    };
    let app = App { echo: false, close_after: None };
    let whole = run(server(&limits), &limits, app, &stream, None);
    let split = run(server(&limits), &limits, app, &stream, Some(pieces));
    assert_eq!(split, whole);

    let Some(end) = whole.output.windows(4).position(|four| four == b"\r\n\r\n") else {
        assert!(whole.output.is_empty(), "a response without end");
        assert!(whole.refused.is_none(), "refused in silence: {:?}", whole.refused);
        return;
    };
    let head = std::str::from_utf8(&whole.output[..end]).expect("a head is text");
    let body = &whole.output[end + 4..];
    let status: u16 = head.strip_prefix("HTTP/1.1 ").expect(head)[..3].parse().expect(head);
    if let Some(error) = whole.refused {
        assert_eq!(status, error.status());
        assert!((400..600).contains(&status));
        let text = std::str::from_utf8(body).expect("a reason is text");
        assert!(text.contains(&error.to_string()), "{text}");
    }
    if status != 101 {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .expect("every response has its length");
        let length: usize = length.parse().expect("a number");
        // The answer to HEAD has no body.
        assert!(body.len() == length || body.is_empty(), "a second response? {body:?}");
    }
}
