//! RFC 6455 section 5: headers, masking, UTF-8, close codes, fragments, and frames shared between
//! connections. Nothing here knows a connection.

pub(crate) mod assembler;
mod close;
#[cfg(feature = "deflate")]
pub(crate) mod deflate;
mod header;
pub mod mask;
mod shared;
pub(crate) mod utf8;

pub use close::{CloseCode, MAX_REASON};
pub(crate) use close::{emit_close, parse_close};
pub use header::{Expect, Header, HeaderView, MAX_HEADER, Opcode};
pub use shared::Frame;
pub(crate) use shared::{RSV1, for_each_cut};
pub use utf8::Utf8Stream;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;
