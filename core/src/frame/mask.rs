//! Masking (RFC 6455 section 5.3): XOR with a four-byte key. Applying it twice is the identity.

use fearless_simd::{Level, Simd as _, dispatch};

/// XORs `data` with `key`, whose first byte falls on the first byte of `data`.
#[inline]
pub fn apply(key: [u8; 4], data: &mut [u8]) {
    if data.len() < WIDE {
        narrow(key, data);
    } else {
        wide(key, data);
    }
}

/// From this length on it pays to ask which registers the machine has and to begin at a cache line.
const WIDE: usize = 512;

#[inline(never)]
fn wide(key: [u8; 4], data: &mut [u8]) {
    // Registers of 64 bytes touch two cache lines each unless they begin with one.
    let start = data.as_ptr().align_offset(64).min(data.len());
    let (head, data) = data.split_at_mut(start);
    narrow(key, head);
    let key = rotate(key, start);
    let level = Level::new();
    dispatch!(level, simd => simd.vectorize(#[inline(always)] || narrow(key, data)));
}

/// Copies `from` over `to`, which is as long, XORed with `key`, whose first byte falls on the first.
pub(crate) fn copy(key: [u8; 4], from: &[u8], to: &mut [u8]) {
    debug_assert_eq!(from.len(), to.len());
    if to.len() < WIDE {
        return copy_narrow(key, from, to);
    }
    // What is written should begin with a cache line rather than what is read.
    let start = to.as_ptr().align_offset(64).min(to.len());
    let (from_head, from) = from.split_at(start);
    let (to_head, to) = to.split_at_mut(start);
    copy_narrow(key, from_head, to_head);
    let key = rotate(key, start);
    let level = Level::new();
    dispatch!(level, simd => simd.vectorize(#[inline(always)] || copy_narrow(key, from, to)));
}

#[inline(always)]
fn copy_narrow(key: [u8; 4], from: &[u8], to: &mut [u8]) {
    let half = u32::from_ne_bytes(key);
    let word = u64::from(half) << 32 | u64::from(half);
    let (words, rest) = from.as_chunks::<8>();
    let (to_words, to_rest) = to.as_chunks_mut::<8>();
    for (to, from) in to_words.iter_mut().zip(words) {
        *to = (u64::from_ne_bytes(*from) ^ word).to_ne_bytes();
    }
    for (at, (to, from)) in to_rest.iter_mut().zip(rest).enumerate() {
        *to = from ^ key[at & 3];
    }
}

#[inline(always)]
fn narrow(key: [u8; 4], data: &mut [u8]) {
    let half = u32::from_ne_bytes(key);
    let word = u64::from(half) << 32 | u64::from(half);
    let (words, rest) = data.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    let (halves, rest) = rest.as_chunks_mut::<4>();
    for bytes in halves {
        *bytes = (u32::from_ne_bytes(*bytes) ^ half).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The key as it stands for data that begins `offset` bytes into the payload.
#[inline]
pub const fn rotate(key: [u8; 4], offset: usize) -> [u8; 4] {
    let [a, b, c, d] = key;
    match offset & 3 {
        0 => key,
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_cut_equals_the_byte_by_byte_definition() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let plain: Vec<u8> = (0..WIDE + 200).map(|at| at as u8).collect();
        for len in (0..200).chain(WIDE - 2..plain.len()) {
            let expected: Vec<u8> =
                plain[..len].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for cut in [0, 1, 2, 3, 7, 8, 63, 64, 65, WIDE].into_iter().filter(|cut| *cut <= len) {
                let mut data = plain[..len].to_vec();
                let (head, tail) = data.split_at_mut(cut);
                apply(key, head);
                apply(rotate(key, cut), tail);
                assert_eq!(data, expected, "length {len} cut at {cut}");
                let mut copied = vec![0xAA; len];
                let (head, tail) = copied.split_at_mut(cut);
                copy(key, &plain[..cut], head);
                copy(rotate(key, cut), &plain[cut..len], tail);
                assert_eq!(copied, expected, "length {len} copied in pieces cut at {cut}");
            }
        }
    }
}
