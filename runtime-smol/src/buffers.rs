//! One read buffer and one write buffer per thread: a task has them only inside one poll.

use std::cell::Cell;

/// Bytes of the read buffer that all connections polled by a thread share.
const READ_BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) read: Box<[u8]>,
    /// Lent to the outbox of the connection that is polled, so that replies need no allocation.
    pub(crate) spare: Vec<u8>,
}

thread_local! {
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

impl Buffers {
    /// Runs `poll` with the thread's buffers. A handler that polls another connection inside gets
    /// fresh ones.
    pub(crate) fn with<T>(poll: impl FnOnce(&mut Self) -> T) -> T {
        let mut buffers = BUFFERS.take().unwrap_or_else(|| {
            Box::new(Self { read: vec![0; READ_BUFFER].into(), spare: Vec::new() })
        });
        let value = poll(&mut buffers);
        BUFFERS.set(Some(buffers));
        value
    }
}
