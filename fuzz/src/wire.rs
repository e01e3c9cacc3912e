//! A walk over frames that trusts every length and checks no other rule: where another parser would
//! stand, without asking the one that is tested.

/// Where the first frame stands whose length is not in its shortest form, or needs a longer form than
/// a control frame may have.
pub(crate) fn odd_length(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&[first, second]) = wire.get(at..at + 2) {
        let is_control = first & 8 != 0;
        let form = second & 0x7F;
        let extended = &wire[at + 2..(at + 2 + extension(form)).min(wire.len())];
        let is_odd = match form {
            126 | 127 if is_control => true,
            126 => matches!(extended, [0, low] if *low < 126),
            127 => extended.len() >= 6 && extended[..6] == [0; 6],
            _ => false,
        };
        if is_odd {
            return Some(at);
        }
        at = end_of_frame(wire, at)?;
    }
    None
}

/// Ways in which the frame that the wire ends within can end; none when it ends between frames. The
/// header continues as a right one; the payload is anything, with and without the rest of an open
/// code point.
pub(crate) fn missing(wire: &[u8], masked: bool) -> Vec<Vec<u8>> {
    let mut at = 0;
    while let Some(next) = end_of_frame(wire, at).filter(|next| *next <= wire.len()) {
        at = next;
    }
    if at == wire.len() {
        return Vec::new();
    }
    let mut frame = wire[at..].to_vec();
    let given = frame.len();
    if given == 1 {
        frame.push(if masked { 0x80 } else { 0 });
    }
    // The shortest length that is odd in no way, unless its first bytes say more.
    let least: &[u8] = match frame[1] & 0x7F {
        126 => &[0, 0xFF],
        127 => &[0, 0, 0, 0, 0, 1, 0, 0],
        _ => &[],
    };
    frame.extend(least.get(frame.len() - 2..).unwrap_or_default());
    let header = header_size(frame[1]);
    frame.resize(frame.len().max(header), 0);
    let key: Vec<u8> =
        if frame[1] & 0x80 != 0 { frame[header - 4..header].to_vec() } else { vec![0] };
    let len = length(&frame).saturating_add(header as u64);
    // What is longer than this is over every limit: its header is enough.
    let end = if len > 1 << 20 { frame.len() } else { len as usize };
    let mut ways = Vec::new();
    for open in 0..=3 {
        for continued in [0x80, 0xBF] {
            let mut whole = frame.clone();
            for place in 0..end - frame.len() {
                let byte = if place < open { continued } else { b'a' };
                whole.push(byte ^ key[(whole.len() - header) % key.len()]);
            }
            ways.push(whole.split_off(given));
        }
    }
    ways
}

fn end_of_frame(wire: &[u8], at: usize) -> Option<usize> {
    let frame = &wire[at..];
    let header = header_size(*frame.get(1)?);
    let header_bytes = frame.get(..header)?;
    at.checked_add(header)?.checked_add(usize::try_from(length(header_bytes)).ok()?)
}

fn header_size(second: u8) -> usize {
    2 + extension(second & 0x7F) + if second & 0x80 != 0 { 4 } else { 0 }
}

fn extension(form: u8) -> usize {
    match form {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

/// The length in a complete header.
fn length(header: &[u8]) -> u64 {
    match header[1] & 0x7F {
        form @ (126 | 127) => {
            header[2..2 + extension(form)].iter().fold(0, |len, byte| len << 8 | u64::from(*byte))
        }
        short => short.into(),
    }
}
