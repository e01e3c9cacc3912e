//! The message buffer that a loop lends to its connections.

use crate::frame::assembler::Message;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A message buffer that the connections of a loop share, as they share its read buffer: a message
/// that does not come in one read is collected there without allocation, growth or fresh pages.
///
/// Hand it to [`Connection::receive_with`](super::Connection::receive_with). A connection that begins
/// to collect takes the buffer, and gives it back in the turn that hands out the message. Who comes
/// meanwhile collects in storage of its own, which grows by what arrives. It begins empty and becomes
/// what the first collected message needed.
///
/// One buffer of at most [`MessageSpare::MAX`] bytes is all that a loop ever holds beyond what has
/// arrived, whether it waits here or with a peer that leaves its message unfinished: while it is lent,
/// no other is kept. It goes with a connection that is dropped, and the next message brings another.
pub struct MessageSpare {
    message: Option<Box<Message>>,
    /// The lent buffer has a clone of it, so that one which never comes back is not waited for.
    token: Arc<()>,
    frames: u64,
}

impl MessageSpare {
    /// Bytes of the largest buffer that is kept, 2 MiB: more than most messages, and little for a
    /// loop. One that has become larger is freed with its message.
    pub const MAX: usize = 2 * 1024 * 1024;

    /// Heap bytes that wait here; 0 while the buffer is lent.
    pub fn retained(&self) -> usize {
        self.message.as_ref().map_or(0, |message| size_of::<Message>() + message.retained())
    }

    /// Frames that were received with it so far, control frames included.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    #[inline(always)]
    pub(super) fn count_frame(&mut self) {
        self.frames += 1;
    }

    /// The buffer, if it is here, for a message that begins.
    pub(super) fn take(&mut self, is_text: bool, now: Instant) -> Option<Box<Message>> {
        let mut message = self.message.take()?;
        message.restart(is_text, now);
        message.lender = Some(self.token.clone());
        Some(message)
    }

    /// The buffer of a message that was handed out or will not be, whosever it was: a task of an
    /// executor with many threads may have had it from another one.
    pub(super) fn give_back(&mut self, mut message: Box<Message>) {
        message.lender = None;
        let is_lent = Arc::strong_count(&self.token) > 1;
        if self.message.is_none() && !is_lent && message.retained() <= Self::MAX {
            self.message = Some(message);
        }
    }
}

impl Default for MessageSpare {
    fn default() -> Self {
        Self { message: None, token: Arc::new(()), frames: 0 }
    }
}

impl fmt::Debug for MessageSpare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSpare").field("retained", &self.retained()).finish_non_exhaustive()
    }
}
