//! What leaves: the queue as slices for one vectored write, and how far the kernel took it.
//!
//! ```text
//! data:     [ rest of the frame being written | whole frames ............... ]
//! control:                                    ^ Pong, Ping pass here
//! ```

use super::backlog::{Backlog, Segment};
use super::outbox::{Outbox, Ping};
use crate::frame::{Expect, Frame, Header, HeaderView, MAX_HEADER, Opcode};
use bytes::Buf as _;
use std::io::IoSlice;
use std::time::Instant;

/// A lent buffer that a burst has made larger than this is freed instead of given back.
const SPARE_MAX: usize = 256 * 1024;

impl Outbox {
    /// Whether everything has left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queued == 0 && self.backlog.as_ref().is_none_or(|backlog| backlog.control_left() == 0)
    }

    /// The bytes to write, in order, as far as `slices` has room; says how many slices are filled.
    pub fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(backlog) = &mut self.backlog else {
            return match slices.first_mut() {
                Some(slice) if self.queued > 0 => {
                    *slice = IoSlice::new(&self.tail[self.sent..]);
                    1
                }
                _ => 0,
            };
        };
        backlog.encode_control(&mut self.entropy);
        let (this, backlog) = (&*self, self.backlog.as_deref());
        let control = backlog.map_or(&[][..], |backlog| &backlog.control[backlog.control_sent..]);
        let mut filler = Filler { slices, filled: 0 };
        let mut before_control = (!control.is_empty()).then_some(this.rest);
        for mut piece in this.data() {
            if let Some(before) = before_control {
                let (first, second) = piece.split_at(before.min(piece.len()));
                filler.push(first);
                if before > piece.len() {
                    before_control = Some(before - piece.len());
                    continue;
                }
                filler.push(control);
                before_control = None;
                piece = second;
            }
            filler.push(piece);
        }
        filler.filled
    }

    /// The data that has not left, in order.
    fn data(&self) -> impl Iterator<Item = &[u8]> {
        let backlog = self.backlog.as_deref();
        let mut at = self.sent;
        let covered = backlog.into_iter().flat_map(|backlog| &backlog.segments);
        let covered = covered.map(move |segment| match segment {
            Segment::Tail(len) => {
                at += len;
                &self.tail[at - len..at]
            }
            Segment::Shared(bytes) => &bytes[..],
        });
        let behind = self.sent + backlog.map_or(0, |backlog| backlog.covered);
        covered.chain(std::iter::once(&self.tail[behind..]))
    }

    /// How many frames begin to leave when the kernel takes `count` bytes of what the latest
    /// [`Outbox::slices`] gave, control frames included. Asked before [`Outbox::written`] of each write,
    /// it counts every frame once, and none that was dropped before it began. The heads and bodies of
    /// HTTP are no frames. Work in proportion to what it counts.
    #[inline]
    pub fn frames_in(&self, count: usize) -> u64 {
        match &self.backlog {
            None => begun(&self.tail[self.sent..], self.rest, count),
            Some(backlog) => self.frames_among(backlog, count),
        }
    }

    fn frames_among(&self, backlog: &Backlog, count: usize) -> u64 {
        let control = &backlog.control[backlog.control_sent..];
        let taken = control.len().min(count.saturating_sub(self.rest));
        // Once one of them has begun, all that stand together are sure to leave.
        let first = taken > 0 && backlog.control_sent == 0;
        let mut frames = if first { begun(control, 0, control.len()) } else { 0 };
        let (mut left, mut rest) = (count - taken, self.rest);
        for piece in self.data() {
            frames += begun(piece, rest, left.min(piece.len()));
            rest = rest.saturating_sub(piece.len());
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
        frames
    }

    /// The kernel took `count` bytes of what the latest [`Outbox::slices`] gave; 0 when it would
    /// have blocked.
    pub fn written(&mut self, now: Instant, count: usize) {
        self.now = now;
        let all = count == self.queued();
        if if self.blocked { count > 0 } else { !all } {
            self.moved = now;
        }
        if all {
            self.clear();
            self.has_left();
            return;
        }
        self.blocked = true;
        let mut count = count;
        let before = if self.has_control() { self.rest.min(count) } else { count };
        self.consume(before);
        count -= before;
        if count > 0
            && let Some(backlog) = &mut self.backlog
        {
            let control = count.min(backlog.control.len() - backlog.control_sent);
            let ping_left = backlog.write_control(control);
            count -= control;
            if ping_left {
                self.ping_left();
            }
        }
        self.consume(count);
        self.compact();
    }

    /// Lends the outbox a buffer, so that replies need no allocation. Give one buffer of the loop to
    /// each connection before its turn and take it back with [`Outbox::reclaim`] after the write.
    #[inline]
    pub fn lend(&mut self, spare: &mut Vec<u8>) {
        if self.tail.capacity() == 0 {
            std::mem::swap(&mut self.tail, spare);
            self.tail.clear();
            self.lent = true;
        }
    }

    /// Takes the lent buffer back when everything has left; else it stays until it has.
    #[inline]
    pub fn reclaim(&mut self, spare: &mut Vec<u8>) {
        if self.lent {
            self.lent = false;
            if self.queued == 0 {
                *spare = std::mem::take(&mut self.tail);
                // A control frame may still be under way, of which the tail has no part.
                self.sent = 0;
                if spare.capacity() > SPARE_MAX {
                    *spare = Vec::new();
                }
            }
        }
    }

    pub(super) fn has_control(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.control_left() > 0)
    }

    /// Drops what is queued behind the frame under way, if that is more than a little.
    pub(super) fn make_way(&mut self) {
        if self.in_order() {
            return;
        }
        // A control frame that is partly written stands before all data and must be finished.
        let mut kept = Vec::new();
        let mut control = 0;
        if let Some(backlog) = &self.backlog
            && backlog.control_sent > 0
        {
            kept.extend_from_slice(&backlog.control[backlog.control_sent..]);
            control = kept.len();
        }
        let mut left = self.rest;
        while left > 0 {
            let piece = self.front();
            let take = piece.len().min(left);
            kept.extend_from_slice(&piece[..take]);
            self.skip(take);
            left -= take;
        }
        let rest = self.rest + control;
        self.clear();
        self.lent = false;
        self.tail = kept;
        self.queued = self.tail.len();
        self.rest = rest;
        self.blocked = true;
    }

    fn ping_left(&mut self) {
        self.ping = Ping::Left;
        self.pinged = self.now;
    }

    /// Everything has left.
    pub(super) fn clear(&mut self) {
        if self.ping == Ping::Queued {
            self.ping_left();
        }
        if self.lent {
            self.tail.clear();
        } else {
            self.tail = Vec::new();
        }
        self.sent = 0;
        self.queued = 0;
        self.rest = 0;
        self.ping_mark = 0;
        self.backlog = None;
        self.blocked = false;
    }

    /// Data bytes have left: keeps `rest` at the end of the frame they belong to.
    fn consume(&mut self, mut count: usize) {
        if self.ping_mark > 0 && count > 0 {
            self.ping_mark =
                self.ping_mark.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            if self.ping_mark == 0 {
                self.ping_left();
            }
        }
        while count > 0 {
            if self.rest == 0 {
                let (header, payload, _) = next_frame(self.front()).expect("own frames are whole");
                let mut head = [0; MAX_HEADER];
                self.rest = header.emit(&mut head) + payload.len();
            }
            let take = count.min(self.rest);
            self.rest -= take;
            count -= take;
            let mut left = take;
            while left > 0 {
                let step = self.front().len().min(left);
                self.skip(step);
                left -= step;
            }
        }
    }

    /// The first contiguous piece of data that has not left.
    fn front(&self) -> &[u8] {
        match self.backlog.as_ref().and_then(|backlog| backlog.segments.front()) {
            Some(Segment::Shared(bytes)) => bytes,
            Some(Segment::Tail(len)) => &self.tail[self.sent..self.sent + len],
            None => &self.tail[self.sent..],
        }
    }

    /// Drops `count` bytes of the front piece.
    fn skip(&mut self, count: usize) {
        self.queued -= count;
        let Some(backlog) = &mut self.backlog else {
            self.sent += count;
            return;
        };
        let done = match backlog.segments.front_mut() {
            Some(Segment::Shared(bytes)) => {
                bytes.advance(count);
                bytes.is_empty()
            }
            Some(Segment::Tail(len)) => {
                self.sent += count;
                backlog.covered -= count;
                *len -= count;
                *len == 0
            }
            None => {
                self.sent += count;
                false
            }
        };
        if done {
            backlog.segments.pop_front();
        }
    }

    /// Gives back the space of bytes that have left, at a cost linear in what leaves.
    fn compact(&mut self) {
        if self.sent >= Frame::CUT && self.sent >= self.tail.len() / 2 {
            self.tail.drain(..self.sent);
            self.sent = 0;
            self.tail.shrink_to(self.tail.len() * 2);
        }
    }
}

struct Filler<'s, 'a> {
    slices: &'s mut [IoSlice<'a>],
    filled: usize,
}

impl<'a> Filler<'_, 'a> {
    fn push(&mut self, piece: &'a [u8]) {
        if !piece.is_empty()
            && let Some(slice) = self.slices.get_mut(self.filled)
        {
            *slice = IoSlice::new(piece);
            self.filled += 1;
        }
    }
}

/// How many of our own frames begin from `at` on, which is the beginning of one, and before `end`.
fn begun(bytes: &[u8], mut at: usize, end: usize) -> u64 {
    let mut frames = 0;
    while at < end {
        frames += 1;
        let header = bytes.get(at..).and_then(HeaderView::new);
        // Own frames are whole.
        at = header.map_or(end, |header| at + header.size() + header.len() as usize);
    }
    frames
}

/// The first frame of our own wire bytes: its header, its payload, and what follows.
pub(super) fn next_frame(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let view = HeaderView::new(bytes)?;
    let expect = Expect {
        masked: view.masked(),
        continuation: view.opcode_bits() == Opcode::Continuation as u8,
        rsv: 0x70,
    };
    let (header, size) = Header::parse(bytes, expect).ok()??;
    let (payload, after) = bytes[size..].split_at_checked(header.len as usize)?;
    Some((header, payload, after))
}
