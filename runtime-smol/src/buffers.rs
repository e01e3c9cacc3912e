//! One read, one message and one write buffer per thread: a task has them only inside one poll, the
//! message buffer until the message is complete.

use moorline_core::{Connection, MessageSpare};
use std::cell::Cell;

#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) read: Box<[u8]>,
    /// Lent to the outbox of the connection that is polled, so that replies need no allocation.
    pub(crate) spare: Vec<u8>,
    /// Lent to the connection that collects a message.
    pub(crate) message: MessageSpare,
}

thread_local! {
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

impl Buffers {
    /// Runs `poll` with the thread's buffers. A handler that polls another connection inside gets
    /// fresh ones.
    pub(crate) fn with<T>(poll: impl FnOnce(&mut Self) -> T) -> T {
        let mut buffers = BUFFERS.take().unwrap_or_else(|| {
            Box::new(Self {
                read: vec![0; Connection::READ_BUFFER].into(),
                spare: Vec::new(),
                message: MessageSpare::default(),
            })
        });
        let value = poll(&mut buffers);
        BUFFERS.set(Some(buffers));
        value
    }
}
