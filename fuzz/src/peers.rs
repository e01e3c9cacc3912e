//! What a hostile or unlucky peer may send after the opening handshake.

use crate::frames::cook;
use crate::input::{Input, Pieces};
use crate::run::{ANSWER, App, REQUEST, client, run, server, small_limits};

/// Bytes to a server: any split gives the same events and the same output as none; there is exactly
/// one `Closed`; memory stays within the limits.
///
/// The input: options, four lengths of pieces, then the wire (or a recipe for it).
pub fn server_bytes(data: &[u8]) {
    check(data, true);
}

/// Bytes to a client, likewise.
pub fn client_bytes(data: &[u8]) {
    check(data, false);
}

fn check(data: &[u8], is_server: bool) {
    let mut input = Input::new(&data[..data.len().min(8 * 1024)]);
    let options = input.byte();
    let pieces = Pieces::new(&mut input);
    let limits = if options & 1 == 0 { Default::default() } else { small_limits() };
    let close_after = (options & 2 != 0).then_some(usize::from(options >> 4));
    let app = App { echo: options & 8 == 0, close_after };
    let payload = if options & 4 == 0 { input.rest().to_vec() } else { cook(input, is_server) };
    let (start, open) =
        if is_server { (REQUEST, server as fn(&_) -> _) } else { (ANSWER, client as fn(&_) -> _) };
    let bytes = [start, &payload].concat();
    let whole = run(open(&limits), &limits, app, &bytes, None);
    let split = run(open(&limits), &limits, app, &bytes, Some(pieces));
    assert_eq!(split, whole);
}
