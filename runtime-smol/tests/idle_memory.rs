//! What an idle connection's task holds, counted by the allocator.

mod support;

use moorline_core::Limits;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Peer, Running};

/// Counts the bytes that are allocated now.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes per idle connection: its task (most of it the connection itself, two wakers and a timer),
/// its place in the reactor, and its share of three growing tables. The smallest buffer anybody
/// would read into is larger.
const CEILING: usize = 2048;

#[test]
fn an_idle_connection_holds_no_buffer() {
    const CONNECTIONS: usize = 400;
    let server = Running::echo(Limits::default());
    let talk = |client: &mut Peer| {
        client.send(1, &[b'x'; 10_000]);
        assert_eq!(client.read_message().len(), 10_000);
    };
    // The first connections pay for what all share. Each of them has had messages: what one needed
    // is given back.
    let mut warm: Vec<_> = (0..50).map(|_| Peer::connect(server.address)).collect();
    warm.iter_mut().for_each(talk);
    let mut idle = Vec::with_capacity(CONNECTIONS);
    let before = LIVE.load(Ordering::SeqCst);
    for _ in 0..CONNECTIONS {
        idle.push(Peer::connect(server.address));
    }
    idle.iter_mut().for_each(talk);
    let after = LIVE.load(Ordering::SeqCst);
    let each = (after - before) / CONNECTIONS;
    println!("{each} allocated bytes per idle connection");
    assert!(each < CEILING, "{each} bytes each");
}
