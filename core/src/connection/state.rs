//! The two halves of a connection and every transition between their states.
//!
//! ```text
//!              receiving                                  sending
//!   server: Head -> Request -> Frames -> Discard -> Dead   Handshake -> Open -> Closing -> Ended
//!                          \-> Body -> Answer -^
//!   client: Response --------> Frames -> Discard -> Dead            \-> Answered -------> Ended
//!                   \-> Refusal -> Refused -> Dead
//!
//!   Handshake -> Responding -> Answered: an answer in pieces, until the last has left
//!
//!   Open -> GivenUp: the peer reads too slowly; its Close passes what is queued
//!   Responding -> GivenUp: the same; the answer is cut off
//!
//!   Discard   the application was told Closed; input is read to the end of file and thrown away,
//!             so that the kernel does not reset the connection under our last bytes
//!   Dead      nothing more to do: drop the transport
//! ```

use super::Connection;
use crate::event::Cause;
use crate::frame::CloseCode;

/// What the receiving half reads.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Server: a request head.
    Head,
    /// Server: nothing; the application owes an answer.
    Request,
    /// Server: the body of a request.
    Body,
    /// Server: nothing; the body was read, the application owes an answer.
    Answer,
    /// Client: a response head.
    Response,
    /// Client: the body of a refusal.
    Refusal,
    /// Client: nothing; the refusal was handed out.
    Refused,
    /// Frames.
    Frames,
    /// Bytes to be thrown away until the end of file.
    Discard,
    /// Nothing more.
    Dead,
}

/// How a transport ends.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum TransportEnd {
    /// By an end of file, or an error where nothing tells these apart.
    Eof,
    /// Without the end that it should have had.
    Truncated,
}

/// What the sending half may send.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(super) enum Sending {
    /// HTTP only.
    Handshake,
    /// The rest of an answer's body.
    Responding,
    /// Messages and control frames.
    Open,
    /// Nothing more: the application's Close with this code is queued, the peer's is awaited.
    Closing(CloseCode),
    /// Nothing more: this HTTP status was answered.
    Answered(u16),
    /// Nothing more: the application gave up on a slow reader, whose Close may still be taken.
    GivenUp,
    /// Nothing more: the last bytes are queued.
    Ended,
}

/// What the adapter should do with the transport once it has written all it could.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum End {
    /// Keep it.
    Stay,
    /// Shut down its write side, keep reading to the end of file. Doing so twice is harmless.
    ShutdownWrite,
    /// Drop it.
    Drop,
}

#[allow(clippy::wrong_self_convention, reason = "`to_` names the state that is entered")]
impl Connection {
    pub(super) fn end(&self) -> End {
        match (self.receiving, self.outbox.sending) {
            // A turn that was not drained lost bytes: the stream cannot go on.
            _ if self.in_turn => End::Drop,
            (Receiving::Dead, _) => End::Drop,
            _ if !self.outbox.is_empty() => End::Stay,
            (_, Sending::Handshake | Sending::Responding | Sending::Open) => End::Stay,
            // The peer's Close is awaited.
            (Receiving::Frames, _) => End::Stay,
            _ if self.is_ended() && self.told => End::Drop,
            // RFC 6455 section 7.1.1: after a clean close the server ends the transport first.
            _ if self.clean && self.outbox.is_client() => End::Stay,
            _ => End::ShutdownWrite,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// How the transport ended.
    pub(super) fn transport_cause(&self) -> Cause<'static> {
        match self.ended {
            Some(TransportEnd::Truncated) => Cause::Truncated,
            _ => Cause::Eof,
        }
    }

    /// The transport has ended; gives what the application must be told now.
    pub(super) fn end_transport(&mut self, end: TransportEnd) -> Option<Cause<'static>> {
        let again = self.ended.is_some();
        self.ended.get_or_insert(end);
        match (self.receiving, self.outbox.sending) {
            (Receiving::Dead | Receiving::Discard, _) => {
                if again {
                    self.to_dead();
                }
                None
            }
            // Half-closed: the answer still has somebody to read it.
            (Receiving::Request | Receiving::Answer, Sending::Handshake)
                if !again && self.outbox.awaited().is_none() =>
            {
                None
            }
            (_, Sending::Responding) if !again && self.outbox.awaited().is_none() => None,
            (
                Receiving::Request | Receiving::Body | Receiving::Answer,
                Sending::Answered(status),
            ) => {
                self.to_discard();
                Some(Cause::Answered(status))
            }
            // What has come of the refusal is handed out first.
            (Receiving::Refusal | Receiving::Refused, _) => None,
            (_, Sending::Closing(code)) => {
                self.to_dead();
                Some(Cause::Local(code))
            }
            (_, Sending::GivenUp) => {
                self.to_dead();
                Some(Cause::Overflow)
            }
            _ => {
                self.to_dead();
                Some(self.transport_cause())
            }
        }
    }

    /// The peer had ended its half before the application answered: the answer leaves, but nothing
    /// will arrive any more that could bring the application its Closed. The next turn does.
    pub(super) fn is_owed_closed(&self) -> bool {
        self.is_ended()
            && !self.told
            && !matches!(self.outbox.sending, Sending::Handshake | Sending::Responding)
    }

    /// The application accepted the upgrade, or the server's 101 was right.
    pub(super) fn to_frames(&mut self) {
        if self.outbox.sending == Sending::Handshake {
            self.outbox.sending = Sending::Open;
        }
        self.receiving = Receiving::Frames;
    }

    /// The application will be told [`Event::Closed`](crate::Event::Closed); what is queued still
    /// leaves.
    pub(super) fn to_discard(&mut self) {
        self.forget_input();
        self.outbox.end();
        self.receiving = Receiving::Discard;
    }

    /// Nothing can be sent any more.
    pub(super) fn to_dead(&mut self) {
        self.forget_input();
        self.outbox.discard();
        self.receiving = Receiving::Dead;
    }

    /// The peer broke a rule, exceeded a limit or let a deadline pass. A connection that the
    /// application has closed before ends as closed by it.
    pub(super) fn to_failed(&mut self, cause: Cause<'static>, reason: &str) -> Cause<'static> {
        let cause = match self.outbox.sending {
            Sending::Closing(code) => Cause::Local(code),
            Sending::GivenUp => Cause::Overflow,
            _ => {
                self.outbox.end_with_close(cause.close_code(), reason);
                cause
            }
        };
        self.to_discard();
        cause
    }

    fn forget_input(&mut self) {
        // Whatever broke, its contexts go with it.
        self.outbox.codec = None;
        self.message_open = false;
        self.frame = None;
        self.head_len = 0;
    }
}
