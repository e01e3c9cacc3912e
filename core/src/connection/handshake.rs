//! Receiving before there are frames: the request, the response, the body of a refusal.

use super::Connection;
use super::state::Receiving;
use super::turn::{Source, Step, Turn};
use crate::error::UpgradeError;
use crate::event::Cause;
use crate::limits::Limits;
use crate::upgrade::head::HeadScanner;
use crate::upgrade::{BodyReader, Expected, Offer, RequestHead, Verdict, judge};

/// A head that straddles reads, and what a client must find in it.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    pub(super) bytes: Vec<u8>,
    pub(super) scanner: HeadScanner,
    pub(super) expected: Option<Expected>,
    pub(super) refusal: Option<Refusal>,
    /// The body of the request whose head was here.
    pub(super) body: Option<BodyReader>,
}

/// A client's view of an answer that is not 101.
#[derive(Debug, Copy, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Where the body starts, and where it ends at the latest.
    pub(super) body: (usize, usize),
}

impl Turn<'_> {
    pub(super) fn read_request(&mut self) -> Step {
        let connection = &mut *self.connection;
        let limit = connection.outbox.limits().head as usize;
        let input = &self.input[self.at..];
        let found = match &mut connection.handshake {
            Some(handshake) => {
                let taken = handshake.take(input, limit);
                self.at += taken;
                handshake.end_of_head(limit).map(|end| {
                    end.map(|(end, surplus)| {
                        self.at -= surplus;
                        Source::Own(end)
                    })
                })
            }
            None => {
                let mut scanner = HeadScanner::default();
                let found = scanner.scan(input, limit);
                let start = self.at;
                match found {
                    Ok(Some(len)) => {
                        self.at += len;
                        Ok(Some(Source::Input(start..self.at)))
                    }
                    Ok(None) => {
                        self.at = self.input.len();
                        if start < self.at {
                            let bytes = self.input[start..].to_vec();
                            let handshake = Handshake { bytes, scanner, ..Handshake::default() };
                            connection.handshake = Some(Box::new(handshake));
                        }
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let source = match found {
            Ok(Some(source)) => source,
            Ok(None) => return Step::Idle,
            Err(error) => return connection.refuse(error),
        };
        let head = match &source {
            Source::Input(range) => &self.input[range.clone()],
            Source::Own(len) => {
                connection.handshake.as_ref().map_or(&[][..], |handshake| &handshake.bytes[..*len])
            }
        };
        match RequestHead::parse(head, connection.outbox.limits()) {
            Ok(head) => {
                let (checked, offer) =
                    (head.checked(), Offer::new(&head, connection.outbox.limits()));
                connection.spread = offer.spread();
                connection.outbox.set_offer(offer);
                connection.receiving = Receiving::Request;
                Step::Request(source, checked)
            }
            Err(error) => connection.refuse(error),
        }
    }

    pub(super) fn read_response(&mut self) -> Step {
        let connection = &mut *self.connection;
        let limit = connection.outbox.limits().head as usize;
        let Some(handshake) = &mut connection.handshake else { return Step::Idle };
        self.at += handshake.take(&self.input[self.at..], limit);
        let verdict = match handshake.end_of_head(limit) {
            Ok(None) => return Step::Idle,
            Ok(Some((end, surplus))) => {
                self.at -= surplus;
                handshake.judge(end, connection.outbox.limits())
            }
            Err(UpgradeError::HeadSize) => Err(UpgradeError::HeadSize),
            Err(_) => Err(UpgradeError::Answer("not an HTTP response")),
        };
        match verdict {
            Ok(Verdict::Open { subprotocol, agreed }) => {
                connection.subprotocol = subprotocol.and_then(|index| u8::try_from(index).ok());
                connection.outbox.agree(agreed);
                connection.to_frames();
                Step::Open
            }
            Ok(Verdict::Refused(status, length)) => {
                let start = handshake.bytes.len();
                let end = start.saturating_add(length.unwrap_or(usize::MAX)).min(start.max(limit));
                handshake.refusal = Some(Refusal { status, body: (start, end) });
                connection.receiving = Receiving::Refusal;
                Step::Next
            }
            Err(error) => {
                connection.to_dead();
                Step::Closed(Cause::Upgrade(error))
            }
        }
    }

    /// Collects the body of a refusal, so that the user can be told what the server said.
    pub(super) fn read_refusal(&mut self) -> Step {
        let connection = &mut *self.connection;
        let Some(handshake) = &mut connection.handshake else { return Step::Idle };
        let Some(refusal) = handshake.refusal else { return Step::Idle };
        self.at += handshake.take(&self.input[self.at..], refusal.body.1);
        if handshake.bytes.len() < refusal.body.1 && !connection.is_ended() {
            return Step::Idle;
        }
        connection.receiving = Receiving::Refused;
        Step::Response(refusal)
    }
}

impl Handshake {
    /// Appends what fits under `limit`; says how much.
    fn take(&mut self, input: &[u8], limit: usize) -> usize {
        let room = limit.saturating_sub(self.bytes.len());
        let taken = input.len().min(room);
        if self.bytes.capacity() - self.bytes.len() < taken {
            // Doubling, but never beyond the limit.
            self.bytes.reserve_exact(self.bytes.len().min(room).max(taken));
        }
        self.bytes.extend_from_slice(&input[..taken]);
        taken
    }

    /// The head's length and how many of the bytes taken do not belong to it; those are given back.
    fn end_of_head(&mut self, limit: usize) -> Result<Option<(usize, usize)>, UpgradeError> {
        Ok(self.scanner.scan(&self.bytes, limit)?.map(|end| {
            let surplus = self.bytes.len() - end;
            self.bytes.truncate(end);
            (end, surplus)
        }))
    }

    fn judge(&self, end: usize, limits: &Limits) -> Result<Verdict, UpgradeError> {
        match &self.expected {
            Some(expected) => judge(&self.bytes[..end], expected, limits),
            None => Err(UpgradeError::Answer("nothing was asked")),
        }
    }
}

impl Connection {
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.handshake.as_ref()?.refusal
    }

    pub(super) fn refuse(&mut self, error: UpgradeError) -> Step {
        self.outbox.refuse(error);
        self.to_discard();
        Step::Closed(Cause::Upgrade(error))
    }
}
