//! Masking keys and nonces from the operating system.

use moorline_core::Entropy;
use std::cell::RefCell;

/// The operating system's random bytes, fetched 512 at a time and shared by all clients of a thread.
/// It has no size: a boxed one needs no heap.
#[derive(Debug, Copy, Clone, Default)]
pub struct OsEntropy;

struct Pool {
    bytes: [u8; 512],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; 512], used: 512 }) };
}

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        POOL.with_borrow_mut(|pool| {
            for byte in out {
                if pool.used == pool.bytes.len() {
                    getrandom::fill(&mut pool.bytes)
                        .expect("without randomness from the operating system nothing is safe");
                    pool.used = 0;
                }
                *byte = std::mem::take(&mut pool.bytes[pool.used]);
                pool.used += 1;
            }
        });
    }
}
