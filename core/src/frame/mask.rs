//! Masking (RFC 6455 section 5.3): XOR with a four-byte key. Applying it twice is the identity.

/// XORs `data` with `key`, whose first byte falls on the first byte of `data`.
#[inline]
pub fn apply(key: [u8; 4], data: &mut [u8]) {
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    // Blocks let the compiler use vector registers; what is left goes by words, then by bytes.
    let (blocks, rest) = data.as_chunks_mut::<64>();
    for block in blocks {
        let (words, _) = block.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
    }
    let (words, rest) = rest.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
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
        let plain: Vec<u8> = (0..200u8).collect();
        for len in 0..plain.len() {
            let expected: Vec<u8> =
                plain[..len].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for cut in [0, 1, 2, 3, 7, 8, 63, 64, 65].into_iter().filter(|cut| *cut <= len) {
                let mut data = plain[..len].to_vec();
                let (head, tail) = data.split_at_mut(cut);
                apply(key, head);
                apply(rotate(key, cut), tail);
                assert_eq!(data, expected, "length {len} cut at {cut}");
            }
        }
    }
}
