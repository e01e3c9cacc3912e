//! WebSocket core.
#![forbid(unsafe_code)]

pub mod connection;
pub mod error;
mod event;
pub mod frame;
mod limits;
pub mod upgrade;
mod wheel;

pub use connection::{Connection, End, Entropy, Outbox, Turn, Wants};
pub use error::{AnswerError, LimitError, ProtocolError, SendError, UpgradeError};
pub use event::{Cause, Event, Initiator, Why};
pub use frame::{CloseCode, Frame, Opcode};
pub use limits::Limits;
pub use upgrade::{Accept, ClientRequest, RequestHead, Response, ResponseHead};
pub use wheel::Wheel;
