//! Bytes as hexadecimal digits.

use moorline_core::Entropy as _;
use moorline_mio::OsEntropy;
use sha2::{Digest as _, Sha256};

/// So many random bytes, two digits each.
pub(crate) fn random<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    OsEntropy.fill(&mut bytes);
    digits(&bytes)
}

/// The first 8 digits of the SHA-256: enough to tell a secret or a certificate from others, and too little
/// to find it by.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    digits(&Sha256::digest(bytes)[..4])
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_start_of_the_hash() {
        // The first test vector of FIPS 180-4: ba7816bf…
        assert_eq!(fingerprint(b"abc"), "ba7816bf");
    }

    #[test]
    fn what_is_random_is_as_long_as_it_is_asked_for_and_never_twice_the_same() {
        let [one, other] = [random::<16>(), random::<16>()];
        assert_eq!((one.len(), one == other), (32, false));
    }
}
