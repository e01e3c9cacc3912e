//! What a peer that does not read costs: nothing of this is allocated for one that does.

use super::outbox::Entropy;
use crate::frame::{Header, MAX_HEADER, Opcode, mask};
use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) segments: VecDeque<Segment>,
    /// Tail bytes that `segments` refer to; the tail's other bytes come after all segments.
    pub(super) covered: usize,
    /// Control frames in wire form, of which `control_sent` bytes have left. While that is 0 they
    /// are made anew from what follows before every write.
    pub(super) control: Vec<u8>,
    pub(super) control_sent: usize,
    /// A Ping is among `control`.
    pub(super) control_ping: bool,
    pub(super) pong: Option<Vec<u8>>,
    pub(super) ping: bool,
}

#[derive(Debug)]
pub(super) enum Segment {
    Tail(usize),
    Shared(Bytes),
}

impl Backlog {
    /// Control bytes that have not left; what is not encoded yet counts as one.
    pub(super) fn control_left(&self) -> usize {
        let waiting = usize::from(self.ping || self.pong.is_some());
        match self.control_sent {
            // Not begun: what waits is among `control`, or will be at the next write.
            0 => self.control.len().max(waiting),
            // Begun: what waits comes behind it.
            sent => self.control.len() - sent + waiting,
        }
    }

    pub(super) fn encode_control(&mut self, entropy: &mut Option<Box<dyn Entropy>>) {
        if self.control_sent > 0 {
            return;
        }
        self.control.clear();
        self.control_ping = self.ping;
        let pong = self.pong.as_deref().map(|payload| (Opcode::Pong, payload));
        for (opcode, payload) in
            self.ping.then_some((Opcode::Ping, &[][..])).into_iter().chain(pong)
        {
            let mask = entropy.as_mut().map(|entropy| {
                let mut key = [0; 4];
                entropy.fill(&mut key);
                key
            });
            let header = Header { fin: true, rsv: 0, opcode, mask, len: payload.len() as u64 };
            let mut head = [0; MAX_HEADER];
            let size = header.emit(&mut head);
            self.control.extend_from_slice(&head[..size]);
            let start = self.control.len();
            self.control.extend_from_slice(payload);
            if let Some(key) = mask {
                mask::apply(key, &mut self.control[start..]);
            }
        }
    }

    /// Control bytes have left; says whether a Ping left with the last of them.
    pub(super) fn write_control(&mut self, count: usize) -> bool {
        if count == 0 {
            return false;
        }
        if self.control_sent == 0 {
            self.pong = None;
            self.ping = false;
        }
        self.control_sent += count;
        if self.control_sent < self.control.len() {
            return false;
        }
        self.control.clear();
        self.control_sent = 0;
        std::mem::take(&mut self.control_ping)
    }

    pub(super) fn retained(&self) -> usize {
        size_of::<Self>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.control.capacity()
            + self.pong.as_ref().map_or(0, Vec::capacity)
            + self
                .segments
                .iter()
                .map(|segment| match segment {
                    Segment::Shared(bytes) => bytes.len(),
                    Segment::Tail(_) => 0,
                })
                .sum::<usize>()
    }
}
