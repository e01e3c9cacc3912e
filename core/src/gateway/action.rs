//! What a gateway asks of its host.

use super::{BusMessage, ConnId, Fact, HttpAnswer, JobId, Route, Work};
use crate::frame::{CloseCode, Frame};
use bytes::Bytes;
use std::borrow::Cow;

/// What the host must do. All of it: a host that does not know one does not compile.
#[derive(Debug)]
pub enum Action {
    /// Give this to the connection's outbox with [`deliver`](super::deliver).
    Send {
        /// The connection.
        to: ConnId,
        /// The message.
        frame: Frame,
    },
    /// Close the connection with [`Connection::close`](crate::Connection::close).
    Close {
        /// The connection.
        conn: ConnId,
        /// The code.
        code: CloseCode,
        /// The reason.
        reason: Cow<'static, str>,
    },
    /// Call [`Outbox::give_up`](crate::Outbox::give_up) for the connection: its peer does not read.
    GiveUp {
        /// The connection.
        conn: ConnId,
    },
    /// Answer the request of the connection with [`Outbox::respond`](crate::Outbox::respond).
    Respond {
        /// The connection.
        conn: ConnId,
        /// The answer.
        answer: HttpAnswer,
    },
    /// Give this to the connection's outbox with [`Outbox::body`](crate::Outbox::body).
    Body {
        /// The connection.
        conn: ConnId,
        /// The piece.
        piece: Bytes,
    },
    /// Call [`Outbox::end_body`](crate::Outbox::end_body) for the connection.
    EndBody {
        /// The connection.
        conn: ConnId,
    },
    /// Call [`Outbox::hold_body`](crate::Outbox::hold_body) for the connection.
    HoldBody {
        /// The connection.
        conn: ConnId,
        /// Whether to hold it or to go on.
        hold: bool,
    },
    /// Do this elsewhere and hand what comes of it to [`Gateway::handle_result`](super::Gateway::handle_result).
    Start {
        /// Its name.
        job: JobId,
        /// What to do.
        work: Work,
    },
    /// Nobody needs this any more. Outcomes that come nevertheless are ignored.
    Cancel {
        /// Its name.
        job: JobId,
    },
    /// Hand this to [`Gateway::handle_message`](super::Gateway::handle_message) of other nodes.
    Publish {
        /// Which ones.
        to: Route,
        /// What to hand over.
        message: BusMessage,
    },
    /// Operators should know this.
    Note(Fact),
}
