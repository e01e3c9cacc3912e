//! An allocator that counts, per thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Calls that allocate or grow, bytes that they copied at most, and bytes held, on this thread.
    pub static CALLS: Cell<usize> = const { Cell::new(0) };
    static COPIED: Cell<usize> = const { Cell::new(0) };
    pub static HELD: Cell<isize> = const { Cell::new(0) };
}

fn note(calls: usize, copied: usize, held: isize) {
    // A thread that ends frees after its cells are gone.
    let _ = CALLS.try_with(|cell| cell.set(cell.get() + calls));
    let _ = COPIED.try_with(|cell| cell.set(cell.get() + copied));
    let _ = HELD.try_with(|cell| cell.set(cell.get() + held));
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, 0, -(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, layout.size(), size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug, PartialEq)]
pub struct Counts {
    pub calls: usize,
    pub copied: usize,
    pub held: isize,
}

/// Does it, and counts.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    let before = (CALLS.get(), COPIED.get(), HELD.get());
    let value = work();
    let calls = CALLS.get() - before.0;
    let counts = Counts { calls, copied: COPIED.get() - before.1, held: HELD.get() - before.2 };
    (value, counts)
}
