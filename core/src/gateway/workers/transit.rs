//! What workers say of runs of other loops, on its way there. It is counted at the worker's loop until the
//! run's loop has told that it was taken: a loop that is busy counts nothing.
//!
//! ```text
//!  run's loop                                worker's loop
//!              ◀──────── Said, Said, Said ──  Transit: bytes of the run's user, up to three bounds
//!  Taken       ─── Heard: so many of them ─▶  they count no more; what has waited goes on
//! ```

use super::super::bus::NodeId;
use super::super::retained::{ENTRY, Held};
use std::collections::VecDeque;

/// Messages of a run that may be on their way before pieces of its answer wait, where they can be merged.
pub(super) const WINDOW: usize = 64;

/// Messages that may be on their way when they cannot be merged: a run that says more fails.
pub(super) const MOST: usize = 4 * WINDOW;

/// The worker's loop is told of so many messages at once, or of so many bytes. One message for each would
/// be twice as many as there have to be; what is told late counts for longer than it is there.
const TELL_MESSAGES: usize = 16;
const TELL_BYTES: usize = 4096;

/// At the worker's loop: what its home has not told of, in its order. It outlasts what the worker has to do
/// with the run.
#[derive(Debug)]
pub(super) struct Transit {
    home: NodeId,
    sizes: VecDeque<usize>,
    bytes: usize,
    held: Held,
}

impl Transit {
    /// Nothing yet. What is held for the run's user will be what is on its way.
    pub(super) fn new(home: NodeId, held: Held) -> Self {
        Self { home, sizes: VecDeque::new(), bytes: 0, held }
    }

    pub(super) fn home(&self) -> NodeId {
        self.home
    }

    pub(super) fn messages(&self) -> usize {
        self.sizes.len()
    }

    /// Without what a message costs besides what it says.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
        self.count();
    }

    /// The first ones have been taken. Says whether none is left.
    pub(super) fn take(&mut self, messages: usize) -> bool {
        let messages = messages.min(self.sizes.len());
        self.bytes -= self.sizes.drain(..messages).sum::<usize>();
        self.count();
        self.sizes.is_empty()
    }

    fn count(&mut self) {
        self.held.set(self.bytes + ENTRY * self.sizes.len());
    }
}

/// At the run's loop: what it has taken and not told of.
#[derive(Debug, Default)]
pub(super) struct Taken {
    messages: usize,
    bytes: usize,
}

impl Taken {
    /// One more; gives how many it is time to tell of.
    pub(super) fn add(&mut self, bytes: usize) -> Option<usize> {
        self.messages += 1;
        self.bytes += bytes;
        let is_time = self.messages >= TELL_MESSAGES || self.bytes >= TELL_BYTES;
        is_time.then(|| std::mem::take(self).messages)
    }

    /// There will be no more; gives how many are left to tell of, if any.
    pub(super) fn rest(&mut self) -> Option<usize> {
        Some(std::mem::take(self).messages).filter(|messages| *messages > 0)
    }
}
